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


FLAGS = {
    "is_train": ("train", "test"), "is_training": ("train", "test"), "is_valid": ("val", "train"),
    "is_validation": ("val", "train"), "is_val": ("val", "train"), "is_test": ("test", "train"),
}  # fmt: skip
"""Columns that are yes or no, and the splits that this means."""

TRUTH = {"1": True, "1.0": True, "true": True, "yes": True, "0": False, "0.0": False, "false": False, "no": False}


def meanings(name: str, values: pd.Series) -> dict[str, str] | None:
    """Return the split that each value of a column means, empty cells aside; None if the column holds something else.

    A column called split, usage and the like says it by words; is_valid by yes and no; split, where most cells are 0,
    by 0, 1 and 2 for train, val and test, as CelebA and WILDS number them.
    """
    plain = normalized(name)
    if plain not in FLAGS and plain not in SPLIT_COLUMNS:
        return None
    counts = values[values != ""].value_counts()
    if plain in FLAGS and len(counts) == 2 and {value.lower() for value in counts.index} <= TRUTH.keys():
        return {value: FLAGS[plain][0 if TRUTH[value.lower()] else 1] for value in counts.index}
    if plain in ("split", "partition") and set(counts.index) == {"0", "1", "2"} and counts.idxmax() == "0":
        return {"0": "train", "1": "val", "2": "test"}
    return split_values(values) if plain in SPLIT_COLUMNS else None


def find_split_column(table: pd.DataFrame, taken: set[str]) -> str | None:
    """Return the one column that says the split of each row by its name and its values."""
    columns = [name for name in map(str, table.columns) if name not in taken]
    found = [name for name in columns if meanings(name, table[name]) is not None]
    return found[0] if len(found) == 1 else None


def split_cells(values: pd.Series, column: str, given: str | None) -> pd.Series:
    """Return the split that each cell of --split-column means.

    Raises:
        UserError: a value means no split by itself, and --split-values doesn't say which; it offers the readings.
    """
    distinct = [str(value) for value in values.unique()]
    if given is not None:
        splits = dict(pair.rsplit("=", 1) for pair in given.split(",") if "=" in pair)
        unknown = [value for value in distinct if value not in splits]
        if unknown or not set(splits.values()) <= set(SPLITS):
            raise UserError(
                f"--split-values {given!r}: give each value of column {column!r} ({join_names(distinct)}) one of "
                "train, val, test, as in 'A=train,B=test'"
            )
        return values.map(splits).astype("str")
    by_word = {value: split_in(value) for value in distinct}
    known = meanings(column, values) or split_values(values) or (by_word if all(by_word.values()) else None)
    if known is not None:
        return values.map(known).fillna("").astype("str")
    said = split_in(normalized(column).replace("is_", ""))
    if said and {value.lower() for value in distinct} <= TRUTH.keys():  # training: 1 and 0
        other = "test" if said == "train" else "train"
        return values.map({value: said if TRUTH[value.lower()] else other for value in distinct}).astype("str")
    if len(distinct) in (2, 3):
        names = ("train", "test") if len(distinct) == 2 else SPLITS
        by_size = [str(value) for value in values.value_counts().index]
        choices = [",".join(map("=".join, zip(order, names, strict=True))) for order in permutations(by_size)]
        raise UserError(
            f"--split-column {column!r}: which split is {join_names(distinct, ', which ')}? say it with --split-values",
            [{"split_values": choice} for choice in choices],
        )
    return values
