"""The classifier in Python and the predict command: the same answers whatever form an image comes in."""

from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import resnet50
from resnet50.etl.decode import decode
from resnet50.inference import classifier as predictor
from resnet50.inference.classifier import Prediction, find_images, predict
from resnet50.inference.engine import make_engine
from resnet50.options import EngineName, PredictOptions
from resnet50.runtime.errors import UserError
from tests.inference.test_engine import both_engines


def test_every_form_of_an_image_gets_the_same_answer(trained: Path, competition: Path) -> None:
    classifier = resnet50.Classifier.load(trained, device="cpu")
    path = competition / "images" / "003.jpg"
    image = decode(path)
    forms = [path, str(path), path.read_bytes(), image, np.asarray(image), image.convert("RGBA")]
    expected = classifier.predict(path)
    for form in forms:
        assert classifier.predict(form).probabilities == pytest.approx(expected.probabilities, abs=1e-6)


def test_one_image_gives_one_prediction_and_many_a_list(trained: Path, competition: Path) -> None:
    classifier = resnet50.Classifier.load(trained, device="cpu")
    paths = sorted((competition / "images").iterdir())[:5]
    many = classifier.predict(paths, batch_size=2)
    assert [prediction.label for prediction in many] == [classifier.predict(path).label for path in paths]
    assert classifier.predict([]) == []
    assert sum(many[0].probabilities.values()) == pytest.approx(1)


def test_the_likeliest_classes_come_first() -> None:
    prediction = Prediction("b", {"a": 0.2, "b": 0.5, "c": 0.3})
    assert prediction.top(2) == [("b", 0.5), ("c", 0.3)]
    assert prediction.confidence == 0.5


def test_the_command_and_python_agree(trained: Path, competition: Path, tmp_path: Path) -> None:
    folder = competition / "images"
    out = tmp_path / "out" / "predictions.csv"
    table = predict(PredictOptions(run=trained, images=(str(folder),), out=out, device="cpu", workers=0))
    written = pd.read_csv(out, dtype={"image_id": str})
    assert list(written.columns) == ["image_id", "path", "prediction", "p_cat", "p_dog"]
    assert len(written) == 60
    assert written["image_id"][7] == "007"
    predictions = resnet50.Classifier.load(trained, device="cpu").predict([Path(path) for path in table["path"]])
    assert [prediction.label for prediction in predictions] == written["prediction"].tolist()
    assert np.allclose([prediction.probabilities["dog"] for prediction in predictions], written["p_dog"], atol=1e-6)


def test_predictions_equal_those_of_the_evaluation(trained: Path) -> None:
    resnet50.evaluate(trained, device="cpu", workers=0)
    rows = pd.read_csv(trained / "evaluation" / "test.csv")
    predictions = resnet50.Classifier.load(trained, device="cpu").predict([Path(path) for path in rows["path"]])
    assert [prediction.label for prediction in predictions] == rows["prediction"].tolist()


@both_engines
def test_every_engine_gives_the_probabilities_of_the_network(
    name: EngineName, trained: Path, competition: Path
) -> None:
    classifier = resnet50.Classifier.load(trained, device="cpu", precision="fp32", engine=name)
    paths = sorted((competition / "images").iterdir())[:9]
    pixels = torch.stack([classifier.model.preprocess(decode(path)) for path in paths])
    with torch.no_grad():
        expected = classifier.model.network(classifier.model.preprocess.normalize(pixels)).softmax(dim=1)
    for batch_size in (1, 4, 32):
        assert np.abs(classifier.predict_proba(paths, batch_size) - expected.numpy()).max() <= 1e-4
    assert classifier.engine().name == name


def test_an_engine_is_made_once_and_when_it_is_needed(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, bool]] = []

    def counting(*arguments: Any, batch_size: int, compiled: bool) -> Any:
        asked.append((batch_size, compiled))
        return make_engine(*arguments, batch_size=batch_size, compiled=False)

    monkeypatch.setattr(predictor, "make_engine", counting)
    classifier = resnet50.Classifier.load(trained, device="cpu", engine="torch")
    assert asked == []
    for _ in range(3):
        classifier.predict(Image.new("RGB", (50, 50), "red"))
    assert asked == [(32, False)]
    classifier.engine(images=predictor.WORTH_COMPILING - 1)
    assert asked == [(32, False)]
    classifier.engine(images=predictor.WORTH_COMPILING)
    classifier.engine(images=1)
    assert asked == [(32, False), (32, True)]


def test_the_command_says_which_engine_and_why(
    trained: Path, competition: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = (str(competition / "images" / "003.jpg"),)
    predict(PredictOptions(run=trained, images=images, device="cpu", precision="fp32", engine="torch", workers=0))
    assert "torch (as asked), fp32 on cpu (as asked)" in capsys.readouterr().out


def test_an_engine_that_does_not_exist_is_refused(trained: Path) -> None:
    with pytest.raises(UserError, match="'onnx' is none of auto, torch, openvino"):
        resnet50.Classifier.load(trained, engine=cast(Any, "onnx"))


def test_a_submission_has_the_ids_and_order_of_its_sample(trained: Path, competition: Path, tmp_path: Path) -> None:
    sample = tmp_path / "sample_submission.csv"
    sample.write_text("image_id,label\n005,cat\n004,cat\n")
    out = tmp_path / "submission.csv"
    options = PredictOptions(
        run=trained, images=(str(competition / "images"),), out=out, format="submission", template=sample,
        device="cpu", workers=0,
    )  # fmt: skip
    predict(options)
    lines = out.read_text().splitlines()
    assert lines[0] == "image_id,label"
    assert [line.split(",")[0] for line in lines[1:]] == ["005", "004"]
    assert {line.split(",")[1] for line in lines[1:]} <= {"cat", "dog"}


def test_files_folders_and_globs_name_each_image_once(competition: Path) -> None:
    images = competition / "images"
    found = find_images([str(images / "001.jpg"), str(images), str(images / "00*.jpg")])
    assert len(found) == 60
    assert found[0].name == "001.jpg"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"images": ()}, "no images given"),
        ({"images": ("nothing/*.jpg",)}, r"no image at nothing/\*\.jpg"),
        ({"format": "submission"}, "needs --template"),
        ({"batch_size": 0}, "--batch-size"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        predict(PredictOptions(run=tmp_path, **({"images": ("x.jpg",)} | options)))


def test_an_existing_csv_is_not_overwritten(trained: Path, competition: Path, tmp_path: Path) -> None:
    out = tmp_path / "p.csv"
    out.write_text("precious")
    with pytest.raises(UserError, match="--overwrite"):
        predict(PredictOptions(run=trained, images=(str(competition),), out=out, device="cpu"))
    assert out.read_text() == "precious"


def test_a_text_that_calls_itself_a_picture_is_named(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("not a picture")
    with pytest.raises(UserError, match=r"text\.jpg: cannot be read as an image"):
        resnet50.Classifier.load(trained, device="cpu").predict(tmp_path / "text.jpg")


def test_an_array_that_is_no_image_is_refused(trained: Path) -> None:
    with pytest.raises(UserError, match="uint8"):
        resnet50.Classifier.load(trained, device="cpu").predict(np.zeros((4, 4, 3)))


def test_a_model_file_alone_is_enough(trained: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone.safetensors"
    alone.write_bytes((trained / "model.safetensors").read_bytes())
    image = Image.new("RGB", (50, 50), "red")
    expected = resnet50.Classifier.load(trained, device="cpu").predict(image)
    assert resnet50.Classifier.load(alone, device="cpu").predict(image) == expected
