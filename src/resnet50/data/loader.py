"""`DataLoader`s: shuffled for training, in order for evaluation. All yield uint8 batches."""

import math
from collections.abc import Callable, Iterator, Sequence, Sized
from typing import Protocol

import numpy as np
from torch import Tensor
from torch.utils.data import Sampler, default_collate

from resnet50.data.dataset import AugmentedDataset, ImageDataset, Sample
from resnet50.data.workers import Batches


class Loader(Sized, Protocol):
    """Anything that yields batches (N×3×H×W, N) and knows how many: a `DataLoader`, or batches in memory."""

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]: ...


class EpochBatchSampler(Sampler[list[Sample]]):
    """The batches of an epoch, in an order that (seed, epoch) alone determines.

    Each process takes its shard of every batch.

    Attributes:
        epoch: set before each pass.
        first: batch that the next pass begins with.
        skipped: rows that are left out of their batches.
    """

    def __init__(self, rows: int, batch_size: int, seed: int, rank: int = 0, world_size: int = 1) -> None:
        self.rows, self.batch_size, self.seed = rows, batch_size, seed
        self.rank, self.world_size = rank, world_size
        self.epoch = self.first = 0
        self.skipped: Sequence[int] = ()
        self.order: tuple[int, np.ndarray] | None = None

    def __len__(self) -> int:
        """Return batches per epoch: an incomplete last one is dropped, unless it is the only one."""
        return max(1, self.rows // self.batch_size)

    @property
    def epoch_samples(self) -> int:
        """Return how many samples an epoch has, over all processes."""
        return min(self.rows, len(self) * self.batch_size)

    def __iter__(self) -> Iterator[list[Sample]]:
        """Yield lists of (epoch, row)."""
        for number in range(self.first, len(self)):
            yield self.batch(number)

    def batch(self, number: int) -> list[Sample]:
        """Return the samples of one batch of the epoch."""
        if self.order is None or self.order[0] != self.epoch:
            self.order = self.epoch, np.random.default_rng([self.seed, self.epoch]).permutation(self.rows)
        start = number * self.batch_size
        shard = self.order[1][start : start + self.batch_size][self.rank :: self.world_size]
        return [Sample(self.epoch, int(row)) for row in shard if row not in self.skipped]


class SequentialBatchSampler(Sampler[list[int]]):
    """The rows of a table in batches, from its first to its last, each once.

    Each process takes every `world_size`-th row.

    Attributes:
        first: batch that the next pass begins with.
        skipped: rows that are left out.
    """

    def __init__(self, rows: int, batch_size: int, rank: int = 0, world_size: int = 1) -> None:
        self.rows, self.batch_size, self.rank, self.world_size = rows, batch_size, rank, world_size
        self.first = 0
        self.skipped: Sequence[int] = ()

    def __len__(self) -> int:
        """Return the number of batches; the last may be smaller."""
        return math.ceil(len(self.shard()) / self.batch_size)

    def shard(self) -> Sequence[int]:
        """Return this process's rows, in order."""
        rows = range(self.rank, self.rows, self.world_size)
        return [row for row in rows if row not in self.skipped] if self.skipped else rows

    def __iter__(self) -> Iterator[list[int]]:
        rows = self.shard()
        for start in range(self.first * self.batch_size, len(rows), self.batch_size):
            yield list(rows[start : start + self.batch_size])


class SequentialSampleSampler(Sampler[list[Sample]]):
    """The batches of a table from its first row to its last, each row once, as in epoch 0."""

    def __init__(self, rows: int, batch_size: int) -> None:
        self.batches = SequentialBatchSampler(rows, batch_size)

    def __len__(self) -> int:
        """Return the number of batches; the last may be smaller."""
        return len(self.batches)

    def __iter__(self) -> Iterator[list[Sample]]:
        """Yield lists of (epoch 0, row)."""
        for rows in self.batches:
            yield [Sample(0, row) for row in rows]


def training_loader(
    dataset: AugmentedDataset,
    batch_size: int,
    workers: int,
    rank: int = 0,
    world_size: int = 1,
    on_wait: Sequence[Callable[[], object]] = (),
) -> tuple[Batches, EpochBatchSampler]:
    """Return a shuffled loader of (uint8 N×3×H×W, int64 N), and the sampler that knows the epoch."""
    sampler = EpochBatchSampler(len(dataset), batch_size, dataset.seed, rank, world_size)
    return Batches(dataset, sampler, workers, as_it_is, assembled=True, on_wait=on_wait), sampler


def ordered_loader(dataset: AugmentedDataset, batch_size: int, workers: int) -> Batches:
    """Return a loader over every row exactly once, in order, as in epoch 0."""
    return Batches(dataset, SequentialSampleSampler(len(dataset), batch_size), workers, as_it_is, assembled=True)


def evaluation_loader(
    dataset: ImageDataset,
    batch_size: int,
    workers: int,
    order: SequentialBatchSampler | None = None,
    on_wait: Sequence[Callable[[], object]] = (),
) -> Batches:
    """Return a loader over every row exactly once, in order; the last batch may be smaller."""
    order = order or SequentialBatchSampler(len(dataset), batch_size)
    return Batches(dataset, order, workers, default_collate, assembled=False, on_wait=on_wait)


def as_it_is(batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Return a batch that the dataset has assembled: at once, in the memory that leaves the process."""
    return batch


class CachedLoader:
    """The batches of a loader, kept in memory from the end of the first pass on: every later pass costs nothing."""

    def __init__(self, batches: Loader) -> None:
        self.batches: Loader | list[tuple[Tensor, Tensor]] = batches

    def __len__(self) -> int:
        """Return the number of batches."""
        return len(self.batches)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        if isinstance(self.batches, list):
            yield from self.batches
            return
        kept: list[tuple[Tensor, Tensor]] = []
        for batch in self.batches:
            kept.append(batch)
            yield batch
        self.batches = kept  # which also ends the loader's processes


class TensorBatches:
    """Batches of images or features in memory (N×C×H×W) and labels (N): as `order` gives them, or in order."""

    def __init__(self, inputs: Tensor, labels: Tensor, batch_size: int, order: EpochBatchSampler | None = None) -> None:
        self.inputs, self.labels, self.batch_size, self.order = inputs, labels, batch_size, order

    def __len__(self) -> int:
        """Return batches per epoch."""
        return math.ceil(len(self.labels) / self.batch_size) if self.order is None else len(self.order)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        if self.order is None:
            yield from zip(self.inputs.split(self.batch_size), self.labels.split(self.batch_size), strict=True)
        else:
            for samples in self.order:
                rows = [sample.row for sample in samples]
                yield self.inputs[rows], self.labels[rows]
