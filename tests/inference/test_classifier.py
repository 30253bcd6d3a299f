"""The classifier in Python: the same answers whatever form an image comes in, whichever engine runs."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import resnet50
from resnet50.etl.decode import decode
from resnet50.inference import classifier as module
from resnet50.inference.engine import make_engine
from resnet50.options import EngineName
from resnet50.runtime.errors import UserError
from tests.conftest import NARROW
from tests.inference.conftest import both_engines


def test_every_form_of_an_image_gets_the_same_answer(trained: Path, competition: Path) -> None:
    classifier = resnet50.Classifier.load(trained, device="cpu")
    path = competition / "images" / "003.jpg"
    image = decode(path)
    content, array = path.read_bytes(), np.array(image)
    written = io.BytesIO()
    written.write(content)  # and not rewound
    forms: list[Any] = [path, str(path), np.array(str(path)), content, bytearray(content), memoryview(content)]
    forms += [io.BytesIO(content), written, path.open("rb"), Image.open(path), image, image.convert("RGBA")]
    forms += [array, array / 255, (array / 255).astype(np.float32), torch.from_numpy(array).permute(2, 0, 1)]
    forms += [torch.from_numpy(array).permute(2, 0, 1).half().div(255)]
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


def test_many_images_may_come_as_anything_that_holds_them(trained: Path, competition: Path) -> None:
    classifier = resnet50.Classifier.load(trained, device="cpu", precision="fp32")
    folder = competition / "images"
    paths = sorted(folder.iterdir())[:4]
    expected = classifier.predict_proba(paths)
    column = pd.DataFrame({"path": [str(path) for path in paths]}, index=[7, 8, 9, 3])["path"]
    pixels = np.stack([np.asarray(decode(path)) for path in paths])
    channels_first = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    names = np.array(column)
    opened = (Image.open(path) for path in paths)
    for images in (column, names, names.astype(str), tuple(paths), opened, pixels, pixels / 255, channels_first):
        predictions = classifier.predict(images)
        assert np.allclose([prediction.probabilities["cat"] for prediction in predictions], expected[:, 0], atol=1e-6)


def test_a_folder_and_a_glob_stand_for_their_images(trained: Path, competition: Path) -> None:
    classifier = resnet50.Classifier.load(trained, device="cpu")
    paths = sorted((competition / "images").iterdir())
    assert [prediction.source for prediction in classifier.predict(competition)] == [str(path) for path in paths]
    some = classifier.predict(str(competition / "images" / "00*.jpg"))
    assert [prediction.source for prediction in some] == [str(path) for path in paths[:10]]
    (competition / "[1].jpg").write_bytes(paths[0].read_bytes())
    assert classifier.predict(competition / "[1].jpg").label == some[0].label


def test_a_path_is_one_image_for_probabilities_and_features_too(trained: Path, competition: Path) -> None:
    classifier = resnet50.Classifier.load(trained, device="cpu")
    path = str(competition / "images" / "003.jpg")
    assert classifier.predict_proba(path).shape == (1, 2)
    assert classifier.features(path).shape == (1, NARROW[-1])


def test_features_are_what_the_head_maps_to_logits(trained: Path, competition: Path) -> None:
    classifier = resnet50.Classifier.load(trained, device="cpu", precision="fp32", engine="torch")
    paths = sorted((competition / "images").iterdir())[:5]
    features = classifier.features(paths, batch_size=2)
    assert features.dtype == np.float32
    with torch.no_grad():
        probabilities = classifier.model.network.fc(torch.from_numpy(features)).softmax(dim=1)
    assert np.abs(classifier.predict_proba(paths) - probabilities.numpy()).max() <= 1e-4
    assert classifier.features([]).shape == (0, NARROW[-1])


def test_images_are_decoded_batch_by_batch(trained: Path, competition: Path) -> None:
    classifier = resnet50.Classifier.load(trained, device="cpu", engine="torch")
    engine, events = classifier.engine(2), []

    def images() -> Iterator[Path]:
        for path in sorted((competition / "images").iterdir())[:5]:
            events.append("image")
            yield path

    def recording(batch: torch.Tensor) -> torch.Tensor:
        events.append("batch")
        return engine(batch)

    classifier.engines = {(2, False): cast(Any, recording)}
    assert len(classifier.predict(images(), batch_size=2)) == 5
    assert events == ["image", "image", "batch", "image", "image", "batch", "image", "batch"]


def test_a_file_that_is_no_image_is_named(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("not an image")
    with pytest.raises(UserError, match=r"text\.jpg: cannot be read as an image"):
        resnet50.Classifier.load(trained, device="cpu").predict(tmp_path / "text.jpg")


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (3, "int is not an image"),
        ([Image.new("RGB", (9, 9)), None], "image 1: None is not an image"),
        ({"image": b""}, "row\\['image'\\].*the keys are image"),
        ({"a.jpg", "b.jpg"}, "a set has no order"),
        ([("a.jpg", 1)], "image and its label"),
        ("https://example.org/a.jpg", "download it first"),
        ("", "'' is not an image"),
        (pd.Series(["", "a.jpg"]), "image 0: '' is not an image"),
        ("a\0b.jpg", "not a path"),
        ("iVBOR" * 1000, "too long for a path.*base64"),
        (io.StringIO("text"), "not bytes: open the file with mode 'rb'"),
        (io.BytesIO(), "the file is empty"),
        (Image.new("RGB", (0, 9)), "0×9 pixels has none"),
        (pd.DataFrame({"file": ["a.jpg"]}), "the columns are file"),
    ],
)
def test_what_is_no_image_is_refused(images: Any, message: str, trained: Path) -> None:
    with pytest.raises(UserError, match=message):
        resnet50.Classifier.load(trained, device="cpu").predict(images)


def test_a_pillow_image_is_turned_upright_as_its_file_would_be(trained: Path, tmp_path: Path) -> None:
    classifier = resnet50.Classifier.load(trained, device="cpu", precision="fp32", engine="torch")
    rng = np.random.default_rng(0)
    pixels = np.linspace(0, 200, 60)[:, None, None] + rng.integers(0, 55, (60, 40, 3))
    exif = Image.Exif()
    for turn in range(1, 9):
        exif[0x0112] = turn
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "phone.png", exif=exif)
        image = Image.open(tmp_path / "phone.png")
        assert classifier.predict(image) == classifier.predict(tmp_path / "phone.png")
        assert image.size == (40, 60)  # the caller's image stays as it is
        assert image.getexif()[0x0112] == turn


@pytest.mark.parametrize("keep", [3000, 300])
def test_a_truncated_pillow_image_is_refused(keep: int, trained: Path, competition: Path) -> None:
    rng = np.random.default_rng(0)
    file = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (90, 90, 3), dtype=np.uint8)).save(file, "PNG")
    image = Image.open(io.BytesIO(file.getvalue()[:keep]))
    with pytest.raises(UserError, match="this image: cannot be read"):
        resnet50.Classifier.load(trained, device="cpu").predict(image)


def test_a_stream_gives_the_same_predictions_batch_by_batch(trained: Path, competition: Path) -> None:
    classifier = resnet50.Classifier.load(trained, device="cpu", precision="fp32", engine="torch")
    paths = sorted((competition / "images").iterdir())[:5]
    read: list[Path] = []

    def images() -> Iterator[Path]:
        for path in paths:
            read.append(path)
            yield path

    predictions = classifier.stream(images(), batch_size=2)
    first = next(predictions)
    assert read == paths[:2]
    found = [first, *predictions]
    assert [prediction.source for prediction in found] == [str(path) for path in paths]
    assert found == classifier.predict(paths, batch_size=2)


def test_rows_are_stacked_however_many_there_are() -> None:
    rows = np.random.default_rng(0).random((5000, 3))
    parts = np.split(rows, [7, 7, 2000, 4999])
    assert np.array_equal(module.stack_rows(iter(parts), 3, np.float64), rows)
    assert module.stack_rows([], 3, np.float32).shape == (0, 3)


@pytest.mark.parametrize("batch_size", [0, -1, 2.5, None, "32"])
def test_a_batch_holds_at_least_one_image(batch_size: Any, trained: Path) -> None:
    classifier = resnet50.Classifier.load(trained, device="cpu")
    for method in (classifier.predict, classifier.features):
        with pytest.raises(UserError, match="at least 1"):
            method(Image.new("RGB", (50, 50)), batch_size=batch_size)


def test_a_batch_size_may_be_an_integer_of_numpy(trained: Path) -> None:
    images = [Image.new("RGB", (50, 50))] * 3
    assert len(resnet50.Classifier.load(trained, device="cpu").predict(images, batch_size=cast(int, np.int64(2)))) == 3


def test_a_classifier_shows_what_it_is(trained: Path) -> None:
    classifier = resnet50.Classifier.load(trained, device="cpu", precision="fp32", engine="torch")
    assert repr(classifier) == (
        "Classifier(ResNet-18, classes='2: cat, dog', input='32×32 pixels', device='cpu, fp32', engine='torch')"
    )
    assert "<td>2: cat, dog</td>" in classifier._repr_html_()


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

    monkeypatch.setattr(module, "make_engine", counting)
    classifier = resnet50.Classifier.load(trained, device="cpu", engine="torch")
    assert asked == []
    for _ in range(3):
        classifier.predict(Image.new("RGB", (50, 50), "red"))
    assert asked == [(32, False)]
    classifier.engine(images=module.WORTH_COMPILING - 1)
    assert asked == [(32, False)]
    classifier.engine(images=module.WORTH_COMPILING)
    classifier.engine(images=1)
    assert asked == [(32, False), (32, True)]


def test_an_engine_that_does_not_exist_is_refused(trained: Path) -> None:
    with pytest.raises(UserError, match="'onnx' is none of auto, torch, openvino"):
        resnet50.Classifier.load(trained, engine=cast(Any, "onnx"))


def test_a_model_file_alone_is_enough(trained: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone.safetensors"
    alone.write_bytes((trained / "model.safetensors").read_bytes())
    image = Image.new("RGB", (50, 50), "red")
    expected = resnet50.Classifier.load(trained, device="cpu").predict(image)
    assert resnet50.Classifier.load(alone, device="cpu").predict(image) == expected
