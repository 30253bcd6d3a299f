"""Reading tables as strings: CSV, Parquet, JSON and JSON lines."""

import csv
import io
import json
import string
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from resnet50.etl.decode import one_line
from resnet50.etl.formats import IMAGE_EXTENSIONS
from resnet50.runtime.errors import UserError, nearest

CSV_SUFFIXES = (".csv", ".tsv", ".txt")
PARQUET_SUFFIXES = (".parquet", ".pq")
JSON_SUFFIXES = (".json", ".jsonl", ".ndjson")

MAX_MALFORMED = 0.01
"""Share of a table's rows that may have another number of cells than its header."""


class MalformedRow(NamedTuple):
    """A row that is left out because it has more cells than the header."""

    line: int
    text: str


class Table(NamedTuple):
    """A table as it is written: every cell a string without whitespace around it, "" where it is empty.

    '007' keeps its zeros; 'NA' and 'None' are not missing values.
    """

    path: Path
    frame: pd.DataFrame
    malformed: tuple[MalformedRow, ...] = ()


def read_table(path: Path, content: bytes | None = None) -> Table:
    """Read a table. CSV may be separated by comma, semicolon, tab or bar.

    Args:
        path: of the file.
        content: of a Parquet file that is yet to be written.

    Raises:
        UserError: the file doesn't exist, is no table, is not UTF-8, is damaged, or lacks a header or rows.
    """
    if content is None and not path.is_file():
        raise UserError(f"table {path} does not exist")
    suffix, malformed = path.suffix.lower(), tuple[MalformedRow, ...]()
    if suffix in CSV_SUFFIXES:
        frame, malformed = read_csv(path)
    elif suffix in PARQUET_SUFFIXES:
        frame = read_parquet(path, content)
    elif suffix in JSON_SUFFIXES:
        frame = read_json(path)
    else:
        raise UserError(f"{path} is neither a table (.csv, .tsv, .parquet, .json, .jsonl) nor a folder")
    frame = frame.set_axis([str(column).strip() for column in frame.columns], axis="columns")
    check_unique(list(frame.columns), path)
    if frame.empty:
        raise UserError(f"{path} has no rows")
    for column in frame.columns:
        if column.lower().endswith(IMAGE_EXTENSIONS):
            raise no_header(path, column)
    return Table(
        path, pd.DataFrame({column: frame[column].fillna("").str.strip() for column in frame.columns}), malformed
    )


def no_header(path: Path, cell: str) -> UserError:
    return UserError(f"{path} starts with {cell!r} where column names should be: add a header line")


def check_unique(columns: list[str], path: Path) -> None:
    """Raise a UserError if two columns have the same name."""
    names = pd.Series(columns, dtype="str")
    twice = names[names.duplicated()]
    if len(twice):
        raise UserError(f"{path} has two columns named {twice.iloc[0]!r}: rename one")


def read_csv(path: Path) -> tuple[pd.DataFrame, tuple[MalformedRow, ...]]:
    """Read a CSV file; rows with more cells than the header are returned apart."""
    malformed = tuple[MalformedRow, ...]()
    try:
        separator = separator_of(path)
        read = partial(
            pd.read_csv, sep=separator, dtype="str", keep_default_na=False, index_col=False, encoding="utf-8-sig"
        )
        names = read(path, header=None, nrows=1).iloc[0]  # as written: pandas renames duplicates
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", pd.errors.ParserWarning)
                table = read(path)
        except (pd.errors.ParserWarning, pd.errors.ParserError):
            text, malformed = without_malformed(path, separator)
            table = read(text)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text (byte {error.start}): save it as UTF-8 CSV") from error
    except pd.errors.EmptyDataError as error:
        raise UserError(f"{path} is empty") from error
    except (pd.errors.ParserError, csv.Error) as error:
        reason = one_line(" ".join(str(error).removeprefix("Error tokenizing data. C error: ").split()))
        raise UserError(f"{path} is not a valid CSV table: {reason}") from error
    unnamed = [
        name for name in table.columns if str(name).startswith("Unnamed: ") and (table[name].fillna("") == "").all()
    ]
    names = names.str.strip()
    check_unique(names[names != ""].tolist(), path)
    return table.drop(columns=unnamed), malformed


def separator_of(path: Path) -> str:
    """Return the separator that the header line has most of."""
    with path.open(encoding="utf-8-sig") as file:
        header = file.readline()
    return max(",;\t|", key=header.count)


def without_malformed(path: Path, separator: str) -> tuple[io.StringIO, tuple[MalformedRow, ...]]:
    """Return a CSV file without the rows that have more cells than its header, and these rows.

    Raises:
        UserError: they are more than `MAX_MALFORMED` of all rows.
    """
    malformed: list[MalformedRow] = []
    kept = io.StringIO()
    writer = csv.writer(kept, delimiter=separator, lineterminator="\n")
    rows, width = 0, None
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=separator, strict=True)  # a quote that isn't closed swallows rows
        for cells in reader:
            while width is not None and len(cells) > width and cells[-1].strip() == "":
                cells.pop()  # empty cells at the end say nothing
            width = len(cells) if width is None else width
            rows += 1
            if len(cells) > width:
                malformed.append(MalformedRow(reader.line_num, separator.join(cells)[:200]))
            else:
                writer.writerow(cells)
    if len(malformed) > MAX_MALFORMED * (rows - 1):
        raise UserError(
            f"{path} has {len(malformed):,} rows with more cells than its header "
            f"(the first in line {malformed[0].line}), more than {MAX_MALFORMED:.0%} of its rows: correct the table"
        )
    kept.seek(0)
    return kept, tuple(malformed)


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


def read_json(path: Path) -> pd.DataFrame:
    """Read JSON as a table: a list of objects, JSON lines, COCO's images with annotations, or labels by image.

    Raises:
        UserError: the file is not JSON, or none of these.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text (byte {error.start})") from error
    try:
        content = [json.loads(line) for line in text.splitlines() if line.strip()]
    except ValueError:
        content = []
    if len(content) < 2 or not all(isinstance(item, dict) for item in content):  # not one object a line
        try:
            content = json.loads(text)
        except ValueError as error:
            raise UserError(f"{path} is not valid JSON: {one_line(str(error))}") from error
    records = records_of(content)
    if not records:
        raise UserError(f"{path} holds no list of objects, so it is no table")
    columns = dict.fromkeys(name for record in records for name in record)
    return pd.DataFrame(
        {str(name): pd.Series([cell(record.get(name)) for record in records], dtype="str") for name in columns}
    )


def records_of(content: Any) -> list[dict[str, Any]]:
    """Return JSON's content as one object a row; an empty list if it is no table."""
    if isinstance(content, list):
        items: list[Any] = content
        if not items or not all(isinstance(item, dict) for item in items):
            return []
        return label_studio_records(items) if all({"data", "annotations"} <= item.keys() for item in items) else items
    if not isinstance(content, dict):
        return []
    if isinstance(content.get("images"), list) and isinstance(content.get("annotations"), list):
        return coco_records(content)
    lists = [value for value in content.values() if isinstance(value, list)]
    if len(content) == 1 and lists:
        return records_of(lists[0])
    named = [name for name in content if str(name).lower().endswith(IMAGE_EXTENSIONS)]
    if content and 2 * len(named) > len(content):  # {"a.jpg": "cat"} or {"a.jpg": {"label": "cat", …}}
        return [
            {"file_name": name, **(value if isinstance(value, dict) else {"label": value})}
            for name, value in content.items()
        ]
    return []


def coco_records(content: dict[str, Any]) -> list[dict[str, Any]]:
    """Join COCO's annotations with their images and the names of their categories; several of an image are listed.

    Format: https://cocodataset.org/#format-data.
    """
    names = {item.get("id"): item.get("name") for item in content.get("categories", []) if isinstance(item, dict)}
    labels: dict[Any, list[Any]] = {}
    for item in content["annotations"]:
        category = item.get("category_id")
        labels.setdefault(item.get("image_id"), []).append(names.get(category, category))
    records: list[dict[str, Any]] = []
    for image in content["images"]:
        found = list(dict.fromkeys(labels.get(image.get("id"), [])))
        rest = {name: value for name, value in image.items() if name not in ("id", "license", "flickr_url", "coco_url")}
        records.append({**rest, "label": found[0] if len(found) == 1 else found or ""})
    return records


def label_studio_records(tasks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Read Label Studio's own JSON: each task's data, and the choices of its first annotation."""
    records: list[dict[str, Any]] = []
    for task in tasks:
        results = task["annotations"][0].get("result", []) if task["annotations"] else []
        choices = [name for result in results for name in result.get("value", {}).get("choices", [])]
        records.append({**task["data"], "choice": choices})
    return records


def cell(value: Any) -> str:
    """Write a value of JSON as a CSV would have it; a list of one item as the item."""
    if value is None:
        return ""
    if isinstance(value, list) and len(value) < 2:
        return cell(value[0]) if value else ""
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


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
