"""The reading of the classes: what the figures of a split say about them. One small function per rule.

As in `reading`, a rule is a pure function of the numbers, and its thresholds are the constants below.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np

from resnet50.evaluation.diagnosis import Diagnosis
from resnet50.options import TrainOptions
from resnet50.runtime.stats import listed, percent, round_size, wilson

LAG = 0.10
"""Recall below the mean recall of all classes, as a difference, that is worth naming."""

LAG_Z = 3.0
"""Standard errors for a class to lag: three, not two, because there are many classes and one is always the last."""

FEW_IMAGES = 10
"""Images of a class below which its figures say little: one more mistake moves its recall by 10 points."""

PAIR_SHARE = 0.10
"""Share of all mistakes that makes a pair of classes the costliest confusion."""

PAIR_TIMES_AVERAGE = 2.0
"""Times the mistakes of an average pair that it must have besides."""

MIN_PAIR = 5
"""Mistakes that a pair must have to be more than an accident."""

IMBALANCE = 10.0
"""Training images of the commonest class over those of the rarest that is worth naming."""

WEIGHTS_HELP = 0.05
"""Accuracy above balanced accuracy, as a difference, from which weighing the classes may help."""


def read_classes(
    evaluation: Mapping[str, Any],
    train_counts: Mapping[str, int] | None = None,
    config: Mapping[str, Any] | TrainOptions | None = None,
) -> list[Diagnosis]:
    """Read what an evaluation says about the classes.

    Args:
        evaluation: the figures of a split, as in `evaluation/SPLIT.json`.
        train_counts: training images by class; without them nothing is said about imbalance.
        config: the options that the run was made with, so that no advice repeats what was done.

    Returns:
        Findings in the order they are best read; none for an evaluation without images.
    """
    if not evaluation["images"]:
        return []
    options = dataclasses.asdict(config) if isinstance(config, TrainOptions) else config or {}
    weighted = options.get("class_weights") == "balanced"
    size = options.get("eval_size") or options.get("image_size") or 224
    findings = [
        majority_baseline(evaluation),
        lagging_classes(evaluation, train_counts, weighted=weighted),
        costliest_confusion(evaluation, int(size)),
        imbalance(evaluation, train_counts, weighted=weighted),
        few_images(evaluation),
    ]
    return [finding for finding in findings if finding is not None]


def majority_baseline(evaluation: Mapping[str, Any]) -> Diagnosis | None:
    """Baseline: the accuracy's 95 % Wilson interval against the share of the commonest class in the same split."""
    n, accuracy = int(evaluation["images"]), float(evaluation["accuracy"])
    commonest, share = majority(evaluation)
    low, high = wilson(round(accuracy * n), n)
    measured = f"{percent(accuracy)} of {n:,} images are right (95 % interval {percent(low)} to {percent(high)})"
    if low > share:
        text = f"{measured}; always saying “{commonest}” would be right on {percent(share)}."
        return Diagnosis("majority_baseline", "good", text)
    where = "below" if high < share else "not surely above"
    return Diagnosis(
        "majority_baseline",
        "warning",
        f"{measured}: {where} the {percent(share)} of always saying “{commonest}”.",
        "Look at curves and sample pictures; train longer (--epochs) or from pretrained weights (--weights imagenet).",
    )


def lagging_classes(
    evaluation: Mapping[str, Any], train_counts: Mapping[str, int] | None, *, weighted: bool = False
) -> Diagnosis | None:
    """Lags: a class whose recall is LAG below the mean recall, as is the upper end of its Wilson interval at LAG_Z.

    The second condition, against the mean itself, keeps small classes from lagging by chance. The three worst are
    named, each with the class it is most often taken for.
    """
    rows = present(evaluation)
    mean = float(np.mean([row["recall"] for row in rows]))
    behind = [row for row in rows if row["recall"] < mean - LAG]
    lagging = [row for row in behind if wilson(right(row), row["support"], LAG_Z)[1] < mean]
    if not lagging:
        return None
    worst = sorted(lagging, key=lambda row: row["recall"])[:3]
    names = [f"“{row['label']}” ({right(row)} of {row['support']} found{taken_for(evaluation, row)})" for row in worst]
    if len(lagging) > len(worst):
        names.append(f"{len(lagging) - len(worst)} more")
    text = f"Far behind the mean recall of {percent(mean)}, by more than chance: {listed(names, 'and')}."
    rare: list[str] = []
    if train_counts:
        median = float(np.median(list(train_counts.values())))
        rare = [row["label"] for row in worst if train_counts.get(row["label"], 0) < median / 2]
    rarities = listed([f"“{name}”" for name in rare], "and")
    if rare and not weighted:
        advice = f"Rare in training: {rarities}. More images of them, or --class-weights balanced."
    elif rare:
        advice = f"More images of {rarities}: rare in training, and --class-weights balanced alone did not do it."
    else:
        advice = (
            "Look at their mistakes below: wrong labels, or a border with another class that pictures cannot settle?"
        )
    return Diagnosis("lagging_classes", "warning", text, advice)


def costliest_confusion(evaluation: Mapping[str, Any], image_size: int = 224) -> Diagnosis | None:
    """Confusion: the pair of classes, both directions together, with the most mistakes.

    Named when it has MIN_PAIR mistakes, PAIR_SHARE of all, and PAIR_TIMES_AVERAGE the average pair's. With two
    classes there is but one pair: named is the direction, when the interval of its share excludes one half.
    """
    confusion, classes = np.asarray(evaluation["confusion"], dtype=np.int64), cast(Sequence[str], evaluation["classes"])
    errors = confusion - np.diag(np.diag(confusion))
    total, images = int(errors.sum()), int(confusion.sum())
    if total < MIN_PAIR:
        return None
    pairs = np.triu(errors + errors.T)
    i, j = (int(k) for k in np.unravel_index(int(np.argmax(pairs)), pairs.shape))
    count = int(pairs[i, j])
    if errors[j, i] > errors[i, j]:
        i, j = j, i
    forth, back = int(errors[i, j]), int(errors[j, i])
    direction = f"{forth} × “{classes[i]}” taken for “{classes[j]}”, {back} × the other way round"
    if len(classes) == 2:
        if wilson(forth, total)[0] <= 0.5:
            return None
        text = f"The mistakes lean to one side: {direction}."
        return Diagnosis("costliest_confusion", "note", text, "If that side is the dear one: --class-weights balanced.")
    average = total / (len(classes) * (len(classes) - 1) / 2)
    if count < max(MIN_PAIR, PAIR_SHARE * total, PAIR_TIMES_AVERAGE * average):
        return None
    return Diagnosis(
        "costliest_confusion",
        "note",
        f"The costliest confusion: {direction}, together {percent(count / total)} of {total:,} mistakes. Without them "
        f"the accuracy would be {percent(1 - (total - count) / images)}.",
        f"If the difference is in small detail: --image-size {round_size(1.3 * image_size)}. If people disagree on it "
        "too: make one class of the two.",
    )


def imbalance(
    evaluation: Mapping[str, Any], train_counts: Mapping[str, int] | None, *, weighted: bool = False
) -> Diagnosis | None:
    """Imbalance: the commonest class has at least IMBALANCE times the training images of the rarest.

    Weights are advised when the accuracy is WEIGHTS_HELP above the balanced accuracy: common classes carry it.
    """
    counts = {name: count for name, count in (train_counts or {}).items() if count > 0}
    if len(counts) < 2:
        return None
    commonest, rarest = max(counts, key=lambda name: counts[name]), min(counts, key=lambda name: counts[name])
    if counts[commonest] < IMBALANCE * counts[rarest]:
        return None
    accuracy, balanced = float(evaluation["accuracy"]), float(evaluation["balanced_accuracy"])
    carried = accuracy - balanced > WEIGHTS_HELP
    return Diagnosis(
        "imbalance",
        "note",
        f"The classes are uneven: {counts[commonest]:,} training images of “{commonest}”, {counts[rarest]:,} of "
        f"“{rarest}”. Accuracy is {percent(accuracy)}, mean recall over the classes {percent(balanced)}"
        + (": the common classes carry it." if carried else "."),
        "If rare classes matter as much as common ones: --class-weights balanced." if carried and not weighted else "",
    )


def few_images(evaluation: Mapping[str, Any]) -> Diagnosis | None:
    """Few: a class with fewer than FEW_IMAGES images in the measured split."""
    few = [row["label"] for row in evaluation["per_class"] if row["support"] < FEW_IMAGES]
    if not few:
        return None
    names = listed([f"“{name}”" for name in few[:5]], "and") + (f" and {len(few) - 5} more" if len(few) > 5 else "")
    text = f"Fewer than {FEW_IMAGES} images measured of {names}: their rows in the table of classes say little."
    return Diagnosis("few_images", "note", text, "Give the split a larger share when preparing the data.")


def majority(evaluation: Mapping[str, Any]) -> tuple[str, float]:
    """Return the commonest class of the split and its share of the images."""
    row = max(evaluation["per_class"], key=lambda row: row["support"])
    return row["label"], row["support"] / max(1, evaluation["images"])


def present(evaluation: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the rows of the classes that occur in the split."""
    return [row for row in evaluation["per_class"] if row["support"] > 0]


def right(row: Mapping[str, Any]) -> int:
    """Return how many images of a class were recognized."""
    return round(row["recall"] * row["support"])


def taken_for(evaluation: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    """Return what a class is most often taken for, as the end of a phrase."""
    classes = list(evaluation["classes"])
    own = classes.index(row["label"])
    counts = np.array(evaluation["confusion"][own])
    counts[own] = 0
    return f", {counts.max()} taken for “{classes[int(counts.argmax())]}”" if counts.max() else ""
