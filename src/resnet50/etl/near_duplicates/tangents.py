"""How alike two thumbnails are if the crop may still move a little: a tangent distance (Simard et al. 1993).

The crops that hashes are made of are 5% apart, and a real one lies between them. Moving an edge of a crop changes its
frequencies by about a tangent vector; the correlation is that with the best sum of a crop and its four tangents.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from resnet50.etl.near_duplicates.hashing import CROPS, PAIRS, WEIGHTS, Floats, cosines

STEP = 0.01
"""Fraction of the size by which an edge is moved to find its tangent."""

RIDGE = 1e-4
"""Keeps the equations solvable where moving an edge changes nothing."""


def with_moved_edges(start: float, stop: float) -> NDArray[np.float64]:
    """Return the cosine transform of a part of a line, and the tangents of its two ends."""
    here = cosines(start, stop)
    return np.stack([here, (cosines(start + STEP, stop) - here) / STEP, (cosines(start, stop - STEP) - here) / STEP])


ACROSS: Final = np.stack([with_moved_edges(crop.left, crop.right) for crop in CROPS]).astype(np.float32)
DOWN: Final = np.stack([with_moved_edges(crop.top, crop.bottom) for crop in CROPS]).astype(np.float32)


def refined_correlation(thumbnails: NDArray[np.uint8], crops: NDArray[np.int64], whole: Floats) -> Floats:
    """Return the correlation of cropped thumbnails with other images, each crop moved to where it fits best.

    Args:
        thumbnails: uint8, N×16×16.
        crops: the crop of each, as index into `CROPS`.
        whole: weighted frequencies of the other images, N×frequencies, of length 1.
    """
    across, down = ACROSS[crops].transpose(1, 0, 3, 2), DOWN[crops].transpose(1, 0, 2, 3)
    pixels = thumbnails.astype(np.float32)
    rows = down[0] @ pixels
    vectors = [rows @ part for part in across] + [(part @ pixels) @ across[0] for part in down[1:]]
    basis = np.stack(vectors, axis=1)[:, :, PAIRS[:, 0], PAIRS[:, 1]] * WEIGHTS
    basis /= np.maximum(np.linalg.norm(basis[:, :1], axis=2, keepdims=True), 1e-6)
    products = basis @ basis.transpose(0, 2, 1) + RIDGE * np.eye(basis.shape[1], dtype=np.float32)
    weights = np.linalg.solve(products, basis @ whole[:, :, np.newaxis])
    fit = (weights.transpose(0, 2, 1) @ basis)[:, 0]
    return (fit * whole).sum(axis=1) / np.maximum(np.linalg.norm(fit, axis=1), 1e-6)
