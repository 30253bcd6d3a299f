"""Phrases of advice that several rules about training give."""

from resnet50.evaluation.diagnostics.curves import Curves
from resnet50.runtime.stats import listed, round_size


def lower_rate(c: Curves, factor: float) -> str:
    """Name the option that divides the learning rate by a factor."""
    return f"--lr {c.peak_lr / factor:.2g} instead of {c.peak_lr:.2g}"


def regularize(c: Curves, *, stop: bool) -> str:
    """Name the ways to regularize that this run has not used yet; `stop` adds early stopping."""
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


def larger_size(image_size: float) -> str:
    """Name the option for the next larger image size."""
    return f"--image-size {round_size(1.3 * image_size)}"
