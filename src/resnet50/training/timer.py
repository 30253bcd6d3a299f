"""Where an epoch's time goes: steps, or waiting for the loader, and what to do about that."""

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

from resnet50.runtime.console import warn
from resnet50.training.callbacks.callback import Callback
from resnet50.training.metrics import EpochMetrics
from resnet50.training.state import TrainState
from resnet50.training.training import Training

Batch = TypeVar("Batch")

SLOW_LOADING = 0.1
"""Share of an epoch spent waiting for batches from which the loader is the bottleneck."""


class EpochTimer:
    """Adds the time that passes to a state's epoch, and of it the time spent waiting for batches."""

    def __init__(self, state: TrainState) -> None:
        self.state, self.last = state, time.perf_counter()

    def tick(self) -> float:
        """Add the time since the last tick; return the seconds of the epoch so far."""
        now = time.perf_counter()
        self.state.epoch_seconds += now - self.last
        self.last = now
        return self.state.epoch_seconds

    def data_time(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Yield the batches as they come, and count the time they take to come."""
        start = time.perf_counter()
        for batch in batches:
            self.state.epoch_waited += time.perf_counter() - start
            yield batch
            start = time.perf_counter()


class SlowLoadingWarning(Callback):
    """Says once when an epoch spent much of its time waiting for the loader."""

    def on_epoch_end(self, training: Training, metrics: EpochMetrics, best: bool) -> None:
        """Look at the second epoch: in the first the loader starts up."""
        del best
        share = metrics.wait_seconds / metrics.seconds
        if share > SLOW_LOADING and metrics.epoch == min(2, training.state.schedule.epochs):
            advice = loading_advice(vars(training.options))
            warn(f"{share:.0%} of the epoch went by waiting for images: {advice}")


def loading_advice(options: Mapping[str, Any]) -> str:
    """Say what makes the loader of a run with these options faster, the best first."""
    ways: list[str] = []
    if not options.get("store"):
        ways.append("keep decoded images: run `resnet50 prepare` without --no-store (and train without it)")
    if options.get("augment") == "standard":
        ways.append("--augment light, which costs a tenth of standard")
    ways.append(f"more loader processes than --workers {options.get('workers')}, if there are cores to spare")
    return ", or ".join(ways)
