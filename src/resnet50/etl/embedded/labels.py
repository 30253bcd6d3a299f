"""Columns that came along with the images: which has the labels, which the published split."""

import pandas as pd

from resnet50.etl.embedded.names import SPLIT_COLUMNS, split_names
from resnet50.etl.source.words import ANY_LABEL_NAME, normalized


def publish(table: pd.DataFrame) -> pd.DataFrame:
    """Take the published split from the column that names it, unless the files do."""
    if (table["published"] != "").any():
        return table
    column = split_column(table)
    if column is None:
        return table
    return table.assign(published=table[column].map(split_names(table[column]) or {}))


def split_column(cells: pd.DataFrame) -> str | None:
    """Return the column that names the split of each row by words for train, val and test."""
    for column in cells.columns:
        if normalized(str(column)) in SPLIT_COLUMNS and split_names(cells[column]) is not None:
            return str(column)
    return None


def label_candidates(cells: pd.DataFrame, others: set[str]) -> tuple[tuple[str, ...], str | None]:
    """Return the columns that could have the labels, and why none of them can be a class.

    Args:
        cells: some rows of the columns that are not pixels.
        others: names of columns that are known to be something else.
    """
    possible = [str(name) for name in cells.columns if name not in others and normalized(name) not in SPLIT_COLUMNS]
    possible = [name for name in possible if normalized(name) in ANY_LABEL_NAME] or possible
    classes = [name for name in possible if not is_real_valued(cells[name])]
    if possible and not classes:
        return tuple(possible), (a_number_per_image(possible[0]))
    return tuple(classes), None


def a_number_per_image(column: str) -> str:
    return f"column {column!r} has a number per image, not a class: sort the numbers into classes first"


def is_real_valued(values: pd.Series) -> bool:
    """Return whether strings are numbers with decimal places."""
    numbers = pd.to_numeric(values[values != ""], errors="coerce")
    return len(numbers) > 0 and bool(numbers.notna().all() and (numbers % 1 != 0).any())
