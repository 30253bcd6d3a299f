"""Order, forgetting, maps and noise: by hand, and where the truth is known; what is read in made-up histories."""

import dataclasses
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import resnet50
from resnet50.etl.prepared import load_prepared
from resnet50.model.resnet import ResNet
from resnet50.runtime.device import resolve_device
from resnet50.study import dynamics
from resnet50.study.dynamics import SHUFFLED, TRUE
from resnet50.study.experiment import Measured, Observation
from resnet50.study.figures import style
from resnet50.study.lab import Images, Lab, Plan
from resnet50.study.noise import gradient_norms, noise_scale
from resnet50.study.samples import data_map, forgetting_events, learning_epochs, regions
from resnet50.study.small import Setup, small_images, train_small

NAN = float("nan")

HISTORY = np.array([
    [1, 1, 1, 1],  # always right
    [0, 1, 0, 1],  # learned, forgotten, learned
    [0, 0, 0, 0],  # never
    [1, 0, 1, 0],  # forgotten twice
    [0, NAN, 1, NAN],  # not always looked at
    [1, NAN, 0, 1],  # forgotten while nobody looked
])  # fmt: skip


def test_forgetting_events_are_counted_as_by_hand() -> None:
    assert forgetting_events(HISTORY).tolist() == [0, 1, 0, 2, 0, 1]


def test_an_image_is_learned_since_it_has_stayed_right() -> None:
    assert learning_epochs(HISTORY).tolist() == [1, 4, 5, 5, 2, 4]


def test_the_noise_scale_of_known_gradients_is_found() -> None:
    rng = np.random.default_rng(0)
    mean, deviation, dimensions, chunk, batches = 0.05, 1.0, 50, 32, 10
    single = mean + deviation * rng.standard_normal((batches * chunk, dimensions))
    truth = single.var(0, ddof=1).sum() / (single.mean(0) ** 2).sum()
    estimates: list[float] = []
    for _ in range(20):  # orders of the same population
        batched = rng.permutation(single).reshape(batches, chunk, dimensions).mean(1)
        estimates.append(noise_scale((batched**2).sum(1), float((single.mean(0) ** 2).sum()), chunk))
    assert np.mean(estimates) == pytest.approx(truth, rel=0.02)


def test_gradients_that_are_all_the_same_have_no_noise() -> None:
    assert noise_scale(np.full(5, 4.0), 4.0, 32) == pytest.approx(0.0)


def test_where_the_gradient_is_zero_all_is_noise() -> None:
    assert noise_scale(np.full(5, 4.0), 0.0, 32) == float("inf")


def test_a_map_is_mean_and_deviation_of_the_own_class() -> None:
    samples = pd.DataFrame({"sample": ["a", "a", "b", "b", "b"], "loss": -np.log([0.9, 0.5, 0.2, 0.2, 0.2])})
    samples.loc[len(samples)] = ["b", NAN]  # an epoch that left it out
    mapped = data_map(samples).set_index("sample")
    assert mapped.loc["a"].tolist() == pytest.approx([0.7, 0.2])
    assert mapped.loc["b"].tolist() == pytest.approx([0.2, 0.0])


def test_regions_are_the_extremes() -> None:
    mapped = pd.DataFrame({
        "sample": list("abcdef"), "confidence": [0.9, 0.95, 0.5, 0.6, 0.1, 0.2],
        "variability": [0.05, 0.04, 0.4, 0.45, 0.1, 0.06],
    })  # fmt: skip
    found = {region: rows["sample"].tolist() for region, rows in regions(mapped).items()}
    assert found == {"easy": ["b", "a"], "ambiguous": ["d", "c"], "hard": ["e", "f"]}


def table(
    *, same: bool = True, shuffled: float = 0.95, true: float = 0.98, forgotten: float = 0.3, settle: float = 0.2,
    noise: tuple[float, float] = (20.0, 200.0), seeds: int = 3, samples: int = 90,
) -> pd.DataFrame:  # fmt: skip
    """Return the numbers of made-up trainings of four epochs."""
    rng = np.random.default_rng(1)
    rows: list[tuple[object, ...]] = [
        ("data", NAN, None, NAN, "majority_share", 0.5), ("data", NAN, None, NAN, "training_pictures", float(samples)),
    ]  # fmt: skip
    order, events = rng.integers(1, 5, samples), (rng.random(samples) < forgotten).astype(int)
    for seed in range(seeds):
        if not same:
            order, events = rng.permutation(order), rng.permutation(events)
        for sample in range(samples):
            rows.append((TRUE, seed, f"s{sample}", NAN, "learning_epoch", float(order[sample])))
            rows.append((TRUE, seed, f"s{sample}", NAN, "forgetting_events", float(events[sample])))
        for network, end, epochs in ((TRUE, true, 4), (SHUFFLED, shuffled, 8)):
            for epoch in range(1, epochs + 1):
                rows.append((network, seed, None, epoch, "train_accuracy", 0.5 + (end - 0.5) * epoch / epochs))
                rows.append((network, seed, None, epoch, "val_accuracy", 0.5))
        for quantity in ("running_mean_drift", "running_var_drift"):
            for epoch, value in ((2, 1.0), (3, 0.5), (4, settle)):
                rows.append((TRUE, seed, None, epoch, quantity, value))
        for epoch, value in ((0, noise[0]), (4, noise[1])):
            rows += [(TRUE, seed, None, epoch, "noise_scale", value * factor) for factor in (0.9, 1.0, 1.1)]
    for sample in range(samples):
        rows.append(("fine-tuned", NAN, f"s{sample}", NAN, "confidence", 0.01 if sample == 3 else 0.5))
        rows.append(("fine-tuned", NAN, f"s{sample}", NAN, "variability", 0.1))
    return pd.DataFrame(rows, columns=dynamics.COLUMNS)


def outcomes(readings: list[Observation]) -> dict[str, str]:
    return {reading.rule: reading.outcome for reading in readings}


def test_what_the_papers_say_is_seen() -> None:
    found = outcomes(dynamics.EXPERIMENT.read(table()))
    assert found.pop("images_to_check") == "note"
    assert set(found.values()) == {"seen"}
    assert len(found) == 7


def test_the_opposite_is_said_too() -> None:
    made = table(samples=900, same=False, shuffled=0.5, true=0.4, forgotten=0.95, settle=2.0, noise=(200.0, 20.0))
    found = outcomes(dynamics.EXPERIMENT.read(made))
    assert found.pop("images_to_check") == "note"
    assert set(found.values()) == {"not seen"}


def test_labels_on_the_way_to_be_memorized_are_no_answer() -> None:
    assert dynamics.shuffled_labels_are_memorized(table(shuffled=0.8)).outcome == "undecided"


def test_the_commonest_label_alone_is_not_memorizing() -> None:
    made = table(shuffled=0.95)
    made.loc[made["quantity"] == "majority_share", "value"] = 0.95
    assert dynamics.shuffled_labels_are_memorized(made).outcome == "not seen"


def test_few_images_leave_open_whether_the_order_repeats() -> None:
    found = outcomes(dynamics.EXPERIMENT.read(table(same=False, samples=30)))
    assert found["order_repeats"] == "undecided"


def test_one_seed_says_nothing_of_agreement() -> None:
    found = outcomes(dynamics.EXPERIMENT.read(table(seeds=1)))
    assert found["order_repeats"] == found["forgetting_repeats"] == "undecided"


def test_noise_without_a_finite_scale_counts_as_larger() -> None:
    assert dynamics.noise_grows(table(noise=(20.0, float("inf")))).outcome == "seen"


def test_doubtful_images_are_named() -> None:
    text = dynamics.images_to_check(table()).text
    assert text.startswith("1 of 90")
    assert "s3 first" in text


def test_the_figure_names_its_axes() -> None:
    images: dict[str, np.ndarray] = {}
    for region in dynamics.REGIONS:
        images[region] = np.zeros((3, 8, 8, 3), np.uint8)
        images[f"{region} labels"] = np.array(["a", "b", "a name of many letters"])
    with style():
        figure = dynamics.draw(Measured(table(), images))
    assert [bool(axes.get_xlabel()) for axes in figure.axes[:5]] == [True] * 5
    assert [bool(axes.get_ylabel()) for axes in figure.axes[:6]] == [True] * 6


def test_the_summary_has_spread_and_count() -> None:
    summary = dynamics.summarize(table()).set_index("number")
    assert summary.loc["training accuracy, shuffled labels", "mean"] == pytest.approx(0.95)
    assert summary.loc["noise scale after training", "n"] == 9


@pytest.mark.slow
def test_it_is_measured_from_images_to_page(lab: Lab, trained: object) -> None:
    lab.plan = dataclasses.replace(lab.plan, draws=1)
    lab.given = (trained,)  # type: ignore[assignment]
    result = dynamics.EXPERIMENT.conduct(lab)
    assert {"learning_epoch", "forgetting_events", "noise_scale", "confidence"} <= set(result.table["quantity"])
    assert dynamics.map_network(result.table) == "ResNet-18, small"  # the run was not observed
    assert result.images["hard"].shape[1:] == (64, 64, 3)
    assert len(result.reading) == 8


def test_gradient_norms_are_those_of_a_linear_network_by_hand(lab: Lab) -> None:
    rng = np.random.default_rng(0)
    pixels = torch.from_numpy(rng.integers(0, 256, (70, 3, 32, 32), dtype=np.uint8))
    labels = torch.from_numpy(rng.integers(0, 2, 70))
    images = Images(pixels, labels, [str(row) for row in range(70)], np.arange(70))
    torch.manual_seed(0)
    linear = nn.Linear(3 * 32 * 32, 2)
    squares, square_of_mean = gradient_norms(lab, images, cast(ResNet, nn.Sequential(nn.Flatten(), linear)), draw=1)

    order = np.random.default_rng([lab.seed, 0x4015E, 1]).permutation(70)
    x = lab.small_preprocess().normalize(pixels).flatten(1).double()
    wrong = (x @ linear.weight.double().T + linear.bias.double()).softmax(1) - nn.functional.one_hot(labels, 2)
    single = torch.cat([(wrong[:, :, None] * x[:, None, :]).flatten(1), wrong], dim=1).detach().numpy()
    batches = single[order[:64]].reshape(2, 32, -1).mean(1)  # the last six are no whole batch
    np.testing.assert_allclose(squares, (batches**2).sum(1), rtol=1e-4)
    assert square_of_mean == pytest.approx((batches.mean(0) ** 2).sum(), rel=1e-4)


@pytest.mark.slow
def test_planted_wrong_labels_are_among_the_hard_ones(competition: Path, tmp_path: Path, tiny_plan: Plan) -> None:
    table = pd.read_csv(competition / "train.csv", dtype=str)
    resnet50.prepare(competition / "train.csv", tmp_path / "right")
    train = load_prepared(tmp_path / "right").split("train")["image_id"]
    planted = set(train[::10])
    table["split"] = table["image_id"].map(dict(zip(train, ["train"] * len(train), strict=True))).fillna("val")
    wrong = table["image_id"].isin(planted)
    table.loc[wrong, "label"] = table.loc[wrong, "label"].map({"cat": "dog", "dog": "cat"})
    table.to_csv(competition / "train.csv", index=False)
    options = {"label_column": "label", "split_column": "split"}
    resnet50.prepare(competition / "train.csv", tmp_path / "planted", **options)
    (tmp_path / "study").mkdir()
    plan = dataclasses.replace(tiny_plan, images=len(train), epochs=12)
    lab = Lab(tmp_path / "study", load_prepared(tmp_path / "planted"), (), plan, resolve_device("cpu", "fp32"), 0)
    training = train_small(lab, Setup())
    ids = np.array(small_images(lab, "train").ids, dtype=object)
    mapped = data_map(training.samples.assign(sample=ids[training.samples["row"]]))
    ranks = mapped.set_index("sample")["confidence"].rank()
    assert ranks[list(planted)].mean() < len(ranks) / 3, sorted(ranks[list(planted)])  # by chance: half
