"""The PyTorch datasets: photos and labels in, (uint8 tensor, label) out."""

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

from resnet50.data.transforms import Augmentation, sample_rng
from resnet50.etl.decode import DecodedImage, decode, decode_image
from resnet50.etl.store import StoredImages

Paths = Sequence[str | Path] | pd.Series
Labels = Sequence[int] | pd.Series
"""Columns of a table, or anything like a list."""


class Sample(NamedTuple):
    """A row of the table as it is in one epoch."""

    epoch: int
    row: int


class ImageDataset(data.Dataset[tuple[Tensor, int]]):
    """Images with labels, each always the same: what evaluation, prediction and anyone's own loop reads."""

    def __init__(self, paths: Paths, labels: Labels, transform: Callable[[Image.Image], Tensor]) -> None:
        """Keep paths and labels as flat arrays, which loader processes share instead of copying.

        Args:
            paths: image files.
            labels: class index of each.
            transform: maps an RGB image to a tensor; a `Preprocess`, or any of torchvision's transforms.
        """
        self.paths = flat_paths(paths)
        self.labels = flat_labels(labels, len(self.paths))
        self.transform = transform

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        """Return image (as `transform` makes it, 3×H×W) and label of a row; UnreadableImageError names a bad file."""
        return self.transform(decode(self.paths[row].as_py())), int(self.labels[row])


class ImageFiles:
    """Photos in files, decoded whenever they are asked for."""

    def __init__(self, paths: Paths) -> None:
        self.paths = flat_paths(paths)

    def __len__(self) -> int:
        """Return the number of photos."""
        return len(self.paths)

    def __getitem__(self, row: int) -> DecodedImage:
        """Return a photo; UnreadableImageError names a bad file."""
        return decode_image(self.paths[row].as_py())


class AugmentedDataset(data.Dataset[tuple[Tensor, Any]]):
    """The same images as training sees them: a sample is a pure function of (seed, epoch, row)."""

    def __init__(self, photos: Paths | StoredImages, labels: Labels, augmentation: Augmentation, seed: int) -> None:
        """Take image files, or the photos of a pixel store."""
        self.photos = photos if isinstance(photos, StoredImages) else ImageFiles(photos)
        self.labels = flat_labels(labels, len(self.photos))
        self.augmentation, self.seed = augmentation, seed

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)

    def __getitem__(self, samples: Sample | list[Sample]) -> tuple[Tensor, Any]:
        """Return the augmented image (uint8, 3×size×size) and label of a sample, or those of a batch as two tensors."""
        if isinstance(samples, Sample):
            images, labels = self[[samples]]
            return images[0], int(labels[0])
        size = self.augmentation.preprocess.size
        images = torch.empty((len(samples), size, size, 3), dtype=torch.uint8)
        for pixels, sample in zip(images.numpy(), samples, strict=True):
            self.augmentation(self.photos[sample.row], sample_rng(self.seed, *sample), pixels)
        labels = torch.from_numpy(self.labels[[sample.row for sample in samples]])
        return images.permute(0, 3, 1, 2), labels  # channels last in memory


def flat_paths(paths: Paths) -> Any:
    """Return paths as one Arrow buffer, without a Python object for each."""
    if isinstance(paths, pd.Series) and paths.dtype == "str":
        return pa.array(paths, pa.large_string())
    return pa.array(map(str, paths), pa.large_string())


def flat_labels(labels: Labels, images: int) -> np.ndarray:
    """Return labels as int64; a ValueError unless there is one for each image."""
    if images != len(labels):
        raise ValueError(f"{images} paths but {len(labels)} labels")
    return np.asarray(labels, dtype=np.int64)
