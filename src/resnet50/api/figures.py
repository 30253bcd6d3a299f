"""The figures that a notebook shows: images in a grid, learning curves, a confusion matrix."""

import io
import math
from collections.abc import Sequence
from typing import Any

import matplotlib.figure
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter
from PIL import Image
from sklearn.metrics import ConfusionMatrixDisplay

from resnet50.etl.decode import UnreadableImageError, decode
from resnet50.evaluation.plots import COLORS

IMAGE_PIXELS = 200
"""Longer side of an image in a grid."""

MAX_CAPTION = 24
"""Characters of a line of an image's caption."""

MAX_CLASSES_NAMED = 30
"""Classes up to which a confusion matrix has names and numbers."""


class Figure(matplotlib.figure.Figure):
    """A matplotlib figure that a notebook shows as the value of a cell, without pyplot and its global state."""

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        self.savefig(file, format="png", dpi=90, bbox_inches="tight")
        return file.getvalue()


def image_grid(paths: Sequence[str], captions: Sequence[str], bit_depth: int | None = None) -> Figure:
    """Draw images with a caption above each."""
    columns = max(1, math.ceil(math.sqrt(len(paths))))
    rows = max(1, math.ceil(len(paths) / columns))
    figure = Figure(figsize=(1.8 * columns, 2.1 * rows), layout="constrained")
    for place, (path, caption) in enumerate(zip(paths, captions, strict=True), start=1):
        axes = figure.add_subplot(rows, columns, place)
        axes.set_axis_off()
        axes.set_anchor("N")
        lines = [line if len(line) <= MAX_CAPTION else line[: MAX_CAPTION - 1] + "…" for line in caption.splitlines()]
        axes.set_title("\n".join(lines), fontsize=8, parse_math=False)
        draw_image(axes, path, bit_depth)
    return figure


def draw_image(axes: Axes, path: str, bit_depth: int | None) -> None:
    """Draw an image, or that it can't be read any more."""
    try:
        image = decode(path, bit_depth)
    except UnreadableImageError:
        axes.text(0.5, 0.5, "unreadable", ha="center", va="center", fontsize=8, color="gray")
        return
    image.thumbnail((IMAGE_PIXELS, IMAGE_PIXELS), Image.Resampling.LANCZOS, reducing_gap=3.0)
    axes.imshow(image)


def learning_curves(history: pd.DataFrame, best_epoch: int | None) -> Figure:
    """Draw loss and accuracy of training and validation by epoch."""
    figure = Figure(figsize=(8, 2.8), layout="constrained")
    loss, accuracy = figure.subplots(1, 2)
    for axes, metric in ((loss, "loss"), (accuracy, "accuracy")):
        for side, name in (("train", "training"), ("val", "validation")):
            values = history[f"{side}_{metric}"]
            axes.plot(history["epoch"], values, color=COLORS[side], marker="o", markersize=3, label=name)
        if best_epoch in set(history["epoch"]):
            axes.axvline(best_epoch, color="gray", linewidth=0.8, linestyle=":", label="best epoch")
        axes.set_title(metric, loc="left", fontsize=10)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(axis="y", alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    accuracy.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    loss.legend(frameon=False, fontsize=8)
    return figure


def confusion_matrix(counts: Any, classes: Sequence[str]) -> Figure:
    """Draw counts by label (rows) and prediction (columns); with many classes, colors alone."""
    named = len(classes) <= MAX_CLASSES_NAMED
    side = min(10.0, 2.4 + 0.45 * len(classes))
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.add_subplot()
    display = ConfusionMatrixDisplay(pd.DataFrame(counts).to_numpy(), display_labels=list(classes) if named else None)
    display.plot(ax=axes, cmap="Blues", colorbar=not named, include_values=named, xticks_rotation="vertical")
    axes.set(xlabel="prediction", ylabel="label")
    for text in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        text.set_parse_math(False)
    return figure
