"""Parameter groups, schedules against torch's, freezing, the running average."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.optim import SGD, AdamW, lr_scheduler

from resnet50.model import resnet18
from resnet50.options import TrainOptions
from resnet50.runtime.errors import UserError
from resnet50.training.optim import (
    Schedule,
    format_plan,
    freeze_stages,
    make_optimizer,
    make_schedule,
    parse_milestones,
    parse_plan,
    train_mode,
    update_average,
)

OPTIONS = TrainOptions(dataset=Path("d"), out=Path("r"), lr=0.1, head_lr=0.5, weight_decay=0.05)


def test_weights_decay_and_norms_and_biases_do_not() -> None:
    network = resnet18(3)
    optimizer = make_optimizer(network, OPTIONS)
    decayed = {id(p) for group in optimizer.param_groups if group["weight_decay"] > 0 for p in group["params"]}
    for module in network.modules():
        for name, parameter in module.named_parameters(recurse=False):
            is_weight = isinstance(module, (nn.Conv2d, nn.Linear)) and name == "weight"
            assert (id(parameter) in decayed) == is_weight
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(network.parameters()))


def test_the_head_has_its_own_rate() -> None:
    network = resnet18(3)
    optimizer = make_optimizer(network, OPTIONS)
    rates = {id(p): group["peak_lr"] for group in optimizer.param_groups for p in group["params"]}
    assert {rates[id(p)] for p in network.fc.parameters()} == {0.5}
    assert rates[id(network.conv1.weight)] == 0.1


@pytest.mark.parametrize("zero", [0.0, float("0"), 0])
def test_zero_weight_decay_puts_every_parameter_into_one_group_only(zero: float) -> None:
    network = resnet18(3)
    optimizer = make_optimizer(network, replace(OPTIONS, weight_decay=zero))
    parameters = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert len(parameters) == len(set(parameters)) == len(list(network.parameters()))


@pytest.mark.parametrize(("name", "kind"), [("adamw", AdamW), ("adam", torch.optim.Adam), ("sgd", SGD)])
def test_the_named_optimizer_is_built(name: str, kind: type) -> None:
    assert type(make_optimizer(resnet18(2), replace(OPTIONS, optimizer=name))) is kind


def test_sgd_uses_nesterov_momentum() -> None:
    group = make_optimizer(resnet18(2), replace(OPTIONS, optimizer="sgd", momentum=0.8)).param_groups[0]
    assert (group["momentum"], group["nesterov"]) == (0.8, True)


@pytest.mark.parametrize("count", range(6))
def test_frozen_stages_keep_weights_and_batch_norm_statistics(count: int) -> None:
    network = resnet18(3)
    freeze_stages(network, count)
    optimizer = make_optimizer(network, OPTIONS)
    for group in optimizer.param_groups:
        group["lr"] = 0.1
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    train_mode(network)
    network(torch.randn(4, 3, 64, 64)).square().sum().backward()
    optimizer.step()
    stages = [("conv1", "bn1"), ("layer1",), ("layer2",), ("layer3",), ("layer4",)]
    frozen = tuple(f"{name}." for stage in stages[:count] for name in stage)
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name]) == name.startswith(frozen), name


@pytest.mark.parametrize("count", [-1, 6])
def test_freezing_more_stages_than_there_are_is_refused(count: int) -> None:
    with pytest.raises(UserError, match="5 stages"):
        freeze_stages(resnet18(2), count)


def schedule(name: str, warmup_steps: int = 0, steps: int = 100) -> Schedule:
    return Schedule(name, steps, 10, warmup_steps, (0.6, 0.85), step_epochs=3, decay=0.1, patience=1)  # pyright: ignore


def rates_of(make: Callable[[torch.optim.Optimizer], lr_scheduler.LRScheduler], steps: int = 100) -> list[float]:
    """Return the learning rates that one of torch's schedulers gives, from a peak of 1."""
    optimizer = SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make(optimizer)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("constant", lambda o: lr_scheduler.ConstantLR(o, 1.0)),
        ("cosine", lambda o: lr_scheduler.CosineAnnealingLR(o, 100)),
        ("step", lambda o: lr_scheduler.StepLR(o, 30, 0.1)),
        ("multistep", lambda o: lr_scheduler.MultiStepLR(o, [60, 85], 0.1)),
    ],
)
def test_schedules_are_torchs(name: str, reference: Callable[..., lr_scheduler.LRScheduler]) -> None:
    ours = schedule(name)
    assert [ours.factor(step) for step in range(100)] == pytest.approx(rates_of(reference))


def test_onecycle_is_torchs() -> None:
    # torch counts the peak to the rise: 20 steps of warm-up and the peak are 21 of its 101 steps.
    reference = rates_of(
        lambda o: lr_scheduler.OneCycleLR(o, 1.0, total_steps=101, pct_start=21 / 101, cycle_momentum=False)
    )
    ours = schedule("onecycle", warmup_steps=20, steps=101)
    assert [ours.factor(step) for step in range(100)] == pytest.approx(reference)


@pytest.mark.parametrize("name", ["constant", "step", "multistep", "cosine", "plateau"])
def test_warmup_rises_in_equal_steps_to_the_peak(name: str) -> None:
    ours = schedule(name, warmup_steps=4)
    assert [ours.factor(step) for step in range(5)] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0], abs=1e-3)


def test_plateau_falls_as_torchs_does() -> None:
    losses = [1.0, 0.9, 0.95, 0.91, 0.92, 0.8, 0.85, 0.85, 0.85, 0.85, 0.85]
    optimizer = SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    reference = lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.1, patience=1, threshold=0.0)
    ours = schedule("plateau")
    for loss in losses:
        reference.step(loss)
        ours.take_validation_loss(loss)
        assert ours.factor(50) == pytest.approx(optimizer.param_groups[0]["lr"])
    assert ours.falls == 3


def test_the_schedule_spans_the_whole_run() -> None:
    made = make_schedule(replace(OPTIONS, epochs=4, warmup=0.1, schedule="cosine"), steps_per_epoch=25)
    assert (made.steps, made.warmup_steps) == (100, 10)
    assert made.factor(99) < 0.001


@pytest.mark.parametrize("text", ["", "a", "0.5,2", "0", "0.5;0.7"])
def test_milestones_that_are_no_shares_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="milestones"):
        parse_milestones(text)


def test_the_running_average_follows_its_definition() -> None:
    network, average = resnet18(2), resnet18(2)
    expected = 0.9 * average.fc.weight + 0.1 * network.fc.weight
    update_average(average, network, decay=0.9, step=10_000)
    torch.testing.assert_close(average.fc.weight, expected)


def test_the_running_average_forgets_its_start_quickly() -> None:
    network, average = resnet18(2), resnet18(2)
    start = average.fc.weight.clone()
    for step in range(1, 51):
        update_average(average, network, decay=0.99, step=step)
    left = ((average.fc.weight - network.fc.weight).norm() / (start - network.fc.weight).norm()).item()
    assert left < 1e-3 < 0.99**50


def test_the_running_average_includes_batch_norm_statistics() -> None:
    network, average = resnet18(2), resnet18(2)
    network.bn1.running_mean.fill_(3.0)
    update_average(average, network, decay=0.0, step=1)
    assert average.bn1.running_mean.mean() == 3.0
    assert math.isfinite(average.bn1.running_var.mean())


def test_a_new_plan_stretches_what_is_left_of_the_schedule() -> None:
    ours = schedule("cosine", warmup_steps=20)
    before = [ours.factor(step) for step in range(50)]
    ours.replan(50, 150)
    assert [ours.factor(step) for step in range(50)] == before
    assert [ours.factor(50 + 2 * step) for step in range(50)] == pytest.approx(
        [schedule("cosine", warmup_steps=20).factor(50 + step) for step in range(50)]
    )
    assert (ours.total_steps, ours.epochs) == (150, 15)


def test_plans_follow_one_another() -> None:
    ours = schedule("cosine")
    ours.replan(20, 60)
    ours.replan(40, 50)
    assert [ours.place(step) for step in (0, 20, 30, 40, 45, 50)] == pytest.approx([0, 20, 40, 60, 80, 100])
    ours.replan(40, 45)
    assert ours.replans == [(20, 60), (40, 45)]
    assert ours.epochs == 5


def test_without_a_new_plan_every_step_stands_where_it_did() -> None:
    ours = schedule("onecycle", steps=997)
    assert [ours.place(step) for step in range(997)] == list(range(997))


def test_a_plan_is_read_as_it_was_written() -> None:
    text = "0:820,82:790,500:801"
    made = make_schedule(replace(OPTIONS, plan=text, epochs=3), steps_per_epoch=82)
    assert (made.steps, made.total_steps) == (820, 801)
    assert format_plan(made) == text


@pytest.mark.parametrize(
    "text", ["", "820", "1:820", "0:0", "0:820,82", "0:820,90:800,82:790", "0:820,82:80", "0:9,10:12"]
)
def test_a_plan_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="--plan"):
        parse_plan(text)
