"""Confirming near-duplicates on pixels: two images are aligned, and then their detail has to agree.

Images of the same kind of thing agree in their coarse structure: white shirts on dark cloth, cells of a solar panel.
They don't in their detail. Files of the same image do, whatever was done to size, frame, brightness or compression.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import cv2
import numpy as np

from resnet50.etl.decode import DecodedImage
from resnet50.etl.near_duplicates.clusters import Forest
from resnet50.etl.near_duplicates.hashing import CROPS, Box, small_gray
from resnet50.etl.near_duplicates.search import Candidates
from resnet50.runtime.console import progress
from resnet50.runtime.cpu import available_cores

SIZE, MIN_SIZE = 128, 32
"""Both images are compared at this size, or at that of the smaller one."""

MIN_COARSE, MIN_SIMILARITY = 0.6, 0.7
"""Correlation of the detail that images must have at half that size, to be looked at further, and at the full size."""

COARSE_STEPS, FINE_STEPS = 6, 8
"""Iterations of the alignment at half the size and at the full size."""

DETAIL = 2.0
"""Detail is what a Gaussian blur of this standard deviation removes, in pixels."""

NOISE = 0.5
"""Gray levels, root mean square: detail weaker than this is noise of the compression."""

DARK, LIGHT = 3, 250
"""Gray levels outside of which brightening and darkening have clipped."""

MAX_SCALE_ERROR = 0.1
"""How far the alignment may move away from the crop that it starts with, in fractions of the image's size."""

MAX_FAILURES = 8
"""An image that so many candidates were not confirmed for is compared no further: it is one of many that look alike."""

BATCH = 256
"""Pairs compared before it is decided again which others still have to be."""

Gray = np.ndarray
"""A gray image, float32, in 0–255."""

Images = Callable[[int], DecodedImage]
"""Returns an image by its index."""


class NearDuplicate(NamedTuple):
    """Two images, by index, that show the same.

    Attributes:
        first: the earlier one.
        second: the later one.
        similarity: correlation of their detail, up to 1.
        mirrored: whether one is the mirror image of the other.
    """

    first: int
    second: int
    similarity: float
    mirrored: bool


def confirm(candidates: Candidates, images: Images, count: int) -> list[NearDuplicate]:
    """Return the candidates that are near-duplicates, without those that follow from others, most similar first.

    Args:
        candidates: most similar first.
        images: of which a candidate may be unreadable by now: it raises a UserError.
        count: number of images.
    """
    forest, failures = Forest(count), np.zeros(count, np.int64)
    found: list[NearDuplicate] = []
    ends = np.sort(np.column_stack([candidates.image, candidates.other]), axis=1).tolist()

    def is_open(row: int) -> bool:
        first, second = ends[row]
        tired = max(failures[first], failures[second]) >= MAX_FAILURES
        return not tired and forest.root(first) != forest.root(second)

    def compare(row: int) -> float:
        image, other = images(int(candidates.image[row])), images(int(candidates.other[row]))
        return similarity_of(image, other, CROPS[candidates.crop[row]], bool(candidates.mirrored[row]))

    pool = ThreadPoolExecutor(available_cores())
    with pool, progress("comparing look-alikes", len(ends), "pairs") as advance:
        for start in range(0, len(ends), BATCH):
            rows = [row for row in range(start, min(start + BATCH, len(ends))) if is_open(row)]
            for row, similarity in zip(rows, pool.map(compare, rows), strict=True):
                first, second = ends[row]
                if similarity < MIN_SIMILARITY:
                    failures[[first, second]] += 1
                elif forest.join(first, second):
                    found.append(NearDuplicate(first, second, similarity, bool(candidates.mirrored[row])))
            advance(min(BATCH, len(ends) - start))
    return found


def similarity_of(image: DecodedImage, other: DecodedImage, crop: Box, mirrored: bool) -> float:
    """Return the correlation of the detail of two images after alignment; 0 if it is low at half the size already.

    Args:
        image: of which `other` may be a crop.
        other: the other image.
        crop: about where `other` lies in `image`.
        mirrored: whether to mirror `other`.
    """
    size = int(np.clip(min(image.width, image.height, other.width, other.height), MIN_SIZE, SIZE))
    fine, target = (small_gray(each.pixels, size).astype(np.float32) for each in (image, other))
    target = np.ascontiguousarray(target[:, ::-1]) if mirrored else target
    start = np.array([[crop.right - crop.left, 0, crop.left], [0, crop.bottom - crop.top, crop.top]])
    half = max(MIN_SIZE, size // 2)
    found, similarity = align(halved(fine, half), halved(target, half), start, COARSE_STEPS)
    if found is None or similarity < MIN_COARSE or half == size:
        return similarity if half == size else 0.0
    found, similarity = align(fine, target, found, FINE_STEPS)
    return 0.0 if found is None or np.abs(found - start).max() > MAX_SCALE_ERROR else similarity


def halved(gray: Gray, size: int) -> Gray:
    return cv2.resize(gray, (size, size), interpolation=cv2.INTER_AREA)


def align(image: Gray, target: Gray, start: np.ndarray, steps: int) -> tuple[np.ndarray | None, float]:
    """Find the affine map from the target to its place in the image; return it and the correlation of the detail there.

    Both maps are in fractions of the image's size. The correlation that is maximized ignores brightness and contrast
    (Evangelidis and Psarakis 2008, Parametric Image Alignment Using Enhanced Correlation Coefficient Maximization).
    """
    size = len(image)
    matrix = to_pixels(start, size)
    criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, steps, 1e-3)
    everywhere = np.full(target.shape, 255, np.uint8)
    try:
        _, matrix = cv2.findTransformECC(
            evened(target), evened(image), matrix, cv2.MOTION_AFFINE, criteria, everywhere, 3
        )
    except cv2.error:  # doesn't converge: nothing in common
        return None, 0.0
    placed = cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    return to_fractions(matrix, size), detail_correlation(placed, target)


def evened(gray: Gray) -> Gray:
    """Remove the coarse differences in brightness, which clipped highlights change."""
    return gray - cv2.blur(gray, (len(gray) // 5, len(gray) // 5))


def to_pixels(fractions: np.ndarray, size: int) -> np.ndarray:
    """Return an affine map in fractions of the size as one in pixels, whose centers are at integers."""
    matrix = fractions.astype(np.float64)
    matrix[:, 2] = matrix[:, 2] * size + matrix[:, :2].sum(axis=1) / 2 - 0.5
    return matrix.astype(np.float32)


def to_fractions(pixels: np.ndarray, size: int) -> np.ndarray:
    """Undo `to_pixels`."""
    matrix = pixels.astype(np.float64)
    matrix[:, 2] = (matrix[:, 2] + 0.5 - matrix[:, :2].sum(axis=1) / 2) / size
    return matrix


def detail_correlation(image: Gray, target: Gray) -> float:
    """Return the correlation of the detail of two aligned images where neither has been clipped."""
    inside = ((image > DARK) & (image < LIGHT) & (target > DARK) & (target < LIGHT)).astype(np.float32)
    if inside.mean() < 0.1:
        inside[:] = 1
    one, two = detail(image) * inside, detail(target) * inside
    floor = NOISE**2 * inside.sum()
    return float((one * two).sum() / np.sqrt(((one * one).sum() + floor) * ((two * two).sum() + floor)))


def detail(gray: Gray) -> Gray:
    return gray - cv2.GaussianBlur(gray, (0, 0), DETAIL)
