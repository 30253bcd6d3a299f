"""Rounds alternate, and the ratio and its interval are those of a paired t-test on logarithms."""

import numpy as np
import pytest
from scipy import stats

from resnet50.bench.rounds import Workload, alternate, ratio_of_pairs


def test_rounds_alternate_and_swap_their_order() -> None:
    order: list[str] = []

    def workload(name: str) -> Workload:
        def dispatch() -> float:
            order.append(name)
            return float(len(order))

        return dispatch

    rounds = alternate(workload("ours"), workload("base"), workload("limit"), 3, lambda: order.append("end"))
    one_way, other_way = ["ours", "base", "limit", "end"], ["base", "ours", "limit", "end"]
    assert order == one_way + other_way + one_way
    assert rounds.ours == [1.0, 6.0, 9.0]
    assert rounds.baseline == [2.0, 5.0, 10.0]
    assert rounds.limit == [3.0, 7.0, 11.0]


def test_without_a_limit_none_is_measured() -> None:
    assert alternate(lambda: 1.0, lambda: 1.0, None, 2, lambda: None).limit == []


def test_the_interval_is_student_s_t_on_the_logarithms() -> None:
    ours, baseline = [3.1, 2.9, 3.3, 3.0, 3.2], [1.0, 1.1, 0.9, 1.0, 1.05]
    logs = np.log(np.array(ours) / np.array(baseline))
    low, high = stats.t.interval(0.90, len(logs) - 1, loc=logs.mean(), scale=stats.sem(logs))
    ratio = ratio_of_pairs(ours, baseline)
    assert ratio.mean == pytest.approx(stats.gmean(np.array(ours) / np.array(baseline)))
    assert (ratio.low, ratio.high) == pytest.approx((np.exp(low), np.exp(high)))


def test_noise_that_hits_both_sides_alike_leaves_no_doubt() -> None:
    noise = np.array([1.0, 0.5, 0.8, 0.9, 0.7])
    ratio = ratio_of_pairs((2 * noise).tolist(), noise.tolist())
    assert (ratio.mean, ratio.low, ratio.high) == pytest.approx((2.0, 2.0, 2.0))
