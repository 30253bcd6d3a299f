"""Work cut into shards: whole batches, everything once, merged to the same bytes."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import resnet50
from resnet50.cli import run as command_line
from resnet50.runtime.errors import UserError
from resnet50.runtime.sharding import Shard, parse_shard, read_shards, write_shard


@pytest.mark.parametrize(("items", "unit", "count"), [(10, 1, 3), (100, 8, 4), (5, 32, 3), (0, 1, 2), (7, 2, 7)])
def test_shards_have_everything_once_in_whole_units(items: int, unit: int, count: int) -> None:
    parts = [list(range(items))[Shard(index, count).of(items, unit)] for index in range(count)]
    assert [item for part in parts for item in part] == list(range(items))
    assert all(part[0] % unit == 0 for part in parts if part)
    sizes = [-(-len(part) // unit) for part in parts]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("text", ["", "1", "0/3", "4/3", "a/b", "1/2/3", "-1/2"])
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="--shard"):
        parse_shard(text)


def test_parts_come_back_in_order(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).random((10, 3))
    for index in (2, 0, 1):
        shard = Shard(index, 3)
        write_shard(tmp_path, shard, rows[shard.of(10)], "same")
    assert np.array_equal(read_shards(tmp_path, 3, "same"), rows)


def test_parts_that_are_missing_damaged_or_of_other_work_are_named(tmp_path: Path) -> None:
    write_shard(tmp_path, Shard(0, 2), np.zeros((2, 2)), "same")
    with pytest.raises(UserError, match=r"shards 2/2 are not in .*--shard"):
        read_shards(tmp_path, 2, "same")
    path = write_shard(tmp_path, Shard(1, 2), np.zeros((2, 2)), "other")
    with pytest.raises(UserError, match=r"other images, weights or options.*--shard 2/2"):
        read_shards(tmp_path, 2, "same")
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(UserError, match=r"damaged.*--shard 2/2"):
        read_shards(tmp_path, 2, "same")


def folder_bytes(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("store", [True, False])
def test_a_dataset_prepared_in_shards_is_the_same_byte_by_byte(competition: Path, tmp_path: Path, store: bool) -> None:
    (competition / "images" / "007.jpg").write_bytes(b"no image")
    (competition / "images" / "009.jpg").write_bytes((competition / "images" / "011.jpg").read_bytes())
    table = competition / "train.csv"
    resnet50.prepare(table, tmp_path / "whole", store=store)
    out = tmp_path / "parts"
    for shard in ("3/3", "1/3", "2/3", "1/3"):  # in any order, and again
        resnet50.prepare(table, out, store=store, shard=shard)
    assert not out.exists()
    resnet50.prepare(table, out, store=store, merge=3)
    assert folder_bytes(out) == folder_bytes(tmp_path / "whole")
    assert not (tmp_path / "parts.shards").exists()


def test_a_shard_of_other_images_is_not_merged(competition: Path, tmp_path: Path) -> None:
    table, out = competition / "train.csv", tmp_path / "parts"
    resnet50.prepare(table, out, shard="1/2")
    with pytest.raises(UserError, match="shards 2/2 are not in"):
        resnet50.prepare(table, out, merge=2)
    resnet50.prepare(table, out, shard="2/2", store_size=32)
    with pytest.raises(UserError, match="with other options: run the command with --shard 2/2 again"):
        resnet50.prepare(table, out, merge=2)
    resnet50.prepare(table, out, shard="2/2")
    pixels = tmp_path / "parts.shards" / "2-of-2" / "pixels.bin"
    pixels.write_bytes(pixels.read_bytes()[:-1])
    with pytest.raises(UserError, match="2-of-2 is damaged"):
        resnet50.prepare(table, out, merge=2)
    assert not out.exists()


@pytest.mark.slow
def test_evaluation_in_shards_is_the_same_byte_by_byte(trained: Path) -> None:
    options = {"device": "cpu", "precision": "fp32", "workers": 0, "batch_size": 2}
    metrics = resnet50.evaluate(trained, **options)
    whole = folder_bytes(trained / "evaluation")
    for path in (trained / "evaluation").iterdir():
        path.unlink()
    for shard in ("2/2", "1/2"):
        assert resnet50.evaluate(trained, **options, shard=shard) == {}
    assert resnet50.evaluate(trained, **options, merge=2) == metrics
    assert folder_bytes(trained / "evaluation") == whole


@pytest.mark.slow
def test_predictions_in_shards_are_the_same_byte_by_byte(trained: Path, competition: Path, tmp_path: Path) -> None:
    def predict(name: str, *flags: str) -> int:
        fixed = ["--device=cpu", "--precision=fp32", "--engine=torch", "--workers=0", "--batch-size=8"]
        return command_line(
            ["predict", str(trained), str(competition / "images"), "--out", str(tmp_path / name), *fixed, *flags]
        )

    assert predict("whole.csv") == 0
    assert [predict("parts.csv", "--shard", f"{number}/3") for number in (2, 3, 1)] == [0, 0, 0]
    assert not (tmp_path / "parts.csv").exists()
    (tmp_path / "template.csv").write_text("id,label\nnowhere,?\n")
    assert predict("parts.csv", "--merge", "3", "--format=submission", f"--template={tmp_path / 'template.csv'}") == 2
    assert predict("parts.csv", "--merge", "3") == 0  # the shards are still there
    assert (tmp_path / "parts.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert len(pd.read_csv(tmp_path / "parts.csv")) == 60
    assert predict("again.csv", "--merge", "3") == 2
