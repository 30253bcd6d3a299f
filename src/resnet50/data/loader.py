"""`DataLoader`s: shuffled for training, in order for evaluation. All yield uint8 batches."""

import math
import os
import signal
import sys
from collections.abc import Iterator, Sequence, Sized
from threading import Thread
from typing import Any, Protocol, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from resnet50.data.dataset import AugmentedDataset, ImageDataset, Sample


class Batches(DataLoader[tuple[Tensor, Tensor]]):
    """A `DataLoader` whose worker processes survive a SIGTERM to all processes of a job: see `start_worker`."""

    def __iter__(self) -> Any:
        """Start the workers with SIGTERM blocked, also in threads that libraries start in them."""
        if sys.platform != "linux":
            return super().__iter__()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        try:
            return super().__iter__()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


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
    dataset: AugmentedDataset, batch_size: int, workers: int, rank: int = 0, world_size: int = 1
) -> tuple[Batches, EpochBatchSampler]:
    """Return a shuffled loader of (uint8 N×3×H×W, int64 N), and the sampler that knows the epoch."""
    sampler = EpochBatchSampler(len(dataset), batch_size, dataset.seed, rank, world_size)
    return batch_loader(dataset, sampler, workers), sampler


def ordered_loader(dataset: AugmentedDataset, batch_size: int, workers: int) -> Batches:
    """Return a loader over every row exactly once, in order, as in epoch 0."""
    return batch_loader(dataset, SequentialSampleSampler(len(dataset), batch_size), workers)


def batch_loader(dataset: AugmentedDataset, batches: Sampler[list[Sample]], workers: int) -> Batches:
    """Return a loader of the batches that lists of samples describe."""
    return Batches(
        cast(Any, dataset),
        batch_size=None,  # the dataset assembles a whole batch at once, in the memory that leaves the worker
        sampler=batches,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=start_worker,
    )


def evaluation_loader(
    dataset: ImageDataset, batch_size: int, workers: int, order: SequentialBatchSampler | None = None
) -> Batches:
    """Return a loader over every row exactly once, in order; the last batch may be smaller."""
    return Batches(
        cast(Any, dataset),
        batch_sampler=order or SequentialBatchSampler(len(dataset), batch_size),
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=start_worker,
    )


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


def start_worker(worker: int) -> None:
    """Keep a worker process to one core, and leave signals to its parent."""
    del worker
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":  # elsewhere nobody sends SIGTERM to all processes of a job
        Thread(target=end_with_parent, args=(os.getppid(),), daemon=True).start()


def end_with_parent(parent: int) -> None:
    """End this process at a SIGTERM from its parent, and at no other.

    Clusters, torchrun and `kill` send SIGTERM to every process of a job. Without its workers, training could neither
    finish its step nor write a checkpoint.
    """
    assert sys.platform == "linux"
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent == os.getppid():
        pass
    os._exit(0)
