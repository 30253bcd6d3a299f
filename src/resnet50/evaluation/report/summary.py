"""The head of the report: what was trained, and the numbers that matter most."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from resnet50.evaluation.diagnostics.classes import majority
from resnet50.evaluation.report.record import RunRecord, mapping
from resnet50.runtime.console import duration
from resnet50.runtime.stats import loss, number, percent, wilson

SPLIT_NAMES = {"train": "training", "val": "validation", "test": "test"}


@dataclass(frozen=True)
class Tile:
    """A number of the summary: its name, its value, and what to compare it with."""

    name: str
    value: str
    note: str = ""


def subtitle(run: RunRecord) -> str:
    """Say in one line what was trained and how."""
    depth, size = run.config.get("depth", 50), run.config.get("image_size")
    source = mapping(run.info, "weights").get("source") or run.config.get("weights", "")
    start = "trained from scratch" if source == "none" else f"fine-tuned from {source} weights"
    return f"ResNet-{depth}, {start}" + (f", at {size} × {size} pixels" if size else "")


def evaluation_tiles(evaluation: Mapping[str, Any]) -> list[Tile]:
    n, accuracy, classes = int(evaluation["images"]), float(evaluation["accuracy"]), len(evaluation["classes"])
    low, high = wilson(round(accuracy * n), n)
    most_frequent, share = majority(evaluation)
    tiles = [
        Tile("Accuracy", percent(accuracy), f"95% interval {100 * low:.1f}–{100 * high:.1f}"),
        Tile("Majority baseline", percent(share), f"always predicting “{most_frequent}”"),
        Tile("Balanced accuracy", percent(evaluation["balanced_accuracy"]), "mean recall over classes"),
        Tile("Macro F1", f"{evaluation['macro_f1']:.3f}", "mean F1 over classes"),
        Tile("Log loss", loss(evaluation["log_loss"]), f"uniform guessing: {loss(math.log(classes))}"),
    ]
    if classes > 5:
        tiles.append(Tile("Top-5 accuracy", percent(evaluation["top5_accuracy"]), "true class among the top five"))
    return [*tiles, Tile("Images", f"{n:,}", f"{split_name(evaluation['split'])} split, {classes} classes")]


def training_tiles(run: RunRecord) -> list[Tile]:
    if run.metrics.empty:
        return []
    metrics, planned, best = run.metrics, run.config.get("epochs"), run.best_epoch()
    seconds = run.info.get("seconds") or metrics["seconds"].sum()
    speed = metrics["images_per_second"].median()
    return [
        Tile("Validation accuracy", percent(best["val_accuracy"]), f"in the best epoch, {int(best['epoch'])}"),
        Tile("Epochs", f"{len(metrics)}" + (f" of {planned}" if planned else ""), str(run.info.get("stopped", ""))),
        Tile("Training time", duration(seconds), f"{number(speed)} images/s in training"),
    ]


def split_name(split: str) -> str:
    return SPLIT_NAMES.get(split, split)
