"""The PyTorch datasets: image files and labels in, (uint8 tensor, label) out."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
from PIL import Image
from torch import Tensor
from torch.utils import data

from resnet50.data.transforms import Augmentation, sample_rng
from resnet50.etl.decode import decode

Paths = Sequence[str | Path] | pd.Series
Labels = Sequence[int] | pd.Series
"""Columns of a table, or anything like a list."""


class Sample(NamedTuple):
    """A row of the table as it is in one epoch."""

    epoch: int
    row: int


class Dataset(data.Dataset[tuple[Tensor, int]]):
    """Images with labels, each always the same: what evaluation, prediction and anyone's own loop reads."""

    def __init__(self, paths: Paths, labels: Labels, transform: Callable[[Image.Image], Tensor]) -> None:
        """Keep paths and labels as flat arrays, which loader processes share instead of copying.

        Args:
            paths: image files.
            labels: class index of each.
            transform: maps an RGB image to a tensor; a `Preprocess`, or any of torchvision's transforms.
        """
        self.paths, self.labels = flat_columns(paths, labels)
        self.transform = transform

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        """Return image (as `transform` makes it, 3×H×W) and label of a row; UnreadableImageError names a bad file."""
        return self.transform(decode(self.paths[row].as_py())), int(self.labels[row])


class AugmentedDataset(data.Dataset[tuple[Tensor, int]]):
    """The same images as training sees them: a sample is a pure function of (seed, epoch, row)."""

    def __init__(self, paths: Paths, labels: Labels, augmentation: Augmentation, seed: int) -> None:
        self.paths, self.labels = flat_columns(paths, labels)
        self.augmentation, self.seed = augmentation, seed

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)

    def __getitem__(self, sample: Sample) -> tuple[Tensor, int]:
        """Return the augmented image (uint8, 3×size×size) and its label."""
        epoch, row = sample
        image = decode(self.paths[row].as_py())
        return self.augmentation(image, sample_rng(self.seed, epoch, row)), int(self.labels[row])


def flat_columns(paths: Paths, labels: Labels) -> tuple[Any, np.ndarray]:
    """Return paths as one Arrow buffer and labels as int64, both without a Python object per row."""
    if len(paths) != len(labels):
        raise ValueError(f"{len(paths)} paths but {len(labels)} labels")
    return pa.array([str(path) for path in paths], pa.string()), np.asarray(labels, dtype=np.int64)
