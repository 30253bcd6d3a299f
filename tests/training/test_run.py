"""`resnet50 train` from options to run folder."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml

import resnet50
from resnet50.model.file import load_model
from resnet50.options import TrainOptions, from_arguments, from_values
from resnet50.runtime.errors import UserError
from resnet50.training.budget import SPENT_FILE, BudgetClock, spent_before
from resnet50.training.optim import parse_plan
from resnet50.training.run import train
from resnet50.training.setup.data import class_weights
from resnet50.training.setup.resolve import parse_duration
from tests.conftest import NARROW_COMMAND, TINY

TIMING = ("images_per_second", "wait_seconds", "seconds")


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open() as file:
        return [{key: value for key, value in row.items() if key not in TIMING} for row in csv.DictReader(file)]


def test_a_run_folder_holds_the_whole_record(trained: Path) -> None:
    assert [row["epoch"] for row in rows(trained)] == ["1", "2", "3"]
    about = json.loads((trained / "run.json").read_text())
    assert about["stopped"] == "finished"
    assert about["epochs_done"] == 3
    assert about["dataset"]["images"]["train"] > 0
    assert len(about["dataset"]["fingerprint"]) == 64
    assert {"python", "torch", "torchvision", "resnet50"} <= set(about["versions"])
    assert any("precision fp32" in decision for decision in about["decisions"])
    assert list((trained / "tensorboard").iterdir())
    best, last = load_model(trained), load_model(trained / "last.safetensors")
    assert best.classes == last.classes == ("cat", "dog")
    assert best.preprocess.size == 32


def test_the_best_epoch_is_kept(trained: Path) -> None:
    losses = [float(row["val_loss"]) for row in rows(trained)]
    about = json.loads((trained / "run.json").read_text())
    assert about["best_epoch"] == 1 + losses.index(min(losses))


@pytest.mark.slow
def test_the_resolved_config_gives_the_same_metrics_to_the_last_digit(trained: Path, tmp_path: Path) -> None:
    config = yaml.safe_load((trained / "config.yaml").read_text())
    for name in ("lr", "head_lr", "weight_decay", "variant", "eval_size", "workers", "resize_mode"):
        assert config[name] is not None
    again = tmp_path / "again"
    options = from_arguments(
        TrainOptions, ["--config", str(trained / "config.yaml"), "--out", str(again)], "resnet50 train"
    )
    train(options)
    assert rows(again) == rows(trained)


@pytest.mark.slow
def test_the_screen_shows_a_row_for_every_epoch_without_a_terminal(
    prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    resnet50.train(prepared, tmp_path / "run", epochs=2, **TINY)
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.split()[:1] in (["1"], ["2"]) for line in lines) == 2
    assert any("training from scratch: ResNet-18" in line for line in lines)
    assert "finished after 2 of 2 epochs" in lines[-1]


@pytest.mark.slow
def test_a_run_with_a_budget_repeats_from_its_config_to_the_last_digit(prepared: Path, tmp_path: Path) -> None:
    start = time.perf_counter()
    run = resnet50.train(prepared, tmp_path / "run", budget="6s", **TINY)
    assert time.perf_counter() - start < 60
    config = yaml.safe_load((run.path / "config.yaml").read_text())
    assert config["budget"] is None
    assert config["epochs"] == len(rows(run.path)) >= 1
    assert parse_plan(config["plan"])[-1][1] > 0
    assert not (run.path / SPENT_FILE).exists()
    again = tmp_path / "again"
    flags = ["--config", str(run.path / "config.yaml"), "--out", str(again)]
    train(from_arguments(TrainOptions, flags, "resnet50 train"))
    assert rows(again) == rows(run.path)


@pytest.mark.slow
def test_an_interrupted_run_keeps_its_budget(prepared: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(resnet50.Stopped):
        resnet50.train(prepared, out, budget="12s", max_time="4s", **TINY)
    spent = spent_before(out)
    assert 2 <= spent <= 12
    clock = BudgetClock(time.perf_counter(), spent)
    run = resnet50.train(resume=out)
    assert run.status == "finished"
    assert 8 <= clock.spent() <= 40
    assert not (out / SPENT_FILE).exists()


def test_a_budget_without_room_for_a_step_is_refused(prepared: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--budget 1s is over before the first step"):
        resnet50.train(prepared, tmp_path / "run", budget="1s", **TINY)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_every_optimizer_and_option_trains(name: str, prepared: Path, tmp_path: Path) -> None:
    run = resnet50.train(
        prepared, tmp_path / "run", epochs=1, optimizer=name, accumulate=2, ema=0.9, clip_grad=1.0, batch_size=8,
        class_weights="balanced", augment="standard", freeze=1, schedule="plateau", eval_size=48, shortcuts="none",
        **TINY,
    )  # fmt: skip
    assert load_model(run).preprocess.size == 48
    assert load_model(run).network.shortcuts == "none"


@pytest.mark.slow
def test_one_of_our_runs_is_a_starting_point_for_another(trained: Path, prepared: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = TINY | {"weights": str(trained), "epochs": 1, "lr": 1e-9, "head_lr": 1e-9}
    run = resnet50.train(prepared, tmp_path / "next", **options)
    before, after = load_model(trained), load_model(run)
    torch.testing.assert_close(before.network.fc.weight, after.network.fc.weight, atol=1e-5, rtol=0)
    about = json.loads((run / "run.json").read_text())
    assert len(about["weights"]["sha256"]) == 64


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "--batch-size 0: must be at least 1"),
        ({"epochs": 0}, "--epochs 0"),
        ({"lr": -1.0}, "--lr -1.0: must be above 0"),
        ({"lr": float("nan")}, "--lr nan"),
        ({"ema": 1.0}, "--ema 1.0"),
        ({"accumulate": 64}, "--accumulate 64: a batch of 32"),
        ({"device": "cuda:9"}, "there is no device cuda:9"),
        ({"freeze": 9}, "--freeze 9"),
        ({"budget": "soon"}, "--budget 'soon'"),
        ({"budget": "5m", "plan": "0:9"}, "leave one of the two out"),
        ({"plan": "9"}, "--plan '9'"),
        ({"milestones": "2"}, "--milestones"),
        ({"crop_scale": 0.0}, "crop-scale"),
        ({"weights": "nowhere.pth"}, "nowhere.pth"),
        ({"image_size": 8}, "at least 32"),
    ],
)
def test_options_that_cannot_be_are_refused_and_nothing_is_written(
    options: dict[str, Any], message: str, prepared: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        resnet50.train(prepared, tmp_path / "run", **(TINY | options))
    assert not (tmp_path / "run").exists()


def test_a_folder_that_holds_something_is_left_alone(trained: Path, prepared: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--overwrite"):
        resnet50.train(prepared, trained, **TINY)
    assert len(rows(trained)) == 3
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="not a training run"):
        resnet50.train(prepared, precious, overwrite=True, **TINY)
    assert (precious / "thesis.txt").exists()


@pytest.mark.slow
def test_overwrite_replaces_an_earlier_run(trained: Path, prepared: Path) -> None:
    resnet50.train(prepared, trained, overwrite=True, epochs=1, **TINY)
    assert len(rows(trained)) == 1


def test_a_dataset_without_validation_images_is_refused(competition: Path, tmp_path: Path) -> None:
    resnet50.prepare(competition / "train.csv", tmp_path / "d")
    manifest = tmp_path / "d" / "manifest.parquet"
    import pandas as pd

    table = pd.read_parquet(manifest)
    table[table["split"] != "val"].to_parquet(manifest)
    with pytest.raises(UserError, match="val"):
        resnet50.train(tmp_path / "d", tmp_path / "run", **TINY)


@pytest.mark.slow
def test_ctrl_c_keeps_what_is_there_and_says_so(prepared: Path, tmp_path: Path) -> None:
    flags = [f"--{key.replace('_', '-')}={value}" for key, value in TINY.items()]
    command = [*NARROW_COMMAND, "train", str(prepared), "--out", str(tmp_path / "run")]
    with subprocess.Popen(
        [*command, *flags, "--epochs=1000"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        # Whoever runs the tests in the background ignores Ctrl-C, and would hand that on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509  # nothing else runs yet
    ) as process:  # fmt: skip
        deadline = time.monotonic() + 300
        while not (tmp_path / "run" / "model.safetensors").exists() and time.monotonic() < deadline:
            time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        try:
            out, _ = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130
    assert "interrupted after" in out
    assert "of 1000 epochs" in out
    assert json.loads((tmp_path / "run" / "run.json").read_text())["stopped"] == "interrupted"
    assert rows(tmp_path / "run")
    assert f"continue with `resnet50 train --resume {tmp_path / 'run'}`" in out


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("5m", 300), ("1h30m", 5400), ("1.5h", 5400), ("1m30s", 90)]
)
def test_budgets_are_read_as_people_write_them(text: str, seconds: float) -> None:
    assert parse_duration(text, "--budget") == seconds


@pytest.mark.parametrize("text", ["", "0", "5x", "m", "-5m", "1.2.3s"])
def test_budgets_that_are_no_time_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="--budget"):
        parse_duration(text, "--budget")


def test_balanced_class_weights_are_scikit_learns() -> None:
    import numpy as np
    from sklearn.utils.class_weight import compute_class_weight

    labels = np.array([0] * 7 + [1] * 2 + [2] * 1)
    options = from_values(TrainOptions, {"dataset": "d", "out": "r", "class_weights": "balanced"})
    weights = class_weights(options, labels, 3)
    assert weights is not None
    assert weights.tolist() == pytest.approx(compute_class_weight("balanced", classes=np.arange(3), y=labels))


@pytest.mark.slow
def test_a_frozen_network_trains_its_head_on_features_computed_once(
    prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    learned = resnet50.train(prepared, tmp_path / "whole", epochs=8, batch_size=8, lr=0.01, head_lr=0.01, **TINY)
    options: dict[str, Any] = TINY | {"weights": learned, "freeze": 5, "epochs": 30, "batch_size": 8}
    options |= {"augment": "standard", "head_lr": 0.01}
    run = resnet50.train(prepared, tmp_path / "head", **options)
    assert "features are computed once, without augmentation" in " ".join(capsys.readouterr().out.split())
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["augment"] == "none"
    metrics = pd.read_csv(run / "metrics.csv")
    assert len(metrics) == 30
    assert metrics["val_accuracy"].iloc[-1] > 0.8
    assert resnet50.evaluate(run, workers=0, device="cpu", precision="fp32")["accuracy"] > 0.7


@pytest.mark.slow
def test_training_reads_the_store_or_the_files_as_asked(prepared: Path, tmp_path: Path) -> None:
    for row in pd.read_parquet(prepared / "manifest.parquet").itertuples():
        if row.split == "train":
            Path(str(row.path)).unlink()  # the store has their pixels
    run = resnet50.train(prepared, tmp_path / "stored", epochs=1, batch_size=8, **TINY)
    assert yaml.safe_load((run / "config.yaml").read_text())["store"] is True
    with pytest.raises(UserError, match="no such file"):
        resnet50.train(prepared, tmp_path / "files", epochs=1, batch_size=8, store=False, **TINY)


def test_a_dataset_without_a_store_is_trained_from_its_files(competition: Path, tmp_path: Path) -> None:
    resnet50.prepare(competition / "train.csv", tmp_path / "bare", store=False)
    run = resnet50.train(tmp_path / "bare", tmp_path / "run", epochs=1, batch_size=8, **TINY)
    assert yaml.safe_load((run / "config.yaml").read_text())["store"] is False


def test_a_store_too_small_for_the_image_size_is_warned_of(
    competition: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    resnet50.prepare(competition / "train.csv", tmp_path / "small", store_size=32)
    options = TINY | {"image_size": 64, "epochs": 1, "batch_size": 8}
    resnet50.train(tmp_path / "small", tmp_path / "run", **options)
    assert "have 32 pixels on the shorter side, less than --image-size 64" in " ".join(capsys.readouterr().err.split())


@pytest.mark.slow
def test_memory_does_not_grow_from_epoch_to_epoch(prepared: Path, tmp_path: Path) -> None:
    # Without tune_allocator, and with the C library told to return freed memory: what is left is what is held.
    script = (
        "import ctypes, gc, resnet50, resource\n"
        "from resnet50.training.callbacks.checkpoints import CheckpointCallback\n"
        "import resnet50.training.setup.build\n"
        "resnet50.training.setup.build.tune_allocator = lambda: None\n"
        "import resnet50.training.recovery.checkpoint\n"
        "resnet50.training.recovery.checkpoint.LARGEST_SHARE = 1e9  # one every epoch, from the first on\n"
        "kept = CheckpointCallback.on_epoch_end\n"
        "def told(self, training, metrics, best):\n"
        "    kept(self, training, metrics, best)\n"
        "    self.checkpoints.finish()\n"
        "    gc.collect()\n"
        "    getattr(ctypes.CDLL(None), 'malloc_trim', lambda _: None)(0)\n"
        "    pages = int(open('/proc/self/statm').read().split()[1])\n"
        "    print('MB', pages * resource.getpagesize() / 1e6)\n"
        "CheckpointCallback.on_epoch_end = told\n"
        f"resnet50.train({str(prepared)!r}, {str(tmp_path / 'r')!r}, epochs=10, batch_size=16, **{TINY!r})\n"
    )
    handing_back = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1"}
    out = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=handing_back
    ).stdout
    used = [float(line.split()[1]) for line in out.splitlines() if line.startswith("MB")]
    assert len(used) == 10
    # The lowest of a stretch, as other threads may hold something just then. The activations of one step alone are
    # 20 MB, the network 45: whatever of it stayed from every epoch would show five times.
    assert min(used[-3:]) - min(used[1:4]) < 20, used
