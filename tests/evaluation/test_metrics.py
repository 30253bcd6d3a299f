"""The metrics of a split against scikit-learn's."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from resnet50.evaluation.metrics import compute_metrics, summary

CLASSES = ("a", "b", "c", "d", "e", "f", "g")


def draw(seed: int, images: int = 200) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, len(CLASSES), images)
    logits = rng.normal(size=(images, len(CLASSES))) + 1.5 * np.eye(len(CLASSES))[labels]
    return labels, np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


@given(st.integers(0, 10_000))
@settings(deadline=None, max_examples=25)
def test_metrics_are_scikit_learns(seed: int) -> None:
    labels, probabilities = draw(seed)
    metrics = compute_metrics(labels, probabilities, CLASSES)
    predicted = probabilities.argmax(axis=1)
    report = sk.classification_report(labels, predicted, target_names=CLASSES, output_dict=True, zero_division=0)
    assert metrics["accuracy"] == pytest.approx(report["accuracy"])
    assert metrics["macro_f1"] == pytest.approx(report["macro avg"]["f1-score"])
    assert metrics["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(labels, predicted))
    assert metrics["top5_accuracy"] == pytest.approx(sk.top_k_accuracy_score(labels, probabilities, k=5))
    assert metrics["log_loss"] == pytest.approx(sk.log_loss(labels, probabilities))
    assert metrics["confusion"] == sk.confusion_matrix(labels, predicted).tolist()
    for row in metrics["per_class"]:
        expected = report[row["label"]]
        assert (row["precision"], row["recall"], row["f1"], row["support"]) == pytest.approx(
            (expected["precision"], expected["recall"], expected["f1-score"], expected["support"])
        )


def test_classes_without_an_image_do_not_count_as_missed() -> None:
    labels, probabilities = draw(0)
    some = labels < 3
    metrics = compute_metrics(labels[some], probabilities[some], CLASSES)
    recalls = [row["recall"] for row in metrics["per_class"][:3]]
    assert metrics["balanced_accuracy"] == pytest.approx(np.mean(recalls))
    assert [row["support"] for row in metrics["per_class"][3:]] == [0, 0, 0, 0]
    assert np.array(metrics["confusion"]).shape == (7, 7)


def test_class_that_is_never_predicted_has_precision_and_f1_of_zero() -> None:
    labels, probabilities = np.array([0, 1, 1]), np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3]])
    metrics = compute_metrics(labels, probabilities, ("a", "b"))
    assert (metrics["per_class"][1]["precision"], metrics["per_class"][1]["f1"]) == (0, 0)
    assert metrics["macro_f1"] == pytest.approx(0.25)


def test_top_5_accuracy_is_printed_from_six_classes_on() -> None:
    labels, probabilities = draw(0)
    metrics = compute_metrics(labels, probabilities, CLASSES) | {"split": "test"}
    assert f"top-5 accuracy     {metrics['top5_accuracy']:.4f}" in summary(metrics)
    few = probabilities[:, :5] / probabilities[:, :5].sum(axis=1, keepdims=True)
    assert "top-5" not in summary(compute_metrics(labels % 5, few, CLASSES[:5]) | {"split": "test"})
