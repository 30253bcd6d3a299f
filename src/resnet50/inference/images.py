"""The image files that files, folders and globs stand for."""

import glob
from collections.abc import Sequence
from pathlib import Path

from resnet50.etl.decode import IMAGE_EXTENSIONS
from resnet50.runtime.errors import UserError


def find_images(sources: Sequence[str]) -> list[Path]:
    """List the image files that files, folders (with their subfolders) and globs stand for, each once.

    Raises:
        UserError: A source holds no image, or there are no sources.
    """
    found: dict[Path, None] = {}
    for source in sources:
        matches = files_at(source)
        if not matches:
            raise UserError(f"no image at {source}: give files, folders or globs")
        found.update(dict.fromkeys(matches))
    if not found:
        raise UserError("no images given: name files, folders or globs after the run")
    return list(found)


def files_at(source: str) -> list[Path]:
    path = Path(source)
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.suffix.lower() in IMAGE_EXTENSIONS)
    if path.is_file():
        return [path]
    matches = sorted(glob.glob(source, recursive=True))  # noqa: PTH207  # Path.glob takes no absolute patterns
    return [Path(match) for match in matches if Path(match).is_file()]
