"""Finding images inside tables: which files have them, and which of these belong together."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from resnet50.etl.embedded.array_sources import arrays_as_sources
from resnet50.etl.embedded.arrays import arrays_in
from resnet50.etl.embedded.image_bytes import ImageBytes, image_bytes
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
    root, paths = absolute_paths(files)
    paths = [path for path in paths if may_have_images(path)]
    tables = [found for path in paths if is_table(path) for found in found_in_table(path, shape)]
    arrays = [array for path in paths if not is_table(path) for array in arrays_in(path)]
    single = set(without_twins([found.path for found in (*tables, *arrays)]))
    sources = [
        *tables_as_sources([table for table in tables if table.path in single], root),
        *arrays_as_sources([array for array in arrays if array.path in single], root),
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


def without_twins(paths: Iterable[Path]) -> list[Path]:
    """Leave out files with the same bytes as another that is less deep, or comes before it by name."""
    distinct = sorted(set(paths), key=lambda path: (len(path.parts), str(path)))
    sizes = Counter(path.stat().st_size for path in distinct)
    kept: dict[tuple[int, str], Path] = {}
    for path in distinct:
        size, digest = path.stat().st_size, str(path)
        if sizes[size] > 1:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        kept.setdefault((size, digest), path)
    return sorted(kept.values())
