"""A run that is interrupted goes on to the same bits, and says how; a run folder has one owner."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

import resnet50
from resnet50.cli import run as command_line
from resnet50.options import TrainOptions
from resnet50.runtime.errors import Stopped, UserError
from resnet50.training.recovery.checkpoint import list_checkpoints
from resnet50.training.recovery.preemption import StopRequest
from resnet50.training.recovery.resume import restarted_options
from resnet50.training.recovery.run_folder import locked
from tests.conftest import NARROW_COMMAND, TINY, copy_run, make_once
from tests.faults.killing import same_results

OPTIONS: dict[str, Any] = TINY | {"epochs": 3, "batch_size": 8}
StopAfter = Callable[[int], None]


@pytest.fixture
def stop_after(monkeypatch: pytest.MonkeyPatch) -> StopAfter:
    """Let the next training be asked to stop after so many steps and batches of validation."""

    def after(looks: int) -> None:
        left = [looks]

        def reason(self: StopRequest) -> str | None:
            left[0] -= 1
            return "stopped by SIGTERM" if left[0] < 0 else None

        monkeypatch.setattr(StopRequest, "reason", property(reason))

    return after


@pytest.fixture
def shared_interrupted(shared: Path, shared_dataset: Path) -> Path:
    """Return the folder of a run that was stopped after two steps."""

    def train(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            looks = iter([None, None])
            patch.setattr(StopRequest, "reason", property(lambda _: next(looks, "stopped by SIGTERM")))
            with pytest.raises(Stopped):
                resnet50.train(shared_dataset, folder, **OPTIONS)

    return make_once(shared / "interrupted", train)


@pytest.fixture
def interrupted(shared_interrupted: Path, prepared: Path, tmp_path: Path) -> Path:
    """Return a copy of the interrupted run, on the test's own dataset."""
    return copy_run(shared_interrupted, prepared, tmp_path / "run")


def told(capsys: pytest.CaptureFixture[str]) -> str:
    """Return what was said, without line breaks."""
    captured = capsys.readouterr()
    return " ".join((captured.out + captured.err).split())


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": "adamw"},
        {"optimizer": "sgd", "schedule": "plateau", "early_stopping": 2},
        {"optimizer": "adam", "ema": 0.9, "accumulate": 3, "workers": 2, "store": False},
        {"optimizer": "sgd", "observe": True, "class_weights": "balanced", "augment": "standard", "freeze": 2},
    ],
    ids=lambda options: str(options["optimizer"]),
)
def test_a_run_interrupted_wherever_it_is_ends_with_the_same_bits(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_after: StopAfter, options: dict[str, Any]
) -> None:
    given = OPTIONS | options
    alone = resnet50.train(prepared, tmp_path / "alone", **given)
    again = tmp_path / "again"
    stops, resuming = [1, 0, 3, 4, 2, 4], False
    for looks in stops:  # in the first step after the start or a resume, within epochs, in validations, at their ends
        stop_after(looks)
        with pytest.raises(Stopped, match=r"stopped by SIGTERM: continue with `resnet50 train --resume .*again`"):
            resnet50.train(resume=again) if resuming else resnet50.train(prepared, again, **given)
        resuming = True
    monkeypatch.undo()
    assert json.loads((again / "run.json").read_text())["stopped"] == "stopped by SIGTERM"
    resnet50.train(resume=again)
    assert same_results(again, alone) == []
    about = json.loads((again / "run.json").read_text())
    assert about["stopped"] in ("finished", "early stopping")
    assert len([event for event in about["events"] if event.startswith("resumed")]) == len(stops)
    if options.get("observe"):
        for name in ("layers.csv", "samples.parquet"):
            assert (again / "observed" / name).read_bytes() == (alone / "observed" / name).read_bytes()


@pytest.mark.slow
def test_a_head_on_features_resumes_too(
    trained: Path, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_after: StopAfter
) -> None:
    given = OPTIONS | {"weights": str(trained), "freeze": 5}
    alone = resnet50.train(prepared, tmp_path / "alone", **given)
    stop_after(7)
    with pytest.raises(Stopped):
        resnet50.train(prepared, tmp_path / "again", **given)
    monkeypatch.undo()
    assert same_results(resnet50.train(resume=tmp_path / "again"), alone) == []


@pytest.mark.slow
def test_a_damaged_newest_checkpoint_costs_some_steps_and_no_bit(
    prepared: Path, shared_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_after: StopAfter,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    again = tmp_path / "again"
    stop_after(8)
    with pytest.raises(Stopped):
        resnet50.train(prepared, again, **OPTIONS)
    monkeypatch.undo()
    newest, *older = list_checkpoints(again / "checkpoints")
    assert older
    newest.path.write_bytes(newest.path.read_bytes()[:-7])
    (again / "checkpoints" / f"{newest.number + 1:06d}-0123456789abcdef.safetensors.part").write_bytes(b"cut short")
    assert same_results(resnet50.train(resume=again), shared_run) == []
    assert f"{newest.path.name} is damaged" in told(capsys).replace("- ", "-")


def test_the_same_command_again_says_how_to_go_on(prepared: Path, interrupted: Path) -> None:
    with pytest.raises(UserError, match=r"unfinished run \(0 epochs done\): continue with `resnet50 train --resume"):
        resnet50.train(prepared, interrupted, **OPTIONS)


@pytest.mark.slow
def test_a_restarted_command_resumes_by_itself(
    prepared: Path, shared_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_after: StopAfter
) -> None:
    stop_after(5)
    with pytest.raises(Stopped):
        resnet50.train(prepared, tmp_path / "run", **OPTIONS)
    monkeypatch.undo()
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert same_results(resnet50.train(prepared, tmp_path / "run", **OPTIONS), shared_run) == []


@pytest.mark.slow
def test_a_restart_before_the_first_checkpoint_begins_anew(
    prepared: Path, tmp_path: Path, stop_after: StopAfter, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_after(0)
    with pytest.raises(Stopped):
        resnet50.train(prepared, tmp_path / "run", **OPTIONS)
    monkeypatch.undo()
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    about = json.loads((tmp_path / "run" / "run.json").read_text())
    (tmp_path / "run" / "run.json").write_text(json.dumps(about | {"epochs_done": 0, "stopped": "not yet"}))
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    resnet50.train(prepared, tmp_path / "run", **OPTIONS)
    assert len(pd.read_csv(tmp_path / "run" / "metrics.csv")) == OPTIONS["epochs"]


def test_a_restarted_command_may_change_where_it_runs(prepared: Path, interrupted: Path) -> None:
    again = replace(TrainOptions(dataset=prepared, out=interrupted, **OPTIONS), accumulate=4, workers=None)
    resumed = restarted_options(again)
    assert (resumed.resume, resumed.accumulate, resumed.workers) == (interrupted, 4, 0)


def test_a_restarted_command_leaves_another_run_alone(
    prepared: Path, interrupted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    with pytest.raises(UserError, match="already holds an unfinished run"):
        resnet50.train(prepared, interrupted, **OPTIONS | {"epochs": 2})
    resnet50.train(prepared, interrupted, **OPTIONS | {"epochs": 2}, overwrite=True)
    assert len(pd.read_csv(interrupted / "metrics.csv")) == 2


def test_a_run_out_of_time_stays_stopped_when_torchrun_restarts(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for restarts in ("0", "1"):
        monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", restarts)
        with pytest.raises(Stopped, match="out of time: continue with"):
            resnet50.train(prepared, tmp_path / "run", **OPTIONS, max_time="0.01s")
    assert json.loads((tmp_path / "run" / "run.json").read_text())["events"] == []


@pytest.mark.parametrize("edit", [{"depth": 34}, {"optimizer": "sgd"}, {"ema": 0.9}, {"batch_size": 16}, {"lr": 0.5}])
def test_an_edited_config_is_refused(interrupted: Path, edit: dict[str, Any]) -> None:
    config = interrupted / "config.yaml"
    config.write_text(yaml.safe_dump(yaml.safe_load(config.read_text()) | edit))
    (name,) = edit
    with pytest.raises(UserError, match=rf"--{name.replace('_', '-')} .* can't be changed in a resumed run"):
        resnet50.train(resume=interrupted)


@pytest.mark.slow
def test_a_dataset_that_was_moved_is_known_by_its_new_place_from_then_on(
    prepared: Path, tmp_path: Path, interrupted: Path
) -> None:
    moved = prepared.rename(tmp_path / "moved")
    run = resnet50.train(moved, resume=interrupted)
    assert resnet50.evaluate(run, device="cpu", precision="fp32", workers=0)["images"] == 9


def test_a_run_is_resumed_in_its_own_folder(tmp_path: Path, interrupted: Path) -> None:
    with pytest.raises(UserError, match="leave out --out"):
        resnet50.train(resume=interrupted, out=tmp_path / "other")


def test_what_would_change_the_bits_is_refused(interrupted: Path) -> None:
    with pytest.raises(UserError, match=r"--epochs 9 can't be changed in a resumed run: .* has 3"):
        resnet50.train(resume=interrupted, epochs=9)


@pytest.mark.slow
def test_a_resumed_run_may_use_smaller_micro_batches(interrupted: Path) -> None:
    resnet50.train(resume=interrupted, accumulate=2)
    assert len(pd.read_csv(interrupted / "metrics.csv")) == OPTIONS["epochs"]


def test_another_dataset_is_refused(competition: Path, tmp_path: Path, interrupted: Path) -> None:
    resnet50.prepare(competition / "train.csv", tmp_path / "other", seed=1)
    with pytest.raises(UserError, match="not the dataset that"):
        resnet50.train(tmp_path / "other", resume=interrupted)


def test_a_finished_run_has_nothing_to_resume(trained: Path) -> None:
    assert not (trained / "checkpoints").exists()
    with pytest.raises(UserError, match="finished run: there is nothing to resume"):
        resnet50.train(resume=trained)


@pytest.mark.parametrize("name", ["nowhere", "."])
def test_a_folder_that_is_no_run_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="not a training run"):
        resnet50.train(resume=tmp_path / name)


@pytest.mark.slow
def test_time_that_is_up_ends_with_a_checkpoint_and_an_exit_code(
    prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [f"--{key.replace('_', '-')}={value}" for key, value in OPTIONS.items()]
    run = tmp_path / "run"
    assert command_line(["train", str(prepared), "--out", str(run), *flags, "--max-time", "0.001s"]) == 75
    assert f"out of time: continue with `resnet50 train --resume {run}`" in told(capsys)
    assert command_line(["train", "--resume", str(run)]) == 0
    assert len(pd.read_csv(run / "metrics.csv")) == 3


@pytest.mark.slow
def test_a_run_folder_has_one_owner_and_a_dead_one_does_not_keep_it(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from resnet50.training.recovery.run_folder import locked\n"
        "with locked(Path(sys.argv[1])): print('mine', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"mine\n"
        with pytest.raises(UserError, match="another process is training in"), locked(tmp_path):
            pass
        owner.send_signal(signal.SIGKILL)
        owner.wait()
    with locked(tmp_path):
        assert (tmp_path / ".lock").exists()


def start(prepared: Path, run: Path, workers: int = 0) -> "subprocess.Popen[str]":
    """Start a long training in a session of its own and wait for its first epoch."""
    options = OPTIONS | {"epochs": 1000, "workers": workers}
    flags = [f"--{key.replace('_', '-')}={value}" for key, value in options.items()]
    process = subprocess.Popen(
        [*NARROW_COMMAND, "train", str(prepared), "--out", str(run), *flags],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
        start_new_session=True,
        # Whoever runs the tests in the background ignores Ctrl-C, and would hand that on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509  # nothing else runs yet
    )  # fmt: skip
    deadline = time.monotonic() + 300
    while not (run / "model.safetensors").exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.1)
    return process


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_a_signal_ends_the_step_writes_a_checkpoint_and_exits_with_a_code(
    prepared: Path, tmp_path: Path, sent: signal.Signals, code: int, workers: int
) -> None:
    with start(prepared, tmp_path / "run", workers) as process:
        if workers:  # as clusters, and terminals, do
            os.killpg(process.pid, sent)
        else:
            process.send_signal(sent)
        out, _ = process.communicate(timeout=60)
    assert process.returncode == code, out
    assert f"{sent.name}: finishing the current step and writing a checkpoint" in " ".join(out.split())
    assert "`resnet50 train --resume" in out
    metrics = pd.read_csv(tmp_path / "run" / "metrics.csv")
    assert json.loads((tmp_path / "run" / "run.json").read_text())["epochs_done"] == len(metrics)
    assert list_checkpoints(tmp_path / "run" / "checkpoints")


@pytest.mark.slow
def test_a_second_ctrl_c_ends_at_once(prepared: Path, tmp_path: Path) -> None:
    with start(prepared, tmp_path / "run") as process:
        process.send_signal(signal.SIGSTOP)  # both arrive before anything else is done
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGCONT)
        time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode in (-signal.SIGINT, 130)
