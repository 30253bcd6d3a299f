"""What chance can explain: intervals and correlations of the experiments' numbers."""

import math
from typing import Any, cast

import numpy as np
from scipy import stats

from resnet50.runtime.stats import wilson

SIGNIFICANT = 0.05
"""Probability of chance alone below which a difference counts."""

RESAMPLES = 1000
"""Bootstrap samples for an interval."""


def mean_interval(values: np.ndarray) -> tuple[float, float]:
    """Return the 95% interval of a mean by Student's t; from −∞ to ∞ for a single value."""
    if len(values) < 2:
        return -np.inf, np.inf
    reach = float(stats.t.ppf(0.975, len(values) - 1)) * float(values.std(ddof=1)) / np.sqrt(len(values))
    return float(values.mean()) - reach, float(values.mean()) + reach


def rank_correlation(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Return Spearman's rank correlation and its p value; 0 and 1 for a constant."""
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0, 1.0
    result = cast(Any, stats.spearmanr(a, b))
    return float(result[0]), float(result[1])


def rank_interval(correlation: float, n: int) -> tuple[float, float]:
    """Return the 95% interval of a rank correlation of n pairs (Fisher's z; deviation by Bonett & Wright 2000)."""
    reach = 1.96 * math.sqrt((1 + correlation**2 / 2) / max(1, n - 3))
    z = math.atanh(min(max(correlation, -0.999999), 0.999999))
    return math.tanh(z - reach), math.tanh(z + reach)


def resampled_means(draws: list[np.ndarray]) -> np.ndarray:
    """Return bootstrap means of every group of draws (Efron 1979): groups×`RESAMPLES`."""
    rng = np.random.default_rng(0)
    return np.array([rng.choice(group, (RESAMPLES, len(group))).mean(1) for group in draws])


def beats(accuracy: float, baseline: float, n: int) -> bool:
    """Return whether an accuracy on n images lies above a baseline beyond chance: by Wilson's 95% interval."""
    return wilson(round(accuracy * n), n)[0] > baseline
