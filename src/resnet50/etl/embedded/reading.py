"""Reading CSV and Parquet tables a few rows at a time, and samples of them."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import csv as arrow_csv
from pyarrow import parquet

from resnet50.etl.decode import one_line
from resnet50.etl.source.words import is_number
from resnet50.runtime.errors import UserError

SAMPLES = 24
"""Places in a CSV where a line is read to see what the file is like: its first rows may all be of one class."""

HEAD_BYTES = 1 << 16
LONG_NAME = 200
"""No column has a name this long."""

MOSTLY = 0.9

LINE_BYTES = 1 << 24
"""Longest line that is read."""

BLOCK_BYTES = 8 << 20
EXACT_BYTES = 256 << 20
"""Lines of larger files are estimated rather than counted."""


class Sample(NamedTuple):
    """What a table is like.

    Attributes:
        columns: their names; None for a CSV whose first line is a row.
        rows: some rows as strings.
        delimiter: of a CSV.
    """

    columns: list[str] | None
    rows: list[list[str]]
    delimiter: str


def sample_csv(path: Path, shortest: int = 0) -> Sample | None:
    """Read the header and some lines from all over a CSV.

    Args:
        path: of the file.
        shortest: length of a line in bytes below which the file isn't of interest.

    Returns:
        The sample; None if the file is no text, has no rows, or only short ones.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
            if not head or b"\0" in head:
                return None
            file.seek(0)
            first = file.readline(LINE_BYTES)
            start = file.tell()
            lines = [file.readline(LINE_BYTES) for _ in range(4)]
            if max(map(len, lines)) < shortest:
                return None
            for part in range(1, SAMPLES):
                file.seek(start + (size - start) * part // SAMPLES)
                file.readline(LINE_BYTES)  # the rest of the line that this place is in
                lines.append(file.readline(LINE_BYTES))
        texts = [line.decode("utf-8-sig").strip("\r\n") for line in (first, *lines)]
    except (OSError, UnicodeDecodeError):
        return None
    delimiter = max(",;\t|", key=texts[0].count)
    if texts[0].count(delimiter) == 0 and len(texts[0].split()) > 1:
        delimiter = " "  # without quotes only: numbers in one cell are told apart below
    distinct = [text for text in dict.fromkeys(texts[1:]) if text]
    header, *rows = [cells_of(text, delimiter) for text in (texts[0], *distinct)]
    if is_row(header, rows):
        return Sample(None, [header, *rows], delimiter)
    return Sample([name.strip() for name in header], rows, delimiter) if rows else None


def cells_of(line: str, delimiter: str) -> list[str]:
    if '"' not in line:
        return line.split(delimiter)
    try:
        return next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:
        return []


def is_row(first: list[str], rows: list[list[str]]) -> bool:
    """Return whether the first line is a row rather than names: numbers, repeated ones or not counting up.

    Decimal places above whole numbers are names too: pandas makes 0, 0.1, 0.2 of a first line 0, 0, 0.
    """
    if any(len(cell) >= LONG_NAME for cell in first):
        return True
    numbers = [cell for cell in first if is_number(cell)]
    if len(numbers) < MOSTLY * len(first) or counts_up(numbers):
        return False
    decimal = any("." in cell for cell in numbers)
    return len(set(numbers)) < len(numbers) or (not decimal or any("." in cell for row in rows for cell in row))


def counts_up(header: list[str]) -> bool:
    """Return whether column names are 0, 1, 2 … or 1, 2, 3 …, as pandas writes them for an array."""
    return len(header) > 1 and header in (
        [str(number) for number in range(first, first + len(header))] for first in (0, 1)
    )


class Count(NamedTuple):
    """Number of rows, and whether it was counted rather than estimated."""

    rows: int
    exact: bool


def count_rows(path: Path, header: bool) -> Count:
    """Count the lines of a CSV; those of a large one are estimated from its beginning."""
    size = path.stat().st_size
    lines, read, last = 0, 0, b""
    with path.open("rb") as file:
        while read < EXACT_BYTES and (block := file.read(1 << 22)):
            lines, read, last = lines + block.count(b"\n"), read + len(block), block[-1:]
    if read < size:
        return Count(max(1, round(lines * size / read) - header), exact=False)
    return Count(lines + (last != b"\n") - header, exact=True)


@dataclass(frozen=True)
class Rows:
    """Some rows of a table.

    Attributes:
        number: of each row in the file, from 0, malformed ones included.
        batch: the columns.
        malformed: numbers of the rows left out since the last batch, and why.
    """

    number: NDArray[np.int64]
    batch: pa.RecordBatch
    malformed: list[tuple[int, str]]


def read_csv_rows(path: Path, sample: Sample, numeric: Sequence[str], names: list[str]) -> Iterator[Rows]:
    """Yield all rows of a CSV: the numeric columns as numbers, the others as strings.

    Raises:
        UserError: a cell of a numeric column is something else, or the file is no UTF-8.
    """
    malformed: list[tuple[int, str]] = []
    skipped: set[int] = set()
    before = 0 if sample.columns is None else 1

    def skip(row: Any) -> str:
        at = row.number - 1 - before
        skipped.add(at)
        malformed.append((at, f"{row.actual_columns:,} cells instead of {row.expected_columns:,}"))
        return "skip"

    longest = max((sum(map(len, row)) + len(row) for row in sample.rows), default=0)
    try:
        reader = arrow_csv.open_csv(
            path,
            read_options=arrow_csv.ReadOptions(
                use_threads=False, block_size=max(BLOCK_BYTES, 4 * longest), column_names=names, skip_rows=before
            ),
            parse_options=arrow_csv.ParseOptions(delimiter=sample.delimiter, invalid_row_handler=skip),
            convert_options=arrow_csv.ConvertOptions(
                column_types={name: pa.float32() if name in set(numeric) else pa.string() for name in names}
            ),
        )
        next_row = 0
        for batch in reader:
            wanted = np.arange(next_row, next_row + batch.num_rows + len(skipped))
            number = wanted[~np.isin(wanted, list(skipped))][: batch.num_rows]
            if len(number):
                next_row = int(number[-1]) + 1
            yield Rows(number, batch, list(malformed))
            malformed.clear()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {one_line(' '.join(str(error).split()))}") from error


def read_parquet_rows(path: Path, columns: list[str], rows: int) -> Iterator[Rows]:
    """Yield so many rows of a Parquet file at a time."""
    try:
        next_row = 0
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=rows, columns=columns):
                yield Rows(np.arange(next_row, next_row + batch.num_rows), batch, [])
                next_row += batch.num_rows
    except (pa.ArrowException, OSError) as error:
        raise damaged_parquet(path, error) from error


def damaged_parquet(path: Path, error: Exception) -> UserError:
    reason = one_line(" ".join((str(error) or repr(error)).split()))
    return UserError(f"{path} is not a readable Parquet file: {reason}")


def as_strings(column: Any) -> pd.Series:
    """Return values as a CSV would have them."""
    values = column.to_pandas()
    if pd.api.types.is_float_dtype(values):
        values = values.convert_dtypes()
    return values.astype("object").where(values.notna(), "").astype("str").str.strip()


def parse_numbers(text: str) -> NDArray[Any]:
    """Return the numbers in a cell, separated by spaces, commas or semicolons, perhaps in brackets.

    Raises:
        ValueError: something in it is no number.
    """
    plain = text.strip().strip("[]()").replace(",", " ").replace(";", " ")
    return np.array(plain.split(), dtype=np.float32)
