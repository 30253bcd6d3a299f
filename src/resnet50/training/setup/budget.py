"""How many steps fit into a budget at first, and whether compiling pays, from how long a few steps take."""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from itertools import islice

import torch
from torch import Tensor

from resnet50.model.forward import forward_batches
from resnet50.options import TrainOptions
from resnet50.runtime.console import duration, say
from resnet50.runtime.device import Device
from resnet50.runtime.errors import UserError
from resnet50.training.budget import BudgetClock, Costs, steps_within
from resnet50.training.loop import train_step
from resnet50.training.optim import train_mode
from resnet50.training.setup.compile import decide_compile, needs_timing
from resnet50.training.setup.resolve import budget_seconds
from resnet50.training.training import Training

MEASURING_SHARE = 0.03
"""Share of a budget that measuring steps may take, but for two of them."""


def fit_to_budget(
    options: TrainOptions, spare: Callable[[], Training], device: Device, clock: BudgetClock
) -> tuple[TrainOptions, Costs | None, list[str]]:
    """Decide what depends on how long an epoch takes: the number of steps, and whether to compile.

    Args:
        options: resolved but for these two.
        spare: builds a training to measure with, whose state is spoiled by that.
        device: what the run trains on.
        clock: what the command has taken so far.

    Returns:
        The options with concrete values, the costs if they were measured, and a sentence on each decision.

    Raises:
        UserError: not a single step fits into the budget.
    """
    costs, epoch_seconds, decisions = None, 0.0, list[str]()
    if options.budget is not None or needs_timing(options, device):
        say("measuring a few steps, to see how long an epoch takes")
        training, budget = spare(), budget_seconds(options)
        costs = measure(training, math.inf if budget is None else MEASURING_SHARE * budget)
        steps_per_epoch = len(training.data.order)
        epoch_seconds = costs.step * steps_per_epoch + costs.epoch_end
        if budget is not None:
            options = plan_steps(options, clock.left(budget), costs, steps_per_epoch)
            decisions.append(f"planned for {duration(budget)}: {options.epochs} epochs of {duration(epoch_seconds)}")
    compiled, why = decide_compile(options, device, epoch_seconds * options.epochs)
    decisions.append(f"the step is {'compiled' if compiled else 'not compiled'}: {why}")
    return dataclasses.replace(options, compile="on" if compiled else "off"), costs, decisions


def plan_steps(options: TrainOptions, seconds: float, costs: Costs, steps_per_epoch: int) -> TrainOptions:
    """Return the options with a plan of the steps that fit into a time, in place of the budget."""
    steps = steps_within(seconds, costs, 0, steps_per_epoch)
    if steps < 1:
        raise UserError(
            f"--budget {options.budget} is over before the first step: {duration(max(0.0, seconds))} are left after "
            f"starting, a step takes {duration(costs.step)} and validating {duration(costs.epoch_end)}"
        )
    return dataclasses.replace(options, epochs=math.ceil(steps / steps_per_epoch), plan=f"0:{steps}", budget=None)


def measure(training: Training, seconds: float) -> Costs:
    """Estimate the costs of an epoch from a few steps and validation batches. This spoils the training's state.

    Args:
        training: to measure with.
        seconds: that it should not take much longer than.
    """
    network, data, device = training.state.network, training.data, training.device
    train_mode(network)

    def validation_step(batch: tuple[Tensor, Tensor]) -> object:
        return list(forward_batches(network, [batch], data.preprocess, device, data.forward))

    until = time.perf_counter() + seconds
    step = median_seconds(iter(data.train), lambda batch: train_step(training, *batch), device, until)
    # Not to the end of the iterator: that would keep every batch in memory.
    validation = median_seconds(islice(data.val, len(data.val)), validation_step, device, until)
    return Costs(step, validation * len(data.val))


def median_seconds(
    batches: Iterator[tuple[Tensor, Tensor]],
    work: Callable[[tuple[Tensor, Tensor]], object],
    device: Device,
    until: float = math.inf,
) -> float:
    """Return the median time of getting and working on up to five batches, after two to warm up; fewer, if late."""
    times: list[float] = []
    start = time.perf_counter()
    for _, batch in zip(range(7), batches, strict=False):
        work(batch)
        if device.torch_device.type == "cuda":
            torch.cuda.synchronize(device.torch_device)
        times.append(time.perf_counter() - start)
        start = time.perf_counter()
        if start > until and len(times) > 1:
            break
    measured = sorted(times[2:] or times[-1:])
    return measured[len(measured) // 2]
