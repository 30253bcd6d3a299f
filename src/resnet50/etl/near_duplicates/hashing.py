"""Perceptual hashes: the signs of an image's lowest frequencies, as in pHash, also of what crops leave of it.

A crop shifts everything in an image, and with it every hash. So an image is compared by hashes of 35 of its own crops:
one of them is close to whatever another crop of at least 85% of the area has left. The frequencies of a crop are a
linear function of the image's thumbnail, so 256 bytes an image suffice, and no image is read twice.
"""

import itertools
from typing import Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE = 16
"""Side of a thumbnail, in pixels."""

FREQUENCIES = 9
"""Frequencies 0 to 8 along each axis are looked at."""

CROP_STEP, MAX_CUT = 0.05, 0.15
"""Crops cut multiples of the step off each side, at most this in all."""

FLAT = 2.0
"""Standard deviation of gray values below which a thumbnail shows nothing to compare."""

Floats = NDArray[np.float32]
Hashes = NDArray[np.uint64]


class Box(NamedTuple):
    """What a crop leaves, in fractions of the width and height."""

    left: float
    top: float
    right: float
    bottom: float


def make_crops() -> list[Box]:
    steps = round(MAX_CUT / CROP_STEP)
    cuts = [cut for cut in itertools.product(range(steps + 1), repeat=4) if sum(cut) <= steps]
    return [Box(a * CROP_STEP, b * CROP_STEP, 1 - c * CROP_STEP, 1 - d * CROP_STEP) for a, b, c, d in cuts]


CROPS: Final = make_crops()
"""The crops that hashes are made of; the first is the whole image."""

PAIRS: Final = np.array(sorted(((v, u) for v in range(FREQUENCIES) for u in range(FREQUENCIES) if u + v > 0), key=sum))
"""The frequencies (vertical, horizontal) that are compared, the lowest first; without the mean of the image."""

BITS: Final = int((PAIRS.sum(axis=1) < FREQUENCIES).sum())
"""The signs of this many are the bits of a hash."""

WEIGHTS: Final = np.hypot(PAIRS[:, 0], PAIRS[:, 1]).astype(np.float32)
"""Natural images have amplitudes of about 1/frequency: weighted so, all frequencies count alike."""

MIRRORED: Final = np.where(PAIRS[:, 1] % 2, -1, 1).astype(np.float32)
"""Mirroring an image changes the signs of the odd horizontal frequencies."""


def thumbnail(pixels: np.ndarray) -> bytes:
    """Return the 16×16 gray thumbnail of an image (uint8, h×w×3), whatever its aspect ratio."""
    return cv2.resize(small_gray(pixels, 8 * SIDE), (SIDE, SIDE), interpolation=cv2.INTER_AREA).tobytes()


def small_gray(pixels: np.ndarray, size: int) -> NDArray[np.uint8]:
    """Return an image (uint8, h×w×3) as a gray square; resized first, since that is faster than to gray first."""
    mode = cv2.INTER_AREA if max(pixels.shape[:2]) > 3 * size else cv2.INTER_LINEAR
    small = cv2.resize(np.ascontiguousarray(pixels), (size, size), interpolation=mode)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), np.uint8)


def stack(thumbnails: list[bytes]) -> NDArray[np.uint8]:
    """Return thumbnails as an array, N×16×16."""
    return np.frombuffer(b"".join(thumbnails), np.uint8).reshape(-1, SIDE, SIDE)


def is_flat(thumbnails: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Say of each thumbnail whether it is of nearly one gray."""
    return thumbnails.std(axis=(1, 2)) < FLAT


def cosines(start: float, stop: float) -> NDArray[np.float64]:
    """Return the cosine transform of the part of a line of `SIDE` cells between two fractions of its length.

    Row f holds the integral of √2·cos(πft) over each cell, where t goes from 0 to 1 between `start` and `stop`.
    """
    edges = (np.linspace(0, 1, SIDE + 1).clip(start, stop) - start) / (stop - start)
    frequency = np.pi * np.arange(1, FREQUENCIES)[:, np.newaxis]
    return np.vstack([np.diff(edges), np.sqrt(2) * np.diff(np.sin(frequency * edges)) / frequency])


class CropTransform:
    """The weighted frequencies of every crop as two matrix products."""

    def __init__(self, crops: list[Box]) -> None:
        horizontal = sorted({(crop.left, crop.right) for crop in crops})
        vertical = sorted({(crop.top, crop.bottom) for crop in crops})
        self.across = np.concatenate([cosines(*part) for part in horizontal]).T.astype(np.float32)
        self.down = np.concatenate([cosines(*part) for part in vertical]).T.astype(np.float32)
        column = np.array([horizontal.index((crop.left, crop.right)) for crop in crops])[:, np.newaxis]
        row = np.array([vertical.index((crop.top, crop.bottom)) for crop in crops])[:, np.newaxis]
        first = column * FREQUENCIES + PAIRS[:, 1]
        self.chosen = first * self.down.shape[1] + row * FREQUENCIES + PAIRS[:, 0]

    def __call__(self, thumbnails: NDArray[np.uint8]) -> Floats:
        """Return the frequencies of every crop, scaled to length 1: N×crops×frequencies."""
        count = len(thumbnails)
        across = thumbnails.reshape(-1, SIDE).astype(np.float32) @ self.across
        across = across.reshape(count, SIDE, -1).transpose(0, 2, 1)
        both = (np.ascontiguousarray(across).reshape(-1, SIDE) @ self.down).reshape(count, -1)
        found = both[:, self.chosen] * WEIGHTS
        return found / np.maximum(np.linalg.norm(found, axis=2, keepdims=True), 1e-6)


crop_frequencies: Final = CropTransform(CROPS)
whole_frequencies: Final = CropTransform(CROPS[:1])


def hashes_of(frequencies: Floats, mean: Floats) -> Hashes:
    """Return the hash of each row of frequencies (the last axis): which are above the mean; bit 0 is the highest."""
    padded = np.zeros((*frequencies.shape[:-1], 64), np.bool_)
    padded[..., :BITS] = frequencies[..., :BITS] > mean[:BITS]
    return np.packbits(padded, axis=-1).view(">u8")[..., 0].astype(np.uint64)
