"""The image files that a user names: files, folders and globs."""

import glob
import os
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from resnet50.etl.files import FileIndex, is_system_entry, list_files
from resnet50.runtime.console import warn
from resnet50.runtime.errors import UserError


def find_images(sources: Sequence[str]) -> "pd.Series[str]":
    """List the image files that files, folders (with their subfolders) and globs stand for, each once.

    A file that is named is an image, whatever its name. In folders and among the matches of a glob, images are told as
    `prepare` tells them, and other files are counted in a warning.

    Raises:
        UserError: A source holds no image, or there are no sources.
    """
    if not sources:
        raise UserError("no images given: name files, folders or globs after the run")
    found = [paths_at(source) for source in sources]
    return pd.concat(found).drop_duplicates().reset_index(drop=True) if len(found) > 1 else found[0]


def paths_at(source: str) -> "pd.Series[str]":
    """List the images of one source."""
    if not source:
        raise UserError("'' is no image, folder or glob: for the current folder, give '.'")
    path = Path(source)
    if os.path.isdir(source):  # noqa: PTH112  # false for what can't be a path
        files = list_files(path, allow_outside=True)  # whoever names a folder means what its links lead to
        return images_among(files, source, "" if path == Path() else f"{path}{'' if path.name == '' else os.sep}")
    if os.path.isfile(source):  # noqa: PTH113
        return as_series([str(path)])
    files = FileIndex(Path(), as_series(files_matching(source)))
    return images_among(files, source, "")


def images_among(files: FileIndex, source: str, prefix: str) -> "pd.Series[str]":
    """Return the paths of the images among some files; say what other files there are."""
    images = files.images()
    if images.empty:
        others = f"the {len(files.paths):,} files there are not images" if len(files.paths) else "nothing is there"
        raise UserError(f"no image at {source} ({others}): give files, folders or globs")
    if len(images) < len(files.paths):
        first = files.paths[~files.paths.isin(images)].iloc[0]
        count = f"{len(files.paths) - len(images):,} of {len(files.paths):,} files"
        warn(f"{source}: passed over {count}, which are not images; the first is {first!r}")
    return (prefix + images).reset_index(drop=True)


def files_matching(pattern: str) -> list[str]:
    """Return the files that match a glob, sorted, without those that operating systems add.

    Hidden ones match only a pattern that asks for them.
    """
    named = set(Path(pattern).parts)
    matches = map(Path, sorted(glob.iglob(pattern, recursive=True)))  # noqa: PTH207  # Path.glob takes no absolute patterns
    return [str(path) for path in matches if path.is_file() and not any(map(is_added, set(path.parts) - named))]


def is_added(name: str) -> bool:
    return not name.startswith(".") and is_system_entry(name)


def as_series(paths: list[str]) -> "pd.Series[str]":
    """Return paths as a column; a UserError for a name that can't be written to a table."""
    try:
        return pd.Series(paths, dtype="str")
    except UnicodeEncodeError as error:
        raise UserError(f"file name {os.fsencode(str(error.object))!r} is not UTF-8: rename it") from error
