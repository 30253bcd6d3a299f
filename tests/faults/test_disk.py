"""A disk that fills up or becomes read-only at any write: a clear word, nothing half-written, and training goes on."""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import resnet50
from resnet50.model.file import load_model
from resnet50.runtime import atomic as whole
from resnet50.runtime.errors import UserError
from resnet50.training.recovery.checkpoint import Checkpoints, list_checkpoints, read_checkpoint
from tests.conftest import TINY
from tests.faults.killing import same_results

OPTIONS: dict[str, Any] = TINY | {"epochs": 3, "batch_size": 8}
Fail = Callable[[int, int], list[int]]


@pytest.fixture
def fail_at(monkeypatch: pytest.MonkeyPatch) -> Fail:
    """Let a file's way to the disk fail from the n-th file on; return a list with the number of files so far."""
    flush = whole.flush

    def at(number: int, code: int) -> list[int]:
        count = [0]

        def failing(path: Path) -> None:
            count[0] += not path.is_dir()
            if count[0] > number:
                raise OSError(code, os.strerror(code))
            flush(path)

        monkeypatch.setattr(whole, "flush", failing)
        return count

    return at


def assert_whole(run: Path) -> None:
    """Read everything in a run folder that stands under its own name."""
    assert not list(run.rglob("*.part"))
    if (run / "run.json").exists():
        json.loads((run / "run.json").read_text())
    if (run / "metrics.csv").exists():
        assert pd.read_csv(run / "metrics.csv").notna().all(axis=None)
    for name in ("model.safetensors", "last.safetensors"):
        if (run / name).exists():
            load_model(run / name)
    for found in list_checkpoints(run / "checkpoints"):
        assert read_checkpoint(found) is not None


FILES = 15
"""Files, or new versions of one, that a training writes."""


def checkpoint_each_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a checkpoint at every epoch's end, also where the last one is still being written."""

    def due(checkpoints: Checkpoints, *, epoch_end: bool) -> bool:
        checkpoints.finish()
        return epoch_end

    monkeypatch.setattr(Checkpoints, "due", due)


def check_at(
    prepared: Path, tmp_path: Path, undisturbed: Path, fail_at: Fail, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Train on a disk that is full after so many files; then, with room again, resume."""
    run = tmp_path / f"run-{number}"
    checkpoint_each_epoch(monkeypatch)
    fail_at(number, errno.ENOSPC)
    with pytest.raises(UserError, match="could not be written: the disk is full"):
        resnet50.train(prepared, run, **OPTIONS)
    monkeypatch.undo()
    assert_whole(run)
    if list_checkpoints(run / "checkpoints"):
        resnet50.train(resume=run)
    else:
        resnet50.train(prepared, run, **OPTIONS, overwrite=(run / "config.yaml").exists())
    assert same_results(run, undisturbed) == []


@pytest.mark.parametrize("number", [0, 3, 7])
def test_a_full_disk_loses_only_steps_since_the_checkpoint(
    prepared: Path, tmp_path: Path, shared_run: Path, fail_at: Fail, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    check_at(prepared, tmp_path, shared_run, fail_at, monkeypatch, number)


def test_the_disk_is_tried_full_at_each_file(
    prepared: Path, tmp_path: Path, fail_at: Fail, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint_each_epoch(monkeypatch)
    count = fail_at(1000, errno.ENOSPC)
    resnet50.train(prepared, tmp_path / "run", **OPTIONS)
    assert count == [FILES]


@pytest.mark.faults
@pytest.mark.parametrize("number", range(FILES))
def test_a_disk_that_is_full_from_any_file_on_loses_nothing_else(
    prepared: Path, tmp_path: Path, shared_run: Path, fail_at: Fail, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    check_at(prepared, tmp_path, shared_run, fail_at, monkeypatch, number)


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.EIO])
def test_a_folder_that_can_no_longer_be_written_to_is_named(
    trained: Path, fail_at: Fail, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    before = (trained / "report.html").read_bytes() if (trained / "report.html").exists() else None
    fail_at(0, code)
    with pytest.raises(UserError, match=rf"could not be written \({os.strerror(code)}\)"):
        resnet50.evaluate(trained, device="cpu", precision="fp32", workers=0)
    monkeypatch.undo()
    assert not list(trained.rglob("*.part"))
    assert ((trained / "report.html").read_bytes() if (trained / "report.html").exists() else None) == before


@pytest.mark.parametrize("where", ["resnet50.etl.store.StoreWriter.add", "pandas.DataFrame.to_parquet", "json.dump"])
def test_a_dataset_is_there_whole_or_not_at_all(
    competition: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def full(*args: Any, **kwargs: Any) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(where, full)
        with pytest.raises(UserError, match="disk is full"):
            resnet50.prepare(competition / "train.csv", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["competition"]


def test_a_missing_or_cut_pixel_store_is_refused_at_the_start(prepared: Path, tmp_path: Path) -> None:
    shard = next((prepared / "pixels").glob("shard-*.bin"))
    content = shard.read_bytes()
    shard.write_bytes(content[:-1])
    with pytest.raises(UserError, match="has changed in size"):
        resnet50.train(prepared, tmp_path / "run", **OPTIONS)
    shard.unlink()
    with pytest.raises(UserError, match="damaged: prepare the dataset again"):
        resnet50.train(prepared, tmp_path / "run", **OPTIONS)
    assert not (tmp_path / "run").exists()
