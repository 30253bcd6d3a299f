"""Several processes train as one, evaluate to the same bytes, and end together when one of them dies."""

import json
import os
import re
import signal
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
import torch

import resnet50
from resnet50.training import loop
from tests.conftest import TINY
from tests.faults.torchrun import counting_messages, frozen_norms, meeting, run, started, torchrun, workers

OPTIONS: dict[str, Any] = TINY | {
    "epochs": 3,
    "batch_size": 8,
    "optimizer": "sgd",
    "lr": 0.01,
    "head_lr": 0.01,
}
TOLERANCE = 1e-4
"""Relative: gradients are added up in another order, and three epochs make more of it."""


def flags(options: dict[str, Any]) -> list[str]:
    """Return options as they are typed."""
    return [f"--{key.replace('_', '-')}={value}" for key, value in options.items()]


def assert_alike(run_folder: Path, other: Path) -> None:
    """Compare the numbers of two runs' epochs."""
    ours, theirs = (pd.read_csv(folder / "metrics.csv") for folder in (run_folder, other))
    for name in ("train_loss", "val_loss", "objective", "grad_norm", "train_accuracy", "val_accuracy", "lr"):
        np.testing.assert_allclose(ours[name], theirs[name], rtol=TOLERANCE, atol=1e-5, err_msg=name)  # losses near 0
    assert ours["skipped_steps"].tolist() == theirs["skipped_steps"].tolist()


def train_both(prepared: Path, tmp_path: Path, world_size: int, options: dict[str, Any]) -> tuple[Path, Path]:
    """Train with norms frozen in this process and in several; return both runs."""
    script, together = frozen_norms(tmp_path), tmp_path / "together"
    with patch.object(loop, "train_mode", torch.nn.Module.eval):
        alone = resnet50.train(prepared, tmp_path / "alone", **options)
    command = ["train", str(prepared), "--out", str(together), *flags(options)]
    second = run(torchrun(world_size, command, script=script))
    assert second.returncode == 0, second.stdout + second.stderr
    assert second.stdout.count("epoch   train loss") == 1  # one speaks, the others have their logs
    for rank in range(1, world_size):
        assert "finished after 3 of 3 epochs" in (together / "logs" / f"rank-{rank}.log").read_text()
    return alone, together


@pytest.mark.slow
def test_two_processes_train_and_evaluate_as_one(prepared: Path, tmp_path: Path) -> None:
    alone, together = train_both(prepared, tmp_path, 2, OPTIONS)
    assert_alike(together, alone)
    evaluation = [
        "evaluate",
        str(together),
        *flags({"device": "cpu", "precision": "fp32", "workers": 0, "batch_size": 4}),
    ]
    done = run(torchrun(2, evaluation))
    assert done.returncode == 0, done.stdout + done.stderr
    figures = {path.name: path.read_bytes() for path in (together / "evaluation").iterdir()}
    assert set(figures) == {"test.csv", "test.json"}
    resnet50.evaluate(together, device="cpu", precision="fp32", workers=0, batch_size=4)
    assert {path.name: path.read_bytes() for path in (together / "evaluation").iterdir()} == figures


@pytest.mark.faults
@pytest.mark.parametrize(
    ("world_size", "options"),
    [
        (4, {}),
        (3, {"accumulate": 2, "image_size": 40, "lr": 1e-3, "head_lr": 1e-3}),  # shares of unequal size
        (3, {"accumulate": 5, "batch_size": 32}),  # of 11, 11 and 10 images
        (
            2,
            {
                "accumulate": 2,
                "class_weights": "balanced",
                "ema": 0.9,
                "optimizer": "adamw",
                "lr": 1e-4,
                "head_lr": 1e-4,
            },
        ),
    ],
)
def test_any_number_of_processes_trains_as_one(
    prepared: Path, tmp_path: Path, world_size: int, options: dict[str, Any]
) -> None:
    assert_alike(*train_both(prepared, tmp_path, world_size, OPTIONS | options))


@pytest.mark.faults
def test_accumulated_gradients_are_reduced_once(prepared: Path, tmp_path: Path) -> None:
    script, sent = counting_messages(tmp_path), list[int]()
    for accumulate in (1, 2):
        out = tmp_path / str(accumulate)
        options = OPTIONS | {"epochs": 1, "accumulate": accumulate}
        done = run(torchrun(2, ["train", str(prepared), "--out", str(out), *flags(options)], script=script))
        assert done.returncode == 0, done.stdout + done.stderr
        sent.append(int(re.findall(r"sent (\d+)", done.stdout)[0]))
    assert sent[0] == sent[1] > 0


@pytest.mark.faults
def test_bad_images_are_skipped_by_all_processes(prepared: Path, tmp_path: Path) -> None:
    manifest = pd.read_parquet(prepared / "manifest.parquet")
    bad = [manifest.loc[manifest["split"] == split, "path"].iloc[row] for split in ("train", "val") for row in (2, 3)]
    for path in bad:
        Path(path).unlink()
    command = ["train", str(prepared), "--no-store", *flags(OPTIONS | {"workers": 1})]
    done = run(torchrun(2, [*command, "--out", str(tmp_path / "run"), "--skip-bad", "4"]))
    assert done.returncode == 0, done.stdout + done.stderr
    events = json.loads((tmp_path / "run" / "run.json").read_text())["events"]
    assert [sum(path in event for event in events) for path in bad] == [1, 1, 1, 1]
    refused = run(torchrun(2, [*command, "--out", str(tmp_path / "other"), "--skip-bad", "3"]))
    assert refused.returncode != 0
    assert "more than --skip-bad 3" in " ".join((refused.stdout + refused.stderr).split())


@pytest.mark.faults
def test_a_launcher_told_to_stop_leaves_a_checkpoint(prepared: Path, tmp_path: Path) -> None:
    folder, log = tmp_path / "run", tmp_path / "said.txt"
    options = OPTIONS | {"epochs": 1000, "workers": 1, "checkpoint_minutes": 60}
    with started(torchrun(2, ["train", str(prepared), "--out", str(folder), *flags(options)]), log) as launcher:
        wait_for_epoch(folder, 1)
        launcher.send_signal(signal.SIGTERM)
        launcher.wait(timeout=60)
    assert json.loads((folder / "run.json").read_text())["stopped"] == "stopped by SIGTERM", log.read_text()
    epochs = len(pd.read_csv(folder / "metrics.csv"))
    resumed = run(torchrun(2, ["train", "--resume", str(folder), "--max-time", "1s"]))
    assert re.search(rf"resumed after (step \d+ of 5 of epoch {epochs + 1}|epoch {epochs})", resumed.stdout)


@pytest.mark.faults
def test_two_machines_that_meet_train_as_one(prepared: Path, tmp_path: Path) -> None:
    script, alone, together = frozen_norms(tmp_path), tmp_path / "alone", tmp_path / "together"
    first = run(torchrun(1, ["train", str(prepared), "--out", str(alone), *flags(OPTIONS)], script=script))
    assert first.returncode == 0, first.stdout + first.stderr
    command = ["train", str(prepared), "--out", str(together), *flags(OPTIONS)]
    launched = torchrun(1, command, flags=meeting(2), script=script)
    logs = [tmp_path / f"machine-{number}.txt" for number in range(2)]
    with started(launched, logs[0]) as one, started(launched, logs[1]) as other:
        assert [one.wait(timeout=300), other.wait(timeout=300)] == [0, 0], [log.read_text() for log in logs]
    assert sorted(log.read_text().count("epoch   train loss") for log in logs) == [0, 1]
    assert_alike(together, alone)


@pytest.mark.faults
def test_a_dead_machine_ends_the_other_and_training_resumes(prepared: Path, tmp_path: Path) -> None:
    folder, logs = tmp_path / "run", [tmp_path / f"machine-{number}.txt" for number in range(2)]
    command = ["train", str(prepared), "--out", str(folder), *flags(OPTIONS | {"epochs": 1000})]
    launched = torchrun(1, command, flags=meeting(2))
    with started(launched, logs[0]) as one, started(launched, logs[1]) as other:
        wait_for_epoch(folder, 1)
        for process in (other.pid, *workers(other.pid, 1).values()):
            os.kill(process, signal.SIGKILL)
        assert one.wait(timeout=60) != 0
    resumed = run(torchrun(1, ["train", "--resume", str(folder), "--max-time", "1s"]))
    assert "resumed" in resumed.stdout


def wait_for_epoch(folder: Path, epochs: int, seconds: float = 240) -> None:
    """Wait until a run has so many epochs behind it."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if (folder / "metrics.csv").is_file() and len(pd.read_csv(folder / "metrics.csv")) >= epochs:
            return
        time.sleep(0.1)
    raise AssertionError(f"{folder} has not got to epoch {epochs}")


@pytest.mark.faults
@pytest.mark.parametrize("victim", [0, 1])
def test_a_dead_process_ends_all_of_them_within_seconds_with_a_clear_word(
    prepared: Path, tmp_path: Path, victim: int
) -> None:
    folder, log = tmp_path / "run", tmp_path / "said.txt"
    command = ["train", str(prepared), "--out", str(folder), *flags(OPTIONS | {"epochs": 1000})]
    with started(torchrun(2, command), log) as launcher:
        wait_for_epoch(folder, 1)
        os.kill(workers(launcher.pid, 2)[victim], signal.SIGKILL)
        launcher.wait(timeout=60)
    assert launcher.returncode != 0
    said = " ".join((log.read_text() + "".join(p.read_text() for p in (folder / "logs").iterdir())).split())
    assert f"--resume {folder}" in said
    resumed = run(torchrun(2, ["train", "--resume", str(folder), "--max-time", "1s"]))
    assert "resumed" in resumed.stdout


@pytest.mark.faults
@pytest.mark.parametrize("victim", [0, 1])
@pytest.mark.parametrize("when", ["config.yaml", "model.safetensors"])
def test_training_resumes_when_torchrun_restarts(prepared: Path, tmp_path: Path, victim: int, when: str) -> None:
    folder, log = tmp_path / "run", tmp_path / "said.txt"
    options = OPTIONS | {"epochs": 20, "checkpoint_minutes": 0.01}
    command = ["train", str(prepared), "--out", str(folder), *flags(options)]
    with started(torchrun(2, command, flags=("--standalone", "--max-restarts=2")), log) as launcher:
        found, deadline = workers(launcher.pid, 2), time.monotonic() + 120
        while not (folder / when).exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(found[victim], signal.SIGKILL)
        launcher.wait(timeout=300)
    said = log.read_text()
    assert launcher.returncode == 0, said
    assert "resumed" in said or when == "config.yaml"  # there may not be a checkpoint yet
    assert len(pd.read_csv(folder / "metrics.csv")) == 20


@pytest.mark.faults
@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2), (4, 2)])
def test_a_run_resumes_with_another_number_of_processes(
    prepared: Path, tmp_path: Path, before: int, after: int
) -> None:
    script, alone, folder = frozen_norms(tmp_path), tmp_path / "alone", tmp_path / "run"
    options = OPTIONS
    first = run(torchrun(1, ["train", str(prepared), "--out", str(alone), *flags(options)], script=script))
    assert first.returncode == 0, first.stderr
    command = ["train", str(prepared), "--out", str(folder), *flags(options), "--max-time", "0.01s"]
    stopped = run(torchrun(before, command, script=script))
    assert "out of time" in stopped.stdout + stopped.stderr
    resumed = run(torchrun(after, ["train", "--resume", str(folder)], script=script))
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert_alike(folder, alone)


@pytest.mark.faults
def test_what_is_wrong_with_the_options_is_said_once(prepared: Path, tmp_path: Path) -> None:
    done = run(torchrun(2, ["train", str(prepared), "--out", str(tmp_path / "run"), *flags(OPTIONS | {"epochs": 0})]))
    assert done.returncode != 0
    assert (done.stdout + done.stderr).count("--epochs 0: must be at least 1") == 1


@pytest.mark.faults
def test_processes_prepare_and_predict_to_the_same_bytes(competition: Path, trained: Path, tmp_path: Path) -> None:
    resnet50.prepare(competition / "train.csv", tmp_path / "alone")
    done = run(torchrun(3, ["prepare", str(competition / "train.csv"), "--out", str(tmp_path / "together")]))
    assert done.returncode == 0, done.stdout + done.stderr
    for path in (tmp_path / "alone").rglob("*"):
        if path.is_file():
            assert (tmp_path / "together" / path.relative_to(tmp_path / "alone")).read_bytes() == path.read_bytes()
    fixed = flags({"device": "cpu", "precision": "fp32", "engine": "torch", "workers": 0, "batch_size": 8})
    for world_size, name in ((1, "alone.csv"), (3, "together.csv")):
        predict = ["predict", str(trained), str(competition / "images"), "--out", str(tmp_path / name), *fixed]
        done = run(torchrun(world_size, predict))
        assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "together.csv").read_bytes() == (tmp_path / "alone.csv").read_bytes()
