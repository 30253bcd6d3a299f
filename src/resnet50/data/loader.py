"""`DataLoader`s: shuffled for training, in order for evaluation. All hand over uint8 batches."""

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
    """A `DataLoader` of batches whose processes outlive a SIGTERM to all processes of a job: see `start_worker`."""

    def __iter__(self) -> Any:
        """Start them with the signal blocked, in every thread that any library starts in them."""
        if sys.platform != "linux":
            return super().__iter__()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        try:
            return super().__iter__()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Loader(Sized, Protocol):
    """Whatever hands over batches (N×3×H×W, N) and knows how many: a `DataLoader`, or batches that were kept."""

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]: ...


class EpochBatchSampler(Sampler[list[Sample]]):
    """The batches of an epoch in an order that (seed, epoch) alone gives.

    Attributes:
        epoch: set before each pass.
        first: the batch that the next pass begins with.
        skipped_samples: rows that are missing from their batches.
        share: which of how many processes this is: each takes its share of every batch.
    """

    def __init__(self, rows: int, batch_size: int, seed: int, share: tuple[int, int] = (0, 1)) -> None:
        self.rows, self.batch_size, self.seed, self.share = rows, batch_size, seed, share
        self.epoch = self.first = 0
        self.skipped_samples: Sequence[int] = ()

    def __len__(self) -> int:
        """Return batches per epoch: an incomplete last one is dropped, unless it is the only one."""
        return max(1, self.rows // self.batch_size)

    def __iter__(self) -> Iterator[list[Sample]]:
        """Yield lists of (epoch, row)."""
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.rows)
        for start in range(self.first * self.batch_size, len(self) * self.batch_size, self.batch_size):
            batch = order[start : start + self.batch_size][self.share[0] :: self.share[1]]
            yield [Sample(self.epoch, int(row)) for row in batch if row not in self.skipped_samples]


class SequentialBatchSampler(Sampler[list[int]]):
    """The rows of a table in batches, from its first to its last, each once, but for those in `skipped_samples`.

    With a `share`, only those that this one of so many processes takes.
    """

    def __init__(self, rows: int, batch_size: int, share: tuple[int, int] = (0, 1)) -> None:
        self.rows, self.batch_size, self.share = rows, batch_size, share
        self.skipped_samples: Sequence[int] = ()

    def __len__(self) -> int:
        """Return the number of batches; the last may be smaller."""
        return math.ceil(len(self.taken()) / self.batch_size)

    def taken(self) -> Sequence[int]:
        """Return the rows, in order."""
        rows = range(self.share[0], self.rows, self.share[1])
        return [row for row in rows if row not in self.skipped_samples] if self.skipped_samples else rows

    def __iter__(self) -> Iterator[list[int]]:
        rows = self.taken()
        for start in range(0, len(rows), self.batch_size):
            yield list(rows[start : start + self.batch_size])


class SequentialSampleSampler(Sampler[list[Sample]]):
    """The batches of a table from its first row to its last, each row once."""

    def __init__(self, rows: int, batch_size: int) -> None:
        self.rows, self.batch_size = rows, batch_size

    def __len__(self) -> int:
        """Return the number of batches; the last may be smaller."""
        return math.ceil(self.rows / self.batch_size)

    def __iter__(self) -> Iterator[list[Sample]]:
        """Yield lists of (epoch 0, row)."""
        for start in range(0, self.rows, self.batch_size):
            yield [Sample(0, row) for row in range(start, min(start + self.batch_size, self.rows))]


def training_loader(
    dataset: AugmentedDataset, batch_size: int, workers: int, share: tuple[int, int] = (0, 1)
) -> tuple[Batches, EpochBatchSampler]:
    """Return a shuffled loader of (uint8 N×3×H×W, int64 N) and the sampler that knows the epoch."""
    sampler = EpochBatchSampler(len(dataset), batch_size, dataset.seed, share)
    return batch_loader(dataset, sampler, workers), sampler


def ordered_loader(dataset: AugmentedDataset, batch_size: int, workers: int) -> Batches:
    """Return a loader over every row exactly once, in order, as in epoch 0."""
    return batch_loader(dataset, SequentialSampleSampler(len(dataset), batch_size), workers)


def batch_loader(dataset: AugmentedDataset, batches: Sampler[list[Sample]], workers: int) -> Batches:
    """Return a loader of the batches that lists of samples describe."""
    return Batches(
        cast(Any, dataset),
        batch_size=None,  # the dataset makes a whole batch at once, in the memory it is handed over in
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
    """Batches of a loader, kept in memory from the end of the first pass on: every later pass costs nothing."""

    def __init__(self, batches: Batches) -> None:
        self.batches: Batches | list[tuple[Tensor, Tensor]] = batches

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
        self.batches = kept  # and the loader's processes end


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
    """Keep a loader process to one core, the others are the network's; what a signal means is its parent's to say."""
    del worker
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":  # elsewhere nobody sends SIGTERM to all the processes of a job
        Thread(target=end_when_told, args=(os.getppid(),), daemon=True).start()


def end_when_told(parent: int) -> None:
    """End this process at a SIGTERM of its parent's.

    Clusters, torchrun and `kill` send theirs to every process of a job; without its loaders training could neither
    finish the step at hand nor write a checkpoint.
    """
    assert sys.platform == "linux"
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent == os.getppid():
        pass
    os._exit(0)
