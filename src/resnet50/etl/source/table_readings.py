"""Reading a source by its tables: which belong together, which images their rows name, which column labels them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import permutations
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import parquet

from resnet50.etl.files import FileIndex, find_outside, last_part, parent
from resnet50.etl.source.columns import (
    LabelChoice,
    Submission,
    cannot_tell_ids,
    cannot_tell_labels,
    find_group_columns,
    find_split_column,
    id_columns,
    label_choices,
    split_values,
)
from resnet50.etl.source.labels import check_single_label, find_names, labels_of_one_hot
from resnet50.etl.source.lists import ImageList, published_by_lists
from resnet50.etl.source.matching import Candidates, Placement, find_candidates, place, role_of
from resnet50.etl.source.reading import Reading, filled_in, name_of_table, with_images
from resnet50.etl.source.tables import (
    JSON_SUFFIXES,
    PARQUET_SUFFIXES,
    Table,
    file_names,
    join_names,
    no_header,
    read_table,
    require_column,
    template_fields,
)
from resnet50.etl.source.words import AUXILIARY, is_part, normalized, shorten, split_in, words_of
from resnet50.etl.split import SPLITS
from resnet50.options import PrepareOptions
from resnet50.runtime.errors import UserError

MAX_TABLES = 100
"""Tables of a folder that are looked at; one with more has a table per image."""

MAX_REPEATED = 0.05
"""Share of the images that may have rows with different labels; such images are left out."""

NAMED = 2.0
"""Strength of evidence from which on a column counts as labels by its name, a submission, or the images' folders."""


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


@dataclass(frozen=True)
class TableSet:
    """Tables that are read as one, with the columns that may label their rows, likeliest first."""

    tables: tuple[SourceTable, ...]
    choices: tuple[LabelChoice, ...]

    @property
    def strength(self) -> float:
        return self.choices[0].strength if self.choices else 0.0

    @cached_property
    def file(self) -> NDArray[np.int64]:
        return np.concatenate([one.file for one in self.tables])

    @cached_property
    def images(self) -> int:
        return len(np.unique(self.file[self.file >= 0]))

    def cells(self, name: str) -> pd.Series:
        return pd.concat([one.table.frame[name] for one in self.tables], ignore_index=True)

    def labels(self) -> pd.Series:
        """Return the cells of the likeliest label columns, joined."""
        return pd.concat([self.cells(name) for name in self.choices[0].columns], axis=1).agg("\t".join, axis=1)

    def names(self) -> str:
        return shorten([one.path.name for one in self.tables], 3)


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


def table_sets(
    options: PrepareOptions,
    tables: Sequence[SourceTable],
    files: FileIndex,
    submission: Submission | None,
    folder_labels: pd.Series | None,
) -> list[TableSet]:
    """Join the tables that belong together, and weigh the columns that may label their rows; most images first."""
    weighed = [TableSet((one,), tuple(choices_of(options, one, submission, folder_labels))) for one in tables]
    groups: dict[tuple[str, ...], list[TableSet]] = {}
    for one in weighed:
        label = one.choices[0].columns if one.choices and one.strength >= NAMED else ("",)
        key = (one.tables[0].id_column, *label) if label != ("",) else (str(one.tables[0].path),)
        groups.setdefault(key, []).append(one)
    sets: list[TableSet] = []
    for group in groups.values():
        sets += join(group)
    return sorted(sets, key=lambda one: (-one.images, str(one.tables[0].path)))


def choices_of(
    options: PrepareOptions, one: SourceTable, submission: Submission | None, folder_labels: pd.Series | None
) -> list[LabelChoice]:
    """Return the columns that may label a table's rows: the ones that an option names, if it has them."""
    frame = one.table.frame
    if options.label_columns is not None:
        names = tuple(name.strip() for name in options.label_columns.split(","))
        return [LabelChoice(names, 5, "--label-columns")] if set(names) <= set(frame.columns) else []
    if options.label_column is not None:
        return (
            [LabelChoice((options.label_column,), 5, "--label-column")] if options.label_column in frame.columns else []
        )
    taken = {name for name in (options.group_column, options.split_column) if name is not None}
    split = find_split_column(frame, taken | {one.id_column})
    numbered = numbered_splits(frame) if split is None else None
    taken |= {split} if split else {numbered[1]} if numbered else set()
    folder = None if folder_labels is None else folder_labels.reindex(one.file, fill_value="").reset_index(drop=True)
    return label_choices(frame, one.id_column, taken, folder, submission)


def join(group: list[TableSet]) -> list[TableSet]:
    """Join tables with the same columns that name different images: a table per split, per folder, per part."""
    if len(group) == 1:
        return group
    named = [one for one in group if one.tables[0].split]
    splits = [one.tables[0].split for one in named]
    if len(set(splits)) > 1 and len(set(splits)) == len(splits) and disjoint(named):
        rest = [one for one in group if one not in named]
        return [joined(named), *rest]
    folders = {one.tables[0].path.parent for one in group}
    parts = all(is_part(one.tables[0].path.stem) for one in group)
    if (len(folders) == len(group) or parts) and disjoint(group):
        return [joined(group)]
    return group


def disjoint(sets: Sequence[TableSet]) -> bool:
    file = np.concatenate([np.unique(one.file[one.file >= 0]) for one in sets])
    return len(np.unique(file)) == len(file)


def joined(sets: Sequence[TableSet]) -> TableSet:
    ordered = sorted(sets, key=lambda one: ["train", "val", "test", ""].index(one.tables[0].split))
    return TableSet(tuple(table for one in ordered for table in one.tables), ordered[0].choices)


def best_sets(sets: Sequence[TableSet]) -> tuple[list[TableSet], list[str]]:
    """Return the tables that remain in question, and a line for each that evidence speaks against."""
    labeled = [one for one in sets if one.choices]
    strong = [one for one in labeled if one.strength >= NAMED] or labeled
    train = [one for one in strong if one.tables[0].split != "test"] or strong
    kept = [one for one in train if 2 * one.images >= train[0].images]
    kept = [one for at, one in enumerate(kept) if not any(same_labels(one, other) for other in kept[:at])]
    notes = [f"not used: {one.names()} ({reason(one, kept)})" for one in sets if one not in kept]
    return kept, notes


def reason(one: TableSet, kept: Sequence[TableSet]) -> str:
    if not one.choices:
        return "it has no labels"
    if kept and 2 * one.images < kept[0].images:
        return f"it names {one.images:,} images, {kept[0].names()} {kept[0].images:,}"
    if any(same_labels(one, other) for other in kept):
        return "it says the same"
    return "it is of the test split" if one.tables[0].split == "test" else "no column of labels by its name"


def same_labels(first: TableSet, second: TableSet) -> bool:
    """Return whether every image that one table labels has the same label in the other."""
    if not first.choices or not second.choices:
        return False
    a = pd.Series(first.labels().to_numpy(), index=first.file)
    b = pd.Series(second.labels().to_numpy(), index=second.file)
    a, b = a[(a.index >= 0) & ~a.index.duplicated()], b[(b.index >= 0) & ~b.index.duplicated()]
    return bool(a.index.isin(b.index).all() and (b.reindex(a.index) == a).all())


def read_set(
    options: PrepareOptions, one: TableSet, files: FileIndex, lists: Sequence[ImageList], content: bytes | None = None
) -> Reading:
    """Make a reading of tables whose columns are settled.

    Raises:
        UserError: the labels are several per image, or numbers, or the columns can't be told.
    """
    choice = settle_label(one)
    explicit = options.label_column is not None or options.label_columns is not None
    frame = pd.concat([table.table.frame for table in one.tables], ignore_index=True)
    if len(choice.columns) > 1:
        label = labels_of_one_hot(frame, choice.columns, options.combine_labels)
    else:
        label = check_single_label(frame[next(iter(choice.columns))], str(choice), options.combine_labels, explicit)
    check_repeated(frame[one.tables[0].id_column], one.file, label, options.combine_labels)
    first = one.tables[0]
    notes = [note for table in one.tables for note in (*table.found.notes, *table.placement.notes)]
    label, named = names_for(label, files)
    published, split_column, how = published_of(options, one, frame, files, lists)
    ids, outside = ids_of(options, one, frame, files)
    images, file, unlisted = with_images(files, one.file, options.images, outside)
    group = (
        ids if options.group_column is None else frame[require_column(frame, options.group_column, "--group-column")]
    )
    rows = pd.DataFrame(
        {
            "image_id": ids.to_numpy(),
            "label": label.to_numpy(),
            "group": group.where(group != "", ids).to_numpy(),
            "published": published.to_numpy(),
            "file": file.to_numpy(),
        }
    ).astype("str")
    taken = {first.id_column, *choice.columns, options.group_column or "", split_column or ""}
    groups = find_group_columns(frame, taken, label)
    share = f"{(file != '').mean():.0%} of {len(frame):,} rows' images"
    evidence = (
        f"images: column {first.id_column!r} names {share} in {images}",
        f"labels: {choice}, {choice.why}",
    )
    return Reading(
        what=f"table {one.names()}: images in column {first.id_column!r}, labels in {choice}",
        name=name_of_table(first.path) if len(one.tables) == 1 else files.folder.name,
        rows=rows,
        images=images,
        options=filled_in(
            options,
            source=first.path if len(one.tables) == 1 else options.source.absolute(),
            images=images,
            id_column=first.id_column,
            label_column=choice.columns[0] if len(choice.columns) == 1 else None,
            label_columns=None if len(choice.columns) == 1 else ",".join(choice.columns),
            split_column=split_column,
        ),
        evidence=evidence,
        notes=tuple(dict.fromkeys([*notes, *named, *how])),
        unlisted=unlisted,
        columns={name: frame[name] for name in groups},
        malformed=tuple(row for table in one.tables for row in table.table.malformed),
        content=content,
    )


def check_repeated(ids: pd.Series, file: NDArray[np.int64], label: pd.Series, combine: bool) -> None:
    """Refuse tables that give many images several labels, in a row each.

    Raises:
        UserError: more than 5% of the images have rows with different labels.
    """
    rows = pd.DataFrame({"file": file, "label": label.to_numpy()})[file >= 0]
    labels = rows[rows["label"] != ""].drop_duplicates().groupby("file").size()
    several = int((labels > 1).sum())
    if several > MAX_REPEATED * len(labels) and several > 1:
        raise UserError(
            f"{several:,} of {len(labels):,} images have several labels per image, in rows of their own: this is a "
            "classifier with one label per image; keep the rows of one question, or one row per image"
        )


def settle_label(one: TableSet) -> LabelChoice:
    """Return the one likeliest label column; a UserError offers them where several are as likely."""
    if not one.choices:
        raise cannot_tell_labels(one.choices)
    best = [choice for choice in one.choices if choice.strength == one.strength]
    if len(best) > 1 and one.strength < 5:
        raise cannot_tell_labels(best)
    return best[0]


def names_for(label: pd.Series, files: FileIndex) -> tuple[pd.Series, list[str]]:
    """Give numbered classes the names that a JSON or YAML file beside them has."""
    paths = files.paths[~files.is_image]
    paths = paths[paths.str.lower().str.endswith((".json", ".yaml", ".yml", ".txt"))]
    found = find_names(set(label.unique()) - {""}, [files.folder / path for path in paths.iloc[:20]])
    if found is None:
        return label, []
    names, path = found
    return label.map({**names, "": ""}).astype("str"), [f"class names: {path.name}"]


def ids_of(
    options: PrepareOptions, one: TableSet, frame: pd.DataFrame, files: FileIndex
) -> tuple[pd.Series, pd.Series | None]:
    """Return the id of each row, and the paths of images outside the folder of images, if these are allowed."""
    cells = frame[one.tables[0].id_column]
    names = file_names(cells, options.path_template, frame)
    outside = find_outside(names, files.folder) if options.allow_outside else None
    split_alike = len(one.tables) > 1 or any(
        "in the folders that column" in note for table in one.tables for note in table.placement.notes
    )
    if split_alike and cells.duplicated().any():  # numbered alike in each split or folder
        paths = files.paths.reindex(one.file, fill_value="").reset_index(drop=True)
        return paths.where(paths != "", cells), outside
    # A template with further columns means that an id alone doesn't identify an image; the filled-in template does.
    fields = (
        {field for _, field in template_fields(options.path_template)} if options.path_template else set[str | None]()
    )
    return (names if fields - {None, "image_id"} else cells), outside


def published_of(
    options: PrepareOptions, one: TableSet, frame: pd.DataFrame, files: FileIndex, lists: Sequence[ImageList]
) -> tuple[pd.Series, str | None, list[str]]:
    """Return the published split of each row, the column that it is from, and a line about it.

    It is, in this order: in a column, said by the names of the tables, by the folders of the images, or by lists.
    """
    none = pd.Series("", index=frame.index, dtype="str")
    column = options.split_column
    if column is not None:
        require_column(frame, column, "--split-column")
        return split_cells(frame[column], column, options.split_values), column, []
    numbered = numbered_splits(frame)
    if numbered is not None:
        return *numbered, [f"splits: column {numbered[1]!r}"]
    column = find_split_column(frame, {one.tables[0].id_column, options.label_column or "", options.group_column or ""})
    if column is not None:
        said = frame[column].map(split_values(frame[column]) or {})
        blank = int((said.isna() & (one.file >= 0)).sum())
        notes = [
            f"splits: column {column!r}",
            *([f"splits: {blank:,} rows without one are read as train"] if blank else []),
        ]
        return said.fillna("train").astype("str"), column, notes
    splits = {table.split for table in one.tables}
    if len(splits) > 1 and "" not in splits:
        said = [table.split for table in one.tables for _ in range(len(table.table.frame))]
        return pd.Series(said, dtype="str"), None, [f"splits: tables {one.names()}"]
    paths = files.paths.reindex(one.file, fill_value="").reset_index(drop=True)
    folder = parent(paths)
    roles = folder.map({name: role_of(name) for name in folder.unique()})
    here = paths != ""
    if here.any() and roles[here].isin(SPLITS).all() and len(set(roles[here])) > 1:
        return roles.where(here, "train").astype("str"), None, ["splits: the folders of the images"]
    listed, notes = published_by_lists(lists, one.file[one.file >= 0])
    if listed is None:
        return none, None, notes
    none.iloc[np.flatnonzero(one.file >= 0)] = listed.to_numpy()
    return none.where(none != "", "train").astype("str"), None, notes


FLAGS = {
    "is_train": ("train", "test"), "is_training": ("train", "test"), "is_valid": ("val", "train"),
    "is_validation": ("val", "train"), "is_val": ("val", "train"), "is_test": ("test", "train"),
}  # fmt: skip
"""Columns that are yes or no, and the splits that this means."""


def flag_splits(values: pd.Series) -> pd.Series | None:
    """Return a column of yes and no as booleans; None for any other."""
    truth = {"1": True, "1.0": True, "true": True, "yes": True, "0": False, "0.0": False, "false": False, "no": False}
    lower = values.str.lower()
    return lower.map(truth).astype("bool") if lower.isin(list(truth)).all() and len(set(lower)) == 2 else None


def numbered_splits(frame: pd.DataFrame) -> tuple[pd.Series, str] | None:
    """Read a split that is no word: is_valid, yes or no; or 0, 1, 2, as CelebA numbers train, val and test."""
    for name in map(str, frame.columns):
        flags = flag_splits(frame[name]) if normalized(name) in FLAGS else None
        if flags is not None:
            return flags.map({True: FLAGS[normalized(name)][0], False: FLAGS[normalized(name)][1]}).astype("str"), name
        counts = frame[name].value_counts()
        if (
            normalized(name) in ("split", "partition")
            and set(counts.index) == {"0", "1", "2"}
            and counts.idxmax() == "0"
        ):
            return frame[name].map({"0": "train", "1": "val", "2": "test"}).astype("str"), name
    return None


def split_cells(values: pd.Series, column: str, meanings: str | None) -> pd.Series:
    """Return the split that each cell of --split-column means.

    Raises:
        UserError: a value means no split by itself, and --split-values doesn't say which; it offers the readings.
    """
    distinct = [str(value) for value in values.unique()]
    if meanings is not None:
        given = dict(pair.rsplit("=", 1) for pair in meanings.split(",") if "=" in pair)
        unknown = [value for value in distinct if value not in given]
        if unknown or not set(given.values()) <= set(SPLITS):
            raise UserError(
                f"--split-values {meanings!r}: give each value of column {column!r} ({join_names(distinct)}) one of "
                "train, val, test, as in 'A=train,B=test'"
            )
        return values.map(given).astype("str")
    known = split_values(values) or (
        {value: split_in(value) for value in distinct} if all(map(split_in, distinct)) else None
    )
    if known is not None:
        return values.map(known).astype("str")
    said, flags = split_in(normalized(column).replace("is_", "")), flag_splits(values)
    if said and flags is not None:  # is_train: 1 and 0
        return flags.map({True: said, False: "test" if said == "train" else "train"}).astype("str")
    if len(distinct) in (2, 3):
        names = ("train", "test") if len(distinct) == 2 else SPLITS
        by_size = [str(value) for value in values.value_counts().index]
        choices = [",".join(map("=".join, zip(order, names, strict=True))) for order in permutations(by_size)]
        raise UserError(
            f"--split-column {column!r}: which split is {join_names(distinct, ', which ')}? say it with --split-values",
            [{"split_values": choice} for choice in choices],
        )
    return values
