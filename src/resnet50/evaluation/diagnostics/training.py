"""Diagnose a run by its curves: every rule about training, in the order in which they are best read."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from resnet50.evaluation.diagnostics.curves import Curves, curves_from
from resnet50.evaluation.diagnostics.diagnosis import Diagnosis
from resnet50.evaluation.diagnostics.fit import (
    convergence,
    generalization_gap,
    not_learning,
    overfitting,
    short_run,
    underfitting,
)
from resnet50.evaluation.diagnostics.optimization import (
    divergence,
    gradient_exploding,
    gradient_vanishing,
    learning_rate_high,
    learning_rate_low,
    skipped_steps,
)
from resnet50.options import TrainOptions
from resnet50.runtime.stats import percent, points, standard_error
from resnet50.training.timer import SLOW_LOADING, loading_advice

NOISY_ACCURACY = 0.01
"""Two standard errors of the validation accuracy above which a reader should know them."""


def diagnose_training(
    metrics: pd.DataFrame,
    config: Mapping[str, Any] | TrainOptions,
    val_images: int | None = None,
    classes: int | None = None,
) -> list[Diagnosis]:
    """Apply the rules about training to a run's curves.

    Args:
        metrics: A row per epoch, as in `metrics.csv`.
        config: Options that the run was made with.
        val_images: Images in the validation split; without it, rules about chance stay silent.
        classes: Number of classes; without it, nothing is compared with guessing.

    Returns:
        Diagnoses in the order in which they are best read; none for a table without rows.
    """
    if metrics.empty:
        return []
    curves = curves_from(metrics, config, val_images, classes)
    if (diverged := divergence(curves)) is not None:
        return [diverged]  # nothing more can be read from numbers around infinity
    diagnoses = [
        short_run(curves),
        convergence(curves),
        overfitting(curves) or generalization_gap(curves),
        learning_rate_high(curves),
        learning_rate_low(curves),
        not_learning(curves) or underfitting(curves),
        gradient_vanishing(curves),
        gradient_exploding(curves),
        validation_noise(curves),
        skipped_steps(curves),
        loader_bound(curves),
    ]
    return [diagnosis for diagnosis in diagnoses if diagnosis is not None]


def validation_noise(c: Curves) -> Diagnosis | None:
    """Noise: two standard errors, √(p(1−p)/n) each, of the best epoch's validation accuracy exceed NOISY_ACCURACY."""
    p = c.val_accuracy[c.best]
    if not c.val_images or not np.isfinite(p):
        return None
    error = standard_error(p, c.val_images)
    if 2 * error <= NOISY_ACCURACY:
        return None
    return Diagnosis(
        "validation_noise",
        "note",
        f"The validation accuracy of {percent(p)} (epoch {c.epoch[c.best]}) was measured on {c.val_images:,} images "
        f"and has a standard error of {points(error)}: between epochs or runs, differences below "
        f"{points(2 * error)} may be chance.",
        "Compare runs by validation loss and over several seeds (--seed), or prepare the data with a larger "
        "validation share.",
    )


def loader_bound(c: Curves) -> Diagnosis | None:
    """Slow loader: in the median epoch, training waited for it for more than SLOW_LOADING of the time."""
    data_time = float(np.median(c.data_time))
    if not data_time > SLOW_LOADING:
        return None
    return Diagnosis(
        "loader_bound",
        "note",
        f"The loader is the bottleneck: {percent(data_time)} of the time was spent waiting for images.",
        f"To train faster: {loading_advice(c.options)}.",
    )
