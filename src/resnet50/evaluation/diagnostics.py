"""The epoch-wise reading: what a run's curves say, and what to try next. One small function per rule.

Every rule is a pure function of the numbers. It returns a finding, or None when the numbers don't carry one; its
docstring states it, and its thresholds are the constants below.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from resnet50.evaluation.diagnosis import Diagnosis
from resnet50.options import TrainOptions
from resnet50.runtime.stats import listed, loss, number, percent, points, round_size, standard_error
from resnet50.training.timer import SLOW_LOADING, loading_advice

Floats = np.ndarray[tuple[int], np.dtype[np.float64]]

USUAL_SKIPS = 20
"""Steps that the fp16 scaler skips in any run while it looks for its scale."""

MIN_EPOCHS = 4
"""Epochs below which a curve has no shape: a fall, a bend and a rise need at least four points."""

TAIL = 0.25
"""Share of the epochs that counts as the end of a run."""

CONVERGED_SHARE = 0.05
"""The validation loss has arrived when no more than this share of its whole fall is left."""

STILL_FALLING = 0.03
"""Relative fall of the validation loss over the last quarter from which more epochs are worth their time."""

OVERFIT_RISE = 0.05
"""Relative rise of the validation loss above its minimum that is more than a wiggle."""

NOISE_FACTOR = 3.0
"""Times the curve's own jitter that a change must exceed to be one: three deviations, because curves are long."""

TRAIN_FALL = 0.03
"""Relative fall of the training loss from which it is still learning the training images."""

GAP = 0.10
"""Training accuracy above validation accuracy, as a difference, that is worth naming. Augmentation and averaging
over the epoch make the training figure too low, so a gap is larger than it looks, never smaller."""

JUMP = 0.05
"""Rise of a loss from one epoch to the next, as a share of its first value, that is a jump: minimizing should not do
that. Of the first value, not of the last: near zero every wiggle is large against where it is."""

BLOW_UP = 1.10
"""Factor above its first epoch at which the objective has been driven the wrong way."""

SPIKE = 1.5
"""Factor above both neighbors that makes an epoch's validation loss a spike."""

STRAIGHTNESS = 0.75
"""Slope of a curve's second half over that of its first: 1 is a straight line, a curve that settles tends to 0."""

FAR_FROM_CONVERGED = 0.6
"""Share of the first epoch's training loss that is still there at the end when hardly anything was learned."""

GUESSING = 0.97
"""Share of log(classes), the loss of guessing evenly, above which nothing has been learned."""

HALF_OF_GUESSING = 0.5
"""Share of log(classes) above which even the training images are known badly."""

FLAT = 0.03
"""Relative change over the last quarter below which a curve no longer moves."""

GRADIENT_FACTOR = 10.0
"""Factor by which a gradient norm must leave its median to be out of the ordinary: it easily doubles in a sound run."""

NOISY_ACCURACY = 0.01
"""Two standard errors of the validation accuracy above which a reader should know them."""


@dataclass(frozen=True)
class Curves:
    """A run's numbers by epoch, each an array of float64 with an entry per epoch, and what is known besides."""

    epoch: np.ndarray
    train_loss: Floats
    train_accuracy: Floats
    val_loss: Floats
    val_accuracy: Floats
    objective: Floats
    lr: Floats
    grad_norm: Floats
    skipped: Floats
    """Steps that had no finite gradient and changed nothing."""
    waiting: Floats
    """Share of the epoch's time that training waited for the loader."""
    options: Mapping[str, Any]
    val_images: int | None
    classes: int | None

    def __len__(self) -> int:
        return len(self.epoch)

    @property
    def best(self) -> int:
        """Return the position of the lowest validation loss."""
        return int(np.argmin(self.val_loss))

    @property
    def tail(self) -> int:
        """Return how many steps between epochs make up the end of the run: a quarter, at least two."""
        return max(2, round(TAIL * len(self)))


def read_training(
    metrics: pd.DataFrame,
    config: Mapping[str, Any] | TrainOptions,
    val_images: int | None = None,
    classes: int | None = None,
) -> list[Diagnosis]:
    """Read a run's curves.

    Args:
        metrics: a row per epoch, as in `metrics.csv`.
        config: the options that the run was made with.
        val_images: images in the validation split; without it nothing is said about chance in the accuracy.
        classes: number of classes; without it nothing is compared with guessing.

    Returns:
        Findings in the order they are best read; none for a table without rows.
    """
    if metrics.empty:
        return []
    curves = make_curves(metrics, config, val_images, classes)
    if (finding := divergence(curves)) is not None:
        return [finding]  # numbers around infinity carry no further reading
    findings = [
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
    return [finding for finding in findings if finding is not None]


def make_curves(
    metrics: pd.DataFrame, config: Mapping[str, Any] | TrainOptions, val_images: int | None, classes: int | None
) -> Curves:
    """Take the columns out of the table. One that isn't there becomes NaN, and rules on it stay silent."""
    options = dataclasses.asdict(config) if isinstance(config, TrainOptions) else config

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
        # With the whole backbone frozen its rate is 0, and the head's is what counts.
        lr=lr if np.any(lr > 0) else column("head_lr"),
        grad_norm=column("grad_norm"),
        skipped=column("skipped_steps"),
        waiting=column("wait_seconds") / column("seconds"),
        options=options,
        val_images=val_images,
        classes=classes,
    )


def divergence(c: Curves) -> Diagnosis | None:
    """Diverged: a training loss, validation loss or objective that is not a finite number, in any epoch."""
    broken = ~(np.isfinite(c.train_loss) & np.isfinite(c.val_loss) & np.isfinite(c.objective))
    if not broken.any():
        return None
    half = "" if c.options.get("precision") != "fp16" else ", or --precision bf16 or fp32, whose numbers reach further"
    return Diagnosis(
        "divergence",
        "warning",
        f"Training broke down in epoch {c.epoch[np.argmax(broken)]}: from there on the loss is not a finite number, "
        "and nothing can be read from the rest.",
        f"{lower_rate(c, 10)} or --clip-grad 1{half}.",
    )


def short_run(c: Curves) -> Diagnosis | None:
    """Too short to read: fewer than MIN_EPOCHS epochs."""
    n = len(c)
    if n >= MIN_EPOCHS:
        return None
    if n == 1:
        text = f"One epoch gives points, not curves. After it the validation loss is {loss(c.val_loss[0])}"
        text += f" at an accuracy of {percent(c.val_accuracy[0])}." if np.isfinite(c.val_accuracy[0]) else "."
    else:
        text = (
            f"Over {n} epochs the validation loss went from {loss(c.val_loss[0])} to {loss(c.val_loss[-1])}; it is "
            f"lowest in epoch {c.epoch[c.best]}."
        )
    text += f" Fewer than {MIN_EPOCHS} epochs cannot show when a run converges or whether it overfits."
    return Diagnosis("short_run", "note", text, "To learn more from the curves: --epochs 10.")


def convergence(c: Curves) -> Diagnosis | None:
    """Still improving: the validation loss fell by STILL_FALLING and more than its noise over the last quarter.

    Otherwise converged: in the first epoch after which no more than CONVERGED_SHARE of the fall from the first epoch
    to the minimum is left (or no more than its noise). Silent when the minimum is the first epoch.
    """
    if len(c) < MIN_EPOCHS or c.best == 0:
        return None
    noise = jitter(c.val_loss)
    first, before, last = c.val_loss[0], c.val_loss[-1 - c.tail], c.val_loss[-1]
    if before - last > max(STILL_FALLING * before, NOISE_FACTOR * noise) and c.best >= len(c) - 2:
        return Diagnosis(
            "convergence",
            "note",
            f"Not converged yet: over the last {c.tail} epochs the validation loss still fell from {loss(before)} to "
            f"{loss(last)} ({percent((before - last) / before)}).",
            f"Train longer: --epochs {2 * len(c)}.",
        )
    lowest = c.val_loss[c.best]
    arrived = np.argmax(c.val_loss <= lowest + max(CONVERGED_SHARE * (first - lowest), noise))
    text = f"Converged by epoch {c.epoch[arrived]}: the validation loss was then "
    if arrived == c.best:
        text += f"at its lowest, {loss(lowest)}."
    else:
        text += f"{loss(c.val_loss[arrived])}, close to its lowest, {loss(lowest)} in epoch {c.epoch[c.best]}."
    return Diagnosis("convergence", "good", text)


def overfitting(c: Curves) -> Diagnosis | None:
    """Overfits: the validation loss ends above its minimum while the training loss goes on falling.

    "Above" is by OVERFIT_RISE and by NOISE_FACTOR times its jitter, the mean of the last three epochs against the
    median of the three around the minimum (a minimum of noisy values lies too low). "Falling" is by TRAIN_FALL.
    """
    after = len(c) - 1 - c.best
    if len(c) < MIN_EPOCHS or after < 2:
        return None
    end = min(3, after)
    lowest = float(np.median(c.val_loss[max(0, c.best - 1) : c.best + 2]))
    rise = float(c.val_loss[-end:].mean()) - lowest
    fall = c.train_loss[c.best] - c.train_loss[-end:].mean()
    if rise < max(OVERFIT_RISE * lowest, NOISE_FACTOR * jitter(c.val_loss)) or fall < TRAIN_FALL * c.train_loss[c.best]:
        return None
    text = (
        f"Overfits from epoch {c.epoch[c.best + 1]} on: the validation loss is lowest in epoch {c.epoch[c.best]} "
        f"({loss(c.val_loss[c.best])}) and ends at {loss(c.val_loss[-1])}, while the training loss falls from "
        f"{loss(c.train_loss[c.best])} to {loss(c.train_loss[-1])}."
    )
    if c.val_accuracy[-end:].mean() >= c.val_accuracy[c.best]:
        text += " The validation accuracy does not suffer: the network grows too sure of itself rather than wrong."
    text += f" The weights kept are those of epoch {c.epoch[c.best]}."
    return Diagnosis("overfitting", "warning", text, regularize(c, stop=True))


def generalization_gap(c: Curves) -> Diagnosis | None:
    """Gap: in the best epoch, training accuracy is above validation accuracy by GAP and by three standard errors."""
    if len(c) < MIN_EPOCHS:
        return None
    train, val = c.train_accuracy[c.best], c.val_accuracy[c.best]
    error = standard_error(val, c.val_images) if c.val_images else 0.0
    if not train - val > max(GAP, 3 * error):
        return None
    return Diagnosis(
        "generalization_gap",
        "note",
        f"In its best epoch, {c.epoch[c.best]}, the network is right on {percent(train)} of the training images but on "
        f"{percent(val)} of the validation images: part of what it learned holds for the training images alone.",
        regularize(c, stop=False),
    )


def learning_rate_high(c: Curves) -> Diagnosis | None:
    """Rate too high, by any of three signs.

    The objective in the first half of the run rises above BLOW_UP times its first value; or it jumps up by JUMP in at
    least two epochs and a quarter of all; or the validation loss spikes (SPIKE times both neighbors, and by JUMP) in
    at least two epochs.
    """
    n = len(c)
    early = c.objective[1 : max(2, math.ceil(n / 2))]
    jumps = np.flatnonzero(np.diff(c.objective) > JUMP * c.objective[0]) + 1
    around = np.maximum(c.val_loss[:-2], c.val_loss[2:])
    high = (c.val_loss[1:-1] > SPIKE * around) & (c.val_loss[1:-1] > around + JUMP * c.val_loss[0])
    spikes = np.flatnonzero(high) + 1
    if early.size and early.max() > BLOW_UP * c.objective[0]:
        top = 1 + int(np.argmax(early))
        sign = f"the objective rose from {loss(c.objective[0])} to {loss(c.objective[top])} by epoch {c.epoch[top]}"
    elif len(jumps) >= max(2, TAIL * n):
        sign = f"the objective went up, not down, in {len(jumps)} of {n - 1} epochs, first in epoch {c.epoch[jumps[0]]}"
    elif len(spikes) >= 2:
        worst = int(spikes[np.argmax(c.val_loss[spikes])])
        sign = (
            f"the validation loss spikes in {len(spikes)} epochs, most in epoch {c.epoch[worst]} "
            f"({loss(c.val_loss[worst - 1])} before, {loss(c.val_loss[worst])} there)"
        )
    else:
        return None
    return Diagnosis(
        "learning_rate_high",
        "warning",
        f"The learning rate looks too high: {sign}.",
        f"{lower_rate(c, 3)}; --warmup 0.1 or --clip-grad 1 if it is the start that is rough.",
    )


def learning_rate_low(c: Curves) -> Diagnosis | None:
    """Rate too low: the training loss falls in a straight line and is still far from converged at the end.

    Small steps follow the slope without reaching the bend, so the loss is straight over the learning rate summed up
    to each epoch (not over the epochs: a schedule that ends at zero bends that curve by itself). Straight: the slope
    of the second half is at least STRAIGHTNESS of that of the first, correlation beyond -0.98; far: FAR_FROM_CONVERGED.
    """
    n = len(c)
    traveled = np.concatenate([[0.0], np.cumsum(c.lr[:-1])])
    if n < MIN_EPOCHS or not np.isfinite(traveled).all() or traveled[-1] <= 0:
        return None
    first, last = c.train_loss[0], c.train_loss[-1]
    if not FAR_FROM_CONVERGED * first < last < (1 - FLAT) * first:
        return None
    half = int(np.searchsorted(traveled, traveled[-1] / 2))
    if not 0 < half < n - 1 or traveled[-1] == traveled[half]:
        return None
    slope_before = (c.train_loss[half] - first) / traveled[half]
    slope_after = (last - c.train_loss[half]) / (traveled[-1] - traveled[half])
    straight = np.corrcoef(traveled, c.train_loss)[0, 1] < -0.98
    if not straight or slope_before >= 0 or slope_after / slope_before < STRAIGHTNESS:
        return None
    lr = peak_rate(c)
    return Diagnosis(
        "learning_rate_low",
        "warning",
        f"The learning rate looks too low: from epoch {c.epoch[0]} to {c.epoch[-1]} the training loss fell almost in a "
        f"straight line, from {loss(first)} to {loss(last)}, and never began to settle.",
        f"A higher rate: --lr {3 * lr:.2g} instead of {lr:.2g}; --epochs {2 * n} if that becomes unsteady.",
    )


def not_learning(c: Curves) -> Diagnosis | None:
    """Not learning: the lowest validation loss is no lower than GUESSING times log(classes)."""
    if c.classes is None or c.classes < 2 or c.val_loss[c.best] < GUESSING * math.log(c.classes):
        return None
    return Diagnosis(
        "not_learning",
        "warning",
        f"Nothing has been learned that holds for new images: the lowest validation loss, {loss(c.val_loss[c.best])}, "
        f"is no better than that of guessing evenly among {c.classes} classes, {loss(math.log(c.classes))}.",
        "Check in the sample pictures that the labels are right; then try --weights imagenet, "
        f"--lr {peak_rate(c) / 3:.2g} and {3 * peak_rate(c):.2g}, and more --epochs"
        + ("; in a short run without --ema, whose average lags behind." if c.options.get("ema") else "."),
    )


def underfitting(c: Curves) -> Diagnosis | None:
    """Underfits: both losses no longer move (FLAT over the last quarter), and training stays badly known.

    Badly known: the training loss is above HALF_OF_GUESSING times log(classes), and no more than a tenth below the
    validation loss: there is nothing that regularization could win.
    """
    if len(c) < MIN_EPOCHS or c.classes is None or c.classes < 2:
        return None
    moved = max(relative_fall(c.train_loss, c.tail), relative_fall(c.val_loss, c.tail))
    train, val = c.train_loss[-1], c.val_loss[-1]
    if moved > FLAT or train < HALF_OF_GUESSING * math.log(c.classes) or train < 0.9 * val:
        return None
    ways = [
        "--augment light" if c.options.get("augment") == "standard" else "",
        "--freeze 0" if c.options.get("freeze") else "",
        f"--image-size {larger_size(c)}",
        "--label-smoothing 0" if (c.options.get("label_smoothing") or 0) > 0.1 else "",
        f"--lr {3 * peak_rate(c):.2g}",
    ]
    return Diagnosis(
        "underfitting",
        "note",
        f"Underfits: both losses have stopped moving, training at {loss(train)} and validation at {loss(val)}, so even "
        "the training images are known badly. Either something holds the network back, or the labels hold no more.",
        f"Give it more room: {listed(ways)}; and look at the mistakes below for wrong labels.",
    )


def gradient_vanishing(c: Curves) -> Diagnosis | None:
    """Vanishes: the gradient norm ends below 1/GRADIENT_FACTOR² of its first value, with little of the loss gone.

    The norm: median of the last quarter. Little: more than FAR_FROM_CONVERGED of the first training loss is left
    (a gradient that goes because the loss is small is as it should be).
    """
    if len(c) < MIN_EPOCHS or not np.isfinite(c.grad_norm).all() or c.grad_norm[0] <= 0:
        return None
    end = float(np.median(c.grad_norm[-c.tail :]))
    if end > c.grad_norm[0] / GRADIENT_FACTOR**2 or c.train_loss[-1] < FAR_FROM_CONVERGED * c.train_loss[0]:
        return None
    advice = f"{lower_rate(c, 3)} with --warmup 0.1, or --weights imagenet."
    if c.options.get("shortcuts") == "none":
        advice = "Put the shortcuts back: --shortcuts B."
    return Diagnosis(
        "gradient_vanishing",
        "warning",
        f"The gradient has vanished: its norm went from {number(c.grad_norm[0])} to {number(end)}, while the training "
        f"loss only went from {loss(c.train_loss[0])} to {loss(c.train_loss[-1])}.",
        advice,
    )


def gradient_exploding(c: Curves) -> Diagnosis | None:
    """Explodes: an epoch's gradient norm is more than GRADIENT_FACTOR times the median of all epochs but the first.

    The first is left out: a new head starts with a long gradient.
    """
    if len(c) < MIN_EPOCHS or not np.isfinite(c.grad_norm).all():
        return None
    usual = float(np.median(c.grad_norm[1:]))
    top = 1 + int(np.argmax(c.grad_norm[1:]))
    if usual <= 0 or c.grad_norm[top] <= GRADIENT_FACTOR * usual:
        return None
    clip = c.options.get("clip_grad")
    if clip:
        return Diagnosis(
            "gradient_exploding",
            "note",
            f"The gradient norm reached {number(c.grad_norm[top])} in epoch {c.epoch[top]}, against "
            f"{number(usual)} in the median epoch; --clip-grad {clip:g} held the steps back.",
            f"If the losses show a bump there too: {lower_rate(c, 3).lower()}.",
        )
    return Diagnosis(
        "gradient_exploding",
        "warning",
        f"The gradient exploded in epoch {c.epoch[top]}: its norm was {number(c.grad_norm[top])}, against "
        f"{number(usual)} in the median epoch.",
        f"Limit it: --clip-grad {2 * usual:.2g}; {lower_rate(c, 3).lower()} if it comes back.",
    )


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
        "Compare runs by validation loss and over several --seed; or prepare the data with a larger validation share.",
    )


def skipped_steps(c: Curves) -> Diagnosis | None:
    """Skipped: any step in fp32 or bf16, or more than USUAL_SKIPS in fp16, had no finite gradient."""
    total = int(np.nansum(c.skipped))
    scaler = c.options.get("precision") == "fp16"  # which looks for the largest scale that fits, and goes too far
    if total <= (USUAL_SKIPS if scaler else 0):
        return None
    worst = int(c.epoch[int(np.nanargmax(c.skipped))])
    further = ", or --precision bf16 or fp32, whose numbers reach further" if scaler else ""
    return Diagnosis(
        "skipped_steps",
        "warning",
        f"{total:,} steps had no finite gradient and were skipped, most of them in epoch {worst}.",
        f"{lower_rate(c, 3)} or --clip-grad 1{further}.",
    )


def loader_bound(c: Curves) -> Diagnosis | None:
    """Loader too slow: in the median epoch, training waited for it for SLOW_LOADING of the time."""
    waiting = float(np.median(c.waiting))
    if not waiting > SLOW_LOADING:
        return None
    return Diagnosis(
        "loader_bound",
        "note",
        f"The loader is the bottleneck: {percent(waiting)} of the time went by waiting for images.",
        f"To train faster: {loading_advice(c.options)}.",
    )


def jitter(values: Floats) -> float:
    """Estimate the standard deviation of a curve's noise around its smooth course; 0 below five points.

    From second differences, in which a straight course cancels and white noise is √6 as large; their median absolute
    value, so that single steps don't count (0.6745 is that of a standard normal).
    """
    if len(values) < 5:
        return 0.0
    return float(np.median(np.abs(np.diff(values, 2)))) / (0.6745 * math.sqrt(6))


def relative_fall(values: Floats, steps: int) -> float:
    """Return by which share a curve fell over its last steps."""
    return float((values[-1 - steps] - values[-1]) / values[-1 - steps])


def peak_rate(c: Curves) -> float:
    """Return the run's peak learning rate: the option, or the highest that was recorded."""
    return float(c.options.get("lr") or np.nanmax(c.lr, initial=0.0) or 1e-3)


def lower_rate(c: Curves, factor: float) -> str:
    """Return the advice to lower the learning rate by a factor."""
    return f"A lower rate: --lr {peak_rate(c) / factor:.2g} instead of {peak_rate(c):.2g}"


def regularize(c: Curves, *, stop: bool) -> str:
    """Return the advice against learning training images by heart: what this run has not used yet."""
    options = c.options
    ways = [
        "--augment standard" if options.get("augment") != "standard" else "--crop-scale 0.2",
        "--label-smoothing 0.1" if (options.get("label_smoothing") or 0) < 0.1 else "",
        "--freeze 2" if not options.get("freeze") and options.get("weights") != "none" else "",
        "--ema 0.99" if not options.get("ema") else "",
    ]
    advice = f"One at a time: {listed(ways)}"
    if stop and not options.get("early_stopping"):
        advice += "; --early-stopping 3 saves the epochs after the best"
    return advice + ". More training images help most."


def larger_size(c: Curves) -> int:
    """Return the next larger image size to try."""
    return round_size(1.3 * float(c.options.get("image_size") or 224))
