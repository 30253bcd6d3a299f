"""`--budget`: how many steps fit into the time of a command, and how much of that all its starts have taken."""

import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

SPENT_FILE = ".spent"
"""File of the run folder with the seconds that the command has taken so far."""

TARGET = 0.98
"""Share of the budget that is planned for: the last steps may be slower than those before."""

END_SECONDS = 2.0
"""Time to write the last files and exit."""

WRITE_EVERY = 1.0
"""Seconds between two records of the time spent: so many a killed process may lose."""


@dataclass(frozen=True)
class Costs:
    """Seconds of a training step, and of an epoch's end: validation and all that is written."""

    step: float
    epoch_end: float

    def epoch(self, steps: int) -> float:
        """Return the seconds of an epoch of so many steps."""
        return self.step * steps + self.epoch_end


def steps_within(seconds: float, costs: Costs, step: int, steps_per_epoch: int) -> int:
    """Return how many more steps fit into a time, together with the ends of the epochs that they reach.

    Args:
        seconds: that are left.
        costs: of what is to come.
        step: that has been taken last, counted over the whole run.
        steps_per_epoch: in a whole epoch.
    """
    steps = 0
    while True:
        seconds -= costs.epoch_end  # of the epoch that the next step belongs to
        fitting, room = int(seconds // costs.step), steps_per_epoch - (step + steps) % steps_per_epoch
        if fitting < room:
            return steps + max(0, fitting)
        steps += room
        seconds -= room * costs.step


class BudgetClock:
    """The time that a command has taken, over all its starts but without the time between them."""

    def __init__(self, start: float, before: float = 0.0) -> None:
        """Begin.

        Args:
            start: of this start, as `time.perf_counter` counts.
            before: seconds that earlier starts took.
        """
        self.start, self.before = start, before
        self.written = start

    def spent(self) -> float:
        """Return the seconds so far."""
        return self.before + time.perf_counter() - self.start

    def left(self, budget: float) -> float:
        """Return the seconds that steps and epochs' ends may still take."""
        return TARGET * budget - END_SECONDS - self.spent()

    def record(self, folder: Path) -> None:
        """Write the seconds so far to the run folder, now and then."""
        if time.perf_counter() - self.written >= WRITE_EVERY:
            self.written = time.perf_counter()
            with suppress(OSError):  # a full disk ends the run where something is lost by it
                (folder / SPENT_FILE).write_text(f"{self.spent():.1f}")


def spent_before(folder: Path) -> float:
    """Return the seconds that earlier starts of a run have taken."""
    try:
        return float((folder / SPENT_FILE).read_text())
    except (OSError, ValueError):
        return 0.0
