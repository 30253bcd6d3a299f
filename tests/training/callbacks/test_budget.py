"""A run with a budget: its plan follows how long steps really take."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from resnet50.training.budget import BudgetClock
from resnet50.training.callbacks.budget import BudgetCallback
from resnet50.training.callbacks.callback import Callback
from resnet50.training.loop import fit
from resnet50.training.optim import parse_plan
from resnet50.training.training import Training, TrainingData
from tests.training.conftest import CPU, OPTIONS, fresh_state


class Slow(Callback):
    """Lets time pass: in each step, and at the end of an epoch."""

    def __init__(self, now: list[float], step_seconds: Callable[[int], float], epoch_end_seconds: float) -> None:
        self.now, self.step_seconds, self.epoch_end_seconds = now, step_seconds, epoch_end_seconds

    def on_step_end(self, training: Training) -> None:
        self.now[0] += self.step_seconds(training.state.step)

    def on_validation_step_end(self, training: Training) -> None:
        self.now[0] += self.epoch_end_seconds / len(training.data.val)


def fit_within(
    budget: float,
    step_seconds: Callable[[int], float],
    data: TrainingData,
    folder: Path,
    patch: pytest.MonkeyPatch,
    most_steps: int = 10_000,
) -> tuple[Training, float]:
    """Fit a run that was planned for steps of a second; return it and the time it took."""
    now = [0.0]
    patch.setattr(time, "perf_counter", lambda: now[0])
    options = replace(OPTIONS, out=folder, plan="0:80")
    training = Training(fresh_state(options), data, options, CPU)
    training.state.budget, training.state.step_seconds, training.state.epoch_end_seconds = budget, 1.0, 0.5
    training.state.most_steps = most_steps
    callbacks = (Slow(now, step_seconds, 0.5), BudgetCallback(BudgetClock(0.0), folder))
    fit(replace(training, callbacks=callbacks))
    return training, now[0]


@pytest.mark.parametrize(
    "step_seconds",
    [lambda _: 1.0, lambda _: 2.0, lambda _: 0.7, lambda step: 3.0 if step > 20 else 1.0],
    ids=["as planned", "slower", "faster", "slower later"],
)
def test_a_run_ends_within_its_budget(
    step_seconds: Callable[[int], float], data: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training, seconds = fit_within(100.0, step_seconds, data, tmp_path, monkeypatch)
    assert 0.9 * 100.0 <= seconds <= 100.0
    assert training.state.learning_rate_factor() < 0.01


def test_time_beyond_what_a_run_can_use_is_left(
    data: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training, seconds = fit_within(1000.0, lambda step: 1.0, data, tmp_path, monkeypatch, most_steps=90)
    assert training.state.step == 90
    assert seconds < 200


def test_the_plan_is_written_down(data: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training, _ = fit_within(100.0, lambda step: 1.0 if step < 10 else 4.0, data, tmp_path, monkeypatch)
    config = yaml.safe_load((tmp_path / "config.yaml").read_text())
    plan = parse_plan(config["plan"])
    assert plan[0] == (0, 80)
    assert len(plan) > 1
    assert plan[-1][1] == training.state.step
    assert config["epochs"] == training.state.epoch


def test_a_plan_that_holds_stays_as_it_is(data: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training, _ = fit_within(104.2, lambda _: 1.0, data, tmp_path, monkeypatch)
    assert training.state.schedule.replans == []
    assert training.state.step == 80
