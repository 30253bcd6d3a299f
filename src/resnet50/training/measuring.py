"""How long an epoch will take, from a few of its steps."""

import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from resnet50.config import TrainOptions
from resnet50.training.loop import TrainingData, forward_batches, train_step
from resnet50.training.machine import Machine
from resnet50.training.optim import train_mode
from resnet50.training.state import TrainState


def measure_epoch(state: TrainState, data: TrainingData, options: TrainOptions, machine: Machine) -> float:
    """Estimate the seconds of an epoch from a few steps and validation batches. The state is spoilt by it."""
    train_mode(state.network)
    step = median_seconds(iter(data.train), lambda batch: train_step(state, *batch, data, options, machine), machine)
    forward = median_seconds(
        iter(data.val),
        lambda batch: sum(1 for _ in forward_batches(state.network, [batch], data.preprocess, machine, data.forward)),
        machine,
    )
    return step * len(data.order) + forward * len(data.val)


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
