"""Feature maps and filters as images."""

import numpy as np
from torch import Tensor

MAPS = 4
"""Feature maps shown of a stage."""


def most_varied(maps: Tensor) -> np.ndarray:
    """Return the `MAPS` of C×H×W whose standard deviation over positions is largest, each scaled to 0–1."""
    spread = maps.flatten(1).std(1, correction=0)
    chosen = maps[spread.argsort(descending=True, stable=True)[:MAPS]].numpy()
    low, high = chosen.min((1, 2), keepdims=True), chosen.max((1, 2), keepdims=True)
    return (chosen - low) / np.maximum(high - low, 1e-12)


def tile(images: np.ndarray) -> np.ndarray:
    """Tile n images (n×H×W or n×H×W×3, n a square number) in a square with NaN lines between them; float32."""
    across = round(len(images) ** 0.5)
    line = max(1, images.shape[1] // 16)
    padded = np.pad(
        images.astype(np.float32),
        [(0, 0), (0, line), (0, line)] + [(0, 0)] * (images.ndim - 3),
        constant_values=np.nan,
    )
    rows = [np.concatenate(list(padded[row * across : (row + 1) * across]), axis=1) for row in range(across)]
    return np.concatenate(rows)[:-line, :-line]


def filter_tiles(weight: Tensor) -> np.ndarray:
    """Return the 64 first filters (64×3×7×7) as one image with white lines, each filter scaled to its range."""
    filters = weight.detach().float().cpu().permute(0, 2, 3, 1).numpy()
    low, high = filters.min((1, 2, 3), keepdims=True), filters.max((1, 2, 3), keepdims=True)
    image = tile((filters - low) / np.maximum(high - low, 1e-12))
    return (np.nan_to_num(image, nan=1.0) * 255).round().astype(np.uint8)


def map_side(image: np.ndarray) -> int:
    """Return the side of one of the four maps that `tile` laid in a square."""
    return next(side for side in range(1, len(image)) if 2 * side + max(1, side // 16) == len(image))
