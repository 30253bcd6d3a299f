"""Numbers that are pixels: the shape of an image in a flat row, and the range of its values."""

import re
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from resnet50.runtime.errors import UserError

SHAPES_OFFERED = 3
LEAST_SIDE = 8
"""Of an image whose shape is not known, in pixels. A narrower one is hardly an image."""

FAULTS_ALLOWED = 0.01
"""Share of rows that may be left out as damaged; beyond it the table itself was misunderstood."""

DARK = 32
"""A largest value below an eighth of 255 is a smaller range rather than dark images."""


@dataclass(frozen=True)
class Shape:
    """How the pixels of an image follow one another in a flat row.

    Attributes:
        channels: 1 or 3.
        planar: whether all red pixels come first, then all green, then all blue ones.
    """

    height: int
    width: int
    channels: int = 1
    planar: bool = False

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse 28x28, 32x32x3 or 3x32x32.

        Raises:
            UserError: it is something else.
        """
        sizes = [int(part) for part in text.lower().split("x")] if re.fullmatch(r"(?i)\d+(x\d+){1,2}", text) else []
        if len(sizes) == 2 and min(sizes) > 0:
            return cls(sizes[0], sizes[1])
        if len(sizes) == 3 and min(sizes) > 0 and sizes[2] in (1, 3):
            return cls(sizes[0], sizes[1], sizes[2])
        if len(sizes) == 3 and min(sizes) > 0 and sizes[0] in (1, 3):
            return cls(sizes[1], sizes[2], sizes[0], planar=sizes[0] == 3)
        raise UserError(
            f"--pixel-shape {text!r} is no shape: give height x width, e.g. 28x28, with three channels 32x32x3, "
            "or 3x32x32 where the channels follow one another"
        )

    @property
    def count(self) -> int:
        return self.height * self.width * self.channels

    @property
    def option(self) -> str:
        """The value of --pixel-shape that chooses it."""
        if self.planar:
            return f"{self.channels}x{self.height}x{self.width}"
        return f"{self.height}x{self.width}" + (f"x{self.channels}" if self.channels > 1 else "")

    def __str__(self) -> str:
        return f"{self.height}×{self.width} pixels, {'RGB' if self.channels == 3 else 'gray'}"

    def images(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Return the images of N flat rows: N×H×W, or N×H×W×3."""
        if self.channels == 1:
            return rows.reshape(-1, self.height, self.width)
        if self.planar:
            return rows.reshape(-1, self.channels, self.height, self.width).transpose(0, 2, 3, 1)
        return rows.reshape(-1, self.height, self.width, self.channels)


def side_of(count: int) -> int | None:
    """Return the side of a square with so many pixels; None if there is none."""
    side = round(count**0.5)
    return side if side * side == count else None


def plausible_shapes(rows: NDArray[Any]) -> list[Shape]:
    """Return the shapes that flat rows can have, likeliest first; several where the pixels don't decide.

    A square is taken for what it is. Whether the channels of a square in color alternate or follow one another is seen
    in the pixels: neighbors resemble each other in the right arrangement.

    Args:
        rows: some images, N×P.
    """
    count = rows.shape[1]
    side = side_of(count)
    if side is not None:
        return [Shape(side, side)]
    side = side_of(count // 3) if count % 3 == 0 else None
    if side is not None:
        both = sorted(
            (Shape(side, side, 3), Shape(side, side, 3, planar=True)), key=lambda shape: contrast(rows, shape)
        )
        return both[:1] if contrast(rows, both[0]) < 0.8 * contrast(rows, both[1]) else both
    pixels = [(count, 1)] + ([(count // 3, 3)] if count % 3 == 0 else [])
    possible = [
        Shape(height, area // height, channels)
        for area, channels in pixels
        for height in range(LEAST_SIDE, area // LEAST_SIDE + 1)
        if area % height == 0
    ]
    return sorted(possible, key=lambda shape: contrast(rows, shape))[:SHAPES_OFFERED]


def contrast(rows: NDArray[Any], shape: Shape) -> float:
    """Return the mean difference between neighboring pixels, which is small for the right shape."""
    images = shape.images(rows.astype(np.float32))
    down, across = np.abs(np.diff(images, axis=1)), np.abs(np.diff(images, axis=2))
    return float(down.mean() + across.mean()) if down.size and across.size else float("inf")


def choose_shape(shapes: list[Shape], where: str) -> Shape:
    """Return the only shape.

    Raises:
        UserError: several are possible, or none.
    """
    if len(shapes) == 1:
        return shapes[0]
    if not shapes:
        raise UserError(f"{where}: the number of pixels fits no image: give the shape with --pixel-shape, e.g. 28x28")
    raise UserError(
        f"{where}: {shapes[0].count:,} numbers per image could be {', or '.join(shape.option for shape in shapes)} "
        "(height x width): choose one with --pixel-shape",
        [{"pixel_shape": shape.option} for shape in shapes],
    )


@dataclass(frozen=True)
class Ranges:
    """Smallest and largest value of every image, NaN where a value is missing."""

    low: NDArray[np.floating[Any]]
    high: NDArray[np.floating[Any]]
    whole: bool
    """Whether all values are whole numbers."""

    @classmethod
    def of(cls, images: NDArray[Any]) -> Self:
        flat = images.reshape(len(images), -1)
        whole = flat.dtype.kind != "f" or not bool((np.rint(flat) != flat)[~np.isnan(flat)].any())
        return cls(flat.min(axis=1).astype(np.float64), flat.max(axis=1).astype(np.float64), whole)

    @classmethod
    def concat(cls, parts: list[Self]) -> Self:
        if not parts:
            return cls(np.zeros(0), np.zeros(0), whole=True)
        return cls(
            np.concatenate([part.low for part in parts]),
            np.concatenate([part.high for part in parts]),
            all(part.whole for part in parts),
        )

    def outside(self, largest: float) -> NDArray[np.bool_]:
        """For each image, whether a value is missing or lies outside 0 to `largest`."""
        return ~((self.low >= 0) & (self.high <= largest))

    def largest(self, where: str) -> float:
        """Return the value that stands for white, one for the whole source: 255, or 1 where no value is larger.

        Raises:
            UserError: the values have another range, or one that could be either.
        """
        if not len(self.high):
            return 255
        inside = ~self.outside(255)
        if inside.mean() < 1 - FAULTS_ALLOWED:
            raise self.other_range(where)
        top = float(self.high[inside].max())
        if top <= 1:
            return 1
        if top < DARK:
            raise ask_for_largest(where, f"the largest value of a pixel is {top:g}", [f"{top:g}", "255"])
        if (self.high[inside] <= 1).mean() > 0.5:
            raise ask_for_largest(where, "most images have values from 0 to 1, others larger ones", ["1", "255"])
        return 255

    def other_range(self, where: str) -> UserError:
        low, high = np.nanmin(self.low, initial=np.inf), np.nanmax(self.high, initial=-np.inf)
        found = f"the values go from {low:g} to {high:g}"
        if np.isnan(self.high).mean() > FAULTS_ALLOWED:
            return UserError(f"{where}: pixels are missing in {np.isnan(self.high).sum():,} images: fill them in")
        if low < 0:
            return UserError(
                f"{where}: {found}, so these are no pixels, or normalized ones: undo the normalization, so that "
                "they are in 0–255 or 0–1"
            )
        depths = [str(2**bits - 1) for bits in (10, 12, 14, 16) if 2**bits > high]
        return ask_for_largest(where, found, depths)


def ask_for_largest(where: str, found: str, choices: list[str]) -> UserError:
    return UserError(
        f"{where}: {found}: say with --pixel-max which value is white",
        [{"pixel_max": choice} for choice in choices],
    )


def to_uint8(images: NDArray[Any], largest: float) -> NDArray[np.uint8]:
    """Scale 0 … `largest` to 0 … 255."""
    if largest == 255 and np.issubdtype(images.dtype, np.integer):
        return images.astype(np.uint8)
    return np.rint(images.astype(np.float64) * (255 / largest)).astype(np.uint8)
