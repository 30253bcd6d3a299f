"""Rules about optimization: divergence, learning rate, gradients, skipped steps."""

import math

import numpy as np

from resnet50.evaluation.diagnostics.advice import lower_rate
from resnet50.evaluation.diagnostics.curves import MIN_EPOCHS, TAIL, Curves
from resnet50.evaluation.diagnostics.diagnosis import Diagnosis
from resnet50.runtime.stats import loss, number

USUAL_SKIPS = 20
"""Steps that the fp16 scaler skips in any run while it searches for its scale."""

JUMP = 0.05
"""Rise of a loss from one epoch to the next, as a share of its first value, that counts as a jump: minimizing should
not do that. A share of the first value, not of the last: near zero, every fluctuation is relatively large."""

BLOW_UP = 1.10
"""Factor above its first epoch at which the objective has gone the wrong way."""

SPIKE = 1.5
"""Factor above both neighbors that makes an epoch's validation loss a spike."""

STRAIGHTNESS = 0.75
"""Slope of a curve's second half over that of its first: 1 for a straight line, near 0 for a curve that levels off."""

FAR_FROM_CONVERGED = 0.6
"""Share of the first epoch's training loss that is left at the end if hardly anything was learned."""

FLAT = 0.03
"""Relative fall of the training loss below which it has not moved at all."""

GRADIENT_FACTOR = 10.0
"""Factor by which a gradient norm must leave its median to be abnormal: in a sound run it easily doubles."""


def divergence(c: Curves) -> Diagnosis | None:
    """Diverged: a training loss, validation loss or objective that is not a finite number, in any epoch."""
    broken = ~(np.isfinite(c.train_loss) & np.isfinite(c.val_loss) & np.isfinite(c.objective))
    if not broken.any():
        return None
    wider = "" if c.options.get("precision") != "fp16" else ", or --precision bf16 or fp32, whose range is wider"
    return Diagnosis(
        "divergence",
        "warning",
        f"Training diverged in epoch {c.epoch[np.argmax(broken)]}: from there on the loss is not finite, and the "
        "rest of the curves says nothing.",
        f"Lower the learning rate, {lower_rate(c, 10)}, or clip the gradient, --clip-grad 1{wider}.",
    )


def learning_rate_high(c: Curves) -> Diagnosis | None:
    """Learning rate too high, by any of three signs.

    The objective rises above BLOW_UP times its first value in the first half of the run; or it jumps up by JUMP in at
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
        sign = f"the objective rose in {len(jumps)} of {n - 1} epochs, first in epoch {c.epoch[jumps[0]]}"
    elif len(spikes) >= 2:
        worst = int(spikes[np.argmax(c.val_loss[spikes])])
        sign = (
            f"the validation loss spikes in {len(spikes)} epochs, most in epoch {c.epoch[worst]} "
            f"(from {loss(c.val_loss[worst - 1])} to {loss(c.val_loss[worst])})"
        )
    else:
        return None
    return Diagnosis(
        "learning_rate_high",
        "warning",
        f"The learning rate looks too high: {sign}.",
        f"Lower it: {lower_rate(c, 3)}. If only the start is rough, --warmup 0.1 or --clip-grad 1.",
    )


def learning_rate_low(c: Curves) -> Diagnosis | None:
    """Learning rate too low: the training loss falls in a straight line and is far from converged at the end.

    Small steps follow the slope without reaching the bend, so the loss is straight over the cumulative learning rate
    (not over the epochs: a schedule that ends at zero bends that curve by itself). Straight: the slope of the second
    half is at least STRAIGHTNESS of that of the first, correlation beyond -0.98; far: FAR_FROM_CONVERGED.
    """
    n = len(c)
    traveled = np.concatenate([[0.0], np.cumsum(c.lr[:-1])])
    if n < MIN_EPOCHS or not np.isfinite(traveled).all():
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
    lr = c.peak_lr
    return Diagnosis(
        "learning_rate_low",
        "warning",
        f"The learning rate looks too low: from epoch {c.epoch[0]} to {c.epoch[-1]} the training loss fell almost in a "
        f"straight line, from {loss(first)} to {loss(last)}, without leveling off.",
        f"Raise it: --lr {3 * lr:.2g} instead of {lr:.2g}; if that becomes unstable, --epochs {2 * n}.",
    )


def gradient_vanishing(c: Curves) -> Diagnosis | None:
    """Vanishing: the gradient norm ends below 1/GRADIENT_FACTOR² of its first value, with little of the loss gone.

    The norm is the median of the last quarter. Little: more than FAR_FROM_CONVERGED of the first training loss is left
    (a gradient that fades because the loss is small is fine).
    """
    if len(c) < MIN_EPOCHS or not np.isfinite(c.grad_norm).all() or c.grad_norm[0] <= 0:
        return None
    end = float(np.median(c.grad_norm[-c.tail :]))
    if end > c.grad_norm[0] / GRADIENT_FACTOR**2 or c.train_loss[-1] < FAR_FROM_CONVERGED * c.train_loss[0]:
        return None
    advice = f"Lower the learning rate, {lower_rate(c, 3)}, with --warmup 0.1; or start from --weights imagenet."
    if c.options.get("shortcuts") == "none":
        advice = "Restore the shortcuts: --shortcuts B."
    return Diagnosis(
        "gradient_vanishing",
        "warning",
        f"The gradient has vanished: its norm fell from {number(c.grad_norm[0])} to {number(end)}, while the training "
        f"loss only fell from {loss(c.train_loss[0])} to {loss(c.train_loss[-1])}.",
        advice,
    )


def gradient_exploding(c: Curves) -> Diagnosis | None:
    """Exploding: an epoch's gradient norm is more than GRADIENT_FACTOR times the median of all epochs but the first.

    The first is excluded: a new head starts with a large gradient.
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
            f"{number(usual)} in the median epoch; --clip-grad {clip:g} limited the steps.",
            f"If the losses jump there too, lower the learning rate: {lower_rate(c, 3)}.",
        )
    return Diagnosis(
        "gradient_exploding",
        "warning",
        f"The gradient exploded in epoch {c.epoch[top]}: its norm was {number(c.grad_norm[top])}, against "
        f"{number(usual)} in the median epoch.",
        f"Clip it: --clip-grad {2 * usual:.2g}. If it comes back, lower the learning rate: {lower_rate(c, 3)}.",
    )


def skipped_steps(c: Curves) -> Diagnosis | None:
    """Skipped: any step in fp32 or bf16, or more than USUAL_SKIPS in fp16, had no finite gradient."""
    total = int(np.nansum(c.skipped))
    scaler = c.options.get("precision") == "fp16"  # it probes for the largest scale that works, and overshoots
    if total <= (USUAL_SKIPS if scaler else 0):
        return None
    worst = int(c.epoch[int(np.nanargmax(c.skipped))])
    wider = ", or --precision bf16 or fp32, whose range is wider" if scaler else ""
    return Diagnosis(
        "skipped_steps",
        "warning",
        f"{total:,} steps had no finite gradient and were skipped, most of them in epoch {worst}.",
        f"Lower the learning rate, {lower_rate(c, 3)}, or clip the gradient, --clip-grad 1{wider}.",
    )
