"""Finding the tables of a source, and the images that their rows name."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import parquet

from resnet50.etl.files import FileIndex, find_outside, last_part
from resnet50.etl.source.columns import (
    Submission,
    cannot_tell_ids,
    id_columns,
)
from resnet50.etl.source.matching import Candidates, Placement, find_candidates, place
from resnet50.etl.source.tables import (
    JSON_SUFFIXES,
    PARQUET_SUFFIXES,
    Table,
    file_names,
    no_header,
    read_table,
)
from resnet50.etl.source.words import AUXILIARY, shorten, split_in, words_of
from resnet50.options import PrepareOptions
from resnet50.runtime.errors import UserError

MAX_TABLES = 100
"""Tables of a folder that are looked at; one with more has a table per image."""


@dataclass(frozen=True)
class SourceTable:
    """A table whose rows name images.

    Attributes:
        table: as read.
        split: that the table's name or folder says, or "".
        id_column: names the images.
        found: the images that the rows could mean.
        placement: the image of each row.
    """

    table: Table
    split: str
    id_column: str
    found: Candidates
    placement: Placement

    @property
    def path(self) -> Path:
        return self.table.path

    @property
    def file(self) -> NDArray[np.int64]:
        """Position of each row's image, −1 for none."""
        return self.placement.file[self.found.row]


def find_tables(options: PrepareOptions, files: FileIndex) -> tuple[list[Table], Submission | None, list[str]]:
    """Read all tables of a folder; return them, what a sample submission asks for, and lines about the others."""
    tables: list[Table] = []
    submission: Submission | None = None
    notes: list[str] = []
    candidates = table_paths(files)
    for path in candidates[:MAX_TABLES]:
        if is_submission(path):
            submission = submission or read_submission(files.folder / path)
            continue
        if has_pixel_columns(files.folder / path) or has_image_bytes(files.folder / path):
            continue
        try:
            tables.append(read_table(files.folder / path))
        except UserError as error:  # an unrelated file; it is named if nothing else can be read
            notes.append(f"not used: {path} ({str(error).removeprefix(str(files.folder / path)).strip()})")
    return tables, submission, notes


def table_paths(files: FileIndex) -> list[str]:
    """Return the paths of files that may be tables, those on top first; not those that stand beside each image."""
    names = files.paths[~files.is_image]
    suffixes = (".csv", ".tsv", *PARQUET_SUFFIXES, *JSON_SUFFIXES)
    names = names[names.str.lower().str.endswith(suffixes)]
    if len(names) > MAX_TABLES:
        stems = set(last_part(files.images()).str.replace(r"\.[^.]*$", "", regex=True))
        names = names[~last_part(names).str.replace(r"\.[^.]*$", "", regex=True).isin(stems)]
    return sorted(names, key=lambda path: (path.count("/"), path))


def is_submission(path: str) -> bool:
    words = words_of(PurePosixPath(path).stem)
    return "submission" in words or words[:2] == ["sample", "sub"]


def read_submission(path: Path) -> Submission | None:
    try:
        frame = read_table(path).frame
    except UserError:
        return None
    return Submission(path.name, tuple(map(str, frame.columns[1:])))


def has_pixel_columns(path: Path) -> bool:
    """Return whether a CSV file has a column per pixel: such files are large, and are no lists of images."""
    if path.suffix.lower() not in (".csv", ".tsv"):
        return False
    try:
        with path.open(encoding="utf-8-sig") as file:
            names = re.split(r"[,;\t|]", file.readline(1_000_000))
    except (OSError, UnicodeDecodeError):
        return False
    pixels = [name for name in names if re.fullmatch(r"\"?(?:pixel|px|p|x)?_?\d+(?:x\d+)?\"?", name.strip().lower())]
    return len(pixels) >= 48


def has_image_bytes(path: Path) -> bool:
    """Return whether a Parquet file has images in it, as Hugging Face's have: these are not read as text."""
    if path.suffix.lower() not in PARQUET_SUFFIXES:
        return False
    try:
        types = parquet.read_schema(path).types
    except (pa.ArrowException, OSError):
        return False
    fields = [field.type for kind in types if pa.types.is_struct(kind) for field in kind]
    return any(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) for kind in (*types, *fields))


def connect(options: PrepareOptions, table: Table, files: FileIndex, split: str) -> SourceTable | None:
    """Find the images that a table's rows name; None if it names none.

    Raises:
        UserError: several columns name different images, or several folders have them.
    """
    frame = table.frame
    taken = {name for name in (options.label_column, options.group_column, options.split_column) if name is not None}
    if options.id_column is not None:
        if options.id_column not in frame.columns:
            return None
        naming = [options.id_column]
    else:
        naming = id_columns(frame, files, options.path_template, taken)
    if not naming:
        return None
    ways = [way for name in naming if (way := connect_column(options, table, name, files, split)) is not None]
    if len(ways) > 1:  # a column of masks beside the column of images
        ways = [way for way in ways if not set(words_of(way.id_column)) & AUXILIARY] or ways
    ways.sort(key=lambda way: -way.placement.found)
    if not ways:
        return None
    if (
        len(ways) > 1
        and not np.array_equal(ways[0].file, ways[1].file)
        and ways[1].placement.found * 2 > ways[0].placement.found
    ):
        raise cannot_tell_ids([str(name) for name in frame.columns], [way.id_column for way in ways])
    check_header(ways[0], files)
    return ways[0]


def connect_column(
    options: PrepareOptions, table: Table, id_column: str, files: FileIndex, split: str
) -> SourceTable | None:
    names = file_names(table.frame[id_column], options.path_template, table.frame)
    found = find_candidates(names, files)
    if found.pairs.empty:
        outside = options.allow_outside and (find_outside(names, files.folder) != "").any()
        none = Placement(np.full(len(found.ids), -1))
        return SourceTable(table, split, id_column, found, none) if outside else None
    near = nearby(found, table.path, files)
    placements = place(near, files, split) if options.images is None else place_all(near, files)
    if not placements:
        raise only_held_out(table.path, near, files)
    if len(placements) > 1:
        joined = join_folder_column(options, table, id_column, files)
        if joined is not None:
            return SourceTable(table, split, id_column, *joined)
        raise several_places(table.path, placements, files)
    return SourceTable(table, split, id_column, near, placements[0])


def join_folder_column(
    options: PrepareOptions, table: Table, id_column: str, files: FileIndex
) -> tuple[Candidates, Placement] | None:
    """Find images by two columns, a folder and a name in it; None if no column has the folders."""
    if options.path_template is not None:
        return None
    frame = table.frame
    for column in map(str, frame.columns):
        if column == id_column or frame[column].nunique() > len(frame) // 2:
            continue
        found = find_candidates(frame[column] + "/" + frame[id_column], files)
        placements = place(found, files) if len(found.pairs) >= 0.9 * len(found.ids) else []
        if len(placements) == 1 and not found.notes and not found.pairs["id"].duplicated().any():
            note = f"ids: in the folders that column {column!r} names"
            return found, replace(placements[0], notes=(*placements[0].notes, note))
    return None


def place_all(found: Candidates, files: FileIndex) -> list[Placement]:
    """Place images of the folder that the user has named: it is not weighed whether it is a test folder."""
    return place(Candidates(found.row, found.ids, found.pairs.assign(root=""), found.notes), files)


def nearby(found: Candidates, path: Path, files: FileIndex) -> Candidates:
    """Keep to the images below the table's own folder, if nearly all ids have one there."""
    if not path.is_relative_to(files.folder) or path.parent == files.folder:
        return found
    prefix = path.parent.relative_to(files.folder).as_posix() + "/"
    here = files.paths.take(found.pairs["file"].to_numpy()).str.startswith(prefix).to_numpy()
    inside = found.pairs[here]
    if inside["id"].nunique() < 0.9 * found.pairs["id"].nunique():
        return found
    return Candidates(found.row, found.ids, inside.reset_index(drop=True), found.notes)


def split_of_table(path: Path, root: Path) -> str:
    """Return the split that a table's name says (train.csv, trainLabels.csv), or its folder's (train/metadata.csv)."""
    words = words_of(path.stem)
    if {"train", "val"} <= set(words) or "trainval" in words:
        return "train"
    said = split_in(path.stem)
    if said or not path.is_relative_to(root):
        return said
    folders = path.relative_to(root).parts[:-1]
    return next((split for name in reversed(folders) if (split := split_in(name))), "")


def splits_of_tables(tables: Sequence[Table], root: Path) -> dict[Path, str]:
    """Return the split that each table's name says; cardatasettrain and cardatasettest say it as a pair."""
    stems = {table.path.stem.lower(): table.path for table in tables}
    splits = {table.path: split_of_table(table.path, root) for table in tables}
    for stem, path in stems.items():
        for other, split in (("test", "test"), ("valid", "val"), ("val", "val")):
            pair = stems.get(stem.replace("train", other))
            if "train" in stem and pair is not None and not splits[path]:
                splits[path], splits[pair] = "train", split
    return splits


def check_header(way: SourceTable, files: FileIndex) -> None:
    """Raise a UserError if the name of the id column names an image itself: the table has no header line."""
    header = pd.Series([way.id_column], dtype="str")
    pairs = files.candidates(header)
    if len(pairs) and files.is_image[pairs["file"].to_numpy()].any() and len(way.table.frame.columns) > 1:
        raise no_header(way.path, way.id_column)


def only_held_out(path: Path, found: Candidates, files: FileIndex) -> UserError:
    folders = sorted(found.pairs["root"].unique())
    return UserError(
        f"the rows of {path.name} have images of the same names only in {shorten(folders, 3)}, which seems to hold "
        "other images: unpack the images that belong to the table, or name their folder with --images",
        [{"images": str(files.folder / folder)} for folder in folders[:3]],
    )


def several_places(path: Path, placements: Sequence[Placement], files: FileIndex) -> UserError:
    by_format = "path_template" in placements[0].choice
    found = [files.paths[one.file[one.file >= 0][0]] for one in placements]
    names = (
        [one.choice["path_template"] for one in placements]
        if by_format
        else [path.rpartition("/")[0] or "." for path in found]
    )
    flag = "--path-template" if by_format else "--images or --exclude"
    what = "files" if by_format else "folders"
    return UserError(
        f"several {what} have an image for the rows of {path.name}, and their content differs: "
        f"{shorten(dict.fromkeys(names), 6)}; choose with {flag}",
        [one.choice for one in placements],
    )
