"""Reading a CSV or Parquet file as strings, and guessing its columns of ids and labels."""

import io
import string
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from resnet50.etl.decode import one_line
from resnet50.etl.files import FileIndex, as_paths
from resnet50.etl.formats import IMAGE_EXTENSIONS
from resnet50.runtime.errors import UserError, nearest

CSV_SUFFIXES = (".csv", ".tsv", ".txt")
PARQUET_SUFFIXES = (".parquet", ".pq")

ID_NAMES = {
    "image_id", "image", "image_name", "image_path", "img", "id", "id_code", "file", "file_name", "filename",
    "file_path", "filepath", "path",
}  # fmt: skip
LABEL_NAMES = {"label", "labels", "class", "class_name", "category", "target", "species", "breed", "diagnosis"}

COLUMNS_PER_LOOKUP = 100
"""Columns whose values are looked up among the image files at once."""


def read_table(path: Path, content: bytes | None = None) -> pd.DataFrame:
    """Read every cell as the string that is written: '007' keeps its zeros, 'NA' and 'None' are not missing values.

    An empty cell is an empty string; whitespace around a value is removed. CSV may be separated by comma, semicolon,
    tab or bar.

    Args:
        path: of a CSV or Parquet file.
        content: of a Parquet file that is yet to be written.

    Raises:
        UserError: the file doesn't exist, is not CSV or Parquet, is not UTF-8, is damaged, or lacks a header or rows.
    """
    if content is None and not path.is_file():
        raise UserError(f"table {path} does not exist")
    suffix = path.suffix.lower()
    if suffix in CSV_SUFFIXES:
        table = read_csv(path)
    elif suffix in PARQUET_SUFFIXES:
        table = read_parquet(path, content)
    else:
        raise UserError(f"{path} is neither a table (.csv, .tsv, .parquet) nor a folder")
    table = table.set_axis([str(column).strip() for column in table.columns], axis="columns")
    check_unique(list(table.columns), path)
    if table.empty:
        raise UserError(f"{path} has no rows")
    for column in table.columns:
        if column.lower().endswith(IMAGE_EXTENSIONS):
            raise UserError(f"{path} starts with {column!r} where column names should be: add a header line")
    return pd.DataFrame({column: table[column].fillna("").str.strip() for column in table.columns})


def check_unique(columns: list[str], path: Path) -> None:
    """Raise a UserError if two columns have the same name."""
    names = pd.Series(columns, dtype="str")
    twice = names[names.duplicated()]
    if len(twice):
        raise UserError(f"{path} has two columns named {twice.iloc[0]!r}: rename one")


def read_csv(path: Path) -> pd.DataFrame:
    try:
        with path.open(encoding="utf-8-sig") as file:
            header = file.readline()
        read = partial(
            pd.read_csv,
            path,
            sep=max(",;\t|", key=header.count),
            dtype="str",
            keep_default_na=False,
            index_col=False,
            encoding="utf-8-sig",
        )
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            table = read()
            names = read(header=None, nrows=1).iloc[0]  # as written: pandas renames duplicates
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text (byte {error.start}): save it as UTF-8 CSV") from error
    except pd.errors.EmptyDataError as error:
        raise UserError(f"{path} is empty") from error
    except pd.errors.ParserWarning as error:
        raise UserError(f"{path} has rows with more cells than its header: correct the table") from error
    except pd.errors.ParserError as error:
        reason = one_line(" ".join(str(error).removeprefix("Error tokenizing data. C error: ").split()))
        raise UserError(f"{path} is not a valid CSV table: {reason}") from error
    names = names.str.strip()
    check_unique(names[names != ""].tolist(), path)
    return table


def read_parquet(path: Path, content: bytes | None = None) -> pd.DataFrame:
    """Read a Parquet file as strings; integers that were stored as floats lose their '.0'."""
    try:
        check_unique(parquet.read_schema(path if content is None else io.BytesIO(content)).names, path)
        table = pd.read_parquet(path if content is None else io.BytesIO(content)).reset_index(drop=True)
        return pd.DataFrame({name: as_written(table[name]) for name in table.columns}, index=table.index)
    except UserError:
        raise
    except Exception as error:  # pandas raises many types for damaged content or metadata
        reason = one_line(" ".join((str(error) or repr(error)).split()))
        raise UserError(f"{path} is not a readable Parquet file: {reason}") from error


def parquet_of(table: pd.DataFrame) -> bytes:
    """Return the Parquet file of a DataFrame. A named index becomes a column; paths become text.

    Raises:
        UserError: two columns have the same name, or one holds values that Parquet has no type for.
    """
    if any(name is not None for name in table.index.names):
        table = table.reset_index()
    table = table.set_axis([str(column) for column in table.columns], axis="columns")
    check_unique(list(table.columns), Path("the DataFrame"))
    objects = [str(name) for name, dtype in table.dtypes.items() if dtype == "object"]
    table = table.assign(**{name: table[name].map(path_as_text) for name in objects})
    try:
        return bytes(table.to_parquet(None, index=False))
    except (pa.ArrowException, ValueError, TypeError) as error:
        reason = one_line(" ".join(str(error).split()))
        raise UserError(f"the DataFrame can't be stored as Parquet: {reason}") from error


def path_as_text(value: Any) -> Any:
    return str(value) if isinstance(value, PurePath) else value


def as_written(values: pd.Series) -> pd.Series:
    """Convert values to the strings that a CSV would have."""
    if pd.api.types.is_float_dtype(values):
        values = values.convert_dtypes()
    return values.astype("object").where(values.notna(), "").astype("str")


def require_column(table: pd.DataFrame, name: str, option: str) -> str:
    """Return a column that an option names; a UserError suggests the nearest if it doesn't exist."""
    if name not in table.columns:
        columns = [str(column) for column in table.columns]
        raise UserError(
            f"{option} {name!r}: no such column{nearest(name, columns)}; the table has {join_names(columns)}"
        )
    return name


def join_names(columns: Sequence[str], separator: str = ", ") -> str:
    """Join the first ten names of columns on one line, with an ellipsis if there are more."""
    return separator.join(one_line(name) for name in columns[:10]) + " …" * (len(columns) > 10)


def file_names(ids: pd.Series, template: str | None, table: pd.DataFrame) -> pd.Series:
    """Return the file name of each row's image: its id, or the template with the row's cells filled in.

    Args:
        ids: image ids.
        template: text with {image_id} and names of other columns in braces; None for the ids themselves.
        table: the other columns of the rows.
    """
    if template is None:
        return ids
    names = pd.Series("", index=ids.index, dtype="str")
    for literal, field in template_fields(template):
        names = names + literal
        if field is not None:
            names = names + (ids if field == "image_id" else table[require_column(table, field, "--path-template")])
    return names


def template_fields(template: str) -> list[tuple[str, str | None]]:
    """Split a template into pairs of literal text and the column after it; a UserError if it is malformed."""
    try:
        parsed = list(string.Formatter().parse(template))
    except ValueError as error:
        raise UserError(f"--path-template {template!r} is malformed: {error}") from error
    if any(spec or conversion for _, _, spec, conversion in parsed) or not any(field for _, field, _, _ in parsed):
        raise UserError(
            f"--path-template {template!r} needs column names in braces and nothing else: '{{image_id}}.jpg'"
        )
    return [(literal, field) for literal, field, _, _ in parsed]


def guess_id_column(table: pd.DataFrame, files: FileIndex, template: str | None, taken: set[str | None]) -> str:
    """Return the column whose values refer to images in `files`; if none does, the one with the name of an id.

    Args:
        table: the table, or some rows of it.
        files: the files to search.
        template: --path-template.
        taken: columns that options use for something else.

    Raises:
        UserError: no column, or several, are possible.
    """
    columns = [str(column) for column in table.columns if column not in taken]
    naming = columns_naming_images(columns, table, files, template)
    if len(naming) > 1:  # a class number may equal an image's number, but it repeats
        naming = [name for name in naming if table[name].is_unique] or naming
    possible = naming or [name for name in columns if normalized(name) in ID_NAMES]
    if len(possible) == 1:
        return possible[0]
    found = f"both {join_names(possible, ' and ')} could" if possible else f"none of {join_names(columns)} seems to"
    raise UserError(
        f"cannot tell which column has the image ids ({found}): name it with --id-column",
        [{"id_column": name} for name in possible],
    )


def columns_naming_images(
    columns: Sequence[str], table: pd.DataFrame, files: FileIndex, template: str | None
) -> list[str]:
    """Return the columns in which at least half of up to a thousand values refer to images."""
    fields = {field for _, field in template_fields(template)} if template else set[str | None]()
    others = table[[name for name in table.columns if name in fields]]
    naming: list[str] = []
    for start in range(0, len(columns), COLUMNS_PER_LOOKUP):  # batched: some tables have thousands of columns
        chunk = list(columns[start : start + COLUMNS_PER_LOOKUP])
        filled = [table[name][table[name] != ""] for name in chunk]
        some = [values.iloc[:: max(1, len(table) // 1000)] for values in filled]
        column = np.repeat(np.arange(len(chunk)), [len(values) for values in some])
        values = pd.concat(some)
        rows = others.loc[values.index].reset_index(drop=True)
        wanted, distinct = pd.factorize(as_paths(file_names(values.reset_index(drop=True), template, rows)))
        pairs = files.candidates(pd.Series(distinct, dtype="str"))
        found = np.zeros(len(distinct), dtype=np.int64)
        found[pairs.loc[files.is_image[pairs["file"]], "id"]] = 1
        once = pd.DataFrame({"column": column, "wanted": wanted}).drop_duplicates()
        counts = once.assign(found=found[once["wanted"]]).groupby("column")["found"].agg(["sum", "count"])
        naming += [chunk[at] for at in counts.index[(counts["sum"] > 0) & (2 * counts["sum"] >= counts["count"])]]
    return naming


def guess_label_column(table: pd.DataFrame, taken: set[str | None]) -> str:
    """Return the one column with the name of a label, or the only column that is left.

    Raises:
        UserError: no column, or several, are possible.
    """
    columns = [str(column) for column in table.columns if column not in taken]
    possible = [name for name in columns if normalized(name) in LABEL_NAMES] or columns
    if len(possible) == 1:
        return possible[0]
    found = f"it could be {join_names(possible)}" if possible else "no column is left"
    raise UserError(
        f"cannot tell which column has the labels ({found}): name it with --label-column",
        [{"label_column": name} for name in possible],
    )


def normalized(name: str) -> str:
    """Write a column's name in the form of `ID_NAMES` and `LABEL_NAMES`."""
    return name.lower().replace(" ", "_").replace("-", "_")
