"""Checkpoints on the disk: whole, verified, the newest intact one, in the background, and cheap."""

import hashlib
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from resnet50.runtime.errors import UserError
from resnet50.training.recovery.checkpoint import (
    Checkpoints,
    flatten,
    intact_checkpoints,
    list_checkpoints,
    newest_checkpoint,
    read_checkpoint,
    unflatten,
)

CONTENT = {
    "weights": {"conv": torch.randn(4, 3, 2, 2).to(memory_format=torch.channels_last), "count": torch.tensor(3)},
    "optimizer": {
        "state": {0: {"step": torch.tensor(2.0)}, 1: {}},
        "param_groups": [{"lr": 0.1, "betas": (0.9, 0.99)}],
    },
    "best": float("inf"),
    "nothing": None,
    "words": ["naïve", "日本"],
}


def equal(ours: Any, theirs: Any) -> bool:
    """Compare nested values; tuples have become lists."""
    if isinstance(theirs, torch.Tensor):
        return ours.dtype == theirs.dtype and torch.equal(ours, theirs)
    if isinstance(theirs, dict):
        return list(ours) == list(theirs) and all(equal(ours[key], theirs[key]) for key in theirs)
    if isinstance(theirs, (list, tuple)):
        return len(ours) == len(theirs) and all(map(equal, ours, theirs))
    return bool(ours == theirs)


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    return Checkpoints(tmp_path / "checkpoints", minutes=10.0, keep=2)


def test_nested_values_come_back_as_they_were() -> None:
    tensors: dict[str, torch.Tensor] = {}
    assert equal(unflatten(flatten(CONTENT, "", tensors), tensors), CONTENT)
    assert len(tensors) == 3


def test_a_checkpoint_comes_back_from_the_disk_bit_by_bit(checkpoints: Checkpoints) -> None:
    checkpoints.save(CONTENT, wait=True)
    assert equal(newest_checkpoint(checkpoints.folder), CONTENT)
    assert not list(checkpoints.folder.glob("*.part"))


def test_what_training_changes_afterwards_is_not_in_it(checkpoints: Checkpoints) -> None:
    weights = torch.zeros(1_000_000)
    for value in range(3):
        weights.fill_(value)
        checkpoints.save({"weights": weights})
        weights.fill_(-1)
    checkpoints.finish()
    assert [saved["weights"].unique().tolist() for saved in intact_checkpoints(checkpoints.folder)] == [[2.0], [1.0]]


def test_the_newest_few_are_kept(checkpoints: Checkpoints) -> None:
    for _ in range(5):
        checkpoints.save(CONTENT, wait=True)
    assert [found.number for found in list_checkpoints(checkpoints.folder)] == [5, 4]


def test_a_new_process_continues_the_numbering(checkpoints: Checkpoints) -> None:
    checkpoints.save(CONTENT, wait=True)
    again = Checkpoints(checkpoints.folder, minutes=10.0, keep=2)
    again.save(CONTENT, wait=True)
    assert [found.number for found in list_checkpoints(checkpoints.folder)] == [2, 1]


@pytest.mark.parametrize("damage", ["cut", "bit", "empty", "zeros"])
def test_a_damaged_one_is_passed_over_for_the_one_before(
    checkpoints: Checkpoints, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoints.save({"number": 1}, wait=True)
    checkpoints.save({"number": 2, "weights": torch.zeros(100)}, wait=True)
    path = list_checkpoints(checkpoints.folder)[0].path
    content = bytearray(path.read_bytes())
    if damage == "bit":
        content[-50] ^= 1
    path.write_bytes({"cut": content[:-1], "bit": content, "empty": b"", "zeros": bytes(len(content))}[damage])
    assert newest_checkpoint(checkpoints.folder) == {"number": 1}
    assert f"{path.name} is damaged" in "".join(capsys.readouterr().err.split("\n"))


def test_without_an_intact_one_it_says_so(checkpoints: Checkpoints) -> None:
    with pytest.raises(UserError, match="no intact checkpoint"):
        newest_checkpoint(checkpoints.folder)
    checkpoints.save(CONTENT, wait=True)
    list_checkpoints(checkpoints.folder)[0].path.write_bytes(b"gone")
    with pytest.raises(UserError, match=r"no intact checkpoint.*--overwrite"):
        newest_checkpoint(checkpoints.folder)


def test_a_file_of_another_kind_under_such_a_name_is_none(checkpoints: Checkpoints) -> None:
    checkpoints.folder.mkdir()
    for number, content in enumerate(
        (b"{}", save({"w": torch.zeros(2)}), save({}, {"format": "resnet50-checkpoint-2"}))
    ):
        digest = hashlib.sha256(content).hexdigest()[:16]
        (checkpoints.folder / f"{number:06d}-{digest}.safetensors").write_bytes(content)
    assert [read_checkpoint(found) for found in list_checkpoints(checkpoints.folder)] == [None] * 3


@pytest.mark.parametrize(
    ("error", "words"),
    [(OSError(28, "No space left on device"), "disk is full"), (OSError(30, "Read-only file system"), "Read-only")],
)
def test_a_full_or_read_only_disk_is_told_by_the_next_one(
    checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch, error: OSError, words: str
) -> None:
    checkpoints.save({"number": 1}, wait=True)

    def fail(self: Path, content: bytes) -> int:
        with self.open("wb") as file:
            file.write(content[: len(content) // 2])
        raise error

    monkeypatch.setattr(Path, "write_bytes", fail)
    checkpoints.save({"number": 2})
    with pytest.raises(UserError, match=words):
        checkpoints.finish()
    monkeypatch.undo()
    assert newest_checkpoint(checkpoints.folder) == {"number": 1}
    assert [path.name for path in checkpoints.folder.iterdir()] == [list_checkpoints(checkpoints.folder)[0].path.name]


def test_the_next_one_waits_until_the_last_has_paid_for_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    checkpoints = Checkpoints(tmp_path / "checkpoints", minutes=10, keep=2)
    assert checkpoints.due(epoch_end=True)
    assert not checkpoints.due(epoch_end=False)
    checkpoints.save(CONTENT, wait=True)
    checkpoints.cost = 1.0
    now[0] += 99.9
    assert not checkpoints.due(epoch_end=True)
    now[0] += 0.2
    assert checkpoints.due(epoch_end=True)
    assert not checkpoints.due(epoch_end=False)
    now[0] += 499.8
    assert not checkpoints.due(epoch_end=False)
    now[0] += 0.2
    assert checkpoints.due(epoch_end=False)


def test_a_checkpoint_of_an_earlier_version_says_what_to_do(checkpoints: Checkpoints) -> None:
    checkpoints.folder.mkdir()
    content = save({"w": torch.zeros(2)}, {"format": "resnet50-checkpoint-1", "content": "{}"})
    digest = hashlib.sha256(content).hexdigest()[:16]
    (checkpoints.folder / f"000001-{digest}.safetensors").write_bytes(content)
    with pytest.raises(UserError, match=r"earlier version of resnet50: finish the run with that version"):
        newest_checkpoint(checkpoints.folder)
