"""Is the loader the bottleneck? The time that training waits for batches, and what to do about it."""

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

Batch = TypeVar("Batch")

WAITING_SHARE = 0.1
"""Share of an epoch spent waiting for batches from which the loader is the bottleneck."""


class Waiting:
    """Adds up the seconds that whoever takes batches waits for them."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def on(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Yield the batches as they come."""
        start = time.perf_counter()
        for batch in batches:
            self.seconds += time.perf_counter() - start
            yield batch
            start = time.perf_counter()


def faster_loading(options: Mapping[str, Any]) -> str:
    """Say what makes the loader of a run with these options faster, the best first."""
    ways: list[str] = []
    if not options.get("store"):
        ways.append("keep decoded photos: run `resnet50 prepare` without --no-store (and train without it)")
    if options.get("augment") == "standard":
        ways.append("--augment light, which costs a tenth of standard")
    ways.append(f"more loader processes than --workers {options.get('workers')}, if there are cores to spare")
    return ", or ".join(ways)
