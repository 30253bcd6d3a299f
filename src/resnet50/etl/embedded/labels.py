"""Columns that came along with the images: which has the labels, which the published split."""

import pandas as pd

from resnet50.etl.source.split_columns import find_split_column, meanings
from resnet50.etl.source.words import ANY_LABEL_NAME, normalized


def publish(table: pd.DataFrame) -> pd.DataFrame:
    """Take the published split from the column that names it, unless the files do."""
    if (table["published"] != "").any():
        return table
    column = find_split_column(table, set())
    if column is None:
        return table
    return table.assign(published=table[column].map(meanings(column, table[column]) or {}).fillna("train"))


def label_candidates(cells: pd.DataFrame, others: set[str]) -> tuple[tuple[str, ...], str | None]:
    """Return the columns that could have the labels, and why none of them can be a class.

    Args:
        cells: some rows of the columns that are not pixels.
        others: names of columns that are known to be something else.
    """
    split = find_split_column(cells, others)
    possible = [str(name) for name in cells.columns if name not in others and name != split]
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
