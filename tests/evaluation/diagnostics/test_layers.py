"""Rules about layers, on records made to show a problem and not to."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from resnet50.evaluation.diagnostics.diagnosis import Diagnosis
from resnet50.evaluation.diagnostics.layers import (
    dead_channels,
    diagnose_layers,
    not_finite,
    residuals_idle,
    residuals_swamping,
    statistics_drifting,
    updates_large,
    updates_small,
    vanishing_gradients,
)

Rule = Callable[[pd.DataFrame], Diagnosis | None]

CONVOLUTIONS = ("conv1", "layer1.0.conv1", "layer1.0.conv2", "layer2.0.conv1", "layer2.0.conv2", "fc")
BLOCKS = ("layer1.0", "layer2.0")
NORMS = ("bn1", "layer1.0.bn1", "layer2.0.bn1")
USUAL = {
    "gradient_norm": (0.5, (*CONVOLUTIONS, *NORMS)), "update_ratio": (1e-3, CONVOLUTIONS),
    "residual_ratio": (0.8, BLOCKS), "dead_channels": (0.01, BLOCKS), "running_var_drift": (0.03, NORMS),
}  # fmt: skip


def healthy(epochs: int = 3) -> pd.DataFrame:
    """The record of a sound run."""
    rows = [
        (epoch, layer, quantity, value)
        for epoch in range(epochs + 1)
        for quantity, (value, layers) in USUAL.items()
        for layer in layers
    ]
    return pd.DataFrame(rows, columns=["epoch", "layer", "quantity", "value"])


def changed(quantity: str, value: float, layer: str | None = None, epoch: int | None = 3) -> pd.DataFrame:
    """The record of a sound run but for one quantity, of one layer or all, in one epoch or all."""
    table = healthy()
    chosen = table["quantity"] == quantity
    if layer is not None:
        chosen &= table["layer"] == layer
    if epoch is not None:
        chosen &= table["epoch"] == epoch
    assert chosen.any()
    table.loc[chosen, "value"] = value
    return table


def test_sound_run_gets_one_good_finding_with_its_numbers() -> None:
    (diagnosis,) = diagnose_layers(healthy())
    assert (diagnosis.rule, diagnosis.level, diagnosis.advice) == ("inside_sound", "good", "")
    for expected in ("epoch 3", "0.5 in the first layer", "0.001 of their norm", "0.8 to 0.8", "1.0% dead"):
        assert expected in diagnosis.text


@pytest.mark.parametrize(
    ("rule", "table", "level", "words"),
    [
        (vanishing_gradients, changed("gradient_norm", 1e-4, "conv1"), "warning", "0.0001 at conv1, against 0.5"),
        (
            updates_large,
            changed("update_ratio", 0.3, "fc", 2),
            "warning",
            "0.3 of the weight norm per step at fc in epoch 2",
        ),
        (updates_small, changed("update_ratio", 1e-8, "conv1", None), "warning", "updates of conv1 exceed 1e-08"),
        (dead_channels, changed("dead_channels", 0.2, "layer2.0"), "note", "20.0% of the output channels of layer2.0"),
        (dead_channels, changed("dead_channels", 0.6, "layer2.0"), "warning", "60.0%"),
        (residuals_idle, changed("residual_ratio", 0.001, "layer1.0"), "note", "1 of 2 blocks"),
        (residuals_swamping, changed("residual_ratio", 20, "layer1.0"), "warning", "20 times"),
        (statistics_drifting, changed("running_var_drift", 0.8), "note", "80.0%"),
        (not_finite, changed("gradient_norm", np.inf, "fc"), "warning", "values of fc are not finite"),
    ],
)
def test_rule_speaks_and_is_the_only_diagnosis(rule: Rule, table: pd.DataFrame, level: str, words: str) -> None:
    diagnosis = rule(table)
    assert diagnosis is not None
    assert diagnosis.level == level
    assert words in diagnosis.text
    assert diagnosis.advice
    assert diagnose_layers(table) == [diagnosis]


@pytest.mark.parametrize(
    ("rule", "table"),
    [
        (vanishing_gradients, changed("gradient_norm", 6e-4, "conv1")),
        (vanishing_gradients, changed("gradient_norm", 1e-9, "bn1")),  # a norm has few weights: it isn't held against
        (vanishing_gradients, changed("gradient_norm", 1e-9, "conv1", 1)),  # only the last epoch counts
        (updates_large, changed("update_ratio", 0.09)),
        (updates_large, changed("update_ratio", 0.5, epoch=1)),  # a new head, under a warm-up
        (updates_small, changed("update_ratio", 1e-9)),  # a schedule that ends at zero
        (dead_channels, changed("dead_channels", 0.09)),
        (dead_channels, changed("dead_channels", 0.9, epoch=0)),
        (residuals_idle, changed("residual_ratio", 0.011)),
        (residuals_idle, changed("residual_ratio", 0.0, epoch=0)),  # --zero-gamma begins so
        (residuals_swamping, changed("residual_ratio", 9.9)),
        (statistics_drifting, changed("running_var_drift", 5.0, "bn1")),  # one norm is chance
        (statistics_drifting, changed("running_var_drift", 5.0, epoch=1)),
        (not_finite, changed("gradient_norm", np.nan, "fc", 1)),
    ],
)
def test_rule_is_silent(rule: Rule, table: pd.DataFrame) -> None:
    assert rule(table) is None
    assert [diagnosis.level for diagnosis in diagnose_layers(table)] == ["good"]


def test_one_epoch_is_too_early_for_updates_and_statistics() -> None:
    table = healthy(epochs=1)
    table.loc[table["quantity"].isin(["update_ratio", "running_var_drift"]), "value"] = 10.0
    assert [diagnosis.rule for diagnosis in diagnose_layers(table)] == ["inside_sound"]


def test_training_only_the_head_gives_a_diagnosis() -> None:
    table = healthy()
    (diagnosis,) = diagnose_layers(table[table["layer"] == "fc"])
    assert diagnosis.level == "good"
    assert "a step changes" in diagnosis.text
    assert "residuals" not in diagnosis.text


def test_many_layers_are_named_by_three_and_a_count() -> None:
    diagnosis = updates_large(changed("update_ratio", 0.3))
    assert diagnosis is not None
    assert "and 3 more" in diagnosis.text


def test_block_with_most_dead_channels_decides_how_bad_it_is() -> None:
    table = changed("dead_channels", 0.2, "layer1.0")
    table.loc[(table["quantity"] == "dead_channels") & (table["layer"] == "layer2.0"), "value"] = 0.6
    diagnosis = dead_channels(table)
    assert diagnosis is not None
    assert diagnosis.level == "warning"
    assert "60.0% of the output channels of layer2.0" in diagnosis.text
    assert "layer2.0, layer1.0" in diagnosis.text


def test_nothing_recorded_says_nothing() -> None:
    assert diagnose_layers(healthy().iloc[:0]) == []
