"""How many threads a network should use: fewer than there are cores, where other programs use those."""

import os
import time
from collections.abc import Callable

import torch
from torch import nn

from resnet50.runtime.cpu import available_cores

ROUNDS = 4
"""Rounds in which the candidates take turns, so that what passes soon affects all of them."""

ROUND_SECONDS = 0.05

WORTH = 1.25
"""Fewer threads must be so many times as fast: below that, the next measurement may say the opposite."""


def choose_threads() -> tuple[int, str]:
    """Return how many threads are the fastest now, or `OMP_NUM_THREADS`; and a sentence on it if they are few.

    A step has thousands of short parallel loops, and each ends when its last thread does. Beside another program, one
    of the threads waits for its turn on a core in nearly all of them: a step then takes up to twenty times as long, and
    one thread alone is faster than all. How long threads spin before they sleep changes little about that.
    """
    cores, given = available_cores(), os.environ.get("OMP_NUM_THREADS", "")
    if given.isdecimal() and int(given) > 0:
        return int(given), ""
    candidates = sorted({cores, max(1, cores - 1), max(1, cores // 2), 1}, reverse=True)
    rates = measured_rates(candidates, small_block()) if cores > 1 else {cores: 1.0}
    best = max(candidates, key=lambda threads: rates[threads])
    gain = rates[best] / rates[cores]
    if gain < WORTH:
        return cores, ""
    return best, (
        f"other programs use the cores: {best} of {cores} threads, now {gain:.1f} times as fast as all of them "
        "(--threads sets another number)"
    )


def measured_rates(candidates: list[int], work: Callable[[], object]) -> dict[int, float]:
    """Return how often each number of threads does some work in a second."""
    before = torch.get_num_threads()
    done, seconds = dict.fromkeys(candidates, 0), dict.fromkeys(candidates, 0.0)
    for _ in range(ROUNDS):
        for threads in candidates:
            torch.set_num_threads(threads)
            work()  # starts the threads
            start = time.perf_counter()
            while (passed := time.perf_counter() - start) < ROUND_SECONDS:
                work()
                done[threads] += 1
            seconds[threads] += passed
    torch.set_num_threads(before)
    return {threads: done[threads] / seconds[threads] for threads in candidates}


def small_block() -> Callable[[], object]:
    """Return a forward and backward pass through a small residual block: loops as short as those of a step."""
    with torch.random.fork_rng(devices=[]):
        block = nn.Sequential(
            nn.Conv2d(256, 64, 1, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.Conv2d(64, 64, 3, padding=1, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.Conv2d(64, 256, 1, bias=False),
            nn.BatchNorm2d(256),
        ).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        images = torch.randn(8, 256, 14, 14).to(memory_format=torch.channels_last)

    def work() -> None:
        torch.relu(block(images) + images).sum().backward()

    return work
