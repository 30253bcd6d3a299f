"""An evaluation in a notebook: the metrics as a mapping, its table, its mistakes, its confusion matrix."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import resnet50 as rn


@pytest.fixture
def evaluation(tmp_path: Path, prepared: Path) -> rn.Evaluation:
    """Return an evaluation of four images with classes 'NA' and '7', half of them classified correctly."""
    paths = rn.Dataset(prepared).split("test")["path"].iloc[:4].tolist()
    table = pd.DataFrame(
        {
            "image_id": ["001", "002", "003", "004"],
            "path": paths,
            "label": ["NA", "NA", "7", "7"],
            "prediction": ["NA", "7", "7", "NA"],
            "p_7": [0.1, 0.6, 0.8, 0.1],
            "p_NA": [0.9, 0.4, 0.2, 0.9],
        }
    )
    table.to_csv(tmp_path / "test.csv", index=False)
    metrics = {
        "split": "test", "images": 4, "accuracy": 0.5, "top5_accuracy": 1.0, "balanced_accuracy": 0.5, "macro_f1": 0.5,
        "log_loss": 0.9, "classes": ["7", "NA"], "confusion": [[1, 1], [1, 1]],
        "per_class": [{"label": "<NA>", "precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 2}],
    }  # fmt: skip
    (tmp_path / "test.json").write_text(json.dumps(metrics))
    return rn.Evaluation(tmp_path / "test.json")


def test_evaluate_returns_what_the_file_holds(trained: Path, prepared: Path) -> None:
    measured = rn.evaluate(rn.Run(trained), "val", device="cpu", precision="fp32", workers=0)
    written = json.loads((trained / "evaluation" / "val.json").read_text())
    assert dict(measured) == written
    assert measured == written
    assert measured.accuracy == written["accuracy"]
    assert len(measured.table) == written["images"] == len(rn.Dataset(prepared).split("val"))


@pytest.mark.slow
def test_an_evaluation_on_another_dataset_has_its_own_file(trained: Path, competition: Path, tmp_path: Path) -> None:
    other = rn.prepare(competition / "train.csv", tmp_path / "other", seed=3)
    run = rn.Run(trained)
    measured = run.evaluate("val", dataset=other, device="cpu", precision="fp32", workers=0)
    assert run.evaluations == {"other-val": measured}


def test_table_keeps_ids_and_class_names_as_they_are(evaluation: rn.Evaluation) -> None:
    table = evaluation.table
    assert table["image_id"].tolist() == ["001", "002", "003", "004"]
    assert table["label"].tolist() == ["NA", "NA", "7", "7"]
    assert table["p_NA"].tolist() == [0.9, 0.4, 0.2, 0.9]


def test_mistakes_come_most_confident_first(evaluation: rn.Evaluation) -> None:
    mistakes = evaluation.mistakes()
    assert mistakes.columns.tolist() == ["image_id", "path", "label", "prediction", "confidence"]
    assert mistakes["image_id"].tolist() == ["004", "002"]
    assert mistakes["confidence"].tolist() == [0.9, 0.6]
    assert evaluation.mistakes(1)["image_id"].tolist() == ["004"]


def test_plot_mistakes_names_prediction_and_label(evaluation: rn.Evaluation) -> None:
    titles = [axes.get_title() for axes in evaluation.plot_mistakes().axes]
    assert titles == ["NA 90.0%\nlabel: 7", "7 60.0%\nlabel: NA"]


def test_plot_mistakes_without_a_mistake_says_so(evaluation: rn.Evaluation) -> None:
    table = evaluation.table.assign(prediction=evaluation.table["label"])
    table.to_csv(evaluation.path.with_suffix(".csv"), index=False)
    with pytest.raises(rn.UserError, match="all 4 images are classified correctly"):
        evaluation.plot_mistakes()


def test_plot_confusion_has_a_cell_for_each_pair(evaluation: rn.Evaluation) -> None:
    (axes,) = evaluation.plot_confusion().axes
    assert [text.get_text() for text in axes.texts] == ["1", "1", "1", "1"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["7", "NA"]


def test_plot_confusion_of_many_classes_has_colors_alone(evaluation: rn.Evaluation) -> None:
    names = [f"class {number}" for number in range(40)]
    content = dict(evaluation) | {"classes": names, "confusion": np.eye(40, dtype=int).tolist()}
    evaluation.path.write_text(json.dumps(content))
    assert not evaluation.plot_confusion().axes[0].texts


def test_an_evaluation_prints_its_metrics(evaluation: rn.Evaluation) -> None:
    assert repr(evaluation).startswith("Evaluation(split: test, images: 4, accuracy: 0.5000, balanced accuracy: 0.5")
    assert "0.9000" in evaluation._repr_html_()
    assert "<NA>" not in evaluation._repr_html_()


def test_an_evaluation_that_was_not_made_is_empty(tmp_path: Path) -> None:
    missing = rn.Evaluation(tmp_path / "test.json")
    assert dict(missing) == {}
    assert "none yet" in repr(missing)
    assert "none yet" in missing._repr_html_()
    for ask in (lambda: missing.accuracy, lambda: missing.table, missing.plot_confusion):
        with pytest.raises(rn.UserError, match="resnet50 evaluate"):
            ask()
