"""The judge of generated layouts finds what it is there to find."""

from pathlib import Path

import pytest

from tests.etl.layouts.layout import Labels, Layout, compare, run

TRUTH: Labels = {1: ("cat", "train"), 2: ("dog", "train"), 3: ("cat", "test"), 4: ("dog", "test")}


def test_other_names_for_the_same_classes_are_right() -> None:
    found = {n: ({"cat": "0", "dog": "1"}[label], split) for n, (label, split) in TRUTH.items()}
    assert compare(TRUTH, found, "") == ""


def test_val_cut_from_train_is_right_but_test_in_train_is_not() -> None:
    assert compare(TRUTH, {**TRUTH, 2: ("dog", "val")}, "") == ""
    assert "moved" in compare(TRUTH, {**TRUTH, 3: ("cat", "train")}, "")
    with_val = {**TRUTH, 5: ("cat", "val")}
    assert "moved" in compare(with_val, {**with_val, 2: ("dog", "val")}, "")


@pytest.mark.parametrize(
    ("found", "fault"),
    [
        ({**TRUTH, 5: ("cat", "train")}, "1 images that have no label"),
        ({**TRUTH, 2: ("cat", "train")}, "wrong labels"),
        ({n: ("pet", split) for n, (_, split) in TRUTH.items()}, "wrong labels"),
        ({n: TRUTH[n] for n in (1, 2, 3)}, "1 of 4 images lost"),
        ({}, "nothing came out"),
    ],
)
def test_faults_are_named(found: Labels, fault: str) -> None:
    assert fault in compare(TRUTH, found, "")


def test_lost_images_are_right_only_with_a_warning_of_them() -> None:
    found = {n: TRUTH[n] for n in (1, 2, 3)}
    assert compare(TRUTH, found, "warning: 1 row without an image, left out") == ""
    assert compare(TRUTH, found, "warning: the learning rate is high") != ""


def test_prepare_is_wrong_where_it_should_ask_or_refuse(tmp_path: Path) -> None:
    layout = Layout()
    for n in range(20):
        layout.image(f"{n % 2}/{n}.png", str(n % 2))
    assert run(layout, tmp_path / "plain").word == "right"
    layout.refused = True
    assert run(layout, tmp_path / "refused").word == "WRONG"
    layout.refused, layout.others = False, [{n: ("x" if n % 3 else "y", "") for n in layout.truth}]
    assert run(layout, tmp_path / "asked").word == "WRONG"
    layout.truth = layout.others[0]
    layout.others = []
    assert run(layout, tmp_path / "wrong").word == "WRONG"
