"""`--budget`: how many epochs fit into a time, and whether compiling pays, from how long a few steps take."""

import dataclasses
import time
from collections.abc import Callable, Iterator
from itertools import islice

import torch
from torch import Tensor

from resnet50.model.forward import forward_batches
from resnet50.options import TrainOptions
from resnet50.runtime.console import duration, say, warn
from resnet50.runtime.device import Device
from resnet50.training.loop import train_step
from resnet50.training.optim import train_mode
from resnet50.training.setup.compile import decide_compile, needs_timing
from resnet50.training.setup.resolve import parse_duration
from resnet50.training.training import Training


def fit_to_budget(
    options: TrainOptions, spare: Callable[[], Training], device: Device
) -> tuple[TrainOptions, list[str]]:
    """Decide what depends on how long an epoch takes: the number of epochs, and whether to compile.

    Args:
        options: resolved but for these two.
        spare: builds a training to measure with, whose state is spoiled by that.
        device: what the run trains on.

    Returns:
        The options with concrete values, and a sentence on each decision.
    """
    epoch_seconds, decisions = 0.0, list[str]()
    if options.budget is not None or needs_timing(options, device):
        say("measuring a few steps, to see how long an epoch takes")
        epoch_seconds = measure_epoch(spare())
    if options.budget is not None:
        epochs = epochs_within(options.budget, epoch_seconds)
        decisions.append(f"{epochs} epochs of about {duration(epoch_seconds)} each: what fits into {options.budget}")
        options = dataclasses.replace(options, epochs=epochs, budget=None)
    compiled, why = decide_compile(options, device, epoch_seconds * options.epochs)
    decisions.append(f"the step is {'compiled' if compiled else 'not compiled'}: {why}")
    return dataclasses.replace(options, compile="on" if compiled else "off"), decisions


def epochs_within(budget: str, epoch_seconds: float) -> int:
    """Return how many epochs fit into the budget; at least one, with a warning if even that is too much."""
    seconds = parse_duration(budget, "--budget")
    if epoch_seconds > seconds:
        warn(f"one epoch takes about {duration(epoch_seconds)}, more than the budget of {budget}")
    return max(1, int(seconds / epoch_seconds))


def measure_epoch(training: Training) -> float:
    """Estimate the seconds of an epoch from a few steps and validation batches. This spoils the training's state."""
    network, data, device = training.state.network, training.data, training.device
    train_mode(network)

    def validation_step(batch: tuple[Tensor, Tensor]) -> object:
        return list(forward_batches(network, [batch], data.preprocess, device, data.forward))

    step = median_seconds(iter(data.train), lambda batch: train_step(training, *batch), device)
    # Not to the end of the iterator: that would keep every batch in memory.
    validation = median_seconds(islice(data.val, len(data.val)), validation_step, device)
    return step * len(data.order) + validation * len(data.val)


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
