"""The torch datasets: images and labels in, (uint8 tensor, label) out."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from PIL import Image
from torch import Tensor
from torch.utils import data

from resnet50.data.transforms import Augmentation, Preprocess, sample_rng
from resnet50.etl.decode import DecodedImage, decode, decode_image
from resnet50.etl.store import StoredImages

Paths = Sequence[str | Path] | pd.Series
Labels = Sequence[int] | pd.Series
"""Columns of a table, or any sequence."""


class Sample(NamedTuple):
    """A row of the table in one epoch: all that a sample depends on besides the seed.

    Attributes:
        epoch: from 0.
        row: position in the training split.
    """

    epoch: int
    row: int


class ImageDataset(data.Dataset[tuple[Tensor, int]]):
    """Labeled image files without augmentation, for evaluation, prediction and your own training loop.

    An item is (image as `transform` returns it, label). Reading an unreadable file raises an `UnreadableImageError`
    that names it.

    Args:
        paths: image files.
        labels: class index of each.
        transform: maps an RGB image to a tensor; a `Preprocess` (uint8, 3×size×size), or any torchvision transform.
        bit_depth: bits that integers of more than 8 use in the files; that of the `Preprocess` by default.

    Raises:
        ValueError: the numbers of paths and labels differ.
    """

    def __init__(
        self,
        paths: Paths,
        labels: Labels,
        transform: Callable[[Image.Image], Tensor],
        bit_depth: int | None = None,
    ) -> None:
        self.paths = flat_paths(paths)  # flat arrays, which worker processes share instead of copying
        self.labels = flat_labels(labels, len(self.paths))
        self.transform = transform
        of_transform = transform.bit_depth if isinstance(transform, Preprocess) else None
        self.bit_depth = of_transform if bit_depth is None else bit_depth

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        return self.transform(decode(self.paths[row].as_py(), self.bit_depth)), int(self.labels[row])


class ImageFiles:
    """A sequence of image files, decoded on access; an `UnreadableImageError` names a bad file."""

    def __init__(self, paths: Paths, bit_depth: int | None = None) -> None:
        self.paths, self.bit_depth = flat_paths(paths), bit_depth

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> DecodedImage:
        return decode_image(self.paths[row].as_py(), bit_depth=self.bit_depth)


class AugmentedDataset(data.Dataset[tuple[Tensor, Any]]):
    """The training images, augmented: a sample is a pure function of (seed, epoch, row).

    Indexed by a `Sample`, it returns (uint8 3×size×size, label). Indexed by a list of samples, it returns a batch:
    uint8 N×3×size×size in channels-last memory, and int64 labels, N.

    Args:
        images: image files, or the images of a pixel store.
        labels: class index of each.
        augmentation: applied to every sample.
        seed: of the augmentation.

    Raises:
        ValueError: the numbers of images and labels differ.
    """

    def __init__(self, images: Paths | StoredImages, labels: Labels, augmentation: Augmentation, seed: int) -> None:
        bit_depth = augmentation.preprocess.bit_depth
        self.images = images if isinstance(images, StoredImages) else ImageFiles(images, bit_depth)
        self.labels = flat_labels(labels, len(self.images))
        self.augmentation, self.seed = augmentation, seed

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, samples: Sample | list[Sample]) -> tuple[Tensor, Any]:
        if isinstance(samples, Sample):
            images, labels = self[[samples]]
            return images[0], int(labels[0])
        size = self.augmentation.preprocess.size
        images = torch.empty((len(samples), size, size, 3), dtype=torch.uint8)
        for pixels, sample in zip(images.numpy(), samples, strict=True):
            self.augmentation(self.images[sample.row], sample_rng(self.seed, *sample), pixels)
        labels = torch.from_numpy(self.labels[[sample.row for sample in samples]])
        return images.permute(0, 3, 1, 2), labels


def flat_paths(paths: Paths) -> Any:
    """Store paths in one Arrow buffer, without a Python object for each."""
    if isinstance(paths, pd.Series) and paths.dtype == "str":
        return pa.array(paths, pa.large_string())
    return pa.array(map(str, paths), pa.large_string())


def flat_labels(labels: Labels, images: int) -> np.ndarray:
    """Return labels as int64; raise a ValueError unless there is one for each image."""
    if images != len(labels):
        raise ValueError(f"{images} paths but {len(labels)} labels")
    return np.asarray(labels, dtype=np.int64)
