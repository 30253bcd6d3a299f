"""How long an epoch will take, from a few of its steps."""

import time
from collections.abc import Callable, Iterator
from itertools import islice

import torch
from torch import Tensor

from resnet50.training.loop import (
    Training,
    forward_batches,
    remaining_batches,
    skipping_unreadable,
    train_step,
)
from resnet50.training.machine import Machine
from resnet50.training.optim import train_mode


def measure_epoch(training: Training) -> float:
    """Estimate the seconds of an epoch from a few steps and validation batches. The state is spoilt by it."""
    network, data, machine = training.state.network, training.data, training.machine
    train_mode(network)
    step = median_seconds(remaining_batches(training), lambda batch: train_step(training, *batch), machine)

    def forward(batch: tuple[Tensor, Tensor]) -> object:
        return list(forward_batches(network, [batch], data.preprocess, machine, data.forward))

    def validation_batch() -> float:
        # Not to the end of the iterator, from where on batches would be kept that an image may be missing from.
        return median_seconds(islice(data.val, len(data.val)), forward, machine)

    return step * len(data.order) + skipping_unreadable(training, validation_batch) * len(data.val)


def median_seconds(
    batches: Iterator[tuple[Tensor, Tensor]], work: Callable[[tuple[Tensor, Tensor]], object], machine: Machine
) -> float:
    """Return the median time of getting and working on up to five batches, after two to warm up."""
    times: list[float] = []
    start = time.perf_counter()
    for _, batch in zip(range(7), batches, strict=False):
        work(batch)
        if machine.device.type == "cuda":
            torch.cuda.synchronize(machine.device)
        times.append(time.perf_counter() - start)
        start = time.perf_counter()
    measured = sorted(times[2:] or times[-1:])
    return measured[len(measured) // 2]
