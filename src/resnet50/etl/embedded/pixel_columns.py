"""Which columns of a table are pixels: by their names, and by the numbers in some rows."""

import re
from collections import defaultdict
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resnet50.etl.embedded.pixels import DARK, Shape, contrast, plausible_shapes, side_of
from resnet50.etl.embedded.reading import parse_numbers
from resnet50.etl.source.words import normalized

LEAST_PIXELS = 64
"""Fewer numbers per row are measurements rather than an image: 8×8 is the smallest."""

SURELY_IMAGE = 14 * 14
"""A square with so many whole numbers up to 255 is an image even if its pixels don't resemble their neighbors."""

PIXEL_NAMES = {"pixel", "pixels", "pix", "px"}
"""Words that say that a column has pixels."""

VAGUE_NAMES = {"", "p", "x", "v", "f", "col", "column", "feature", "attr", "attribute", "var", "dim", "image", "img"}
"""Words that any numbers may have before their count. The numbers themselves have to look like pixels."""


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
    flat = pd.Series(cells.to_numpy(dtype=object).ravel())  # column by column is slow where there are thousands
    values = pd.to_numeric(flat, errors="coerce").to_numpy(dtype=np.float32).reshape(cells.shape)
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
    if pixels >= SURELY_IMAGE and values.max() >= DARK and (values % 1 == 0).all():
        return True
    shuffled = np.random.default_rng(0).permutation(pixels)
    arranged = plausible_shapes(values)[0]
    return contrast(values, arranged) < 0.7 * contrast(values[:, shuffled], arranged)


def shapes_for(values: NDArray[Any], known: Shape | None) -> tuple[Shape, ...]:
    if known is not None:
        return (known,) if known.count == values.shape[1] else ()
    return tuple(plausible_shapes(values))
