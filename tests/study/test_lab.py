"""The lab: images that are always the same, parts that are made once, folders that hold one study."""

import dataclasses
from pathlib import Path

import pandas as pd
import pytest
import torch

from resnet50.model.file import load_model
from resnet50.runtime.device import Device
from resnet50.runtime.errors import UserError
from resnet50.study.lab import FULL, QUICK, SLOW, Lab, open_lab, plan_for


def test_images_are_drawn_once_and_for_all(lab: Lab) -> None:
    some, all_ = lab.images("train", lab.small_preprocess(), 8), lab.images("train", lab.small_preprocess())
    assert some.pixels.shape == (8, 3, 32, 32)
    assert some.pixels.dtype == torch.uint8
    assert some.ids == all_.ids[:8]
    rows = lab.dataset.split("train").reset_index(drop=True)
    assert rows["image_id"].iloc[some.rows].tolist() == some.ids
    assert rows["label_index"].iloc[some.rows].tolist() == some.labels.tolist()
    assert len(all_) == len(rows)


def test_a_part_is_made_once(lab: Lab) -> None:
    made: list[int] = []

    def make() -> pd.DataFrame:
        made.append(1)
        return pd.DataFrame({"network": ["none", "residual"], "value": [0.1, float("nan")]})

    first, again = lab.keep("some/part", make), lab.keep("some/part", make)
    assert len(made) == 1
    pd.testing.assert_frame_equal(first, again)
    assert first["network"].tolist() == ["none", "residual"]  # the word is no missing value


def test_a_part_that_fails_leaves_nothing(lab: Lab) -> None:
    with pytest.raises(ZeroDivisionError):
        lab.keep("bad", lambda: pd.DataFrame({"value": [1 / 0]}))
    assert not list(lab.folder.rglob("bad*"))


def test_a_run_is_opened_with_what_it_was_trained_with(lab: Lab, trained: Path) -> None:
    lab.given = (trained,)
    (run,) = lab.runs
    assert run.kind == "from scratch"
    assert run.options.depth == 18
    images = lab.images("val", run.model.preprocess)
    logits = lab.logits(run.network, images.pixels, run.model.preprocess)
    with torch.no_grad():
        expected = load_model(trained).network(run.model.preprocess.normalize(images.pixels))
    torch.testing.assert_close(logits, expected)


def test_the_network_before_training_is_the_one_that_training_began_with(lab: Lab, trained: Path) -> None:
    lab.given = (trained,)
    start, again = lab.start_of(lab.runs[0]), lab.start_of(lab.runs[0])
    assert torch.equal(start.fc.weight, again.fc.weight)
    assert not torch.equal(start.fc.weight, lab.runs[0].network.fc.weight)


def test_a_study_goes_on_and_another_one_is_refused(prepared: Path, tmp_path: Path) -> None:
    out = tmp_path / "s"
    open_lab(prepared, out, device="cpu", precision="fp32")
    same = prepared.parent / "somewhere" / ".." / prepared.name  # the same dataset, called otherwise
    same.parent.parent.mkdir()
    open_lab(same, out, device="cpu", precision="fp32")
    with pytest.raises(UserError, match="holds a study with another seed"):
        open_lab(prepared, out, seed=1, device="cpu", precision="fp32")
    (out / "anatomy.csv").write_text("old")
    open_lab(prepared, out, seed=1, device="cpu", precision="fp32", overwrite=True)
    assert not (out / "anatomy.csv").exists()


def test_folders_that_hold_something_else_are_left_alone(prepared: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="not a study"):
        open_lab(prepared, precious, overwrite=True)
    assert (precious / "thesis.txt").exists()
    with pytest.raises(UserError, match="is a file"):
        open_lab(prepared, precious / "thesis.txt")


def test_a_run_brings_its_dataset(trained: Path, prepared: Path, tmp_path: Path) -> None:
    lab = open_lab(trained, tmp_path / "s", device="cpu")
    assert lab.given == (trained,)
    assert lab.dataset.folder == prepared
    with pytest.raises(UserError):
        open_lab(tmp_path / "nowhere", tmp_path / "other")


def test_quick_is_smaller_where_numbers_are_fp32() -> None:
    cpu = torch.device("cpu")
    assert plan_for("quick", Device(cpu, "bf16", "")) == QUICK
    assert plan_for("quick", Device(cpu, "fp32", "")) == SLOW
    assert plan_for("full", Device(cpu, "fp32", "")) == FULL
    for name in ("images", "epochs", "seeds", "looked_at", "draws", "grid"):
        small, quick, full = (dataclasses.asdict(plan)[name] for plan in (SLOW, QUICK, FULL))
        assert small <= quick <= full
