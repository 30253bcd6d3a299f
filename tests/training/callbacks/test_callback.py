"""The events of the training loop: which, when, in which order, and who may stop it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from resnet50.data.loader import EpochBatchSampler, SequentialBatchSampler, TensorBatches
from resnet50.data.transforms import Preprocess
from resnet50.model import resnet18
from resnet50.options import TrainOptions
from resnet50.runtime.device import Device
from resnet50.runtime.errors import Stopped
from resnet50.training.callbacks.callback import Callback
from resnet50.training.callbacks.checkpoints import CheckpointCallback
from resnet50.training.callbacks.signals import StopOnRequest
from resnet50.training.loop import fit
from resnet50.training.metrics import EpochMetrics
from resnet50.training.recovery.checkpoint import Checkpoints, newest_checkpoint
from resnet50.training.recovery.preemption import StopRequest
from resnet50.training.state import start_state
from resnet50.training.training import Training, TrainingData

CPU = Device(torch.device("cpu"), "fp32", "tests")
OPTIONS = TrainOptions(
    dataset=Path("d"), out=Path("r"), lr=1e-3, head_lr=1e-2, weight_decay=0.01, batch_size=4, epochs=1, image_size=32,
    accumulate=2,
)  # fmt: skip


class Events(Callback):
    """Keeps the names of the events, as they come."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("on_"):
            return lambda *_: self.names.append(name)
        return super().__getattribute__(name)


@pytest.fixture
def training() -> Training:
    """Return a training of one epoch: two steps of two micro-batches, and a validation of two batches."""
    torch.manual_seed(0)
    images, labels = torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8), torch.arange(8) % 2
    order = EpochBatchSampler(8, 4, seed=0)
    data = TrainingData(
        TensorBatches(images, labels, 4, order), order, TensorBatches(images, labels, 4), SequentialBatchSampler(8, 4),
        Preprocess(size=32, resize=32), None,
    )  # fmt: skip
    return Training(start_state(resnet18(2), OPTIONS, CPU, steps_per_epoch=2), data, OPTIONS, CPU)


def test_events_come_in_the_order_of_the_loop(training: Training) -> None:
    events = Events()
    fit(replace(training, callbacks=(events,)))
    step = ["on_step_start", "on_forward_end", "on_forward_end", "on_backward_end", "on_step_end"]
    assert events.names == [
        "on_epoch_start", *step, *step, "on_validation_step_end", "on_validation_step_end", "on_epoch_end",
    ]  # fmt: skip


def test_callbacks_are_called_in_their_order(training: Training) -> None:
    called: list[int] = []

    class Numbered(Callback):
        def __init__(self, number: int) -> None:
            self.number = number

        def on_epoch_end(self, training: Training, metrics: EpochMetrics, best: bool) -> None:
            called.append(self.number)

    fit(replace(training, callbacks=(Numbered(1), Numbered(2))))
    assert called == [1, 2]


def test_a_stop_writes_a_checkpoint_of_the_step_before_it(training: Training, tmp_path: Path) -> None:
    files = Checkpoints(tmp_path, minutes=60.0, keep=2)
    callbacks = (StopOnRequest(StopRequest(seconds=0.0)), CheckpointCallback(files, {"about": {"a": 1}}))
    with pytest.raises(Stopped, match="out of time"):
        fit(replace(training, callbacks=callbacks))
    saved = newest_checkpoint(tmp_path)
    assert saved["state"]["counters"]["step"] == training.state.step == 1
    assert saved["about"] == {"a": 1}


def test_without_a_stop_the_loop_runs_to_its_end(training: Training, tmp_path: Path) -> None:
    callbacks = (StopOnRequest(StopRequest(seconds=1e6)),)
    assert fit(replace(training, callbacks=callbacks)) == "finished"


def test_a_wait_for_a_batch_ends_when_time_is_up(training: Training) -> None:
    """As between two steps: with a checkpoint, and by the same exception."""
    events, stop = Events(), StopRequest(0.0)
    waiting = replace(training, callbacks=(StopOnRequest(stop), events))
    with pytest.raises(Stopped, match="out of time"):
        waiting.emit("on_wait")
    assert events.names == ["on_stop"]
    stop.deadline = None
    waiting.emit("on_wait")
    assert events.names == ["on_stop", "on_wait"]
