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
from resnet50.training.optim import parse_plan, train_mode
from resnet50.training.setup.compile import decide_compile, needs_timing
from resnet50.training.setup.recipe import average_decay, most_epochs, size_for_time, usual_epochs
from resnet50.training.setup.resolve import budget_seconds
from resnet50.training.training import Training

MEASURING_SHARE = 0.03
"""Share of a budget that measuring steps may take, but for two of them."""


MEASURED_SIZE = {"cpu": 96}
"""Size at which steps are measured to choose a size, by device: small, where a step is slow; else 224."""


def size_for_budget(
    options: TrainOptions, spare: Callable[[TrainOptions], Training], device: Device, clock: BudgetClock
) -> tuple[int, str]:
    """Return the size to train at in a budget, and a sentence on it.

    Args:
        options: with the largest size that is useful.
        spare: builds a training to measure with, whose state is spoiled by that.
        device: what the run trains on.
        clock: what the command has taken so far.
    """
    budget = budget_seconds(options)
    assert budget is not None
    measured = min(MEASURED_SIZE.get(device.torch_device.type, 224), options.side)
    training = spare(dataclasses.replace(options, image_size=measured))
    costs = measure(training, MEASURING_SHARE * budget)

    def epoch_seconds(size: int) -> float:
        """Scale with the number of pixels."""
        return costs.epoch(len(training.data.order)) * (size / measured) ** 2

    size = size_for_time(options.side, clock.left(budget), epoch_seconds)
    passes = clock.left(budget) / epoch_seconds(size)
    return size, f"images of {size} pixels: {duration(budget)} are enough for about {passes:.1f} epochs of them"


def plan_length(
    options: TrainOptions, steps_per_epoch: int, spare: Callable[[], Training], device: Device, clock: BudgetClock
) -> tuple[TrainOptions, Costs | None, list[str]]:
    """Decide on the number of steps, and on what depends on it: the average of the weights, and whether to compile.

    Args:
        options: resolved but for these; a given number of epochs is the most that a budget is spent on.
        steps_per_epoch: in a whole epoch.
        spare: builds a training to measure with, whose state is spoiled by that.
        device: what the run trains on.
        clock: what the command has taken so far.

    Returns:
        The options with concrete values, the costs if they were measured, and a sentence on each decision.

    Raises:
        UserError: not a single step fits into the budget.
    """
    costs, budget, decisions = None, budget_seconds(options), list[str]()
    if budget is not None or needs_timing(options, device):
        say("measuring a few steps, to see how long an epoch takes")
        costs = measure(spare(), math.inf if budget is None else MEASURING_SHARE * budget)
    if budget is not None and costs is not None:
        options, decision = plan_steps(options, clock.left(budget), costs, steps_per_epoch)
        decisions.append(decision)
    steps = (options.epochs or usual_epochs(steps_per_epoch)) * steps_per_epoch
    if options.plan is not None:
        steps = parse_plan(options.plan)[-1][1]
    epochs = math.ceil(steps / steps_per_epoch)
    epoch_seconds = 0.0 if costs is None else costs.epoch(steps_per_epoch)
    compiled, why = decide_compile(options, device, epoch_seconds * epochs)
    decisions.append(f"the step is {'compiled' if compiled else 'not compiled'}: {why}")
    ema = average_decay(steps) if options.ema is None else options.ema
    return (
        dataclasses.replace(options, epochs=epochs, ema=ema, compile="on" if compiled else "off"),
        costs,
        decisions,
    )


def plan_steps(options: TrainOptions, seconds: float, costs: Costs, steps_per_epoch: int) -> tuple[TrainOptions, str]:
    """Return the options with the steps that fit into a time planned, in place of the budget; and a sentence on it."""
    fitting, most = steps_within(seconds, costs, 0, steps_per_epoch), most_steps(options, steps_per_epoch)
    steps = min(fitting, most)
    if steps < 1:
        raise UserError(
            f"--budget {options.budget} is over before the first step: {duration(max(0.0, seconds))} are left after "
            f"starting, a step takes {duration(costs.step)} and validating {duration(costs.epoch_end)}"
        )
    epoch_seconds = duration(costs.epoch(steps_per_epoch))
    decision = f"planned for {options.budget}: {steps / steps_per_epoch:.1f} epochs of {epoch_seconds}"
    if fitting > most:
        decision += "; that ends early, because more of them would not help (--epochs sets how many may be used)"
    planned = dataclasses.replace(options, epochs=math.ceil(steps / steps_per_epoch), plan=f"0:{steps}", budget=None)
    return planned, decision


def most_steps(options: TrainOptions, steps_per_epoch: int) -> int:
    """Return the steps after which a budget is not used any further."""
    return steps_per_epoch * (options.epochs or most_epochs(fine_tuning=options.weights != "none"))


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

    # Processes that average gradients must all take the same number of steps.
    until = time.perf_counter() + seconds if device.dist.world_size == 1 else math.inf
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
