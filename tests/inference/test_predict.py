"""The predict command: the classifier's answers, in a table or a submission."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import resnet50
from resnet50.inference.images import find_images
from resnet50.inference.predict import predict
from resnet50.options import PredictOptions
from resnet50.runtime.errors import UserError


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


def test_the_command_says_which_engine_and_why(
    trained: Path, competition: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = (str(competition / "images" / "003.jpg"),)
    predict(PredictOptions(run=trained, images=images, device="cpu", precision="fp32", engine="torch", workers=0))
    assert "torch (as asked), fp32 on cpu (as asked)" in capsys.readouterr().out


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
