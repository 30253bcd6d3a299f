"""Alternating rounds and their statistics: the ratio and its interval."""

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass

Workload = Callable[[], float]
"""Runs one round and returns its measurement: images/s, or seconds."""


@dataclass(frozen=True)
class Rounds:
    """Measurements of each round, in order; `limit` is empty if there is none."""

    candidate: list[float]
    baseline: list[float]
    limit: list[float]


@dataclass(frozen=True)
class Ratio:
    """Speed of the candidate relative to the baseline, with its 90% interval."""

    mean: float
    low: float
    high: float


def alternate(
    candidate: Workload, baseline: Workload, limit: Workload | None, rounds: int, at_round_end: Callable[[], object]
) -> Rounds:
    """Measure both sides in turn, swapping their order every round, and the limit after each round."""
    measured = Rounds([], [], [])
    for number in range(rounds):
        sides = [(candidate, measured.candidate), (baseline, measured.baseline)]
        for workload, values in sides if number % 2 == 0 else reversed(sides):
            values.append(workload())
        if limit is not None:
            measured.limit.append(limit())
        at_round_end()
    return measured


def ratio_of_pairs(candidate: list[float], baseline: list[float]) -> Ratio:
    """Return candidate/baseline over paired rounds: geometric mean, and 90% interval by Student's t on the logarithms.

    Args:
        candidate: at least two positive values.
        baseline: as many, each measured right before or after its counterpart.
    """
    from scipy.special import stdtrit

    logs = [math.log(a / b) for a, b in zip(candidate, baseline, strict=True)]
    mean, rounds = statistics.mean(logs), len(logs)
    half = float(stdtrit(rounds - 1, 0.95)) * statistics.stdev(logs) / math.sqrt(rounds)
    return Ratio(math.exp(mean), math.exp(mean - half), math.exp(mean + half))
