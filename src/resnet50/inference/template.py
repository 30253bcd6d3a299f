"""A competition's sample_submission.csv: what it asks for."""

import warnings
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from pandas.errors import ParserWarning

from resnet50.inference.csv_rows import Dialect
from resnet50.runtime.errors import UserError

SEPARATORS = (",", ";", "\t")


@dataclass(frozen=True)
class Template:
    """A sample submission, every cell as text, so that ids keep their leading zeros.

    Attributes:
        path: of the file.
        cells: the first column holds ids, the others are to be predicted.
        dialect: its separator, and the decimal comma if its numbers have one.
    """

    path: Path
    cells: pd.DataFrame
    dialect: Dialect

    @property
    def ids(self) -> "pd.Series[str]":
        return self.cells.iloc[:, 0]

    @property
    def targets(self) -> list[str]:
        """Return the names of the columns to predict."""
        return list(self.cells.columns[1:])

    def numbers(self, column: str) -> "pd.Series[float]":
        """Return a column's values as numbers, NaN for those that are none; 50 for 50%."""
        values = (
            self.cells[column].str.strip().str.removesuffix("%").str.replace(self.dialect.decimal, ".", regex=False)
        )
        return pd.to_numeric(values, errors="coerce")


def read_template(path: Path) -> Template:
    """Read a sample submission, separated by commas, semicolons or tabs.

    Raises:
        UserError: the file does not exist, is no table, or has no column to predict.
    """
    if not path.is_file():
        raise UserError(f"template {path} does not exist")
    try:
        columns = {separator: list(read(path, separator, rows=0).columns) for separator in SEPARATORS}
        separator = max(SEPARATORS, key=lambda separator: len(columns[separator]))
        cells = read(path, separator)
    except ParserWarning as error:
        raise UserError(
            f"{path} has rows with more cells than the header: name every column, or quote the cells"
        ) from error
    except (ValueError, OSError) as error:  # what pandas raises for a bad table, or bytes that are no text
        raise UserError(f"{path} is not a CSV file: {' '.join(str(error).split())}") from error
    if cells.shape[1] < 2:
        raise UserError(f"{path} needs an id column and at least one column to predict, and has {list(cells.columns)}")
    if cells.empty:
        raise UserError(f"{path} has no rows: it must list the ids to predict")
    with_comma = separator != "," and any(
        cells[name].str.fullmatch(r"\s*-?\d+,\d+\s*").any() for name in cells.columns[1:]
    )
    return Template(path, cells, Dialect(separator, "," if with_comma else "."))


def read(path: Path, separator: str, rows: int | None = None) -> pd.DataFrame:
    with warnings.catch_warnings():
        warnings.simplefilter("error", ParserWarning)
        return pd.read_csv(
            path, sep=separator, dtype=str, keep_default_na=False, encoding="utf-8-sig", nrows=rows, index_col=False
        )
