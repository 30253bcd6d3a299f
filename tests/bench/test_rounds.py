"""Rounds alternate; ratio and interval are those of a paired t-test on logarithms."""

import numpy as np
import pytest
from scipy import stats

from resnet50.bench.rounds import Workload, alternate, ratio_of_pairs


def test_rounds_alternate_and_swap_their_order() -> None:
    order: list[str] = []

    def workload(name: str) -> Workload:
        def measure() -> float:
            order.append(name)
            return float(len(order))

        return measure

    rounds = alternate(workload("candidate"), workload("base"), workload("limit"), 3, lambda: order.append("end"))
    one_way, other_way = ["candidate", "base", "limit", "end"], ["base", "candidate", "limit", "end"]
    assert order == one_way + other_way + one_way
    assert rounds.candidate == [1.0, 6.0, 9.0]
    assert rounds.baseline == [2.0, 5.0, 10.0]
    assert rounds.limit == [3.0, 7.0, 11.0]


def test_limit_is_optional() -> None:
    assert alternate(lambda: 1.0, lambda: 1.0, None, 2, lambda: None).limit == []


def test_interval_is_students_t_on_the_logarithms() -> None:
    candidate, baseline = [3.1, 2.9, 3.3, 3.0, 3.2], [1.0, 1.1, 0.9, 1.0, 1.05]
    logs = np.log(np.array(candidate) / np.array(baseline))
    low, high = stats.t.interval(0.90, len(logs) - 1, loc=logs.mean(), scale=stats.sem(logs))
    ratio = ratio_of_pairs(candidate, baseline)
    assert ratio.mean == pytest.approx(stats.gmean(np.array(candidate) / np.array(baseline)))
    assert (ratio.low, ratio.high) == pytest.approx((np.exp(low), np.exp(high)))


def test_noise_common_to_both_sides_cancels() -> None:
    noise = np.array([1.0, 0.5, 0.8, 0.9, 0.7])
    ratio = ratio_of_pairs((2 * noise).tolist(), noise.tolist())
    assert (ratio.mean, ratio.low, ratio.high) == pytest.approx((2.0, 2.0, 2.0))
