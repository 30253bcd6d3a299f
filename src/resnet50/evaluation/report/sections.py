"""The report's sections about data, training, evaluation and how the run was made: what each shows."""

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import pandas as pd
from markupsafe import Markup

from resnet50.etl.audit import KINDS
from resnet50.etl.split import SPLITS
from resnet50.evaluation.plots import Floats, Line, Unit, plot_by_epoch
from resnet50.evaluation.report.images import mistakes, sample_images, unreadable
from resnet50.evaluation.report.record import RunRecord, mapping
from resnet50.evaluation.report.summary import split_name
from resnet50.runtime.stats import standard_error, wilson

MATRIX_CLASSES = 30
"""Classes up to which a confusion matrix is readable; beyond, its largest entries are listed."""

PAIRS = 25
"""Confusions listed in place of a matrix."""


def data_section(run: RunRecord) -> dict[str, Any]:
    """Collect class counts, audit and sample images; without the dataset, where it was and how large."""
    dataset = run.dataset
    if dataset is None:
        return {"folder": run.config.get("dataset"), "images": run.split_sizes}
    counts = pd.crosstab(dataset.manifest["label"].astype(str), dataset.manifest["split"])
    counts = counts.reindex(columns=list(SPLITS), fill_value=0)
    counts["total"] = counts.sum(axis=1)
    counts = counts.sort_values("total", ascending=False, kind="stable")
    samples = sample_images(dataset)
    return {
        "folder": str(dataset.folder),
        "counts": [
            (str(name), [int(n) for n in row]) for name, row in zip(counts.index, counts.to_numpy(), strict=True)
        ],
        "totals": [int(n) for n in counts.sum()],
        "sizes": image_sizes(dataset.manifest),
        "audit": audit_rows(dataset.audit),
        "samples": samples,
        "unreadable": unreadable(samples),
    }


def image_sizes(manifest: pd.DataFrame) -> str:
    """Say how large the images are."""
    if manifest.empty or not {"width", "height"} <= set(manifest):
        return ""
    width, height = manifest["width"], manifest["height"]
    if width.min() == width.max() and height.min() == height.max():
        return f"All are {width.iloc[0]} × {height.iloc[0]} pixels."
    shorter = np.minimum(width, height)
    return (
        f"Their median size is {width.median():.0f} × {height.median():.0f} pixels; the shorter side ranges from "
        f"{shorter.min()} to {shorter.max()}."
    )


def audit_rows(audit: Mapping[str, Any]) -> list[tuple[str, int, str, str]]:
    """List each check of the audit: what it looks for, how many it found, what was done, the first few."""
    rows: list[tuple[str, int, str, str]] = []
    for kind, (what, done) in KINDS.items():
        found = mapping(audit, kind)
        if "count" in found:
            items = found.get("items", [])
            examples = ", ".join(item_text(item) for item in list(items)[:3]) + (", …" if len(items) > 3 else "")
            rows.append((what, int(found["count"]), str(found.get("action", done)) if found["count"] else "", examples))
    return rows


def item_text(item: Any) -> str:
    """Format an item of an audit list in at most 60 characters."""
    if isinstance(item, Mapping):
        item = " ".join(map(str, cast(Mapping[str, Any], item).values()))
    elif isinstance(item, list):
        item = " = ".join(map(str, cast(list[Any], item)))
    text = str(item)
    return text if len(text) <= 60 else f"{text[:28]}…{text[-28:]}"


def training_section(run: RunRecord) -> dict[str, Any] | None:
    """Collect the curves and the table of epochs; None if no epoch was finished."""
    metrics = run.metrics
    if metrics.empty:
        return None
    best, val_images = int(run.best_epoch()["epoch"]), run.split_sizes.get("val")
    return {
        "plots": training_plots(metrics, best, val_images),
        "band": bool(val_images),
        "epochs": metrics.to_dict("records"),
        "best": best,
        "not_finite": not np.isfinite(metrics[["train_loss", "val_loss", "grad_norm"]].to_numpy()).all(),
    }


def training_plots(metrics: pd.DataFrame, best: int, val_images: int | None) -> list[Markup]:
    """Draw loss, accuracy, learning rate and gradient norm by epoch."""
    epochs = [int(epoch) for epoch in metrics["epoch"]]

    def values(name: str) -> Floats:
        return metrics[name].to_numpy(dtype=np.float64)

    def plot(title: str, *lines: Line, unit: Unit = "plain") -> Markup:
        return Markup(plot_by_epoch(title, epochs, lines, best, unit))  # noqa: S704  # our own SVG, of numbers

    accuracy = values("val_accuracy")
    band = np.array([2 * standard_error(p, val_images) for p in accuracy]) if val_images else None
    rates = [Line("backbone", values("lr"), "train"), Line("head", values("head_lr"), "val", dashed=True)]
    return [
        plot(
            "Loss",
            Line("training", values("train_loss"), "train"),
            Line("validation", values("val_loss"), "val", dashed=True),
        ),
        plot(
            "Accuracy",
            Line("training", values("train_accuracy"), "train"),
            Line("validation", accuracy, "val", dashed=True, band=band),
            unit="percent",
        ),
        plot("Learning rate", *(rates[:1] if np.array_equal(rates[0].values, rates[1].values) else rates)),
        plot("Gradient norm", Line("gradient norm", values("grad_norm"), "third")),
    ]


def evaluation_section(run: RunRecord, name: str, counts: Mapping[str, int] | None) -> dict[str, Any]:
    """Collect what the report shows of its main evaluation, and a line for each of the others."""
    evaluation = run.evaluations[name]
    shown, total = mistakes(run, name)
    few = len(evaluation["classes"]) <= MATRIX_CLASSES
    return {
        "name": f"{split_name(evaluation['split'])} split",
        "dataset": evaluation.get("dataset"),
        "foreign": evaluation.get("dataset", run.dataset_name) != run.dataset_name,
        "all": list(run.evaluations.values()),
        "matrix": confusion_rows(evaluation) if few else None,
        "classes": evaluation["classes"],
        "pairs": None if few else confused_pairs(evaluation),
        "per_class": class_rows(evaluation, counts),
        "mistakes": shown,
        "total_mistakes": total,
        "unreadable": unreadable(shown),
    }


def confusion_rows(evaluation: Mapping[str, Any]) -> list[tuple[str, list[tuple[int, float]]]]:
    """List each true class with, per predicted class, the count and its share of the row."""
    confusion = np.array(evaluation["confusion"])
    shares = confusion / np.maximum(1, confusion.sum(axis=1, keepdims=True))
    return [
        (name, [(int(count), float(share)) for count, share in zip(row, row_shares, strict=True)])
        for name, row, row_shares in zip(evaluation["classes"], confusion, shares, strict=True)
    ]


def confused_pairs(evaluation: Mapping[str, Any]) -> list[tuple[str, str, int, float]]:
    """List the largest entries off the diagonal: true class, predicted class, count, share of the true class."""
    confusion, classes = np.array(evaluation["confusion"]), evaluation["classes"]
    support = confusion.sum(axis=1)
    np.fill_diagonal(confusion, 0)
    order = np.argsort(-confusion, axis=None, kind="stable")[:PAIRS]
    indices = zip(*np.unravel_index(order, confusion.shape), strict=True)
    return [
        (classes[i], classes[j], int(confusion[i, j]), confusion[i, j] / support[i])
        for i, j in indices
        if confusion[i, j]
    ]


def class_rows(evaluation: Mapping[str, Any], counts: Mapping[str, int] | None) -> list[dict[str, Any]]:
    """List the metrics of each class, lowest recall first, classes without images last."""
    rows = [
        {
            **row,
            "train": None if counts is None else counts.get(row["label"], 0),
            "interval": wilson(round(row["recall"] * row["support"]), row["support"]),
        }
        for row in evaluation["per_class"]
    ]
    return sorted(rows, key=lambda row: (row["support"] == 0, row["recall"]))


def details_section(run: RunRecord) -> dict[str, Any]:
    """Collect how the run was made: facts, automatic choices, events, the configuration."""
    info, weights, dataset = run.info, mapping(run.info, "weights"), mapping(run.info, "dataset")
    facts = {
        "Starting weights": weights.get("source"),
        "SHA-256 of the weights": weights.get("sha256"),
        "Variant": weights.get("variant"),
        "Parameters": f"{info['parameters']:,}" if "parameters" in info else None,
        "Dataset": run.config.get("dataset"),
        "Dataset fingerprint": dataset.get("fingerprint"),
        "Device": info.get("device"),
        "Precision": info.get("precision"),
        "Training ended": info.get("stopped"),
        "Versions": ", ".join(f"{name} {version}" for name, version in mapping(info, "versions").items()),
    }
    return {
        "facts": {name: str(value) for name, value in facts.items() if value},
        "decisions": info.get("decisions", []),
        "events": info.get("events", []),
        "config": (run.folder / "config.yaml").read_text(encoding="utf-8"),
    }
