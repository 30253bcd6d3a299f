"""Tables with pixels as numbers: one column per pixel, or all pixels of an image in one cell."""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import parquet

from resnet50.etl.embedded.pixels import DARK, Shape, contrast, plausible_shapes, side_of
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
from resnet50.etl.embedded.source import Batch, Fault
from resnet50.etl.source.tables import PARQUET_SUFFIXES
from resnet50.etl.source.words import normalized

LEAST_PIXELS = 64
"""Fewer numbers per row are measurements rather than an image: 8×8 is the smallest."""

PIXEL_NAMES = {"pixel", "pixels", "pix", "px"}
"""Words that say that a column has pixels."""

VAGUE_NAMES = {"", "p", "x", "v", "f", "col", "column", "feature", "attr", "attribute", "var", "dim", "image", "img"}
"""Words that any numbers may have before their count. The numbers themselves have to look like pixels."""

PARQUET_ROWS = 2048


class PixelColumns(NamedTuple):
    """Where the pixels are.

    Attributes:
        names: of the columns with a pixel each, in the order of the table, or the one column with them all.
        one_cell: whether it is the latter.
        shapes: plausible ones, likeliest first.
        pixels: the number of them in an image.
        refusal: why it can't be told which columns they are.
    """

    names: tuple[str, ...]
    one_cell: bool
    shapes: tuple[Shape, ...]
    pixels: int
    refusal: str | None = None


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


SAMPLED_ROWS = 32


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


def looks_like_pixels(name: str) -> bool:
    return bool(set(re.split(r"[^a-z]+", normalized(name))) & PIXEL_NAMES)


def columns_of_pixels(cells: pd.DataFrame, headless: bool, shape: Shape | None) -> PixelColumns | None:
    """Return the columns with a pixel each, by their numbered names and by what is in them."""
    if headless:
        return headless_pixels(cells, shape)
    families: defaultdict[str, list[str]] = defaultdict(list)
    for name in cells.columns:
        numbered = re.sub(r"\d+", "#", normalized(str(name)))
        if "#" in numbered and numbered.count("#") <= 2:
            families[numbered].append(str(name))
    if not families:
        return None
    family = max(families, key=lambda name: len(families[name]))
    names = sorted(families[family], key=numbers_in)  # perhaps pixel0, pixel1, pixel10
    if len(names) < LEAST_PIXELS or sum(len(others) >= LEAST_PIXELS for others in families.values()) > 1:
        return None  # leaf margins, leaf textures: measurements of several kinds
    values = numbers_of(cells[names])
    if values is None:
        return None
    word = re.sub(r"[#\W_]+", "", family)
    grid = grid_of(names) if family.count("#") == 2 else None
    known = shape or grid
    certain = word in PIXEL_NAMES or grid is not None or shape is not None
    if not certain and (word not in VAGUE_NAMES or not looks_like_image(values)):
        return None
    return PixelColumns(tuple(names), False, shapes_for(values, known), len(names))


def headless_pixels(cells: pd.DataFrame, shape: Shape | None) -> PixelColumns | None:
    """Return the columns of pixels in a table without a header line: all, or all but the first or the last."""
    values = numbers_of(cells)
    if values is None:
        return None
    names = [str(name) for name in cells.columns]
    fitting = [
        at
        for at in (slice(None), slice(1, None), slice(None, -1))
        if len(names[at]) >= LEAST_PIXELS
        and (len(names[at]) == shape.count if shape else looks_like_image(values[:, at]))
    ]
    if not fitting:
        return None
    chosen, refusal = fitting[0], None
    if len(fitting) > 1:
        chosen, refusal = pixels_beside_label(values, fitting)
    return PixelColumns(tuple(names[chosen]), False, shapes_for(values[:, chosen], shape), len(names[chosen]), refusal)


def pixels_beside_label(values: NDArray[Any], possible: list[slice]) -> tuple[slice, str | None]:
    """Tell whether the first or the last column has the labels; the other one then is a corner of the image.

    Labels vary all over the file, and are small numbers; corners are often constant, and reach larger values if not.
    """
    first, last = values[:, 0], values[:, -1]
    if len(possible) == 2 and slice(None) not in possible:
        for label, corner, pixels in ((first, last, possible[0]), (last, first, possible[1])):
            if np.ptp(label) > 0 and (np.ptp(corner) == 0 or label.max() < 64 <= corner.max()):
                return pixels, None
    return possible[0], "it has no header line, and its first or its last column could have the labels: add a header"


def cell_of_pixels(cells: pd.DataFrame, shape: Shape | None) -> PixelColumns | None:
    """Return the column with all pixels of an image in each cell."""
    for column in cells.columns:
        parsed: list[NDArray[Any]] = []
        for cell in cells[column]:
            if len(str(cell)) < 2 * LEAST_PIXELS - 1:
                continue
            try:
                parsed.append(parse_numbers(str(cell)))
            except ValueError:
                continue
        counts = [len(numbers) for numbers in parsed]
        usual = max(set(counts), key=counts.count, default=0)
        if usual < LEAST_PIXELS or 2 * counts.count(usual) < len(cells):
            continue  # no numbers, or run lengths
        values = np.stack([numbers for numbers in parsed if len(numbers) == usual])
        if looks_like_pixels(str(column)) or shape is not None or looks_like_image(values):
            return PixelColumns((str(column),), True, shapes_for(values, shape), usual)
    return None


def numbers_of(cells: pd.DataFrame) -> NDArray[Any] | None:
    """Return cells as numbers; None if more than a few are something else."""
    values = cells.apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float32)
    good = ~np.isnan(values).any(axis=1)
    return values[good] if 2 * good.sum() > len(values) else None


def numbers_in(name: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", name)]


def grid_of(names: list[str]) -> Shape | None:
    """Return the shape that names like 1x1 … 28x28 tell of."""
    pairs = [tuple(numbers_in(name)) for name in names]
    rows, columns = sorted({pair[0] for pair in pairs}), sorted({pair[1] for pair in pairs})
    if pairs != [(row, column) for row in rows for column in columns]:
        return None
    return Shape(len(rows), len(columns))


def looks_like_image(values: NDArray[Any]) -> bool:
    """Return whether numbers without a name could hardly be anything but a square image."""
    pixels = values.shape[1]
    if side_of(pixels) is None and (pixels % 3 or side_of(pixels // 3) is None):
        return False
    if values.min() < 0 or values.max() > 255:
        return False
    if values.max() >= DARK and (values % 1 == 0).all():
        return True
    shuffled = np.random.default_rng(0).permutation(pixels)
    arranged = plausible_shapes(values)[0]
    return contrast(values, arranged) < 0.7 * contrast(values[:, shuffled], arranged)


def shapes_for(values: NDArray[Any], known: Shape | None) -> tuple[Shape, ...]:
    if known is not None:
        return (known,) if known.count == values.shape[1] else ()
    return tuple(plausible_shapes(values))
