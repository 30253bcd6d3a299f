"""How long an epoch will take."""

import math
import time
from dataclasses import replace
from typing import Any

import pytest
import torch

from resnet50.training.budget import Costs
from resnet50.training.setup import budget as measuring
from resnet50.training.setup.budget import measure, median_seconds
from resnet50.training.training import Training, TrainingData
from tests.training.conftest import CPU, OPTIONS, fresh_state


def test_an_epoch_is_estimated_from_a_few_steps(data: TrainingData) -> None:
    costs = measure(Training(fresh_state(), data, OPTIONS, CPU), math.inf)
    assert costs.step > 0 < costs.epoch_end


def test_an_epoch_is_its_steps_and_its_validation(data: TrainingData, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter([2.0, 0.5])
    monkeypatch.setattr(measuring, "median_seconds", lambda *_: next(seconds))
    assert measure(Training(fresh_state(), data, OPTIONS, CPU), math.inf) == Costs(2.0, 0.5 * len(data.val))


def test_what_warms_up_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    now, taken = [0.0], iter([100.0, 50.0, 3.0, 1.0, 2.0])
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    def work(batch: Any) -> None:
        now[0] += next(taken)

    batches = iter([(torch.zeros(1), torch.zeros(1))] * 5)
    assert median_seconds(batches, work, CPU) == 2.0


def test_measuring_ends_early_where_steps_are_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    now, steps = [0.0], [0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    def work(batch: Any) -> None:
        steps[0] += 1
        now[0] += 30.0

    assert median_seconds(iter([(torch.zeros(1), torch.zeros(1))] * 7), work, CPU, until=10.0) == 30.0
    assert steps == [2]


def test_several_processes_measure_the_same_number_of_steps(
    data: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: list[float] = []
    monkeypatch.setattr(measuring, "median_seconds", lambda *values: limits.append(values[-1]) or 1.0)
    several = replace(CPU, dist=replace(CPU.dist, world_size=2))
    measure(Training(fresh_state(), data, OPTIONS, several), 0.0)
    assert limits == [math.inf, math.inf]
