"""What is read in fields and similarities, on made-up numbers; maps and tiles by hand."""

import dataclasses
from itertools import product
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from resnet50.model.resnet import STAGES
from resnet50.study import features
from resnet50.study.experiment import Measured, Observation
from resnet50.study.features import COLUMNS
from resnet50.study.features_figure import HALVES, SEEDS, WHOLE
from resnet50.study.figures import style
from resnet50.study.lab import Lab
from resnet50.study.runs import named
from resnet50.study.tiles import filter_tiles, most_varied, tile

BLOCKS = [f"layer{stage}.{number}" for stage in (1, 2, 3, 4) for number in (0, 1)]

THEORETICAL = dict(zip(STAGES, (7, 35, 91, 267, 427), strict=True))

KINDS = ("fine-tuned", "from scratch")


def table(
    *, last: tuple[float, float] = (150, 200), first: float = 30, ratio: float = 0.47, near: float = 0.9,
    far: float = 0.1, seeds: tuple[float, float] = (0.9, 0.4), matched: bool = True, jitter: float = 1.0,
) -> pd.DataFrame:  # fmt: skip
    """Return numbers of made-up networks: effective fields of layer1 and layer4 (before, after), CKAs."""
    rows: list[tuple[object, ...]] = []
    for kind, (number, state) in product(KINDS, enumerate(("before", "after"))):
        rows.append((kind, state, "input", "-", "-", "picture_side", 96.0))
        for place, stage in enumerate(STAGES):
            rows.append((kind, state, stage, "-", "-", "theoretical_field", float(THEORETICAL[stage])))
            effective = np.interp(place, [0, 1, 4], [6, first, last[number]])
            for canvas in range(3):
                value = float(effective) + jitter * (canvas - 1)
                rows.append((kind, state, stage, "-", f"canvas {canvas}", "effective_field", value))
                rows.append((kind, state, stage, "-", f"canvas {canvas}", "half_to_whole", ratio))
    for part, (a, first_block), (b, second) in product((WHOLE, *HALVES), enumerate(BLOCKS), enumerate(BLOCKS)):
        within = 1.0 if a == b else near if abs(a - b) == 1 else far
        rows += [(kind, "after", first_block, second, part, "cka", within) for kind in KINDS]
        same = float(np.interp(a, [0, len(BLOCKS) - 1], seeds))
        across = same if a == b else 0.0 if matched else 0.95
        rows += [(SEEDS, state, first_block, second, part, "cka", across) for state in ("before", "after")]
    for kind, part, block in product(KINDS, (WHOLE, *HALVES), BLOCKS):
        kept = 0.95 if block.startswith("layer1") else 0.5
        rows.append((kind, "both", block, block, part, "cka_before_after", kept))
    return pd.DataFrame(rows, columns=["network", "state", "layer", "other", "part", "quantity", "value"])[COLUMNS]


def outcomes(made: pd.DataFrame) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for reading in features.EXPERIMENT.read(made):
        found.setdefault(reading.rule, set()).add(reading.outcome)
    return found


CLAIMS = (
    "effective_field_is_a_fraction", "fraction_shrinks_with_depth", "untrained_field_is_gaussian",
    "training_enlarges_the_field", "neighbors_are_alike", "same_blocks_in_two_seeds",
    "seeds_agree_less_in_late_blocks",
)  # fmt: skip


def test_what_the_papers_say_is_seen() -> None:
    found = outcomes(table())
    assert {rule: found[rule] for rule in CLAIMS} == {rule: {"seen"} for rule in CLAIMS}
    assert found["fields_and_images"] == found["what_training_changed"] == {"note"}


def test_the_opposite_is_said_too() -> None:
    found = outcomes(table(last=(420, 400), first=10, ratio=0.73, near=0.5, far=0.5, seeds=(0.4, 0.9), matched=False))
    assert {rule: found[rule] for rule in CLAIMS} == {rule: {"not seen"} for rule in CLAIMS}


def test_canvases_that_disagree_decide_nothing() -> None:
    assert outcomes(table(last=(200, 200.5)))["training_enlarges_the_field"] == {"seen"}  # each canvas with itself
    mixed = table(last=(200, 200))
    growing = (mixed["state"] == "after") & (mixed["part"] == "canvas 0") & (mixed["quantity"] == "effective_field")
    mixed.loc[growing, "value"] += 5
    assert outcomes(mixed)["training_enlarges_the_field"] == {"undecided"}
    half = table(last=(200, 400))
    assert outcomes(half)["effective_field_is_a_fraction"] == {"undecided"}


def mixed_up(made: pd.DataFrame, quantity: str, part: str, value: float) -> pd.DataFrame:
    """Return the numbers with another value of a quantity on one canvas, or on one half of the images."""
    rows = (made["quantity"] == quantity) & (made["part"] == part)
    return made.assign(value=made["value"].where(~rows, value))


@pytest.mark.parametrize(
    ("rule", "quantity", "part", "value"),
    [
        ("fraction_shrinks_with_depth", "effective_field", "canvas 0", 0.0),
        ("neighbors_are_alike", "cka", HALVES[0], 0.5),
        ("same_blocks_in_two_seeds", "cka", HALVES[0], 0.5),
        ("seeds_agree_less_in_late_blocks", "cka", HALVES[1], 0.5),
    ],
)
def test_canvases_or_halves_that_disagree_decide_nothing(rule: str, quantity: str, part: str, value: float) -> None:
    assert outcomes(mixed_up(table(), quantity, part, value))[rule] == {"undecided"}


def test_a_field_that_is_gaussian_in_one_stage_only_decides_nothing() -> None:
    made = table()
    square = (made["quantity"] == "half_to_whole") & (made["layer"] == "layer4")
    assert outcomes(made.assign(value=made["value"].where(~square, 0.73)))["untrained_field_is_gaussian"] == {
        "undecided"
    }


def test_the_figure_names_its_axes() -> None:
    rng = np.random.default_rng(0)
    images: dict[str, np.ndarray] = {}
    for kind in KINDS:
        images |= {f"field {kind} {state}": rng.random((64, 64), np.float32) for state in ("before", "after")}
        images |= {f"{stage} {kind}": tile(rng.random((4, 8, 8))) for stage in STAGES}
        images |= {f"picture {kind}": rng.integers(0, 256, (32, 32, 3), np.uint8)}
        images |= {f"filters {kind}": filter_tiles(torch.randn(64, 3, 7, 7))}
    with style():
        figure = features.draw(Measured(table(), images))
    names = {name for axes in figure.axes for name in (axes.get_xlabel(), axes.get_ylabel())}
    assert names >= {
        "side of the receptive field (pixels)", "CKA of the same block", "depth (first block 0, last 1)",
        "block", "block, seed 0", "block, seed 1", "CKA (linear, unbiased)", "64 pixels across",
    }  # fmt: skip


def test_without_an_untrained_network_nothing_is_said_of_random_weights() -> None:
    made = table()
    found = outcomes(made[made["network"] != "from scratch"])
    assert found["untrained_field_is_gaussian"] == found["fraction_shrinks_with_depth"] == {"undecided"}


def test_two_runs_of_a_kind_are_told_apart() -> None:
    runs: Any = [SimpleNamespace(kind=kind) for kind in ("fine-tuned", "fine-tuned", "from scratch")]
    assert list(named(runs)) == ["fine-tuned", "fine-tuned, the other", "from scratch"]
    made = table()
    twice = pd.concat([made, made[made["network"] == "fine-tuned"].assign(network="fine-tuned, the other")])
    assert len(features.summarize(twice)) == 15
    assert sum(reading.rule == "training_enlarges_the_field" for reading in features.EXPERIMENT.read(twice)) == 3


def test_a_stage_that_sees_more_than_the_image_is_named() -> None:
    note: Observation = features.fields_and_images(table(), "fine-tuned")
    assert "96 pixels" in note.text
    assert "from layer3 on" in note.text


def test_the_blocks_that_stayed_are_counted() -> None:
    assert "2 of 8 blocks" in features.what_training_changed(table(), "fine-tuned").text


def test_the_most_varied_maps_are_chosen_and_stretched() -> None:
    patterns = [torch.arange(16.0).roll(turn).view(4, 4) for turn in range(5)]
    maps = [scale * pattern for scale, pattern in zip((1, 5, 2, 4, 3), patterns, strict=True)]
    chosen = most_varied(torch.stack([torch.full((4, 4), 30.0), *maps]))
    np.testing.assert_allclose(chosen, np.stack([patterns[number] for number in (1, 3, 4, 2)]) / 15, rtol=1e-6)


def test_tiles_lie_in_a_square_with_lines_between() -> None:
    image = tile(np.arange(4)[:, None, None] * np.ones((4, 3, 3)))
    assert image.shape == (7, 7)
    assert image[0, 0] == 0
    assert image[0, 4] == 1
    assert image[4, 0] == 2
    assert np.isnan(image[3]).all()
    assert filter_tiles(torch.randn(64, 3, 7, 7)).shape == (63, 63, 3)


def test_the_summary_has_every_stage_of_every_network() -> None:
    summary = features.summarize(table())
    assert len(summary) == 10
    assert summary[summary["stage"] == "layer4"]["theoretical field"].tolist() == [427, 427]


@pytest.mark.slow
def test_it_is_measured_and_drawn(lab: Lab, trained: object) -> None:
    lab.plan = dataclasses.replace(lab.plan, draws=1)
    lab.given = (trained,)  # type: ignore[assignment]
    result = features.EXPERIMENT.conduct(lab)
    assert {"effective_field", "cka", "cka_before_after", "half_to_whole"} <= set(result.table["quantity"])
    within = result.table[(result.table["network"] == "from scratch") & (result.table["quantity"] == "cka")]
    same = within[within["layer"] == within["other"]]
    np.testing.assert_allclose(same["value"], 1, atol=1e-6)
    assert {axes.get_ylabel() for axes in result.figure.axes} >= {
        "side of the receptive field (pixels)", "CKA of the same block",
    }  # fmt: skip
    with style():
        features.draw(Measured(result.table, result.images))  # from what is kept on disk, too
