"""What a run writes down while it trains: the table on the screen, `metrics.csv`, events, weights, checkpoints."""

import dataclasses
import json
import math
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any

import pandas as pd
from torch.utils.tensorboard.writer import SummaryWriter

from resnet50.console import say
from resnet50.data.transforms import Preprocess
from resnet50.errors import Stopped
from resnet50.model.file import Model, save_model
from resnet50.training.checkpoint import Checkpoints
from resnet50.training.loop import EpochMetrics
from resnet50.training.observe import OBSERVED, Observer, write_observed
from resnet50.training.processes import ALONE, Processes
from resnet50.training.state import TrainState
from resnet50.training.stopping import REASONS, StopRequest
from resnet50.training.trouble import all_left_out
from resnet50.whole import whole_file

HEADER = "epoch   train loss    acc    val loss    acc         lr   grad norm   images/s   seconds"


class RunRecord:
    """The run folder as it fills: one row an epoch, the best weights, checkpoints to go on from."""

    def __init__(
        self,
        folder: Path,
        classes: tuple[str, ...],
        preprocess: Preprocess,
        checkpoints: Checkpoints,
        *,
        stop: StopRequest | None = None,
        observer: Observer | None = None,
        image_ids: pd.Series | None = None,
        belongs_to: dict[str, Any] | None = None,
        epochs_done: int = 0,
        processes: Processes = ALONE,
    ) -> None:
        """Begin, or go on with, a record.

        Args:
            folder: of the run.
            classes: of the dataset.
            preprocess: of everything but training.
            checkpoints: take the state.
            stop: looked at between steps.
            observer: what it sees is written too.
            image_ids: of the rows that it sees.
            belongs_to: goes into every checkpoint: what a resume compares or needs besides the state.
            epochs_done: epochs that are in the record already.
            processes: of which only the first writes.
        """
        self.folder, self.classes, self.preprocess = folder, classes, preprocess
        self.checkpoints, self.stop = checkpoints, stop or StopRequest()
        self.observer, self.image_ids = observer, image_ids
        self.belongs_to, self.processes = belongs_to or {}, processes
        self.events: SummaryWriter | None = None
        if processes.first:
            folder.mkdir(parents=True, exist_ok=True)
            self.events = SummaryWriter(str(folder / "tensorboard"), purge_step=epochs_done + 1)

    def __enter__(self) -> "RunRecord":
        say(HEADER)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.events is not None:
            self.events.close()

    def between_steps(self, state: TrainState) -> None:
        """Write a checkpoint when it is time; if training is to stop, write one and say so.

        Raises:
            KeyboardInterrupt: because of Ctrl-C.
            Stopped: because of another signal, or because the time is up.
        """
        # Agreeing takes a message round all processes: a thousand of them do so more seldom than eight.
        if state.step % max(1, self.processes.count // 8):
            return
        due = self.processes.first and self.checkpoints.due(epoch_end=False)
        reason, due = self.processes.all_reduce_max(REASONS.index(self.stop.reason), due)
        if reason:
            self.checkpoint(state, wait=True)
            if REASONS[reason] == "interrupted":
                raise KeyboardInterrupt
            raise Stopped(REASONS[reason])
        if due and state.bad_steps.item() == 0:
            self.checkpoint(state)

    def at_epoch_end(self, state: TrainState, metrics: EpochMetrics, *, best: bool) -> None:
        """Write an epoch's row everywhere; keep the weights if they are the best; write a checkpoint when due."""
        say(table_row(metrics, best=best))
        self.write_metrics(state.rows)
        self.write_events(metrics)
        if self.observer is not None and self.image_ids is not None:
            write_observed(self.observer, self.image_ids, self.folder / OBSERVED)
        if best:
            self.save_weights(state, "model.safetensors")
        due = self.processes.first and self.checkpoints.due(epoch_end=True)
        numbers = math.isfinite(metrics.objective) and math.isfinite(metrics.val_loss)
        if self.processes.all_reduce_max(due)[0] and numbers and state.bad_steps.item() == 0:
            self.checkpoint(state)

    def checkpoint(self, state: TrainState, *, wait: bool = False) -> None:
        """Write everything that it takes to go on from here."""
        observer = None if self.observer is None else self.observer.state_dict()
        saved = state.state_dict() | {"sums": vars(state.sums.of_all(self.processes))}
        saved["counters"]["left_out"] = all_left_out(self.processes.all_gather(state.left_out))
        content = {"state": saved, "observer": observer, "preprocess": self.preprocess.to_json()}
        if self.processes.first:
            self.checkpoints.save(content | self.belongs_to, wait=wait)

    def finish(self, state: TrainState) -> None:
        """Keep the last weights beside the best ones."""
        self.checkpoints.finish()
        self.save_weights(state, "last.safetensors")

    def save_weights(self, state: TrainState, name: str) -> None:
        """Write a model file with the weights as they are now."""
        if self.processes.first:
            save_model(Model(state.network_to_keep, self.classes, self.preprocess), self.folder / name)

    def write_metrics(self, rows: Sequence[dict[str, float]]) -> None:
        """Write the rows of all epochs so far."""
        if not self.processes.first:
            return
        columns = [field.name for field in dataclasses.fields(EpochMetrics)]
        with whole_file(self.folder / "metrics.csv") as partial:
            pd.DataFrame(rows, columns=columns).to_csv(partial, index=False)

    def write_events(self, metrics: EpochMetrics) -> None:
        """Write an epoch to TensorBoard, training and validation beside each other."""
        if self.events is None:
            return
        for name, value in dataclasses.asdict(metrics).items():
            side, _, what = name.partition("_")
            tag = f"{what}/{side}" if side in ("train", "val") else name
            if name != "epoch":
                self.events.add_scalar(tag, value, metrics.epoch)
        self.events.flush()


def table_row(metrics: EpochMetrics, *, best: bool) -> str:
    """Return an epoch as a line of the table on the screen."""
    return (
        f"{metrics.epoch:5d}   {metrics.train_loss:10.4f} {metrics.train_accuracy:6.1%}"
        f"  {metrics.val_loss:10.4f} {metrics.val_accuracy:6.1%}   {metrics.lr:8.2g}   {metrics.grad_norm:9.3g}"
        f"   {metrics.images_per_second:8.1f}   {metrics.seconds:7.1f}{'  best' if best else ''}"
    )


def write_json(values: dict[str, Any], path: Path) -> None:
    """Write JSON, whole or not at all."""
    with whole_file(path) as partial:
        partial.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def versions() -> dict[str, str]:
    """Return the versions that a result depends on."""
    packages = ("resnet50", "torch", "torchvision", "numpy", "pillow")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}
