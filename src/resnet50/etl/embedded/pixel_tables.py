"""Tables with pixels as numbers: one column per pixel, or all pixels of an image in one cell."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import parquet

from resnet50.etl.embedded.part import Batch, Fault
from resnet50.etl.embedded.pixel_columns import (
    LEAST_PIXELS,
    PixelColumns,
    cell_of_pixels,
    columns_of_pixels,
    looks_like_pixels,
)
from resnet50.etl.embedded.pixels import Shape
from resnet50.etl.embedded.reading import (
    Count,
    Sample,
    as_strings,
    count_rows,
    parse_numbers,
    read_csv_rows,
    read_parquet_rows,
    sample_csv,
)
from resnet50.etl.source.tables import PARQUET_SUFFIXES

PARQUET_ROWS = 2048
SAMPLED_ROWS = 32


@dataclass(frozen=True)
class PixelTable:
    """A CSV or Parquet table with pixels as numbers."""

    path: Path
    sample: Sample
    columns: tuple[str, ...]
    pixels: PixelColumns
    number: Count

    @property
    def count(self) -> int:
        return self.number.rows

    @property
    def first_line(self) -> int:
        return 1 if self.sample.columns is None or self.is_parquet else 2

    @property
    def is_parquet(self) -> bool:
        return self.path.suffix.lower() in PARQUET_SUFFIXES

    @property
    def other_columns(self) -> list[str]:
        return [name for name in self.columns if name not in set(self.pixels.names)]

    def cells(self) -> pd.DataFrame:
        """Return the sampled rows of the columns that are not pixels."""
        rows = [row for row in self.sample.rows if len(row) == len(self.columns)]
        return pd.DataFrame(rows, columns=list(self.columns), dtype="str")[self.other_columns]

    def batches(self, shape: Shape | None) -> Iterator[Batch]:
        assert shape is not None
        one_cell = self.pixels.one_cell
        if self.is_parquet:
            batches = read_parquet_rows(self.path, list(self.columns), PARQUET_ROWS)
        else:
            numeric = () if one_cell else self.pixels.names
            batches = read_csv_rows(self.path, self.sample, numeric, list(self.columns))
        for rows in batches:
            faults = [Fault(self.path, at + self.first_line, reason) for at, reason in rows.malformed]
            cells = pd.DataFrame({name: as_strings(rows.batch.column(name)) for name in self.other_columns})
            cells = cells.set_axis(range(rows.batch.num_rows), axis="index")
            flat, good = (
                rows_of_cells(rows.batch, self.pixels) if one_cell else rows_of_columns(rows.batch, self.pixels)
            )
            for at in np.flatnonzero(~good).tolist():
                found = count_numbers(str(rows.batch.column(self.pixels.names[0])[at]))
                line = int(rows.number[at]) + self.first_line
                faults.append(Fault(self.path, line, f"{found} instead of {self.pixels.pixels:,} pixels"))
            yield Batch(rows.number[good], cells[good].reset_index(drop=True), shape.images(flat), faults=tuple(faults))


def rows_of_columns(batch: Any, pixels: PixelColumns) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return the pixels N×P, NaN where a cell is empty, and that every row has as many."""
    flat = np.empty((batch.num_rows, len(pixels.names)), dtype=np.float32)
    for at, name in enumerate(pixels.names):
        flat[:, at] = batch.column(name).to_numpy(zero_copy_only=False)
    return flat, np.ones(batch.num_rows, dtype=np.bool_)


def rows_of_cells(batch: Any, pixels: PixelColumns) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return the pixels of the cells that have as many as they should, and which do."""
    parsed: list[NDArray[Any] | None] = []
    for cell in batch.column(pixels.names[0]).to_pylist():
        try:
            numbers = np.asarray(cell, np.float32).ravel() if isinstance(cell, list) else parse_numbers(str(cell))
        except ValueError:
            numbers = None
        parsed.append(numbers if numbers is not None and len(numbers) == pixels.pixels else None)
    good = np.array([numbers is not None for numbers in parsed], dtype=np.bool_)
    kept = [numbers for numbers in parsed if numbers is not None]
    return np.stack(kept) if kept else np.zeros((0, pixels.pixels), np.float32), good


def count_numbers(cell: str) -> str:
    try:
        return f"{len(parse_numbers(cell)):,}"
    except ValueError:
        return "something other than numbers"


def pixel_table(path: Path, shape: Shape | None) -> PixelTable | None:
    """Return a table with pixels as numbers; None if it is something else.

    Args:
        path: of a CSV or Parquet file.
        shape: --pixel-shape.
    """
    is_parquet = path.suffix.lower() in PARQUET_SUFFIXES
    sample = sample_parquet(path) if is_parquet else sample_csv(path, 2 * LEAST_PIXELS - 1)
    if sample is None or not sample.rows:
        return None
    width = len(sample.columns or sample.rows[0])
    columns = unique_names(sample.columns or [f"column {at}" for at in range(1, width + 1)])
    rows = [row for row in sample.rows if len(row) == width]
    if 2 * len(rows) < len(sample.rows):
        return None
    cells = pd.DataFrame(rows, columns=columns, dtype="str")
    pixels = columns_of_pixels(cells, sample.columns is None, shape) or cell_of_pixels(cells, shape)
    if pixels is None:
        return None
    if is_parquet:
        number = Count(parquet.read_metadata(path).num_rows, exact=True)
    else:
        number = count_rows(path, header=sample.columns is not None)
    return PixelTable(path, sample, tuple(columns), pixels, number)


def unique_names(columns: list[str]) -> list[str]:
    """Return names with a number after those that came before."""
    seen: defaultdict[str, int] = defaultdict(int)
    names: list[str] = []
    for name in columns:
        names.append(f"{name}.{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return names


def sample_parquet(path: Path) -> Sample | None:
    """Read some rows of a Parquet file with numbers in it; None if it has too few, or is no Parquet."""
    try:
        with parquet.ParquetFile(path) as file:
            schema = file.schema_arrow
            numeric = sum(is_numeric(kind) for kind in schema.types)
            lists = [name for name, kind in zip(schema.names, schema.types, strict=True) if is_list_of_numbers(kind)]
            texts = [name for name, kind in zip(schema.names, schema.types, strict=True) if pa.types.is_string(kind)]
            if numeric < LEAST_PIXELS and not lists and not any(looks_like_pixels(name) for name in texts):
                return None
            batch = next(file.iter_batches(batch_size=SAMPLED_ROWS), None)
    except (pa.ArrowException, OSError):
        return None
    if batch is None or len(set(schema.names)) < len(schema.names):
        return None
    written = {
        name: list_cells(batch.column(name)) if name in lists else as_strings(batch.column(name))
        for name in schema.names
        if name in lists or is_plain(schema.field(name).type)
    }
    rows = [list(row) for row in zip(*(list(values) for values in written.values()), strict=True)]
    return Sample(list(written), rows, ",")


def list_cells(column: Any) -> list[str]:
    """Write lists, also nested ones, as the cell of a CSV."""
    return [" ".join(str(number) for number in np.asarray(cell or []).ravel()) for cell in column.to_pylist()]


def is_plain(kind: Any) -> bool:
    """Return whether a value fits into the cell of a CSV."""
    return is_numeric(kind) or any(
        fits(kind)
        for fits in (pa.types.is_string, pa.types.is_large_string, pa.types.is_boolean, pa.types.is_dictionary)
    )


def is_numeric(kind: Any) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind)


def is_list_of_numbers(kind: Any) -> bool:
    if isinstance(kind, pa.BaseExtensionType):
        return is_list_of_numbers(kind.storage_type)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return is_numeric(kind.value_type) or is_list_of_numbers(kind.value_type)
    return False
