"""Metrics of a split, computed with scikit-learn, and the table of its images."""

from typing import Any, cast

import numpy as np
import pandas as pd
from sklearn import metrics as sk

PRINTED = {
    "accuracy": "accuracy",
    "top5_accuracy": "top-5 accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "log_loss": "log loss",
}
"""Metrics on the screen, with their names there."""


def compute_metrics(labels: np.ndarray, probabilities: np.ndarray, classes: tuple[str, ...]) -> dict[str, Any]:
    """Compute the metrics of a split.

    Args:
        labels: True class indices, N.
        probabilities: N×classes.
        classes: Class names in the order of the indices.

    Returns:
        accuracy, top5_accuracy, balanced_accuracy (mean recall of the classes present), macro_f1 (over the classes
        present or predicted), log_loss (nats), per_class, confusion (rows true, columns predicted), images, classes.
    """
    indices = np.arange(len(classes))
    ranked = np.argsort(-probabilities, axis=1, kind="stable")
    predicted = ranked[:, 0]
    never_predicted = cast(Any, 0.0)  # precision of a class that is never predicted; typed as a string only
    by_class = sk.precision_recall_fscore_support(labels, predicted, labels=indices, zero_division=never_predicted)
    precision, recall, f1, support = map(np.asarray, by_class)
    present = np.unique(labels)
    return {
        "images": len(labels),
        "accuracy": float(sk.accuracy_score(labels, predicted)),
        "top5_accuracy": float((ranked[:, :5] == labels[:, None]).any(axis=1).mean()),
        "balanced_accuracy": float(recall[present].mean()),
        "macro_f1": float(sk.f1_score(labels, predicted, average="macro", zero_division=never_predicted)),
        "log_loss": float(sk.log_loss(labels, probabilities, labels=indices)),
        "classes": list(classes),
        "per_class": [
            {"label": name, "precision": float(p), "recall": float(r), "f1": float(f), "support": int(s)}
            for name, p, r, f, s in zip(classes, precision, recall, f1, support, strict=True)
        ],
        "confusion": sk.confusion_matrix(labels, predicted, labels=indices).tolist(),
    }


def per_image(rows: pd.DataFrame, probabilities: np.ndarray, classes: tuple[str, ...]) -> pd.DataFrame:
    """Make a row per image: image_id, path, label, prediction, and `p_CLASS` for every class."""
    table = rows[["image_id", "path", "label"]].reset_index(drop=True)
    table["prediction"] = np.array(classes, dtype=object)[probabilities.argmax(axis=1)]
    return pd.concat([table, pd.DataFrame(probabilities, columns=[f"p_{name}" for name in classes])], axis=1)


def summary(metrics: dict[str, Any]) -> str:
    """Format the most important metrics as lines for the screen."""
    lines = [f"{metrics['split']}: {metrics['images']:,} images of {len(metrics['classes'])} classes"]
    for key, name in PRINTED.items():
        if key != "top5_accuracy" or len(metrics["classes"]) > 5:  # of five classes it is always 1
            lines.append(f"  {name:<18} {metrics[key]:.4f}")
    return "\n".join(lines)
