"""How long an epoch will take, from a few of its steps."""

import time
from collections.abc import Callable, Iterator
from itertools import islice

import torch
from torch import Tensor

from resnet50.model.forward import forward_batches
from resnet50.runtime.device import Device
from resnet50.training.loop import (
    Training,
    remaining_batches,
    skipping_unreadable,
    train_step,
)
from resnet50.training.optim import train_mode


def measure_epoch(training: Training) -> float:
    """Estimate the seconds of an epoch from a few steps and validation batches. The state is spoiled by it."""
    network, data, device = training.state.network, training.data, training.device
    train_mode(network)
    step = median_seconds(remaining_batches(training), lambda batch: train_step(training, *batch), device)

    def forward(batch: tuple[Tensor, Tensor]) -> object:
        return list(forward_batches(network, [batch], data.preprocess, device, data.forward))

    def validation_batch() -> float:
        # Not to the end of the iterator, from where on batches would be kept that an image may be missing from.
        return median_seconds(islice(data.val, len(data.val)), forward, device)

    return step * len(data.order) + skipping_unreadable(training, validation_batch) * len(data.val)


def median_seconds(
    batches: Iterator[tuple[Tensor, Tensor]], work: Callable[[tuple[Tensor, Tensor]], object], device: Device
) -> float:
    """Return the median time of getting and working on up to five batches, after two to warm up."""
    times: list[float] = []
    start = time.perf_counter()
    for _, batch in zip(range(7), batches, strict=False):
        work(batch)
        if device.torch_device.type == "cuda":
            torch.cuda.synchronize(device.torch_device)
        times.append(time.perf_counter() - start)
        start = time.perf_counter()
    measured = sorted(times[2:] or times[-1:])
    return measured[len(measured) // 2]
