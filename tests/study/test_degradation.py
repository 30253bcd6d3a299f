"""What is read in the curves of plain and residual networks, on made-up curves."""

import numpy as np
import pandas as pd
import pytest

from resnet50.study import degradation
from resnet50.study.experiment import Measured, Observation
from resnet50.study.figures import style
from resnet50.study.lab import QUICK


def table(plain: tuple[float, float, float], residual: tuple[float, float, float], noise: float = 0.0) -> pd.DataFrame:
    """Return curves that end at the given training losses by depth (18, 34, 50), in three seeds `noise` apart."""
    rows: list[tuple[object, ...]] = []
    for network, ends in (("plain", plain), ("residual", residual)):
        for depth, end in zip((18, 34, 50), ends, strict=True):
            for seed in range(3):
                last = end + noise * (-1) ** (seed + depth // 16)
                for epoch, value in enumerate(np.linspace(2, last, 4), 1):
                    rows.append((network, depth, seed, epoch, "train_loss", float(value)))
                    rows.append((network, depth, seed, epoch, "val_loss", float(value) + 0.5))
    return pd.DataFrame(rows, columns=["network", "depth", "seed", "epoch", "quantity", "value"])


def outcomes(readings: list[Observation]) -> dict[str, str]:
    return {reading.rule: reading.outcome for reading in readings}


def test_the_papers_findings_are_seen() -> None:
    found = outcomes(degradation.EXPERIMENT.read(table(plain=(0.4, 0.8, 1.2), residual=(0.3, 0.32, 0.31))))
    assert set(found.values()) == {"seen"}


def test_no_degradation_leaves_nothing_to_mend() -> None:
    found = outcomes(degradation.EXPERIMENT.read(table(plain=(0.8, 0.6, 0.5), residual=(0.3, 0.3, 0.3))))
    assert found["degradation_without_shortcuts"] == "not seen"
    assert found["no_degradation_with_shortcuts"] == "undecided"


def test_shortcuts_that_do_not_help_are_said_not_to() -> None:
    found = outcomes(degradation.EXPERIMENT.read(table(plain=(0.4, 0.8, 1.0), residual=(0.4, 0.8, 1.2))))
    assert found["no_degradation_with_shortcuts"] == "not seen"
    assert found["shortcuts_help_at_the_same_depth"] == "not seen"


def test_seeds_that_disagree_decide_nothing() -> None:
    found = outcomes(degradation.EXPERIMENT.read(table(plain=(0.5, 0.52, 0.5), residual=(0.5, 0.5, 0.5), noise=0.1)))
    assert found["degradation_without_shortcuts"] == "undecided"


def test_the_numbers_stand_in_the_text() -> None:
    reading = degradation.degradation_without_shortcuts(table(plain=(0.4, 0.8, 1.2), residual=(0.3, 0.3, 0.3)))
    assert "0.400" in reading.text
    assert "0.800" in reading.text


def test_every_network_is_trained_in_every_seed() -> None:
    names = {setup.name for setup in degradation.setups(QUICK)}
    assert len(names) == len(degradation.setups(QUICK)) == 2 * 3 * QUICK.seeds


def test_the_figure_names_its_axes() -> None:
    with style():
        figure = degradation.draw(Measured(table((0.4, 0.8, 1.2), (0.3, 0.3, 0.3))))
    assert [axes.get_xlabel() for axes in figure.axes] == ["epoch", "epoch", "layers"]
    assert "nats" in figure.axes[0].get_ylabel()


def test_the_summary_has_a_row_per_network() -> None:
    summary = degradation.summarize(table((0.4, 0.8, 1.2), (0.3, 0.3, 0.3)))
    row = summary[(summary["network"] == "plain") & (summary["depth"] == 50)]
    assert row["train_loss"].item() == pytest.approx(1.2)
    assert len(summary) == 6
