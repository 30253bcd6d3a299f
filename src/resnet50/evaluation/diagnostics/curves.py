"""The curves of a run, as arrays by epoch, and what the rules measure on them."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from resnet50.options import TrainOptions

Floats = np.ndarray[tuple[int], np.dtype[np.float64]]

MIN_EPOCHS = 4
"""Epochs below which a curve has no shape: a fall, a bend and a rise need at least four points."""

TAIL = 0.25
"""Share of the epochs that counts as the end of a run."""


@dataclass(frozen=True)
class Curves:
    """Metrics of a run, each an array with one float64 per epoch, and what else is known about it.

    Attributes:
        skipped: Steps without a finite gradient, which changed nothing.
        data_time: Share of the epoch spent waiting for the loader.
        options: Options that the run was made with.
        val_images: Images in the validation split, if known.
        classes: Number of classes, if known.
    """

    epoch: np.ndarray
    train_loss: Floats
    train_accuracy: Floats
    val_loss: Floats
    val_accuracy: Floats
    objective: Floats
    lr: Floats
    grad_norm: Floats
    skipped: Floats
    data_time: Floats
    options: Mapping[str, Any]
    val_images: int | None
    classes: int | None

    def __len__(self) -> int:
        return len(self.epoch)

    @property
    def best(self) -> int:
        """Index of the lowest validation loss."""
        return int(np.argmin(self.val_loss))

    @property
    def tail(self) -> int:
        """Number of steps between epochs that make up the end of the run: a quarter, at least two."""
        return max(2, round(TAIL * len(self)))

    @property
    def peak_lr(self) -> float:
        """Peak learning rate: the option, or the highest that was recorded."""
        return float(self.options.get("lr") or np.nanmax(self.lr, initial=0.0) or 1e-3)


def curves_from(
    metrics: pd.DataFrame, config: Mapping[str, Any] | TrainOptions, val_images: int | None, classes: int | None
) -> Curves:
    """Take the columns out of `metrics.csv`. A missing one becomes NaN, and rules that need it stay silent."""

    def column(name: str) -> Floats:
        if name not in metrics:
            return np.full(len(metrics), np.nan)
        return metrics[name].to_numpy(dtype=np.float64)

    lr = column("lr")
    return Curves(
        epoch=metrics["epoch"].to_numpy(dtype=np.int64),
        train_loss=column("train_loss"),
        train_accuracy=column("train_accuracy"),
        val_loss=column("val_loss"),
        val_accuracy=column("val_accuracy"),
        objective=column("objective" if "objective" in metrics else "train_loss"),
        lr=lr if np.any(lr > 0) else column("head_lr"),  # of a frozen backbone the rate is 0
        grad_norm=column("grad_norm"),
        skipped=column("skipped_steps"),
        data_time=column("wait_seconds") / column("seconds"),
        options=dataclasses.asdict(config) if isinstance(config, TrainOptions) else config,
        val_images=val_images,
        classes=classes,
    )


def jitter(values: Floats) -> float:
    """Estimate the standard deviation of a curve's noise around its smooth course; 0 below five points.

    It comes from second differences, in which a straight course cancels and white noise is √6 times as large; their
    median absolute value ignores single steps (0.6745 is that of a standard normal).
    """
    if len(values) < 5:
        return 0.0
    return float(np.median(np.abs(np.diff(values, 2)))) / (0.6745 * math.sqrt(6))


def relative_fall(values: Floats, steps: int) -> float:
    """Compute the share by which a curve fell over its last steps."""
    return float((values[-1 - steps] - values[-1]) / values[-1 - steps])
