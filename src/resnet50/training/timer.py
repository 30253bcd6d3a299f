"""Is the loader the bottleneck? The time that training waits for batches, and what to do about it."""

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

from resnet50.training.state import TrainState

Batch = TypeVar("Batch")

SLOW_LOADING = 0.1
"""Share of an epoch spent waiting for batches from which the loader is the bottleneck."""


class EpochTimer:
    """Adds the time that passes to a state's epoch, and of it the time spent waiting for batches."""

    def __init__(self, state: TrainState) -> None:
        self.state, self.last = state, time.perf_counter()

    def tick(self) -> float:
        """Add what has passed since the last time; return the seconds of the epoch so far."""
        now = time.perf_counter()
        self.state.epoch_seconds += now - self.last
        self.last = now
        return self.state.epoch_seconds

    def waiting(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Yield the batches as they come."""
        start = time.perf_counter()
        for batch in batches:
            self.state.epoch_waited += time.perf_counter() - start
            yield batch
            start = time.perf_counter()


def loading_advice(options: Mapping[str, Any]) -> str:
    """Say what makes the loader of a run with these options faster, the best first."""
    ways: list[str] = []
    if not options.get("store"):
        ways.append("keep decoded photos: run `resnet50 prepare` without --no-store (and train without it)")
    if options.get("augment") == "standard":
        ways.append("--augment light, which costs a tenth of standard")
    ways.append(f"more loader processes than --workers {options.get('workers')}, if there are cores to spare")
    return ", or ".join(ways)
