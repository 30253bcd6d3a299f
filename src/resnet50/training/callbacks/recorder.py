"""What a run writes down while it trains: the table on the screen, `metrics.csv`, events, weights, checkpoints."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import pandas as pd
from torch.utils.tensorboard.writer import SummaryWriter

from resnet50.data.transforms import Preprocess
from resnet50.model.file import Model, save_model
from resnet50.runtime.atomic import atomic_write
from resnet50.runtime.console import say
from resnet50.runtime.distributed import SINGLE_PROCESS, Distributed
from resnet50.runtime.errors import Stopped
from resnet50.training.callbacks.probe import PROBED_FOLDER, TrainingProbe, write_probed
from resnet50.training.loop import EpochMetrics
from resnet50.training.recovery.checkpoint import Checkpoints
from resnet50.training.recovery.guards import merge_skipped
from resnet50.training.recovery.preemption import REASONS, StopRequest
from resnet50.training.state import TrainState

HEADER = "epoch   train loss    acc    val loss    acc         lr   grad norm   images/s   seconds"


class RunRecorder:
    """The run folder as it fills: one row an epoch, the best weights, checkpoints to go on from."""

    def __init__(
        self,
        folder: Path,
        classes: tuple[str, ...],
        preprocess: Preprocess,
        checkpoints: Checkpoints,
        *,
        stop: StopRequest | None = None,
        observer: TrainingProbe | None = None,
        image_ids: pd.Series | None = None,
        belongs_to: dict[str, Any] | None = None,
        epochs_done: int = 0,
        dist: Distributed = SINGLE_PROCESS,
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
        self.belongs_to, self.dist = belongs_to or {}, dist
        self.events: SummaryWriter | None = None
        if dist.is_main:
            folder.mkdir(parents=True, exist_ok=True)
            self.events = SummaryWriter(str(folder / "tensorboard"), purge_step=epochs_done + 1)

    def __enter__(self) -> "RunRecorder":
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
        if state.step % max(1, self.dist.world_size // 8):
            return
        due = self.dist.is_main and self.checkpoints.due(epoch_end=False)
        reason, due = self.dist.all_reduce_max(REASONS.index(self.stop.reason), due)
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
            write_probed(self.observer, self.image_ids, self.folder / PROBED_FOLDER)
        if best:
            self.save_weights(state, "model.safetensors")
        due = self.dist.is_main and self.checkpoints.due(epoch_end=True)
        numbers = math.isfinite(metrics.objective) and math.isfinite(metrics.val_loss)
        if self.dist.all_reduce_max(due)[0] and numbers and state.bad_steps.item() == 0:
            self.checkpoint(state)

    def checkpoint(self, state: TrainState, *, wait: bool = False) -> None:
        """Write everything that it takes to go on from here."""
        observer = None if self.observer is None else self.observer.state_dict()
        saved = state.state_dict() | {"sums": vars(state.sums.of_all(self.dist))}
        saved["counters"]["skipped_samples"] = merge_skipped(self.dist.all_gather(state.skipped_samples))
        content = {"state": saved, "observer": observer, "preprocess": self.preprocess.to_json()}
        if self.dist.is_main:
            self.checkpoints.save(content | self.belongs_to, wait=wait)

    def finish(self, state: TrainState) -> None:
        """Keep the last weights beside the best ones."""
        self.checkpoints.finish()
        self.save_weights(state, "last.safetensors")

    def save_weights(self, state: TrainState, name: str) -> None:
        """Write a model file with the weights as they are now."""
        if self.dist.is_main:
            save_model(Model(state.network_to_keep, self.classes, self.preprocess), self.folder / name)

    def write_metrics(self, rows: Sequence[dict[str, float]]) -> None:
        """Write the rows of all epochs so far."""
        if not self.dist.is_main:
            return
        columns = [field.name for field in dataclasses.fields(EpochMetrics)]
        with atomic_write(self.folder / "metrics.csv") as partial:
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
