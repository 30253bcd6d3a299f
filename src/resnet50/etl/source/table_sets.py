"""Tables that belong together, and the columns that may label their rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resnet50.etl.files import FileIndex
from resnet50.etl.source.columns import LabelChoice, Submission, label_choices
from resnet50.etl.source.connect import (
    SourceTable,
    connect,
    find_tables,
    splits_of_tables,
)
from resnet50.etl.source.lists import ImageList
from resnet50.etl.source.split_columns import find_split_column
from resnet50.etl.source.tables import Table
from resnet50.etl.source.words import ANY_LABEL_NAME, is_part, is_unlabeled, normalized, shorten
from resnet50.options import PrepareOptions
from resnet50.runtime.errors import UserError

NAMED = 2.0
"""Strength of evidence from which on a column counts as labels by its name, a submission, or the images' folders."""

MOSTLY = 0.95
"""Share of a column's cells that begin with the name of a class, so that it has the labels."""


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
    taken |= {split} if split else set()
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


def lists_of_splits(sets: Sequence[TableSet], kept: Sequence[TableSet], files: FileIndex) -> list[ImageList]:
    """Return the tables beside those that are read, such as train.csv and test.csv, as lists of a split's images."""
    return [
        ImageList(table.path.relative_to(files.folder).as_posix(), table.split, table.file, ("",) * len(table.file))
        for one in sets
        if one not in kept
        for table in one.tables
        if table.split and table.path.is_relative_to(files.folder) and not is_unlabeled(table.path.stem)
    ]


def lists_for_folders(
    sets: Sequence[TableSet], files: FileIndex, kept: FileIndex, classes: set[str]
) -> list[ImageList]:
    """Return tables as lists for class folders: of the images of a split, with a label where cells begin with a class.

    Args:
        sets: of tables.
        files: that they name.
        kept: those of them that the lists name.
        classes: folders' names; ImageNet has val_1 in a row with 'n02017213 115 49 448 294', a class and a box.
    """
    position = pd.Series(np.arange(len(kept.paths)), index=kept.paths.to_numpy())
    found: list[ImageList] = []
    for table in (table for one in sets for table in one.tables):
        here = table.file >= 0
        file = position.reindex(files.paths.iloc[table.file[here]]).fillna(-1).to_numpy(dtype=np.int64)
        label = class_cells(table.table.frame[here], table.id_column, classes)
        if (label or table.split) and not is_unlabeled(table.path.stem):
            path = table.path.relative_to(files.folder).as_posix()
            found.append(ImageList(path, table.split, file, label or ("",) * len(file)))
    return found


def class_cells(frame: pd.DataFrame, id_column: str, classes: set[str]) -> tuple[str, ...]:
    """Return the classes that the cells of a column begin with; () if no column's do."""
    for name in (name for name in frame.columns if name != id_column):
        first = frame[name].str.extract(r"^(\S+)", expand=False)
        whole = frame[name].where(frame[name].isin(classes), first)
        if whole.isin(classes).mean() >= MOSTLY:
            return tuple(whole.fillna(""))
    return ()


def same_labels(first: TableSet, second: TableSet) -> bool:
    """Return whether every image that one table labels has the same label in the other."""
    if not first.choices or not second.choices:
        return False
    a = pd.Series(first.labels().to_numpy(), index=first.file)
    b = pd.Series(second.labels().to_numpy(), index=second.file)
    a, b = a[(a.index >= 0) & ~a.index.duplicated()], b[(b.index >= 0) & ~b.index.duplicated()]
    return bool(a.index.isin(b.index).all() and (b.reindex(a.index) == a).all())


class Tables(NamedTuple):
    """The tables of a folder.

    Attributes:
        sets: those whose rows name images, joined where they belong together.
        submission: what a sample submission asks for.
        passed_over: a line for each file that can't be read as a table.
        without_images: those with a column of labels whose rows name no images.
        unconnected: all whose rows name no images.
    """

    sets: list[TableSet]
    submission: Submission | None
    passed_over: list[str]
    without_images: list[Table]
    unconnected: list[Table]


def tables_of(options: PrepareOptions, files: FileIndex, images: FileIndex, folder_labels: pd.Series | None) -> Tables:
    """Return the tables of a folder whose rows name images, joined where they belong together.

    Args:
        options: name columns, perhaps.
        files: of the folder.
        images: where the images are sought: these, or the files of --images.
        folder_labels: the class folder of each image by its path, if there is one reading of the folders.
    """
    tables, submission, passed_over = find_tables(options, files)
    connected: list[SourceTable] = []
    unconnected: list[Table] = []
    refused: list[UserError] = []
    splits = splits_of_tables(tables, files.folder)
    for table in sorted(tables, key=lambda table: splits[table.path] == "test"):
        try:
            one = connect(options, table, images, splits[table.path])
        except UserError as error:
            refused.append(error)
            continue
        if one is not None:
            connected.append(one)
        else:
            unconnected.append(table)
    if folder_labels is not None:
        folder_labels = folder_labels.reindex(images.paths, fill_value="").reset_index(drop=True)
    sets = table_sets(options, connected, images, submission, None if options.images else folder_labels)
    if refused and not any(one.strength >= NAMED for one in sets):
        raise refused[0]
    without_images = [
        table for table in unconnected if any(normalized(str(name)) in ANY_LABEL_NAME for name in table.frame.columns)
    ]
    return Tables(sets, submission, passed_over, without_images, unconnected)
