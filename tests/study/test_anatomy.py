"""What is read in a network's costs, on made-up costs."""

import pandas as pd
import pytest
import torch

from resnet50.model.resnet import ResNet
from resnet50.study import anatomy
from resnet50.study.costs import STAGES, counts
from resnet50.study.experiment import Measured, Observation
from resnet50.study.figures import style
from resnet50.study.lab import Lab


def table(
    deep: float = 0.5, basic: float = 0.6, kinds: tuple[float, float, float] = (0.7, 0.71, 0.7), noise: float = 0.05,
    work: float = 1.0, seeds: int = 3,
) -> pd.DataFrame:  # fmt: skip
    rows: list[tuple[object, ...]] = [("machine", "-", 0, 0, "operations_per_second", 1e11)]
    for name, (depth, variant) in anatomy.NETWORKS.items():
        with torch.device("meta"):
            network = ResNet(depth, 1000, variant)
        rows += [
            (name, stage, 0, 0, what, value * (work if what == "macs" and name == "ResNet-50 v1" else 1))
            for (stage, what), value in counts(network, 224).items()
        ]
        for number, stage in enumerate(STAGES, 1):
            rows.append((name, stage, 0, 0, "activation_bytes", 1e6 * number))
            rows.append((name, stage, 0, 0, "roofline_seconds", 0.5e-3 * number))
            for repetition in range(3):
                rows.append((name, stage, repetition, 0, "forward_seconds", 1e-3 * number))
                rows.append((name, stage, repetition, 0, "backward_seconds", 1e-3 * number * (1 + 0.1 * repetition)))
    ends = {"ResNet-34": basic, "ResNet-50": deep} | {
        f"shortcuts {kind}": end for kind, end in zip("ABC", kinds, strict=True)
    }
    for name, end in ends.items():
        for seed in range(seeds):
            for epoch in (1, 2):
                value = end + noise * (seed - 1) * (0.1 if name.startswith("ResNet") else 1) + (epoch == 1)
                rows += [(name, "-", seed, epoch, what, value) for what in ("train_loss", "val_loss")]
    return pd.DataFrame(rows, columns=["network", "stage", "seed", "epoch", "quantity", "value"])


def outcomes(readings: list[Observation]) -> dict[str, str]:
    return {reading.rule: reading.outcome for reading in readings}


def test_the_papers_findings_are_seen() -> None:
    found = outcomes(anatomy.EXPERIMENT.read(table()))
    assert found == {
        "work_is_as_published": "seen", "where_the_costs_are": "note", "share_of_the_roofline": "note",
        "bottlenecks_cost_no_more_work": "seen", "bottlenecks_train_better": "seen",
        "projections_are_not_essential": "seen",
    }  # fmt: skip


def test_the_opposite_is_said_too() -> None:
    found = outcomes(anatomy.EXPERIMENT.read(table(deep=0.9, kinds=(0.5, 0.9, 0.7), work=2.0)))
    assert found["work_is_as_published"] == "not seen"
    assert found["bottlenecks_cost_no_more_work"] == "not seen"
    assert found["bottlenecks_train_better"] == "not seen"
    assert found["projections_are_not_essential"] == "not seen"


def test_one_seed_decides_nothing_about_projections() -> None:
    assert anatomy.projections_are_not_essential(table(seeds=1)).outcome == "undecided"


def test_seeds_that_disagree_decide_nothing_about_blocks() -> None:
    mixed = table(deep=0.6, basic=0.6, noise=0.0)
    second = (mixed["network"] == "ResNet-50") & (mixed["seed"] == 1)
    mixed.loc[second, "value"] -= 0.1
    mixed.loc[(mixed["network"] == "ResNet-50") & (mixed["seed"] == 0), "value"] += 0.1
    assert anatomy.bottlenecks_train_better(mixed).outcome == "undecided"


def test_the_stage_with_most_of_a_cost_is_named() -> None:
    text = anatomy.where_the_costs_are(table()).text
    assert "58.6% of the parameters in layer4" in text
    assert "35.8% of the multiply-accumulates in layer3" in text


def test_the_figure_names_its_axes() -> None:
    with style():
        figure = anatomy.draw(Measured(table()))
    assert figure.axes[0].get_xlabel() == "share of the whole (%)"
    assert "ms" in figure.axes[1].get_ylabel()
    assert [axes.get_xlabel() for axes in figure.axes[3:]] == ["epoch"] * 3


def test_the_summary_has_the_stages_and_the_sums() -> None:
    summary = anatomy.summarize(table())
    assert summary["stage"].tolist() == [*STAGES, "all", "all", "all"]
    assert summary["parameters"].iloc[len(STAGES)] == 25_557_032


@pytest.mark.slow
def test_costs_are_measured(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(anatomy, "SIZE", 64)
    monkeypatch.setattr(anatomy, "BATCH", 2)
    costs = anatomy.measure_costs(lab)
    assert set(costs["network"]) == {"machine", *anatomy.NETWORKS}
    assert (costs["value"] > 0).sum() > 0.9 * len(costs)
