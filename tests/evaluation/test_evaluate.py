"""The evaluation of a run, from its folder to metrics, rows and report."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

import resnet50
from resnet50.etl.decode import decode
from resnet50.etl.prepared import fingerprint_of, load_prepared
from resnet50.evaluation.metrics import compute_metrics
from resnet50.inference.classifier import Classifier
from resnet50.model.file import load_model
from resnet50.options import EngineName
from resnet50.runtime.errors import UserError
from tests.inference.test_engine import both_engines, needs_openvino

TOLERANCE = 1e-6
"""Largest difference of a probability between two passes of one engine over the same batches."""

EAGER_TOLERANCE = 1e-4
"""Largest difference of a probability, in fp32, between an engine and the eager network: folded batch norms round."""


def test_evaluate_writes_metrics_rows_and_report(trained: Path) -> None:
    metrics = resnet50.evaluate(trained, device="cpu", workers=0)
    written = json.loads((trained / "evaluation" / "test.json").read_text())
    assert written == metrics
    rows = pd.read_csv(trained / "evaluation" / "test.csv", dtype={"image_id": str})
    assert list(rows.columns) == ["image_id", "path", "label", "prediction", "p_cat", "p_dog"]
    assert len(rows) == metrics["images"] == sum(map(sum, metrics["confusion"]))
    assert (rows["label"] == rows["prediction"]).mean() == pytest.approx(metrics["accuracy"])
    assert np.allclose(rows[["p_cat", "p_dog"]].sum(axis=1), 1.0)
    assert "<html" in (trained / "report.html").read_text()


def test_another_dataset_is_measured_beside_the_runs_own(trained: Path, competition: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    resnet50.prepare(competition / "train.csv", other, seed=5)
    metrics = resnet50.evaluate(trained, dataset=other, split="val", device="cpu", workers=0)
    assert metrics["split"] == "val"
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


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_for_the_results_leaves_the_run_as_it_is(trained: Path, tmp_path: Path) -> None:
    before, out = contents(trained), tmp_path / "new" / "results"
    measured = resnet50.evaluate(trained, out=out, device="cpu", workers=0)
    assert contents(trained) == before
    assert sorted(contents(out)) == ["report.html", "test.csv", "test.json"]
    assert measured.path == out / "test.json"
    assert measured == json.loads((out / "test.json").read_text())
    report = (out / "report.html").read_text()
    assert "test split" in report
    assert len(measured.table) == measured["images"]


def test_a_run_that_cannot_be_written_to_is_said_before_the_work(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def read_only(*_: Any, **__: Any) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("tempfile.TemporaryFile", read_only)
    with pytest.raises(UserError, match=r"can't be written to \(Read-only file system\): --out DIR writes"):
        resnet50.evaluate(trained, device="cpu", workers=0)
    assert capsys.readouterr().out == ""


def test_a_class_that_was_never_trained_on_is_warned_of(
    trained: Path, prepared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = pd.read_parquet(prepared / "manifest.parquet")
    manifest.loc[(manifest["split"] == "train") & (manifest["label"] == "dog"), "split"] = "val"
    manifest.to_parquet(prepared / "manifest.parquet", index=False)
    description = yaml.safe_load((prepared / "dataset.yaml").read_text())
    description["fingerprint"] = fingerprint_of(manifest, ("cat", "dog"))
    (prepared / "dataset.yaml").write_text(yaml.safe_dump(description))
    resnet50.evaluate(trained, device="cpu", workers=0)
    assert "warning: “dog” has no image in training" in capsys.readouterr().err
    report = (trained / "report.html").read_text()
    assert "has no image in training" in report
    assert "--epochs" not in report


@pytest.mark.filterwarnings("error::pandas.errors.PerformanceWarning")
def test_a_hundred_classes_and_more_bring_no_warnings_of_pandas(tmp_path: Path) -> None:
    from resnet50.evaluation.metrics import per_image
    from resnet50.evaluation.report.images import mistakes

    classes = tuple(f"c{number:03}" for number in range(150))
    probabilities = np.random.default_rng(0).dirichlet(np.ones(150), 60)
    rows = pd.DataFrame({"image_id": range(60), "path": "gone.jpg", "label": classes[:60]})
    per_image(rows, probabilities, classes).to_csv(tmp_path / "test.csv", index=False)
    record = SimpleNamespace(
        tables={"test": tmp_path / "test.csv"}, evaluations={"test": {"classes": classes}}, config={}, dataset=None
    )
    shown, count = mistakes(cast(Any, record), "test")
    assert count
    assert shown[0].probability == pytest.approx(probabilities.max())


def evaluated(run: Path, monkeypatch: pytest.MonkeyPatch, name: EngineName) -> tuple[dict[str, Any], pd.DataFrame]:
    """Evaluate a run with or without OpenVINO installed; return the metrics and the table of images."""
    if name == "torch":
        monkeypatch.setitem(sys.modules, "openvino", None)
    metrics = resnet50.evaluate(run, device="cpu", precision="fp32", workers=0, batch_size=4)
    return metrics, pd.read_csv(run / "evaluation" / "test.csv", dtype={"image_id": str})


@pytest.mark.slow
@both_engines
def test_metrics_are_those_of_the_classifier_that_is_shipped(
    name: EngineName, trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics, rows = evaluated(trained, monkeypatch, name)
    assert f"{name} (" in capsys.readouterr().out
    classifier = Classifier.load(trained, device="cpu", precision="fp32", engine=name)
    probabilities = classifier.predict_proba(rows["path"], batch_size=4)
    assert np.abs(rows[["p_cat", "p_dog"]].to_numpy() - probabilities).max() <= TOLERANCE
    labels = (rows["label"] == "dog").to_numpy().astype(int)
    expected = compute_metrics(labels, probabilities, classifier.classes)
    assert metrics["log_loss"] == pytest.approx(expected["log_loss"], abs=1e-5)
    for exact in ("accuracy", "balanced_accuracy", "macro_f1", "confusion", "per_class"):
        assert metrics[exact] == expected[exact]
    assert [prediction.label for prediction in classifier.predict(rows["path"])] == rows["prediction"].tolist()


@both_engines
def test_probabilities_are_the_eager_networks_within_tolerance(
    name: EngineName, trained: Path, prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, rows = evaluated(trained, monkeypatch, name)
    model = load_model(trained)
    pixels = torch.stack([model.preprocess(decode(path)) for path in load_prepared(prepared).split("test")["path"]])
    with torch.no_grad():
        expected = model.network(model.preprocess.normalize(pixels)).softmax(dim=1).numpy()
    assert np.abs(rows[["p_cat", "p_dog"]].to_numpy() - expected).max() <= EAGER_TOLERANCE


@needs_openvino
def test_shards_of_another_engine_are_not_merged(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"device": "cpu", "precision": "fp32", "workers": 0, "batch_size": 4}
    resnet50.evaluate(trained, **options, shard="1/2")
    with monkeypatch.context() as without_openvino:
        without_openvino.setitem(sys.modules, "openvino", None)
        resnet50.evaluate(trained, **options, shard="2/2")
    with pytest.raises(UserError, match=r"other images, weights or options.*--shard 2/2"):
        resnet50.evaluate(trained, **options, merge=2)
