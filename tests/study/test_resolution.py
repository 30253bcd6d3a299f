"""What is read in accuracies by test size, and how much larger random crops make objects appear."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.integrate import quad

from resnet50.data.transforms import Preprocess
from resnet50.options import ResizeMode
from resnet50.runtime.errors import UserError
from resnet50.study import resolution
from resnet50.study.experiment import Measured, Observation
from resnet50.study.figures import style
from resnet50.study.lab import QUICK, Lab

RULES = (
    "a_larger_test_size_is_better",
    "predicted_by_magnification",
    "features_change_with_size",
)


def table(
    right: dict[int, set[int]],
    zeros: dict[int, float] | None = None,
    *,
    error: float = 0.01,
    predicted: float = 125.0,
    images: int = 100,
    network: str = "fine-tuned",
) -> pd.DataFrame:
    """Return measurements of a network trained at 96 pixels: the images it gets right, by test size."""
    zeros = zeros or {size: 10.0 / size for size in right}
    rows: list[tuple[object, ...]] = []
    for size, those in right.items():
        metrics = {
            "accuracy": len(those) / images, "loss": 0.5, "images": images, "majority": 0.3,
            "feature_mean": 0.4, "zeros": zeros[size],
        }  # fmt: skip
        rows += [(network, size, 0, quantity, float(value)) for quantity, value in metrics.items()]
        for other in right.keys() - {size}:
            rows += [
                (network, size, other, "only_here", float(len(those - right[other]))),
                (network, size, other, "zeros_change", zeros[size] - zeros[other]),
                (network, size, other, "zeros_change_error", error),
            ]
    for quantity, value in {"training_size": 96, "magnification": predicted / 96, "predicted_size": predicted}.items():
        rows.append((network, 96, 0, quantity, float(value)))
    return pd.DataFrame(rows, columns=resolution.COLUMNS)


def first(count: int) -> set[int]:
    """Return the first images."""
    return set(range(count))


def outcomes(readings: list[Observation]) -> dict[str, str]:
    return {reading.rule: reading.outcome for reading in readings}


THE_PAPERS = table({64: first(50), 96: first(60), 128: first(75), 192: first(62)})


def test_the_papers_findings_are_seen() -> None:
    assert outcomes(resolution.EXPERIMENT.read(THE_PAPERS)) == dict.fromkeys(RULES, "seen")


def test_the_training_size_may_be_the_best() -> None:
    found = outcomes(resolution.EXPERIMENT.read(table({64: first(50), 96: first(75), 128: first(60), 192: first(40)})))
    assert found["a_larger_test_size_is_better"] == "not seen"
    assert found["predicted_by_magnification"] == "not seen"


def test_a_smaller_size_that_is_best_is_no_larger_one() -> None:
    found = outcomes(resolution.EXPERIMENT.read(table({64: first(90), 96: first(70), 128: first(70), 192: first(60)})))
    assert found["a_larger_test_size_is_better"] == "not seen"


def test_another_size_than_the_predicted_one_may_be_better() -> None:
    found = outcomes(resolution.EXPERIMENT.read(table({64: first(50), 96: first(60), 128: first(62), 192: first(80)})))
    assert found["a_larger_test_size_is_better"] == "seen"
    assert found["predicted_by_magnification"] == "not seen"


def test_chance_decides_nothing() -> None:
    found = outcomes(resolution.EXPERIMENT.read(table({64: first(58), 96: first(60), 128: first(63), 192: first(60)})))
    assert found["a_larger_test_size_is_better"] == "undecided"
    assert found["predicted_by_magnification"] == "undecided"


def test_the_best_of_several_sizes_needs_more_than_one_test_does() -> None:
    right = {96: first(60), 128: first(66), 192: first(60)}  # p = 2 / 2⁶ = 0.031, with two larger sizes tried
    assert resolution.a_larger_test_size_is_better(table(right), "fine-tuned").outcome == "undecided"
    del right[192]
    assert resolution.a_larger_test_size_is_better(table(right), "fine-tuned").outcome == "seen"


def test_a_prediction_at_the_training_size_tells_nothing_apart() -> None:
    reading = resolution.predicted_by_magnification(
        table({64: first(50), 96: first(60), 128: first(61)}, predicted=99.0), "fine-tuned"
    )
    assert reading.outcome == "undecided"
    assert "nothing to tell apart" in reading.text


@pytest.mark.parametrize(
    ("zeros", "outcome"),
    [
        ({64: 0.3, 96: 0.2, 192: 0.1}, "seen"),
        ({64: 0.1, 96: 0.2, 192: 0.3}, "not seen"),
        ({64: 0.0, 96: 0.0, 192: 0.0}, "not seen"),
        ({64: 0.215, 96: 0.2, 192: 0.2}, "undecided"),
    ],
)
def test_zeros_are_compared_with_their_error(zeros: dict[int, float], outcome: str) -> None:
    right = dict.fromkeys(zeros, first(60))
    assert resolution.features_change_with_size(table(right, zeros), "fine-tuned").outcome == outcome


def test_a_network_that_has_learned_nothing_decides_nothing() -> None:
    right = {64: first(30), 96: first(25), 128: first(35), 192: first(20)}  # the most frequent class: 30 of 100
    found = outcomes(resolution.EXPERIMENT.read(table(right)))
    assert found["a_larger_test_size_is_better"] == found["predicted_by_magnification"] == "undecided"


def test_the_room_that_chance_leaves_by_hand() -> None:
    right = {96: first(60), 128: set(range(6, 64))}  # 4 only at 128, 6 only at 96
    gain = resolution.possible_gain(table(right), "fine-tuned", 128, 96)
    assert gain == pytest.approx((-2 + 1.96 * math.sqrt(10 - 4 / 100)) / 100)
    assert "gain of up to 4.2 points" in resolution.a_larger_test_size_is_better(table(right), "fine-tuned").text


def test_the_numbers_stand_in_the_text() -> None:
    text = resolution.a_larger_test_size_is_better(THE_PAPERS, "fine-tuned").text
    assert "75.0% at 128 pixels, 60.0% at 96" in text
    assert "15 images right only at 128, 0 only at 96" in text


def test_mcnemar_by_hand() -> None:
    assert resolution.mcnemar(0, 0) == 1
    assert resolution.mcnemar(5, 5) == pytest.approx(1)
    assert resolution.mcnemar(6, 0) == pytest.approx(2 / 2**6)
    tail = sum(math.comb(10, k) for k in (0, 1, 2)) / 2**10
    assert resolution.mcnemar(8, 2) == resolution.mcnemar(2, 8) == pytest.approx(2 * tail)


@pytest.mark.parametrize("training_size", [32, 48, 64, 96, 128, 224])
def test_sizes_are_multiples_of_the_stride_and_include_that_of_training(training_size: int) -> None:
    sizes = resolution.sizes_to_test(training_size)
    assert training_size in sizes
    assert all(size % 32 == 0 and size >= 32 for size in sizes if size != training_size)
    assert sizes == sorted(set(sizes))
    assert max(sizes) == 2 * training_size
    assert 2 <= len(sizes) <= 7


def test_the_sizes_of_a_network_of_224_pixels() -> None:
    sizes = resolution.sizes_to_test(224)
    assert (sizes[0], sizes[-1]) == (128, 448)
    assert 288 in sizes  # the paper's best


@pytest.mark.parametrize(
    ("mode", "expected"), [("crop", 256 / 300), ("pad", 224 / 400), ("squash", math.sqrt(224 / 400 * 224 / 300))]
)
def test_magnification_of_the_test(mode: ResizeMode, expected: float) -> None:
    preprocess = Preprocess(size=224, resize=256, resize_mode=mode)
    assert resolution.magnification(preprocess, 400, 300) == pytest.approx(expected)
    assert resolution.magnification(preprocess, 300, 400) == pytest.approx(expected)


def test_whole_images_are_as_large_as_in_the_test() -> None:
    squash = Preprocess(size=64, resize=64, resize_mode="squash")
    rng = np.random.default_rng(0)
    # Of a square nothing but the square itself has its whole area; of 400×300, 4/3, neither.
    shapes = np.array([[300, 300], [400, 300]])
    assert resolution.mean_magnification(shapes, squash, 1.0, rng) == pytest.approx(1, rel=1e-3)
    assert resolution.mean_magnification(shapes, squash, None, rng) == 1


@pytest.mark.parametrize("smallest", [0.08, 0.35])
def test_magnification_of_crops_of_a_square(smallest: float) -> None:
    """A crop of area a fits a square if |ln ratio| ≤ -ln a; the ratio's logarithm is even within ±ln(4/3)."""

    def fits(area: float) -> float:
        return min(1.0, -math.log(area) / math.log(4 / 3))

    def integral(power: float) -> float:
        def weighed(area: float) -> float:
            return area**power * fits(area)

        return quad(weighed, smallest, 1, points=[0.75])[0]

    squash = Preprocess(size=64, resize=64, resize_mode="squash")
    mean = resolution.mean_magnification(
        np.full((1000, 2), 2000), squash, smallest, np.random.default_rng(1)
    )  # 20,000 crops
    assert mean == pytest.approx(integral(-0.5) / integral(0), rel=0.01)
    assert mean > 2 / (1 + math.sqrt(smallest))  # of even areas: large crops are the ones that don't fit


def test_a_cropping_test_magnifies_by_itself() -> None:
    """Scaled to 256 and cut to 224, a test shows a square 256/224 times larger than one squashed to 224."""
    shapes = np.full((50, 2), 500)
    crop, squash = (
        resolution.mean_magnification(
            shapes, Preprocess(size=224, resize=256, resize_mode=mode), 0.35, np.random.default_rng(2)
        )
        for mode in ("crop", "squash")
    )
    assert squash / crop == pytest.approx(256 / 224)


def test_no_training_image_is_refused() -> None:
    with pytest.raises(UserError, match="training images"):
        resolution.mean_magnification(np.empty((0, 2)), Preprocess(), 0.35, np.random.default_rng(0))


def test_a_paired_change_by_hand() -> None:
    change, error = resolution.paired_change(np.array([0.5, 0.7, 0.9]), np.array([0.4, 0.5, 0.6]))
    assert change == pytest.approx(0.2)
    assert error == pytest.approx(0.1 / math.sqrt(3))
    assert resolution.paired_change(np.array([0.5]), np.array([0.4]))[1] == math.inf


def test_the_figure_names_its_axes() -> None:
    both = pd.concat([THE_PAPERS, THE_PAPERS.assign(network="from scratch")])
    with style():
        figure = resolution.draw(Measured(both))
    assert [axes.get_xlabel() for axes in figure.axes] == ["test size (pixels)"] * 3
    assert figure.axes[0].get_ylabel() == "validation accuracy"
    assert "zero (%)" in figure.axes[2].get_ylabel()


def test_the_summary_has_a_row_per_size() -> None:
    summary = resolution.summarize(THE_PAPERS)
    assert summary["size"].tolist() == [64, 96, 128, 192]
    assert summary["accuracy"].tolist() == [0.5, 0.6, 0.75, 0.62]


def test_the_setting_says_how_many_images() -> None:
    assert str(QUICK.looked_at) in resolution.EXPERIMENT.setting(QUICK)


def test_the_features_are_what_the_head_takes(lab: Lab, trained: Path) -> None:
    lab.given = (trained,)
    (run,) = lab.runs
    preprocess = run.model.preprocess.resized(64)
    images = lab.images("val", preprocess, 4)
    logits, features = resolution.logits_and_features(lab, run.network, images, preprocess)
    with torch.no_grad():
        expected = run.network.features(preprocess.normalize(images.pixels))
        torch.testing.assert_close(features, expected)
        torch.testing.assert_close(logits, run.network.fc(expected))


def test_from_end_to_end(lab: Lab, trained: Path) -> None:
    lab.given = (trained,)
    result = resolution.EXPERIMENT.conduct(lab)
    assert set(result.table["network"]) == {"from scratch"}
    assert sorted(resolution.by_size(result.table, "from scratch", "accuracy").index) == [32, 64]
    assert np.isfinite(result.table["value"]).all()
    assert 1 < resolution.of_run(result.table, "from scratch", "magnification") < 2
    assert {reading.rule for reading in result.reading} == set(RULES)
    assert (lab.folder / "resolution.svg").is_file()
    again = resolution.measure(lab).table.reset_index(drop=True)
    pd.testing.assert_frame_equal(again, result.table, check_dtype=False)
