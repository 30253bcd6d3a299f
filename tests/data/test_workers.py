"""Processes that load batches may fail: the batches come all the same, or one line says why not."""

import os
import re
import signal
import subprocess
import sys
import time
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import get_worker_info

from resnet50.data.loader import SequentialBatchSampler, evaluation_loader
from resnet50.data.workers import Batches
from resnet50.runtime.errors import UserError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="signals and shared memory are Linux's")

ROWS, BATCH = 12, 2
EXPECTED = [[row, row + 1] for row in range(0, ROWS, BATCH)]


class Rows(torch.utils.data.Dataset[tuple[torch.Tensor, int]]):
    """Rows of their own number; in a process of a loader, `mishap` happens before a row."""

    def __init__(self, mishap: Any = None, at: int = 5) -> None:
        self.mishap, self.at = mishap, at

    def __len__(self) -> int:
        return ROWS

    def __getitem__(self, row: int) -> tuple[torch.Tensor, int]:
        if self.mishap is not None and row == self.at and get_worker_info() is not None:
            self.mishap()
        return torch.full((3, 4, 4), row, dtype=torch.uint8), row


def loader_of(rows: Rows, workers: int, **options: Any) -> Batches:
    return evaluation_loader(rows, BATCH, workers, SequentialBatchSampler(ROWS, BATCH), **options)  # type: ignore[arg-type]


def labels_of(batches: Any) -> list[list[int]]:
    return [labels.tolist() for _, labels in batches]


def die_of(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)
    time.sleep(60)


def killed() -> None:
    die_of(signal.SIGKILL)


def crashed() -> None:
    die_of(signal.SIGSEGV)


def no_shared_memory(tensor: torch.Tensor) -> torch.Tensor:
    del tensor
    raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)")


@pytest.mark.slow
def test_batches_of_a_killed_process_come_from_fewer(capsys: pytest.CaptureFixture[str]) -> None:
    loader = loader_of(Rows(killed), 2)
    assert labels_of(loader) == EXPECTED
    assert loader.num_workers == 0
    assert labels_of(loader) == EXPECTED
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert re.search(r"has ended \(SIGKILL\).*fewer --workers.*goes on with --workers 1$", lines[0])
    assert lines[1].endswith("goes on in this process, as with --workers 0")


def test_a_crash_of_a_process_stops_with_one_line() -> None:
    with pytest.raises(UserError, match=r"a process that loads images crashed \(SIGSEGV\)"):
        labels_of(loader_of(Rows(crashed), 1))


@pytest.mark.slow
def test_a_process_killed_between_two_passes_is_replaced() -> None:
    loader = loader_of(Rows(), 2)
    assert labels_of(loader) == EXPECTED
    os.kill(loader._iterator._workers[0].pid, signal.SIGKILL)  # type: ignore[union-attr]
    assert labels_of(loader) == EXPECTED
    assert loader.num_workers == 1


def test_a_death_does_not_interrupt_what_the_program_does_meanwhile() -> None:
    batches = iter(loader_of(Rows(), 2))
    found = [next(batches)[1].tolist()]
    for process in torch.multiprocessing.active_children():
        os.kill(process.pid or 0, signal.SIGKILL)
    deadline = time.monotonic() + 0.3
    while time.monotonic() < deadline:
        pass  # torch's handler would raise here
    assert found + labels_of(batches) == EXPECTED


def test_without_shared_memory_this_process_loads(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.Tensor, "share_memory_", no_shared_memory)  # in the processes, which are forked
    assert labels_of(loader_of(Rows(), 1)) == EXPECTED
    line = capsys.readouterr().err
    assert "no shared memory to load images with (No space left on device (28))" in line
    assert "--shm-size" in line


def test_where_no_process_can_be_started_this_one_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch.multiprocessing.Process, "start", refuse)
    loader = loader_of(Rows(), 2)
    assert labels_of(loader) == EXPECTED
    assert loader.num_workers == 0


@pytest.mark.slow
def test_a_wait_for_a_batch_can_be_ended() -> None:
    class Stop(Exception):  # noqa: N818
        pass

    def stop() -> None:
        raise Stop

    def hang() -> None:
        time.sleep(60)

    batches = iter(loader_of(Rows(hang, at=1), 1, on_wait=[stop]))
    with pytest.raises(Stop):
        next(batches)


@pytest.mark.slow
def test_a_slow_batch_is_waited_for() -> None:
    waits: list[int] = []
    loader = loader_of(Rows(lambda: time.sleep(2.5)), 1, on_wait=[lambda: waits.append(1)])
    assert labels_of(loader) == EXPECTED
    assert waits
    assert loader.num_workers == 1


@pytest.mark.slow
def test_a_pass_that_is_left_early_leaves_nothing_to_the_next() -> None:
    loader = loader_of(Rows(lambda: time.sleep(1.5)), 2)
    for _ in range(2):
        next(iter(loader))
    assert labels_of(loader) == EXPECTED
    assert loader.num_workers == 2


def test_other_errors_of_a_dataset_are_not_taken_for_failures() -> None:
    def broken() -> None:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        labels_of(loader_of(Rows(broken), 1))


def can_mount() -> bool:
    return subprocess.run(["unshare", "-rm", "true"], check=False, capture_output=True).returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("command", ["train", "predict", "evaluate"])
def test_commands_end_on_a_full_dev_shm(command: str, trained: Path, prepared: Path, tmp_path: Path) -> None:
    if not can_mount():
        pytest.skip("no user namespaces here")
    tiny = ["--depth", "18", "--weights", "none", "--image-size", "64", "--epochs", "1", "--batch-size", "8"]
    options = {
        "train": [prepared, "--out", tmp_path / "new", *tiny],
        "predict": [trained, prepared.parent, "--out", tmp_path / "p.csv"],
        "evaluate": [trained],
    }[command]
    arguments = " ".join(f"'{argument}'" for argument in (command, *options, "--workers", "2"))
    shell = f"mount -t tmpfs -o size=64k tmpfs /dev/shm && exec {sys.executable} -m resnet50 {arguments}"
    done = subprocess.run(["unshare", "-rm", "bash", "-c", shell], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "no shared memory to load images with" in done.stderr or "no processes could be started" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_processes_that_are_stopped_end_with_a_pass_that_fails() -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    def freeze() -> None:
        os.kill(os.getpid(), signal.SIGSTOP)

    before = set(active_children())
    with pytest.raises(KeyboardInterrupt):
        labels_of(loader_of(Rows(freeze, at=1), 2, on_wait=[stop]))
    assert set(active_children()) <= before
