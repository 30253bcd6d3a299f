"""Diagnose the classes by the metrics of a split: baseline, recall, confusions, imbalance."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np

from resnet50.evaluation.diagnostics.advice import larger_size
from resnet50.evaluation.diagnostics.diagnosis import Diagnosis
from resnet50.options import TrainOptions
from resnet50.runtime.stats import listed, percent, wilson

LAG = 0.10
"""Recall below the mean recall of all classes, as a difference, that is worth naming."""

LAG_Z = 3.0
"""Standard errors by which a class must lag: three, not two, because of many classes one is always last."""

FEW_IMAGES = 10
"""Images of a class below which its metrics say little: one more mistake moves its recall by 10 points."""

PAIR_SHARE = 0.10
"""Share of all mistakes that makes a pair of classes the costliest confusion."""

PAIR_TIMES_AVERAGE = 2.0
"""Multiple of the average pair's mistakes that it must also have."""

MIN_PAIR = 5
"""Mistakes that a pair must have to be more than chance."""

IMBALANCE = 10.0
"""Training images of the most frequent class over those of the rarest that is worth naming."""

WEIGHTS_HELP = 0.05
"""Accuracy above balanced accuracy, as a difference, from which class weights may help."""


def diagnose_classes(
    evaluation: Mapping[str, Any],
    train_counts: Mapping[str, int] | None = None,
    config: Mapping[str, Any] | TrainOptions | None = None,
) -> list[Diagnosis]:
    """Apply the rules about classes to an evaluation.

    Args:
        evaluation: Metrics of a split, as in `evaluation/SPLIT.json`.
        train_counts: Training images by class; without them, the rule about imbalance stays silent.
        config: Options that the run was made with, so that no advice repeats what was done.

    Returns:
        Diagnoses in the order in which they are best read; none for an evaluation without images.
    """
    if not evaluation["images"]:
        return []
    options = dataclasses.asdict(config) if isinstance(config, TrainOptions) else config or {}
    missing = never_trained(evaluation, train_counts)
    if missing:
        rest = without_classes(evaluation, missing)
        return [never_trained_classes(evaluation, missing), *diagnose_classes(rest, train_counts, config)]
    weighted = options.get("class_weights") == "balanced"
    size = options.get("eval_size") or options.get("image_size") or 224
    diagnoses = [
        majority_baseline(evaluation),
        lagging_classes(evaluation, train_counts, weighted=weighted),
        costliest_confusion(evaluation, int(size)),
        imbalance(evaluation, train_counts, weighted=weighted),
        few_images(evaluation),
    ]
    return [diagnosis for diagnosis in diagnoses if diagnosis is not None]


def never_trained(evaluation: Mapping[str, Any], train_counts: Mapping[str, int] | None) -> list[str]:
    """List the classes of a split that have no image in training; empty if the training images are not known."""
    if train_counts is None:
        return []
    return [row["label"] for row in present(evaluation) if not train_counts.get(row["label"], 0)]


def never_trained_classes(evaluation: Mapping[str, Any], missing: Sequence[str]) -> Diagnosis:
    """Never trained: a class has images in the measured split, and none in training."""
    others = int(evaluation["images"]) - images_of(evaluation, missing)
    text = describe_never_trained(evaluation, missing)
    them = "it" if len(missing) == 1 else "them"
    return Diagnosis(
        "never_trained",
        "warning",
        text + (f" The diagnoses below are about the {others:,} other images." if others else ""),
        f"Add images of {them} to the training split, or prepare the dataset without {them}: a folder called “unknown” "
        "or “test” often holds unlabeled images.",
    )


def describe_never_trained(evaluation: Mapping[str, Any], missing: Sequence[str]) -> str:
    """Say which classes were never trained on, and how many of the measured images that makes wrong."""
    names = [f"“{name}”" for name in missing[:5]] + ([f"{len(missing) - 5} more"] if len(missing) > 5 else [])
    have, them = ("has", "it") if len(missing) == 1 else ("have", "them")
    return (
        f"{listed(names, 'and')} {have} no image in training, so the network cannot know {them}: "
        f"{images_of(evaluation, missing):,} of the {int(evaluation['images']):,} measured images count as mistakes, "
        "whatever it has learned."
    )


def images_of(evaluation: Mapping[str, Any], classes: Sequence[str]) -> int:
    return sum(int(row["support"]) for row in evaluation["per_class"] if row["label"] in classes)


def without_classes(evaluation: Mapping[str, Any], excluded: Sequence[str]) -> Mapping[str, Any]:
    """Return the metrics that the rules read, of the images of all other classes."""
    classes = cast(Sequence[str], evaluation["classes"])
    kept = [index for index, name in enumerate(classes) if name not in excluded]
    confusion = np.asarray(evaluation["confusion"], dtype=np.int64).copy()
    confusion[[index for index in range(len(classes)) if index not in kept]] = 0
    rows = [row for row in evaluation["per_class"] if row["label"] not in excluded]
    images = int(confusion.sum())
    recalls = [row["recall"] for row in rows if row["support"] > 0]
    return {
        **evaluation,
        "images": images,
        "accuracy": float(np.trace(confusion)) / max(1, images),
        "balanced_accuracy": float(np.mean(recalls)) if recalls else 0.0,
        "per_class": rows,
        "confusion": confusion.tolist(),
    }


def majority_baseline(evaluation: Mapping[str, Any]) -> Diagnosis | None:
    """Baseline: the accuracy's 95% Wilson interval against the share of the most frequent class in the same split.

    Silent if the split has images of one class only, which nothing can beat.
    """
    n, accuracy = int(evaluation["images"]), float(evaluation["accuracy"])
    label, share = majority(evaluation)
    if share == 1:
        return None
    low, high = wilson(round(accuracy * n), n)
    measured = (
        f"{percent(accuracy)} of {n:,} images are classified correctly (95% interval {percent(low)} to {percent(high)})"
    )
    if low > share:
        text = f"{measured}; always predicting “{label}” would reach {percent(share)}."
        return Diagnosis("majority_baseline", "good", text)
    where = "below" if high < share else "not clearly above"
    return Diagnosis(
        "majority_baseline",
        "warning",
        f"{measured}: {where} the {percent(share)} of always predicting “{label}”.",
        "Check the curves and the sample images; train longer (--epochs), or from pretrained weights "
        "(--weights imagenet).",
    )


def lagging_classes(
    evaluation: Mapping[str, Any], train_counts: Mapping[str, int] | None, *, weighted: bool = False
) -> Diagnosis | None:
    """Lagging: a class whose recall is LAG below the mean recall, with its Wilson interval at LAG_Z below the mean.

    The second condition keeps small classes from lagging by chance. The three worst are named, each with the class
    that it is most often predicted as.
    """
    rows = present(evaluation)
    mean = float(np.mean([row["recall"] for row in rows]))
    behind = [row for row in rows if row["recall"] < mean - LAG]
    lagging = [row for row in behind if wilson(correct(row), row["support"], LAG_Z)[1] < mean]
    if not lagging:
        return None
    worst = sorted(lagging, key=lambda row: row["recall"])[:3]
    names = [
        f"“{row['label']}” ({correct(row)} of {row['support']} recognized{top_confusion(evaluation, row)})"
        for row in worst
    ]
    if len(lagging) > len(worst):
        names.append(f"{len(lagging) - len(worst)} more")
    text = f"Recall far below the mean of {percent(mean)}, by more than chance: {listed(names, 'and')}."
    rare: list[str] = []
    if train_counts:
        median = float(np.median(list(train_counts.values())))
        rare = [row["label"] for row in worst if train_counts.get(row["label"], 0) < median / 2]
    rarities = listed([f"“{name}”" for name in rare], "and")
    if rare and not weighted:
        advice = f"Rare in training: {rarities}. More images of them, or --class-weights balanced."
    elif rare:
        advice = f"More images of {rarities}: rare in training, and --class-weights balanced alone was not enough."
    else:
        advice = "Check their mistakes below for wrong labels, or for a boundary that images alone cannot settle."
    return Diagnosis("lagging_classes", "warning", text, advice)


def costliest_confusion(evaluation: Mapping[str, Any], image_size: int = 224) -> Diagnosis | None:
    """Confusion: the pair of classes with the most mistakes, both directions together.

    It needs MIN_PAIR mistakes, PAIR_SHARE of all mistakes, and PAIR_TIMES_AVERAGE times the average pair's. Of two
    classes there is only one pair, so the direction is named if the interval of its share excludes one half.
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
    direction = f"“{classes[i]}” predicted as “{classes[j]}” {forth} times, the reverse {back} times"
    if len(classes) == 2:
        if wilson(forth, total)[0] <= 0.5:
            return None
        text = f"The mistakes are one-sided: {direction}."
        return Diagnosis("costliest_confusion", "note", text, "If that direction costs more: --class-weights balanced.")
    average = total / (len(classes) * (len(classes) - 1) / 2)
    if count < max(MIN_PAIR, PAIR_SHARE * total, PAIR_TIMES_AVERAGE * average):
        return None
    return Diagnosis(
        "costliest_confusion",
        "note",
        f"The costliest confusion: {direction}, {percent(count / total)} of {total:,} mistakes. Without them "
        f"the accuracy would be {percent(1 - (total - count) / images)}.",
        f"If the difference lies in small details: {larger_size(image_size)}. If people disagree about it too, merge "
        "the two classes.",
    )


def imbalance(
    evaluation: Mapping[str, Any], train_counts: Mapping[str, int] | None, *, weighted: bool = False
) -> Diagnosis | None:
    """Imbalance: the most frequent class has at least IMBALANCE times the training images of the rarest.

    Class weights are advised if the accuracy is WEIGHTS_HELP above the balanced accuracy.
    """
    counts = {name: count for name, count in (train_counts or {}).items() if count > 0}
    if len(counts) < 2:
        return None
    largest, smallest = max(counts, key=lambda name: counts[name]), min(counts, key=lambda name: counts[name])
    if counts[largest] < IMBALANCE * counts[smallest]:
        return None
    accuracy, balanced = float(evaluation["accuracy"]), float(evaluation["balanced_accuracy"])
    dominated = accuracy - balanced > WEIGHTS_HELP
    return Diagnosis(
        "imbalance",
        "note",
        f"The classes are imbalanced: {counts[largest]:,} training images of “{largest}”, {counts[smallest]:,} of "
        f"“{smallest}”. Accuracy is {percent(accuracy)}, balanced accuracy {percent(balanced)}"
        + (": the frequent classes dominate it." if dominated else "."),
        "If all classes matter equally: --class-weights balanced." if dominated and not weighted else "",
    )


def few_images(evaluation: Mapping[str, Any]) -> Diagnosis | None:
    """Few images: a class has fewer than FEW_IMAGES images in the measured split."""
    few = [row["label"] for row in evaluation["per_class"] if row["support"] < FEW_IMAGES]
    if not few:
        return None
    names = listed([f"“{name}”" for name in few[:5]], "and") + (f" and {len(few) - 5} more" if len(few) > 5 else "")
    text = f"Fewer than {FEW_IMAGES} images of {names} in this split: their metrics say little."
    return Diagnosis("few_images", "note", text, "Prepare the data with a larger share for the split (--split).")


def majority(evaluation: Mapping[str, Any]) -> tuple[str, float]:
    """Find the most frequent class of the split and its share of the images."""
    row = max(evaluation["per_class"], key=lambda row: row["support"])
    return row["label"], row["support"] / max(1, evaluation["images"])


def present(evaluation: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [row for row in evaluation["per_class"] if row["support"] > 0]


def correct(row: Mapping[str, Any]) -> int:
    """Count the images of a class that were recognized."""
    return round(row["recall"] * row["support"])


def top_confusion(evaluation: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    """Say what a class is most often predicted as, to end a phrase; empty if it has no mistakes."""
    classes = list(evaluation["classes"])
    own = classes.index(row["label"])
    counts = np.array(evaluation["confusion"][own])
    counts[own] = 0
    return f", {counts.max()} predicted as “{classes[int(counts.argmax())]}”" if counts.max() else ""
