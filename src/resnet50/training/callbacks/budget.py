"""Keeps a run within its budget: plans its steps anew when they turn out slower or faster than expected."""

import time
from collections import deque
from pathlib import Path

from resnet50.training.budget import BudgetClock, Costs, steps_within
from resnet50.training.callbacks.callback import Callback
from resnet50.training.metrics import EpochMetrics
from resnet50.training.recovery.run_folder import write_config
from resnet50.training.state import TrainState
from resnet50.training.training import Training

REPLANS = 50
"""Times that a run's plan is checked within its epochs, at most."""

RECENT = 50
"""Steps whose mean time the next ones are expected to take; an epoch, if it is shorter."""

TOLERANCE = 0.02
"""Share of the steps left by which a new plan must differ, so that it is worth a record."""


class BudgetCallback(Callback):
    """Changes the total steps of the schedule at the end of an epoch, and some times within one.

    Among several processes the first decides, each time after the same step. Comes last of all callbacks, so that
    what the others do at the end of an epoch counts.
    """

    def __init__(self, clock: BudgetClock, folder: Path) -> None:
        self.clock, self.folder = clock, folder
        self.steps: deque[float] = deque(maxlen=RECENT)
        self.started = False
        self.last = time.perf_counter()

    def lap(self) -> float:
        """Return the seconds since the last lap."""
        before, self.last = self.last, time.perf_counter()
        return self.last - before

    def on_epoch_start(self, training: Training) -> None:
        """Start the clock of the first step."""
        del training
        self.lap()

    def on_step_end(self, training: Training) -> None:
        """Take the time of a step; now and then, plan anew."""
        seconds = self.lap()
        self.record(training)
        if not self.started:  # the first step may have compiled, or filled caches: it says nothing about the next
            self.started = True
            return
        self.steps.append(seconds)
        if training.state.step % max(1, training.state.schedule.total_steps // REPLANS) == 0:
            self.replan(training)

    def on_validation_step_end(self, training: Training) -> None:
        """Keep count of the time."""
        self.record(training)

    def on_wait(self, training: Training) -> None:
        """Keep count of the time."""
        self.record(training)

    def on_epoch_end(self, training: Training, metrics: EpochMetrics, best: bool) -> None:
        """Take the time of an epoch's end, and plan anew."""
        del metrics, best
        state = training.state
        state.epoch_end_seconds, state.step_seconds = self.lap(), self.step_seconds(state)
        self.replan(training)

    def record(self, training: Training) -> None:
        """Write the time spent, in the main process."""
        if training.device.dist.is_main:
            self.clock.record(self.folder)

    def step_seconds(self, state: TrainState) -> float:
        """Return what the next step will take."""
        return sum(self.steps) / len(self.steps) if self.steps else state.step_seconds

    def costs(self, training: Training) -> Costs:
        """Return what steps and the ends of epochs will take: if steps have become slower, so have those."""
        state = training.state
        step = self.step_seconds(state)
        return Costs(step, state.epoch_end_seconds * step / state.step_seconds)

    def replan(self, training: Training) -> None:
        """Change the total steps, if that takes the run closer to its budget; then write it into `config.yaml`."""
        state, schedule, dist = training.state, training.state.schedule, training.device.dist
        assert state.budget is not None
        more = steps_within(self.clock.left(state.budget), self.costs(training), state.step, schedule.steps_per_epoch)
        total = dist.broadcast(min(state.step + more, state.most_steps))
        if abs(total - schedule.total_steps) <= TOLERANCE * (schedule.total_steps - state.step):
            return
        schedule.replan(state.step, total)
        if dist.is_main:
            write_config(training.planned_options())
