"""A CSV or Parquet file -> a DataFrame of strings, and which of its columns hold ids and labels."""

import string
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from pyarrow import parquet

from resnet50.etl.decode import IMAGE_EXTENSIONS, one_line
from resnet50.etl.files import FileIndex, as_paths
from resnet50.runtime.errors import UserError, nearest

CSV_SUFFIXES = (".csv", ".tsv", ".txt")
PARQUET_SUFFIXES = (".parquet", ".pq")

ID_NAMES = {
    "image_id", "image", "image_name", "image_path", "img", "id", "id_code", "file", "file_name", "filename",
    "file_path", "filepath", "path",
}  # fmt: skip
LABEL_NAMES = {"label", "labels", "class", "class_name", "category", "target", "species", "breed", "diagnosis"}

LOOKED_UP = 100
"""Columns whose values are looked up among the image files at once."""


def read_table(path: Path) -> pd.DataFrame:
    """Read every cell as the string it is written as: '007' keeps its zeros, 'NA' and 'None' stay words.

    An empty cell is an empty string; blanks around a value go. A CSV may be separated by comma, semicolon, tab or bar.

    Raises:
        UserError: no such file, not CSV or Parquet, not UTF-8, damaged, without a header, or without rows.
    """
    if not path.is_file():
        raise UserError(f"table {path} does not exist")
    suffix = path.suffix.lower()
    if suffix in CSV_SUFFIXES:
        table = read_csv(path)
    elif suffix in PARQUET_SUFFIXES:
        table = read_parquet(path)
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
    """Raise a UserError if two columns of a table have the same name."""
    names = pd.Series(columns, dtype="str")
    twice = names[names.duplicated()]
    if len(twice):
        raise UserError(f"{path} has two columns named {twice.iloc[0]!r}: rename one")


def read_csv(path: Path) -> pd.DataFrame:
    """Read a CSV file as strings."""
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
            names = read(header=None, nrows=1).iloc[0]  # as written: pandas numbers those that come twice
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text (byte {error.start}): save it as UTF-8 CSV") from error
    except pd.errors.EmptyDataError as error:
        raise UserError(f"{path} is empty") from error
    except pd.errors.ParserWarning as error:
        raise UserError(f"{path} has rows with more cells than its header: mend the table") from error
    except pd.errors.ParserError as error:
        reason = one_line(" ".join(str(error).removeprefix("Error tokenizing data. C error: ").split()))
        raise UserError(f"{path} is not a proper CSV table: {reason}") from error
    names = names.str.strip()
    check_unique(names[names != ""].tolist(), path)
    return table


def read_parquet(path: Path) -> pd.DataFrame:
    """Read a Parquet file as strings; whole numbers that were stored as floats lose their '.0'."""
    try:
        check_unique(parquet.read_schema(path).names, path)
        table = pd.read_parquet(path).reset_index(drop=True)
        return pd.DataFrame({name: as_written(table[name]) for name in table.columns}, index=table.index)
    except UserError:
        raise
    except Exception as error:  # of bytes that are no text, or metadata that are no good, pandas raises all sorts
        reason = one_line(" ".join((str(error) or repr(error)).split()))
        raise UserError(f"{path} is not a readable Parquet file: {reason}") from error


def as_written(values: pd.Series) -> pd.Series:
    """Return values as the strings that a CSV would have."""
    if pd.api.types.is_float_dtype(values):
        values = values.convert_dtypes()
    return values.astype("object").where(values.notna(), "").astype("str")


def column_of(table: pd.DataFrame, name: str, option: str) -> str:
    """Return a column that an option names, or raise a UserError with the nearest that there is."""
    if name not in table.columns:
        columns = [str(column) for column in table.columns]
        raise UserError(f"{option} {name!r}: no such column{nearest(name, columns)}; there are {listed(columns)}")
    return name


def listed(columns: Sequence[str], separator: str = ", ") -> str:
    """Return the names of columns for a message of one line: the first ten, and that there are more."""
    return separator.join(one_line(name) for name in columns[:10]) + " …" * (len(columns) > 10)


def file_names(ids: pd.Series, template: str | None, table: pd.DataFrame) -> pd.Series:
    """Return what each row's image is called: its id, or the template with the row's cells filled in.

    Args:
        ids: image ids.
        template: text with {image_id} and names of other columns in braces; None for the ids themselves.
        table: the rows' other columns.
    """
    if template is None:
        return ids
    names = pd.Series("", index=ids.index, dtype="str")
    for literal, field in template_fields(template):
        names = names + literal
        if field is not None:
            names = names + (ids if field == "image_id" else table[column_of(table, field, "--path-template")])
    return names


def template_fields(template: str) -> list[tuple[str, str | None]]:
    """Return the template as pairs of literal text and the column after it; a UserError where it is malformed."""
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
    """Return the column whose values name images in `files`; where none does, the one that is called like an id.

    Args:
        table: the table, or rows of it.
        files: where images are looked for.
        template: --path-template.
        taken: columns that options have given another role.

    Raises:
        UserError: several readings, or none, are left.
    """
    columns = [str(column) for column in table.columns if column not in taken]
    naming = columns_naming_images(columns, table, files, template)
    if len(naming) > 1:  # a class number may look like an image's number, but it repeats
        naming = [name for name in naming if table[name].is_unique] or naming
    readings = naming or [name for name in columns if plain(name) in ID_NAMES]
    if len(readings) == 1:
        return readings[0]
    found = f"both {listed(readings, ' and ')} could" if readings else f"none of {listed(columns)} seems to"
    raise UserError(f"cannot tell which column has the image ids ({found}): name it with --id-column")


def columns_naming_images(
    columns: Sequence[str], table: pd.DataFrame, files: FileIndex, template: str | None
) -> list[str]:
    """Return the columns in which at least half of (up to a thousand of) the values name images."""
    fields = {field for _, field in template_fields(template)} if template else set[str | None]()
    others = table[[name for name in table.columns if name in fields]]
    naming: list[str] = []
    for start in range(0, len(columns), LOOKED_UP):  # many at once: there are tables with thousands of columns
        chunk = list(columns[start : start + LOOKED_UP])
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
    """Return the one column that is called like a label, or the only one that is left.

    Raises:
        UserError: several readings, or none, are left.
    """
    columns = [str(column) for column in table.columns if column not in taken]
    readings = [name for name in columns if plain(name) in LABEL_NAMES] or columns
    if len(readings) == 1:
        return readings[0]
    found = f"it could be {listed(readings)}" if readings else "no column is left"
    raise UserError(f"cannot tell which column has the labels ({found}): name it with --label-column")


def plain(name: str) -> str:
    """Return a column's name the way the known names are written."""
    return name.lower().replace(" ", "_").replace("-", "_")
