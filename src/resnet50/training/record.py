"""What a run writes down while it trains: the table on the screen, `metrics.csv`, TensorBoard events, weights."""

import csv
import dataclasses
import json
import platform
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any

import pandas as pd
from torch.utils.tensorboard.writer import SummaryWriter

from resnet50.console import say
from resnet50.data.transforms import Preprocess
from resnet50.model.file import Model, save_model
from resnet50.training.loop import EpochMetrics
from resnet50.training.observe import Observer, write_observed
from resnet50.training.state import TrainState

HEADER = "epoch   train loss    acc    val loss    acc         lr   grad norm   images/s   seconds"


class RunRecord:
    """The run folder as it fills: one row an epoch, and the best and the last weights."""

    def __init__(
        self,
        folder: Path,
        classes: tuple[str, ...],
        preprocess: Preprocess,
        observer: Observer | None = None,
        image_ids: pd.Series | None = None,
    ) -> None:
        """Begin a record; with an observer, `image_ids` are those of the training split's rows."""
        self.folder, self.classes, self.preprocess = folder, classes, preprocess
        self.observer, self.image_ids = observer, image_ids
        (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
        self.events = SummaryWriter(str(folder / "tensorboard"))
        self.csv = (folder / "metrics.csv").open("w", newline="", encoding="utf-8")
        self.rows = csv.DictWriter(self.csv, [field.name for field in dataclasses.fields(EpochMetrics)])
        self.rows.writeheader()

    def __enter__(self) -> "RunRecord":
        say(HEADER)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.csv.close()
        self.events.close()

    def at_epoch_end(self, state: TrainState, metrics: EpochMetrics, *, best: bool) -> None:
        """Write an epoch's row everywhere; keep the weights as last, and as best when they are."""
        say(table_row(metrics, best=best))
        self.rows.writerow(dataclasses.asdict(metrics))
        self.csv.flush()
        self.write_events(metrics)
        if self.observer is not None and self.image_ids is not None:
            write_observed(self.observer, self.image_ids, self.folder / "observed")
        self.save_last(state)
        if best:
            save_model(Model(state.network_to_keep, self.classes, self.preprocess), self.folder / "model.safetensors")

    def save_last(self, state: TrainState) -> None:
        """Keep the weights as they are now."""
        model = Model(state.network_to_keep, self.classes, self.preprocess)
        save_model(model, self.folder / "checkpoints" / "last.safetensors")

    def write_events(self, metrics: EpochMetrics) -> None:
        """Write an epoch to TensorBoard, training and validation beside each other."""
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
    partial = path.with_name(path.name + ".part")
    partial.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(path)


def versions() -> dict[str, str]:
    """Return the versions that a result depends on."""
    packages = ("resnet50", "torch", "torchvision", "numpy", "pillow")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}
