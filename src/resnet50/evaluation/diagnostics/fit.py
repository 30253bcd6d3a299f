"""Rules about how well a run fits: convergence, overfitting, underfitting, and whether anything was learned."""

import math

import numpy as np

from resnet50.evaluation.diagnostics.advice import larger_size, regularize
from resnet50.evaluation.diagnostics.curves import MIN_EPOCHS, Curves, jitter, relative_fall
from resnet50.evaluation.diagnostics.diagnosis import Diagnosis
from resnet50.runtime.stats import listed, loss, percent, standard_error

CONVERGED_SHARE = 0.05
"""Share of the validation loss's whole fall that may be left once it has converged."""

STILL_FALLING = 0.03
"""Relative fall of the validation loss over the last quarter from which more epochs are worthwhile."""

OVERFIT_RISE = 0.05
"""Relative rise of the validation loss above its minimum that is more than a fluctuation."""

NOISE_FACTOR = 3.0
"""Multiple of a curve's own jitter that counts as a change: three deviations, because curves are long."""

TRAIN_FALL = 0.03
"""Relative fall of the training loss from which the network is still fitting the training images."""

GAP = 0.10
"""Training accuracy above validation accuracy, as a difference, that is worth naming. Augmentation and averaging over
the epoch bias training accuracy low, so a gap is larger than it looks, never smaller."""

GUESSING = 0.97
"""Share of log(classes), the loss of uniform guessing, above which nothing has been learned."""

HALF_OF_GUESSING = 0.5
"""Share of log(classes) above which even the training images are fit badly."""

FLAT = 0.03
"""Relative change over the last quarter below which a curve has leveled off."""


def short_run(c: Curves) -> Diagnosis | None:
    """Too short to read: fewer than MIN_EPOCHS epochs."""
    n = len(c)
    if n >= MIN_EPOCHS:
        return None
    if n == 1:
        text = f"One epoch gives points, not curves. Its validation loss is {loss(c.val_loss[0])}"
        text += f" at an accuracy of {percent(c.val_accuracy[0])}." if np.isfinite(c.val_accuracy[0]) else "."
    else:
        text = (
            f"Over {n} epochs the validation loss went from {loss(c.val_loss[0])} to {loss(c.val_loss[-1])}; it is "
            f"lowest in epoch {c.epoch[c.best]}."
        )
    text += f" Fewer than {MIN_EPOCHS} epochs cannot show whether a run converges or overfits."
    return Diagnosis("short_run", "note", text, "For curves that can be read: --epochs 10.")


def convergence(c: Curves) -> Diagnosis | None:
    """Still improving: the validation loss fell by STILL_FALLING and more than its noise over the last quarter.

    Otherwise converged: in the first epoch after which at most CONVERGED_SHARE of the fall from the first epoch to the
    minimum is left (or no more than its noise). Silent if the minimum is the first epoch.
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
    converged = np.argmax(c.val_loss <= lowest + max(CONVERGED_SHARE * (first - lowest), noise))
    text = f"Converged by epoch {c.epoch[converged]}: the validation loss was then "
    if converged == c.best:
        text += f"at its minimum, {loss(lowest)}."
    else:
        text += f"{loss(c.val_loss[converged])}, close to its minimum, {loss(lowest)} in epoch {c.epoch[c.best]}."
    return Diagnosis("convergence", "good", text)


def overfitting(c: Curves) -> Diagnosis | None:
    """Overfitting: the validation loss ends above its minimum while the training loss keeps falling.

    "Above" is by OVERFIT_RISE and by NOISE_FACTOR times its jitter: the mean of the last three epochs against the
    median of the three around the minimum (the minimum of noisy values is biased low). "Falling" is by TRAIN_FALL.
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
        f"Overfitting from epoch {c.epoch[c.best + 1]} on: the validation loss is lowest in epoch {c.epoch[c.best]} "
        f"({loss(c.val_loss[c.best])}) and ends at {loss(c.val_loss[-1])}, while the training loss keeps falling, from "
        f"{loss(c.train_loss[c.best])} to {loss(c.train_loss[-1])}."
    )
    if c.val_accuracy[-end:].mean() >= c.val_accuracy[c.best]:
        text += " The validation accuracy does not suffer: the network becomes overconfident, not less accurate."
    text += f" The saved weights are those of epoch {c.epoch[c.best]}."
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
        f"In the best epoch, {c.epoch[c.best]}, accuracy is {percent(train)} on the training images but {percent(val)} "
        "on the validation images: part of what the network learned does not generalize.",
        regularize(c, stop=False),
    )


def not_learning(c: Curves) -> Diagnosis | None:
    """Not learning: the lowest validation loss is no lower than GUESSING times log(classes)."""
    if c.classes is None or c.classes < 2 or c.val_loss[c.best] < GUESSING * math.log(c.classes):
        return None
    return Diagnosis(
        "not_learning",
        "warning",
        f"The network has learned nothing that generalizes: the lowest validation loss, {loss(c.val_loss[c.best])}, "
        f"is no better than that of uniform guessing among {c.classes} classes, {loss(math.log(c.classes))}.",
        "Check the labels of the sample images; then try --weights imagenet, "
        f"--lr {c.peak_lr / 3:.2g} and {3 * c.peak_lr:.2g}, and more --epochs"
        + ("; in a short run, drop --ema, whose average lags behind." if c.options.get("ema") else "."),
    )


def underfitting(c: Curves) -> Diagnosis | None:
    """Underfitting: both losses have leveled off (FLAT over the last quarter), and the training loss is still high.

    High: above HALF_OF_GUESSING times log(classes), and at most a tenth below the validation loss, so regularization
    has nothing to gain.
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
        larger_size(c.options.get("image_size") or 224),
        "--label-smoothing 0" if (c.options.get("label_smoothing") or 0) > 0.1 else "",
        f"--lr {3 * c.peak_lr:.2g}",
    ]
    return Diagnosis(
        "underfitting",
        "note",
        f"Underfitting: both losses have leveled off, training at {loss(train)} and validation at {loss(val)}, so the "
        "network does not even fit the training images. Either something holds it back, or the images do not determine "
        "the labels.",
        f"Loosen what holds it back: {listed(ways)}; and check the mistakes below for wrong labels.",
    )
