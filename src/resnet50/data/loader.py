"""`DataLoader`s: shuffled for training, in order for evaluation. Both hand over uint8 batches."""

from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from resnet50.data.dataset import AugmentedDataset, Dataset, Sample

Batches = DataLoader[tuple[Tensor, Tensor]]


class EpochBatches(Sampler[list[Sample]]):
    """The batches of an epoch in an order that (seed, epoch) alone gives. Set `epoch` before each pass."""

    def __init__(self, rows: int, batch_size: int, seed: int) -> None:
        self.rows, self.batch_size, self.seed = rows, batch_size, seed
        self.epoch = 0

    def __len__(self) -> int:
        """Return batches per epoch: an incomplete last one is dropped, unless it is the only one."""
        return max(1, self.rows // self.batch_size)

    def __iter__(self) -> Iterator[list[Sample]]:
        """Yield lists of (epoch, row)."""
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.rows)
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            yield [Sample(self.epoch, int(row)) for row in order[start : start + self.batch_size]]


def training_loader(dataset: AugmentedDataset, batch_size: int, workers: int) -> tuple[Batches, EpochBatches]:
    """Return a shuffled loader of (uint8 N×3×H×W, int64 N) and the sampler that knows the epoch."""
    sampler = EpochBatches(len(dataset), batch_size, dataset.seed)
    loader = DataLoader(
        cast(Any, dataset),  # an image is a tensor and its label a number; a batch is two tensors
        batch_sampler=sampler,  # pyright: ignore[reportArgumentType]  # torch types it for int indices only
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=single_thread,
    )
    return loader, sampler


def evaluation_loader(dataset: Dataset, batch_size: int, workers: int) -> Batches:
    """Return a loader over every row exactly once, in order; the last batch may be smaller."""
    return DataLoader(
        cast(Any, dataset),
        batch_size,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=single_thread,
    )


def single_thread(worker: int) -> None:
    """Keep a loader process to one core: the others belong to the network."""
    del worker
    torch.set_num_threads(1)
