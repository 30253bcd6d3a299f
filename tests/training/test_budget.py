"""How many steps fit into a time, and how the count of it goes on after an interruption."""

import time
from pathlib import Path

import pytest

from resnet50.runtime.clock import command_start, counting_from
from resnet50.training.budget import END_SECONDS, SPENT_FILE, TARGET, BudgetClock, Costs, spent_before, steps_within


def seconds_of(steps: int, costs: Costs, step: int, steps_per_epoch: int) -> float:
    """Return what some steps and the ends of their epochs take, counted one by one."""
    ends = {(step + number) // steps_per_epoch for number in range(steps)}
    return steps * costs.step + len(ends) * costs.epoch_end


@pytest.mark.parametrize("step", [0, 3, 7, 10])
@pytest.mark.parametrize("seconds", [1.0, 2.4, 9.9, 10.0, 33.0, 51.7])
@pytest.mark.parametrize("costs", [Costs(1.0, 2.5), Costs(0.375, 0.0), Costs(0.25, 8.0)])
def test_as_many_steps_fit_as_their_seconds_say(seconds: float, step: int, costs: Costs) -> None:
    steps = steps_within(seconds, costs, step, steps_per_epoch=10)
    assert steps == 0 or seconds_of(steps, costs, step, 10) <= seconds
    assert seconds_of(steps + 1, costs, step, 10) > seconds


def test_no_time_is_no_step() -> None:
    assert steps_within(-5.0, Costs(1.0, 1.0), 0, 10) == 0


def test_the_clock_counts_over_all_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    clock = BudgetClock(90.0)
    now[0] = 130.0
    assert clock.left(200.0) == pytest.approx(TARGET * 200.0 - END_SECONDS - 40.0)
    clock.record(tmp_path)
    assert BudgetClock(120.0, spent_before(tmp_path)).spent() == pytest.approx(50.0)


def test_the_clock_writes_at_most_once_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    clock = BudgetClock(0.0)
    for now[0] in (0.5, 1.2, 1.9):
        clock.record(tmp_path)
    assert (tmp_path / SPENT_FILE).read_text() == "1.2"


def test_nothing_was_spent_where_no_record_is(tmp_path: Path) -> None:
    assert spent_before(tmp_path) == 0.0
    (tmp_path / SPENT_FILE).write_text("1")
    assert spent_before(tmp_path) == 1.0
    (tmp_path / SPENT_FILE).write_text("")
    assert spent_before(tmp_path) == 0.0


def test_a_command_begins_when_its_process_does() -> None:
    with counting_from(12.5):
        assert command_start() == 12.5
    assert command_start() == pytest.approx(time.perf_counter(), abs=5)
