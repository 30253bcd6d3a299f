"""Columns that say which split a row is in: by a word, by yes and no, by numbers, or by what the user says."""

from itertools import permutations

import pandas as pd

from resnet50.etl.source.tables import join_names
from resnet50.etl.source.words import (
    SPLIT_COLUMNS,
    normalized,
    split_in,
    split_of,
)
from resnet50.etl.split import SPLITS
from resnet50.runtime.errors import UserError


def split_values(values: pd.Series) -> dict[str, str] | None:
    """Return the split that each value of a column means, empty cells aside; None if a value means none."""
    values = values[values != ""]
    if values.nunique() > 20:
        return None
    distinct = [str(value) for value in values.unique()]
    meaning = {value: split_of(value) or split_in(value) for value in distinct}
    return meaning if all(meaning.values()) and len(set(meaning.values())) > 1 else None


def find_split_column(table: pd.DataFrame, taken: set[str]) -> str | None:
    """Return the one column whose values are all names of splits and whose name allows it."""
    found = [
        str(name)
        for name in table.columns
        if name not in taken and normalized(str(name)) in SPLIT_COLUMNS and split_values(table[name]) is not None
    ]
    return found[0] if len(found) == 1 else None


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
