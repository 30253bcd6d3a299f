"""Intervals and correlations, against scipy and against samples whose truth is known."""

import numpy as np
import pytest
from scipy import stats

from resnet50.study.intervals import beats, mean_interval, rank_correlation, rank_interval, resampled_means


def test_the_interval_is_students() -> None:
    values = np.array([1.0, 2.0, 4.0])
    expected = stats.t.interval(0.95, 2, loc=values.mean(), scale=stats.sem(values))
    np.testing.assert_allclose(mean_interval(values), expected)
    assert mean_interval(values[:1]) == (-np.inf, np.inf)


def test_intervals_of_rank_correlations_hold_the_truth() -> None:
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(200):
        x = rng.standard_normal(100)
        y = 0.5 * x + np.sqrt(0.75) * rng.standard_normal(100)
        low, high = rank_interval(float(stats.spearmanr(x, y).statistic), 100)
        held += low < 6 / np.pi * np.arcsin(0.25) < high  # of the normal distribution with correlation 0.5
    assert held / 200 == pytest.approx(0.95, abs=0.04)


def test_a_constant_has_no_rank_correlation() -> None:
    assert rank_correlation(np.ones(5), np.arange(5)) == (0.0, 1.0)
    assert rank_correlation(np.arange(5), np.arange(5))[0] == pytest.approx(1)


def test_resampled_means_lie_around_each_groups_mean() -> None:
    found = resampled_means([np.array([0.0, 2.0] * 50), np.array([7.0])])
    assert found[0].mean() == pytest.approx(1, abs=0.02)
    assert (found[1] == 7).all()


def test_a_lead_counts_beyond_chance_only() -> None:
    assert beats(0.9, 0.5, 100)
    assert not beats(0.55, 0.5, 100)
