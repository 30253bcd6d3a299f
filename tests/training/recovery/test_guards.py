"""What goes wrong while training, and how it goes on: no number, no memory, no image."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor

import resnet50
from resnet50.model.file import load_model
from resnet50.runtime.errors import UserError
from resnet50.training import loop
from resnet50.training.loop import train_step
from resnet50.training.recovery.guards import Diverged, check_gradients
from resnet50.training.state import TrainState
from resnet50.training.training import Training, TrainingData
from tests.conftest import TINY
from tests.training.conftest import CPU, OPTIONS, batch, double_state, fresh_state

TROUBLED: dict[str, Any] = TINY | {"epochs": 3, "batch_size": 8}


def spoil(monkeypatch: pytest.MonkeyPatch, when: Callable[[TrainState], bool], value: float = float("nan")) -> None:
    """Make the gradients of some steps no number, and what batch norm has seen in them."""
    compute = loop.forward_backward

    def spoiled(training: Training, *args: Any) -> Any:
        metrics = compute(training, *args)
        if when(training.state):
            for buffer in training.state.network.buffers():
                buffer.fill_(value) if buffer.is_floating_point() else None
            for parameter in training.state.network.parameters():
                if parameter.grad is not None:
                    parameter.grad.fill_(value)
            metrics.objective.fill_(value)
        return metrics

    monkeypatch.setattr(loop, "forward_backward", spoiled)


def same_weights(ours: torch.nn.Module, theirs: torch.nn.Module) -> bool:
    """Compare two networks' weights and statistics to the last bit."""
    return all(map(torch.equal, ours.state_dict().values(), theirs.state_dict().values()))


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_step_without_a_finite_gradient_changes_nothing_and_is_counted(
    data: TrainingData, monkeypatch: pytest.MonkeyPatch, optimizer: str, value: float
) -> None:
    options = replace(OPTIONS, optimizer=optimizer)
    spoiled, plain = fresh_state(options), fresh_state(options)
    spoil(monkeypatch, lambda state: state is spoiled and state.step == 0, value)
    train_step(Training(spoiled, data, options, CPU), *batch())
    assert same_weights(spoiled.network, plain.network)
    assert (spoiled.bad_steps.item(), spoiled.metrics.finite_steps.item(), spoiled.metrics.steps.item()) == (1, 0, 0)
    # The next one is as if the first had not been: also in the optimizer's memory.
    plain.step = 1
    for state in (spoiled, plain):
        train_step(Training(state, data, options, CPU), *batch())
    assert same_weights(spoiled.network, plain.network)
    assert (spoiled.bad_steps.item(), spoiled.metrics.finite_steps.item()) == (0, 1)


@pytest.mark.slow
def test_a_bad_step_is_counted_in_the_metrics(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(monkeypatch, lambda state: state.step == 1)
    metrics = pd.read_csv(resnet50.train(prepared, tmp_path / "run", **TROUBLED) / "metrics.csv")
    assert metrics["skipped_steps"].tolist() == [1, 0, 0]
    assert metrics.notna().all(axis=None)


@pytest.mark.slow
def test_divergence_rolls_back_with_half_the_learning_rate(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = TROUBLED | {"epochs": 10, "schedule": "constant", "warmup": 0.0, "lr": 1e-4, "head_lr": 1e-4}
    spoil(monkeypatch, lambda state: state.step >= 11 and state.rollbacks == 0)
    run = resnet50.train(prepared, tmp_path / "run", **options)
    metrics, about = pd.read_csv(run / "metrics.csv"), json.loads((run / "run.json").read_text())
    assert about["stopped"] == "finished"
    assert len(about["events"]) == 1
    assert "the loss is no longer a number in epoch 4" in about["events"][0]
    assert "with 1/2 of the learning rate" in about["events"][0]
    assert about["events"][0] in " ".join(capsys.readouterr().err.split())
    assert metrics["epoch"].tolist() == list(range(1, 11))
    assert metrics["lr"].iloc[-1] == pytest.approx(5e-5)
    assert metrics["skipped_steps"].sum() == 0
    # What was best before and is not to have been is not kept as the best.
    val_loss = resnet50.evaluate(run, split="val", device="cpu", precision="fp32", workers=0)["log_loss"]
    assert val_loss == pytest.approx(metrics["val_loss"][about["best_epoch"] - 1], rel=1e-4)
    assert all(tensor.isfinite().all() for tensor in load_model(run).network.state_dict().values())


@pytest.mark.slow
def test_sixteen_bad_steps_in_a_row_are_divergence(data: TrainingData, monkeypatch: pytest.MonkeyPatch) -> None:
    state = fresh_state()
    spoil(monkeypatch, lambda state: state.step >= 3)
    for _ in range(19):
        train_step(Training(state, data, OPTIONS, CPU), *batch())
        check_gradients(state)
    train_step(Training(state, data, OPTIONS, CPU), *batch())
    with pytest.raises(Diverged, match=r"17 steps in a row had no finite gradient: lower --lr"):
        check_gradients(state)


@pytest.mark.slow
def test_the_probe_survives_values_that_are_not_finite(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, lambda state: state.step >= 11 and state.rollbacks == 0)
    run = resnet50.train(prepared, tmp_path / "run", **TROUBLED | {"epochs": 5, "observe": True})
    assert json.loads((run / "run.json").read_text())["stopped"] == "finished"


@pytest.mark.slow
def test_after_two_rollbacks_training_stops_with_a_reason(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, lambda state: state.step >= 11)
    with pytest.raises(UserError, match=r"no longer a number.*half the learning rate was tried 2 times"):
        resnet50.train(prepared, tmp_path / "run", **TROUBLED | {"epochs": 10})
    about = json.loads((tmp_path / "run" / "run.json").read_text())
    assert about["stopped"] == "failed"
    assert ["1/2" in about["events"][0], "1/4" in about["events"][1]] == [True, True]


@pytest.mark.slow
def test_weights_that_overflow_roll_back_within_an_epoch(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rate far too high makes activations overflow: validation shows it before sixteen steps have passed."""
    options = TROUBLED | {"optimizer": "sgd", "lr": 1e30, "head_lr": 1e30, "schedule": "constant", "warmup": 0.0}
    with pytest.raises(UserError, match=r"no longer a number.*|no finite gradient.*"):
        resnet50.train(prepared, tmp_path / "run", **options)
    assert len(json.loads((tmp_path / "run" / "run.json").read_text())["events"]) == 2


def limit_memory(network: torch.nn.Module, images: int, error: type[RuntimeError] = torch.OutOfMemoryError) -> None:
    """Let a network run out of memory with more than so many images."""

    def look(module: torch.nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if len(inputs[0]) > images:
            raise error("CUDA out of memory. Tried to allocate 2.00 GiB")

    network.register_forward_pre_hook(look)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError])
def test_out_of_memory_cuts_the_batch_and_keeps_the_step(
    data: TrainingData, capsys: pytest.CaptureFixture[str], error: type[RuntimeError]
) -> None:
    options = replace(OPTIONS, optimizer="sgd")
    cut, whole = double_state(options), double_state(options)
    for state in (cut, whole):  # norms in evaluation mode: with their own statistics, parts would differ from the whole
        state.network.eval()
    limit_memory(cut.network, 2, error)
    for state in (cut, whole):
        train_step(Training(state, data, options, CPU), *batch())
    assert cut.accumulation_steps == 4
    assert cut.metrics.loss.item() == pytest.approx(whole.metrics.loss.item(), rel=1e-6)
    assert cut.metrics.images.item() == 8
    for ours, theirs in zip(cut.network.parameters(), whole.network.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)
    said = " ".join(capsys.readouterr().err.split())
    assert "out of memory in step 1: from here on a batch of 8 is cut into 2 micro-batches of up to 4" in said
    assert "cut into 4 micro-batches of up to 2" in said


def test_a_single_image_that_does_not_fit_ends_training(data: TrainingData) -> None:
    state = fresh_state()
    limit_memory(state.network, 0)
    with pytest.raises(UserError, match=r"single image.*--image-size"):
        train_step(Training(state, data, OPTIONS, CPU), *batch())


def test_other_errors_are_not_taken_for_out_of_memory(data: TrainingData) -> None:
    state = fresh_state()
    state.network.fc.register_forward_pre_hook(lambda *_: (_ for _ in ()).throw(RuntimeError("a bug")))
    with pytest.raises(RuntimeError, match="a bug"):
        train_step(Training(state, data, OPTIONS, CPU), *batch())


def rows_of(dataset: Path, split: str) -> list[str]:
    manifest = pd.read_parquet(dataset / "manifest.parquet")
    return manifest.loc[manifest["split"] == split, "path"].tolist()


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("split", ["train", "val"])
def test_a_bad_image_stops_training_with_its_name(prepared: Path, tmp_path: Path, split: str, workers: int) -> None:
    path = rows_of(prepared, split)[3]
    Path(path).write_bytes(b"\xff\xd8 no longer an image")
    with pytest.raises(UserError, match=rf"{path}.*--skip-bad"):
        resnet50.train(prepared, tmp_path / "run", **TROUBLED | {"store": False, "workers": workers})


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_bad_images_up_to_the_limit_are_skipped_and_reported(
    prepared: Path, tmp_path: Path, workers: int, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = [rows_of(prepared, "train")[5], rows_of(prepared, "train")[17], rows_of(prepared, "val")[2]]
    for path in bad:
        Path(path).unlink()
    options = TROUBLED | {"store": False, "workers": workers}
    run = resnet50.train(prepared, tmp_path / "run", **options, skip_bad=3)
    events = json.loads((run / "run.json").read_text())["events"]
    assert len(events) == 3
    said = capsys.readouterr().err.replace("\n", "")
    for path in bad:
        assert sum(path in event for event in events) == 1
        assert path in said
    with pytest.raises(
        UserError, match=r"3 images have gone bad since the dataset was prepared, more than --skip-bad 2"
    ):
        resnet50.train(prepared, tmp_path / "other", **options, skip_bad=2)


@pytest.mark.parametrize(("split", "name"), [("train", "training"), ("val", "validation")])
def test_a_split_without_a_readable_image_stops_training(prepared: Path, tmp_path: Path, split: str, name: str) -> None:
    for path in rows_of(prepared, split):
        Path(path).unlink()
    with pytest.raises(UserError, match=f"every image of the {name} split has gone bad"):
        resnet50.train(prepared, tmp_path / "run", **TROUBLED | {"store": False}, skip_bad=100)


@pytest.mark.slow
def test_batch_norm_over_one_image_is_warned_of_or_refused(
    prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = TROUBLED | {"batch_size": 2, "accumulate": 2, "epochs": 1}
    with pytest.raises(UserError, match="single image of 32 pixels"):
        resnet50.train(prepared, tmp_path / "run", **alone)
    resnet50.train(prepared, tmp_path / "run", **alone | {"image_size": 40})
    assert "batch norm sees one image at a time" in " ".join(capsys.readouterr().err.split())


def test_sync_bn_needs_gpus(prepared: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--sync-bn needs a GPU"):
        resnet50.train(prepared, tmp_path / "run", **TROUBLED, sync_bn=True)
    assert not (tmp_path / "run").exists()


def test_skipped_samples_do_not_disturb_the_budget(prepared: Path, tmp_path: Path) -> None:
    for split in ("train", "val"):
        Path(rows_of(prepared, split)[1]).unlink()
    options = {name: value for name, value in TROUBLED.items() if name != "epochs"} | {"store": False, "budget": "6s"}
    run = resnet50.train(prepared, tmp_path / "run", **options, skip_bad=2)
    assert len(json.loads((run / "run.json").read_text())["events"]) == 2


def test_skipped_samples_are_not_replaced(prepared: Path, tmp_path: Path) -> None:
    """Every batch has the images it would have, less the bad one: the others are the same."""
    import numpy as np

    from resnet50.data.loader import EpochBatchSampler

    plain, without = EpochBatchSampler(20, 8, seed=3), EpochBatchSampler(20, 8, seed=3)
    without.skipped = [4, 11]
    for ours, theirs in zip(without, plain, strict=True):
        assert ours == [sample for sample in theirs if sample.row not in (4, 11)]
    assert sum(map(len, without)) == sum(map(len, plain)) - np.isin([4, 11], [s.row for b in plain for s in b]).sum()


def test_a_class_without_images_is_named(prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from resnet50.etl.prepared import fingerprint_of, load_prepared

    dataset = load_prepared(prepared)
    manifest = dataset.manifest[(dataset.manifest["split"] != "val") | (dataset.manifest["label"] == "cat")]
    manifest.to_parquet(prepared / "manifest.parquet", index=False)
    text = (prepared / "dataset.yaml").read_text()
    new = fingerprint_of(manifest, dataset.classes)
    (prepared / "dataset.yaml").write_text(text.replace(dataset.fingerprint, new))
    resnet50.train(prepared, tmp_path / "run", **TROUBLED | {"epochs": 1})
    assert "no image in the val split, so it is not validated: dog" in " ".join(capsys.readouterr().err.split())
