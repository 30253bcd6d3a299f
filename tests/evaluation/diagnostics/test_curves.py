"""What the rules measure on the curves of a run."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from resnet50.evaluation.diagnostics.curves import Curves, curves_from, jitter


def curves(epochs: int = 4, options: dict[str, Any] | None = None, **columns: list[float]) -> Curves:
    table = pd.DataFrame({"epoch": range(1, epochs + 1), "wait_seconds": 0.0, "seconds": 1.0} | columns)
    return curves_from(table, options or {}, None, None)


def test_jitter_measures_noise_around_a_smooth_course() -> None:
    noise = 0.05 * np.random.default_rng(0).standard_normal(400)
    assert jitter(np.linspace(3, 1, 400) + noise) == pytest.approx(0.05, rel=0.15)
    assert jitter(np.linspace(3, 1, 400)) == pytest.approx(0, abs=1e-12)


def test_peak_rate_is_the_option_then_the_highest_recorded_then_usual() -> None:
    recorded = [1e-4, 3e-4, 2e-4, np.nan]
    assert curves(options={"lr": 5e-4}, lr=recorded).peak_lr == 5e-4
    assert curves(lr=recorded).peak_lr == 3e-4
    assert curves(lr=[np.nan] * 4).peak_lr == 1e-3
    assert curves().peak_lr == 1e-3


def test_end_of_a_run_is_a_quarter_but_at_least_two_epochs() -> None:
    assert [curves(epochs).tail for epochs in (4, 8, 12, 20)] == [2, 2, 3, 5]
