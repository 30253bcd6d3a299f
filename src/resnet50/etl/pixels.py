"""From values of any type and range to 8 bits: one rule for each kind of file, never an image's own extremes.

| values | black and white |
| --- | --- |
| 8 bits | 0 and 255 |
| floats | what the file declares, else 0 and 1 |
| integers of more bits | `--bit-depth`, else what the file declares, else, for unsigned 16 bits, 0 and 65535 |
| other integers | none: the image is refused |
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

MAX_OUTSIDE = 0.001
"""Share of an image's pixels that may lie outside its range and are clipped; with more, it is refused."""

STRIP_PIXELS = 1 << 22
"""Pixels converted at a time: converting some values needs ten times the memory of the result."""


class PixelRange(NamedTuple):
    """The values that become 0 and 255; `black` is the larger one where the values are inverted.

    Attributes:
        black: becomes 0.
        white: becomes 255.
        assumed: whether all 16 bits are taken to be used only because nothing says otherwise.
    """

    black: float
    white: float
    assumed: bool = False

    def inverted(self) -> "PixelRange":
        return PixelRange(self.white, self.black, self.assumed)


SIXTEEN_BITS = PixelRange(0, 65535, assumed=True)


class GrayLevels(NamedTuple):
    """Values as 8 bits.

    Attributes:
        pixels: uint8, of the values' shape.
        clipped: number of pixels that lie outside the range.
        peak: largest value, where the range is an assumption; else None.
    """

    pixels: np.ndarray
    clipped: int
    peak: float | None


class PixelRangeError(ValueError):
    """The values don't fit the range they should have.

    Attributes:
        peak: largest value of an image whose range a bit depth would tell; None if it wouldn't.
    """

    def __init__(self, message: str, peak: float | None = None) -> None:
        super().__init__(message)
        self.peak = peak


def choose_range(
    values: np.ndarray, bit_depth: int | None = None, declared: PixelRange | None = None, inverted: bool = False
) -> PixelRange:
    """Return the range of values of this type.

    Args:
        values: of an image, as its file has them.
        bit_depth: bits that integers of more than 8 use (`--bit-depth`).
        declared: range that the file declares.
        inverted: whether small values are white.

    Raises:
        PixelRangeError: nothing says what is white.
    """
    kind, size = values.dtype.kind, values.dtype.itemsize
    if kind == "b":
        span = PixelRange(0, 1)
    elif kind == "f":
        span = declared or PixelRange(0, 1)
    elif kind == "u" and size == 1:
        span = declared or PixelRange(0, 255)
    elif bit_depth is not None and size > 1:
        span = PixelRange(0, 2**bit_depth - 1)
    elif declared is not None:
        span = declared
    elif kind == "u" and size == 2:
        span = SIXTEEN_BITS
    else:
        raise undeclared(values)
    return span.inverted() if inverted else span


def undeclared(values: np.ndarray) -> PixelRangeError:
    low, high = int(values.min()), int(values.max())
    possible = low >= 0 and high <= SIXTEEN_BITS.white and values.dtype.itemsize > 1
    advice = "name their bits with --bit-depth" if possible else "scale them to 8 or 16 bits without sign"
    return PixelRangeError(
        f"nothing says which of the {values.dtype.name} values from {low:,} to {high:,} is white: {advice}",
        high if possible else None,
    )


def to_uint8(values: np.ndarray, span: PixelRange) -> GrayLevels:
    """Map values (h×w or h×w×channels) to 8 bits by a range; NaN becomes black.

    Raises:
        PixelRangeError: more pixels than `MAX_OUTSIDE` lie outside.
    """
    pixels = np.empty(values.shape, np.uint8)
    clipped, count = 0, values.shape[0] * values.shape[1]
    for rows in row_strips(*values.shape[:2]):
        pixels[rows], outside = strip_to_uint8(values[rows], span)
        clipped += outside
    if clipped > count * MAX_OUTSIDE:
        raise PixelRangeError(outside_message(values, span, clipped / count))
    return GrayLevels(pixels, clipped, float(values.max()) if span.assumed else None)


def strip_to_uint8(values: np.ndarray, span: PixelRange) -> tuple[np.ndarray, int]:
    """Return some rows as 8 bits, and the number of pixels with a value outside."""
    scaled = (values.astype(np.float64) - span.black) * (255.0 / (span.white - span.black))
    inside = (scaled >= -0.5) & (scaled <= 255.5)  # what rounds to 0–255 lies inside; NaN doesn't
    if inside.ndim == 3:
        inside = inside.all(axis=2)
    scaled = np.nan_to_num(scaled, nan=0.0, posinf=255.0, neginf=0.0)
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8), int(inside.size - np.count_nonzero(inside))


def outside_message(values: np.ndarray, span: PixelRange, share: float) -> str:
    finite = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    found = f"its values go from {finite.min():,g} to {finite.max():,g}" if finite.size else "none of them is a number"
    low, high = sorted(span[:2])
    if missing := values.size - finite.size:
        found += f", and {missing / values.size:.1%} are NaN or infinite"
    return f"{share:.1%} of the pixels lie outside {low:,g} to {high:,g}: {found}; scale them to that range"


def row_strips(height: int, width: int) -> Iterator[slice]:
    """Yield slices of rows of about `STRIP_PIXELS` pixels."""
    rows = max(1, STRIP_PIXELS // max(1, width))
    for top in range(0, height, rows):
        yield slice(top, min(top + rows, height))
