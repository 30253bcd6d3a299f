"""Figures against scikit-learn's, and the evaluation of a run from folder to files."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

import resnet50
from resnet50.evaluation.evaluate import measure
from resnet50.runtime.errors import UserError

CLASSES = ("a", "b", "c", "d", "e", "f", "g")


def draw(seed: int, images: int = 200) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, len(CLASSES), images)
    logits = rng.normal(size=(images, len(CLASSES))) + 1.5 * np.eye(len(CLASSES))[labels]
    return labels, np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


@given(st.integers(0, 10_000))
@settings(deadline=None, max_examples=25)
def test_figures_are_scikit_learns(seed: int) -> None:
    labels, probabilities = draw(seed)
    figures = measure(labels, probabilities, CLASSES)
    predicted = probabilities.argmax(axis=1)
    report = sk.classification_report(labels, predicted, target_names=CLASSES, output_dict=True, zero_division=0)
    assert figures["accuracy"] == pytest.approx(report["accuracy"])
    assert figures["macro_f1"] == pytest.approx(report["macro avg"]["f1-score"])
    assert figures["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(labels, predicted))
    assert figures["top5_accuracy"] == pytest.approx(sk.top_k_accuracy_score(labels, probabilities, k=5))
    assert figures["log_loss"] == pytest.approx(sk.log_loss(labels, probabilities))
    assert figures["confusion"] == sk.confusion_matrix(labels, predicted).tolist()
    for row in figures["per_class"]:
        expected = report[row["label"]]
        assert (row["precision"], row["recall"], row["f1"], row["support"]) == pytest.approx(
            (expected["precision"], expected["recall"], expected["f1-score"], expected["support"])
        )


def test_classes_without_an_image_do_not_count_as_missed() -> None:
    labels, probabilities = draw(0)
    some = labels < 3
    figures = measure(labels[some], probabilities[some], CLASSES)
    recalls = [row["recall"] for row in figures["per_class"][:3]]
    assert figures["balanced_accuracy"] == pytest.approx(np.mean(recalls))
    assert [row["support"] for row in figures["per_class"][3:]] == [0, 0, 0, 0]
    assert np.array(figures["confusion"]).shape == (7, 7)


def test_evaluate_writes_figures_rows_and_report(trained: Path) -> None:
    figures = resnet50.evaluate(trained, device="cpu", workers=0)
    written = json.loads((trained / "evaluation" / "test.json").read_text())
    assert written == figures
    rows = pd.read_csv(trained / "evaluation" / "test.csv", dtype={"image_id": str})
    assert list(rows.columns) == ["image_id", "path", "label", "prediction", "p_cat", "p_dog"]
    assert len(rows) == figures["images"] == sum(map(sum, figures["confusion"]))
    assert (rows["label"] == rows["prediction"]).mean() == pytest.approx(figures["accuracy"])
    assert np.allclose(rows[["p_cat", "p_dog"]].sum(axis=1), 1.0)
    assert "<html" in (trained / "report.html").read_text()


def test_another_dataset_is_measured_beside_the_runs_own(trained: Path, competition: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    resnet50.prepare(competition / "train.csv", other, seed=5)
    figures = resnet50.evaluate(trained, dataset=other, split="val", device="cpu", workers=0)
    assert figures["split"] == "val"
    assert [path.name for path in (trained / "evaluation").glob("*.json")] == ["other-val.json"]


def test_a_dataset_of_other_classes_is_refused(trained: Path, competition: Path, tmp_path: Path) -> None:
    table = pd.read_csv(competition / "train.csv", dtype=str)
    table["label"] = table["label"].replace("dog", "wolf")
    table.to_csv(competition / "wolves.csv", index=False)
    resnet50.prepare(competition / "wolves.csv", tmp_path / "wolves", images=competition / "images")
    with pytest.raises(UserError, match=r"differ in: dog, wolf"):
        resnet50.evaluate(trained, dataset=tmp_path / "wolves", device="cpu")


def test_a_split_that_the_dataset_has_not_got_is_refused(trained: Path, competition: Path, tmp_path: Path) -> None:
    resnet50.prepare(competition / "train.csv", tmp_path / "untested", split="0.8/0.2/0")
    with pytest.raises(UserError, match="test"):
        resnet50.evaluate(trained, dataset=tmp_path / "untested", device="cpu")
