"""Alternating rounds, and what they say: medians, the ratio and how sure it is."""

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass

Workload = Callable[[], float]
"""Carries out one round and returns what it measured: images a second, or seconds."""


@dataclass(frozen=True)
class Rounds:
    """What each round measured, in order; `limit` is empty where there is none."""

    ours: list[float]
    baseline: list[float]
    limit: list[float]


@dataclass(frozen=True)
class Ratio:
    """How many times as fast ours is, with the ends of the 90 % interval."""

    mean: float
    low: float
    high: float


def alternate(
    ours: Workload, baseline: Workload, limit: Workload | None, rounds: int, at_round_end: Callable[[], object]
) -> Rounds:
    """Let both sides take turns, the order swapped every round, and measure the limit between the rounds."""
    measured = Rounds([], [], [])
    for number in range(rounds):
        sides = [(ours, measured.ours), (baseline, measured.baseline)]
        for workload, values in sides if number % 2 == 0 else reversed(sides):
            values.append(workload())
        if limit is not None:
            measured.limit.append(limit())
        at_round_end()
    return measured


def ratio_of_pairs(ours: list[float], baseline: list[float]) -> Ratio:
    """Return ours/baseline over paired rounds: geometric mean and 90 % interval by Student's t on the logarithms.

    Args:
        ours: at least two values above zero.
        baseline: as many, each measured right before or after its partner.
    """
    from scipy.special import stdtrit

    logs = [math.log(mine / theirs) for mine, theirs in zip(ours, baseline, strict=True)]
    mean, rounds = statistics.mean(logs), len(logs)
    half = float(stdtrit(rounds - 1, 0.95)) * statistics.stdev(logs) / math.sqrt(rounds)
    return Ratio(math.exp(mean), math.exp(mean - half), math.exp(mean + half))
