"""Rows and values of the experiments' tidy tables, by key."""

from typing import Any, cast

import numpy as np
import pandas as pd


def select(table: pd.DataFrame, **where: Any) -> pd.DataFrame:
    """Return the rows in which every named column has a value, or one of a tuple's or list's values."""
    keep = pd.Series(data=True, index=table.index)
    for column, wanted in where.items():
        keep &= table[column].isin(wanted) if isinstance(wanted, tuple | list) else table[column] == wanted
    return table[keep]


def melted(history: pd.DataFrame, quantities: list[str], **labels: Any) -> pd.DataFrame:
    """Return metrics by epoch as tidy rows, labeled."""
    return history.melt(["epoch"], quantities, "quantity", "value").assign(**labels)


def values_of(table: pd.DataFrame, sort: str | None = None, **where: Any) -> np.ndarray:
    """Return the values of selected rows, in the order of a column."""
    rows = select(table, **where)
    return (rows.sort_values(sort) if sort else rows)["value"].to_numpy(float)


def value_of(table: pd.DataFrame, **where: Any) -> float:
    """Return the value of the first selected row."""
    return float(select(table, **where)["value"].iloc[0])


def means_by(table: pd.DataFrame, by: str | list[str], **where: Any) -> pd.Series:
    return select(table, **where).groupby(by)["value"].mean()


def changes_shape(blocks: pd.Index | pd.Series) -> np.ndarray:
    """Return which of these networks' blocks change the shape: the first of every stage."""
    return np.array([str(block).endswith(".0") for block in blocks], bool)


def last_epoch(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows["epoch"] == rows["epoch"].max()]


def final_values(table: pd.DataFrame, **where: Any) -> np.ndarray:
    """Return the values after the last epoch, one per seed."""
    return values_of(last_epoch(select(table, **where)), sort="seed")


def networks(table: pd.DataFrame) -> list[str]:
    return list(dict.fromkeys(cast(list[str], table["network"].tolist())))


def trained_networks(table: pd.DataFrame) -> list[str]:
    """Return the names of the trained runs, without the experiment's own small networks."""
    return [name for name in networks(table) if name.startswith(("fine-tuned", "from scratch"))]
