"""Timing on a CPU or GPU, with rounds that are long enough to be meaningful."""

import math
import time
from collections.abc import Callable

import torch

from resnet50.bench.rounds import Workload

ROUND_SECONDS = 2.0
"""Shortest duration of a round; faster work is repeated within it."""


def seconds_of(work: Callable[[], object], device: torch.device) -> float:
    """Time a function, from an idle device to an idle device."""
    if device.type == "cuda":
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        torch.cuda.synchronize(device)
        start.record()
        work()
        end.record()
        torch.cuda.synchronize(device)
        return start.elapsed_time(end) / 1000
    start_time = time.perf_counter()
    work()
    if device.type == "mps":
        torch.mps.synchronize()
    return time.perf_counter() - start_time


def repeated(
    work: Callable[[], object], images: int, device: torch.device, shortest: float = ROUND_SECONDS
) -> Workload:
    """Warm up; return a workload that measures images/s, repeating the work to fill `shortest` seconds per round."""
    work()
    repetitions = max(1, math.ceil(shortest / seconds_of(work, device)))

    def repeat() -> None:
        for _ in range(repetitions):
            work()

    return lambda: repetitions * images / seconds_of(repeat, device)
