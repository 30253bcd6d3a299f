"""What a run writes while it trains: the table on the screen, `metrics.csv`, TensorBoard events, the best weights."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import pandas as pd
from torch.utils.tensorboard.writer import SummaryWriter

from resnet50.model.file import Model, save_model
from resnet50.runtime.atomic import atomic_write
from resnet50.runtime.console import say
from resnet50.training.callbacks.callback import Callback
from resnet50.training.metrics import EpochMetrics
from resnet50.training.training import Training

HEADER = "epoch   train loss    acc    val loss    acc         lr   grad norm   images/s   seconds"


class Recorder(Callback):
    """Adds each epoch to the run folder. Among several processes only the main one writes."""

    def __init__(self, folder: Path, classes: tuple[str, ...], training: Training) -> None:
        """Start a record, or continue one that has the training's completed epochs."""
        self.folder, self.classes, self.is_main = folder, classes, training.device.dist.is_main
        self.events: SummaryWriter | None = None
        if self.is_main:
            folder.mkdir(parents=True, exist_ok=True)
            self.events = SummaryWriter(str(folder / "tensorboard"), purge_step=training.state.epoch + 1)

    def __enter__(self) -> "Recorder":
        say(HEADER)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.events is not None:
            self.events.close()

    def on_epoch_end(self, training: Training, metrics: EpochMetrics, best: bool) -> None:
        """Write an epoch's row everywhere, and keep the weights if they are the best."""
        say(table_row(metrics, best=best))
        self.write_metrics(training.state.rows)
        self.write_events(metrics)
        if best:
            self.save_weights(training, "model.safetensors")

    def finish(self, training: Training) -> None:
        """Keep the last weights beside the best ones."""
        self.save_weights(training, "last.safetensors")

    def save_weights(self, training: Training, name: str) -> None:
        """Write a model file with the weights as they are now."""
        if self.is_main:
            model = Model(training.state.eval_network, self.classes, training.data.preprocess)
            save_model(model, self.folder / name)

    def write_metrics(self, rows: Sequence[dict[str, float]]) -> None:
        """Write the rows of all epochs so far."""
        if not self.is_main:
            return
        columns = [field.name for field in dataclasses.fields(EpochMetrics)]
        with atomic_write(self.folder / "metrics.csv") as partial:
            pd.DataFrame(rows, columns=columns).to_csv(partial, index=False)

    def write_events(self, metrics: EpochMetrics) -> None:
        """Write an epoch to TensorBoard, training and validation next to each other."""
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
