"""Finding images inside tables: which files have them, and which of these belong together."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from resnet50.etl.embedded.array_sources import arrays_as_sources
from resnet50.etl.embedded.arrays import arrays_in
from resnet50.etl.embedded.image_bytes import ImageBytes, image_bytes
from resnet50.etl.embedded.names import meaning_of_path
from resnet50.etl.embedded.pixel_tables import PixelTable, pixel_table
from resnet50.etl.embedded.pixels import Shape
from resnet50.etl.embedded.source import EmbeddedSource
from resnet50.etl.embedded.table_sources import tables_as_sources
from resnet50.etl.files import FileIndex
from resnet50.etl.source.tables import CSV_SUFFIXES, PARQUET_SUFFIXES

ARRAY_SUFFIXES = (".npz", ".npy")
LEAST_BYTES = 512
"""A smaller table has no image in it worth the name."""


def find_embedded(
    files: FileIndex | Iterable[Path], *, pixel_shape: str | None = None, pixel_max: float | None = None
) -> list[EmbeddedSource]:
    """Find the images inside CSV, Parquet, .npz, .npy and IDX files. Only heads, schemas and samples are read.

    Files that are parts of one data set (its shards, its splits) make one source. Of files with the same bytes, the one
    that is less deep counts.

    Args:
        files: of a folder, or the only file of a source.
        pixel_shape: --pixel-shape.
        pixel_max: --pixel-max.

    Raises:
        UserError: --pixel-shape is malformed.
    """
    shape = None if pixel_shape is None else Shape.parse(pixel_shape)
    root, given = absolute_paths(files)
    paths = [path for path in given if may_have_images(path)]
    tables = [found for path in paths if is_table(path) for found in found_in_table(path, shape)]
    with_arrays = {path for path in paths if not is_table(path)}
    beside = set() if isinstance(files, FileIndex) else array_files_beside(with_arrays)
    arrays = [array for path in sorted(with_arrays | beside) for array in arrays_in(path)]
    single = set(without_twins([found.path for found in (*tables, *arrays)], root))
    sources = [
        *tables_as_sources([table for table in tables if table.path in single], root),
        *arrays_as_sources([array for array in arrays if array.path in single], root, with_arrays),
    ]
    return [replace(source, pixel_max=pixel_max) for source in sources]


def absolute_paths(files: FileIndex | Iterable[Path]) -> tuple[Path, list[Path]]:
    """Return the folder that all files are in, and the files, sorted."""
    if isinstance(files, FileIndex):
        likely = files.paths[~files.is_image]
        return files.folder, [files.folder / path for path in likely]
    paths = sorted(Path(path).absolute() for path in files)
    if not paths:
        return Path("/"), []
    folders = [path.parent for path in paths]
    root = next((folder for folder in (folders[0], *folders[0].parents) if all_below(folders, folder)), Path("/"))
    return root, paths


def all_below(folders: Sequence[Path], root: Path) -> bool:
    return all(folder.is_relative_to(root) for folder in folders)


def array_files_beside(paths: set[Path]) -> set[Path]:
    """Return the array files in the same folders: the labels of some images may be in a file of their own."""
    return {
        path
        for folder in {path.parent for path in paths}
        for path in folder.iterdir()
        if path.is_file() and may_have_images(path) and not is_table(path)
    }


def choices_between(sources: Sequence[EmbeddedSource]) -> list[dict[str, str]]:
    """Return the keyword arguments of `prepare` that choose each source; none for those that no option can name.

    A source is chosen by its only file, by a folder that has no other, or as a train file with --test for the other.
    """
    return [choice for source in sources if (choice := choice_of(source, sources)) is not None]


def choice_of(source: EmbeddedSource, sources: Sequence[EmbeddedSource]) -> dict[str, str] | None:
    paths = list(dict.fromkeys(file.path for file in source.files))
    others = [file.path for other in sources if other is not source for file in other.files]
    if len(paths) == 1:
        return {"source": str(paths[0])}
    folder = next(folder for folder in paths[0].parents if all_below(paths, folder))
    if not any(path.is_relative_to(folder) for path in others):
        return {"source": str(folder)}
    if [file.split for file in source.files] == ["train", "test"]:
        return {"source": str(paths[0]), "test": str(paths[1])}
    return None


def may_have_images(path: Path) -> bool:
    suffix = path.suffix.lower()
    known = (*CSV_SUFFIXES, *PARQUET_SUFFIXES, *ARRAY_SUFFIXES)
    if suffix not in known and "ubyte" not in path.name.lower():
        return False
    try:
        return path.stat().st_size >= (LEAST_BYTES if is_table(path) else 1)
    except OSError:
        return False


def is_table(path: Path) -> bool:
    return path.suffix.lower() in (*CSV_SUFFIXES, *PARQUET_SUFFIXES)


def found_in_table(path: Path, shape: Shape | None) -> list[PixelTable | ImageBytes]:
    if path.suffix.lower() in PARQUET_SUFFIXES and (images := image_bytes(path)):
        return list(images)
    table = pixel_table(path, shape)
    return [] if table is None else [table]


def without_twins(paths: Iterable[Path], root: Path) -> list[Path]:
    """Leave out files with the bytes and the split of another that is less deep, or comes before it by name.

    The labels of train and test may well have the same bytes.
    """
    distinct = sorted(set(paths), key=lambda path: (len(path.parts), str(path)))
    sizes = Counter(path.stat().st_size for path in distinct)
    kept: dict[tuple[str, str], Path] = {}
    for path in distinct:
        digest = str(path)
        if sizes[path.stat().st_size] > 1:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        kept.setdefault((digest, meaning_of_path(path.relative_to(root)).split), path)
    return sorted(kept.values())
