import base64
import io
import json
import re
from collections.abc import Callable
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from resnet50.evaluation.report import write_report
from resnet50.options import TrainOptions, write_yaml
from resnet50.runtime.errors import UserError

MakeRun = Callable[..., Path]


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Return a maker of run folders as `train` and `evaluate` leave them, with a prepared dataset beside."""
    return partial(write_run, tmp_path)


def write_run(
    folder: Path,
    classes: tuple[str, ...] = ("cat", "dog"),
    epochs: int = 5,
    splits: tuple[str, ...] = ("test",),
    side: int = 40,
) -> Path:
    """Write a run folder as `train` and `evaluate` leave it, with a prepared dataset beside."""
    rng = np.random.default_rng(0)
    dataset, run = folder / "dataset", folder / "run"
    (dataset / "images").mkdir(parents=True)
    (run / "evaluation").mkdir(parents=True)
    rows: list[dict[str, Any]] = []
    for number in range(12 * len(classes)):
        index = number % len(classes)
        path = dataset / "images" / f"{number:04d}.png"
        Image.fromarray(rng.integers(0, 255, (side, side + 8, 3), dtype=np.uint8)).save(path)
        rows.append(
            {
                "image_id": f"{number:04d}", "path": str(path), "label": classes[index], "label_index": index,
                "group": "", "split": ("train", "val", "test", "test")[number // len(classes) % 4],
                "width": side + 8, "height": side, "sha256": f"{hash((number, 1)) % 10**9:09d}",
            }
        )  # fmt: skip
    manifest = pd.DataFrame(rows)
    manifest.to_parquet(dataset / "manifest.parquet")
    (dataset / "dataset.yaml").write_text("name: pets\n")
    audit = {
        "missing_images": {"count": 2, "items": ["gone-1", "gone-2"]},
        "duplicate_images": {"count": 0, "items": []},
    }
    (dataset / "audit.json").write_text(json.dumps(audit))
    write_yaml(TrainOptions(dataset=dataset, out=run, epochs=epochs, lr=2e-4), run / "config.yaml")
    (run / "run.json").write_text(
        json.dumps(
            {
                "versions": {"torch": "2.8.0"}, "decisions": ["precision fp32: this CPU has no bf16"],
                "dataset": {"name": "pets", "fingerprint": "f" * 64, "images": {"train": 6, "val": 6, "test": 12}},
                "weights": {"source": "keras", "sha256": "a" * 64, "variant": "v1"}, "device": "cpu",
                "precision": "fp32", "epochs_done": epochs, "best_epoch": epochs, "stopped": "finished",
                "seconds": 754.0, "parameters": 23512130,
            }
        )
    )  # fmt: skip
    e = np.arange(1, epochs + 1)
    write_metrics(run, e, 0.4 + np.exp(-e))
    for split in splits:
        write_evaluation(run, manifest[manifest["split"] == split], split, classes)
    return run


def write_metrics(run: Path, epochs: np.ndarray, losses: np.ndarray) -> None:
    columns = ("train_loss", "val_loss", "objective", "lr", "head_lr", "grad_norm")
    table = pd.DataFrame({"epoch": epochs} | dict.fromkeys(columns, losses))
    table.assign(train_accuracy=0.8, val_accuracy=0.75, images_per_second=11.0, wait_seconds=0.4, seconds=60.0).to_csv(
        run / "metrics.csv", index=False
    )


def write_evaluation(run: Path, rows: pd.DataFrame, name: str, classes: tuple[str, ...], /, **metrics: Any) -> None:
    """Write metrics and rows in which every third image is predicted as the next class, ever more confidently."""
    k = len(classes)
    labels = rows["label_index"].to_numpy()
    predicted = np.where(np.arange(len(rows)) % 3 == 0, (labels + 1) % k, labels)
    sure = np.linspace(0.6, 0.9, len(rows))
    probabilities = np.full((len(rows), k), (1 - sure[:, None]) / (k - 1))
    probabilities[np.arange(len(rows)), predicted] = sure
    confusion = np.zeros((k, k), int)
    np.add.at(confusion, (labels, predicted), 1)
    support, right = confusion.sum(1), np.diag(confusion)
    (run / "evaluation" / f"{name}.json").write_text(
        json.dumps(
            {
                "split": name, "dataset": "pets", "dataset_fingerprint": "f" * 64, "images": len(rows),
                "accuracy": right.sum() / len(rows), "top5_accuracy": 1.0, "balanced_accuracy": 0.6543,
                "macro_f1": 0.612, "log_loss": 0.734, "classes": classes, "confusion": confusion.tolist(),
                "per_class": [
                    {"label": c, "precision": 0.5, "recall": int(r) / max(1, int(s)), "f1": 0.5, "support": int(s)}
                    for c, r, s in zip(classes, right, support, strict=True)
                ],
            }
            | metrics
        )
    )  # fmt: skip
    table = rows[["image_id", "path", "label"]].reset_index(drop=True)
    table["prediction"] = [classes[i] for i in predicted]
    columns = pd.DataFrame(probabilities, columns=[f"p_{c}" for c in classes])
    pd.concat([table, columns], axis=1).to_csv(run / "evaluation" / f"{name}.csv", index=False)


def write_probed(run: Path, block: str = "layer1.0", dead: float = 0.2) -> None:
    """Write what `--observe` leaves: three layers, a block, and a loss of each training image, later ones higher."""
    (run / "observed").mkdir()
    values = [("gradient_norm", name, 0.5) for name in ("conv1", f"{block}.conv1", "fc")]
    values += [("update_ratio", name, 1e-3) for name in ("conv1", f"{block}.conv1", "fc")]
    values += [("residual_ratio", block, 0.8), ("dead_channels", block, dead)]
    layers = pd.DataFrame(values, columns=["quantity", "layer", "value"])
    tables = [layers.assign(epoch=epoch) for epoch in range(4)]
    pd.concat(tables)[["epoch", "layer", "quantity", "value"]].to_csv(run / "observed" / "layers.csv", index=False)
    manifest = pd.read_parquet(run.parent / "dataset" / "manifest.parquet")
    ids = manifest.loc[manifest["split"] == "train", "image_id"].to_numpy()
    rows = np.arange(len(ids))
    samples = [
        pd.DataFrame({"epoch": e, "row": rows, "loss": rows + e, "correct": 1.0, "image_id": ids}) for e in (1, 2, 3)
    ]
    pd.concat(samples).to_parquet(run / "observed" / "samples.parquet", index=False)


class Page(HTMLParser):
    """The elements and the visible text of a page; fails on elements that are not closed in order."""

    VOID = ("meta", "img", "br")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.elements)

    def images(self) -> list[Image.Image]:
        uris = [attributes["src"] or "" for tag, attributes in self.elements if tag == "img"]
        return [Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/jpeg;base64,")))) for uri in uris]


def read(run: Path) -> Page:
    path = write_report(run)
    assert path == run / "report.html"
    assert not list(run.glob("*.part"))
    return Page(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def usual_report(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the report of a run of the usual kind, for tests that only read it."""
    return write_report(write_run(tmp_path_factory.mktemp("usual"))).read_text(encoding="utf-8")


def test_report_has_every_section_with_the_run_s_numbers(make_run: MakeRun) -> None:
    page = read(make_run(splits=("val", "test")))
    for expected in (
        "Accuracy 66.7%", "95% interval 39.1–86.2", "Majority baseline 50.0%", "Log loss 0.734", "12 min",
        "What the numbers say", "Classes, on the test split", "rows without an image 2 left out gone-1, gone-2",
        "Metrics of every epoch", "pets, test 12", "pets, val 6", "Confusion matrix", "Metrics per class",
        "4 of 4 mistakes", "a" * 64, "precision fp32: this CPU has no bf16", "torch 2.8.0", "label_smoothing: 0.05",
    ):  # fmt: skip
        assert expected in page.text, expected
    assert page.count("svg") == 4


@pytest.mark.slow
def test_observed_run_has_a_section_about_its_layers(make_run: MakeRun, usual_report: str) -> None:
    run, before = make_run(), Page(usual_report)
    write_probed(run)
    page = read(run)
    for expected in (
        "20.0% of the output channels of layer1.0 are zero", "Hardest training images", "over 3 epochs",
        "mean loss 7.00", "conv1 (first), layer1.0.conv1 (middle), fc (last)",
        "the first probe is before the first step",
    ):  # fmt: skip
        assert expected in page.text, expected
    losses = [float(value) for value in re.findall(r"mean loss (\d+\.\d+)", page.text)]
    assert losses == sorted(losses, reverse=True)
    assert len(losses) == 6
    assert page.count("svg") == before.count("svg") + 4
    assert page.count("img") == before.count("img") + 6
    assert ("a", {"href": "#inside"}) in page.elements
    assert ("section", {"id": "inside"}) in page.elements


def test_run_that_was_not_observed_has_no_such_section(usual_report: str) -> None:
    page = Page(usual_report)
    assert "Inside the network" not in page.text
    assert ("a", {"href": "#inside"}) not in page.elements


@pytest.mark.slow
def test_plot_of_dead_channels_is_left_out_when_there_are_none(make_run: MakeRun) -> None:
    run = make_run()
    write_probed(run, dead=0.0)
    page = read(run)
    assert page.count("svg") == 4 + 3
    assert "no channel is dead" in page.text


def test_names_from_inside_are_text_never_markup(make_run: MakeRun) -> None:
    run = make_run(classes=("<script>1</script>", "b"))
    write_probed(run, block="<script>$x^</script>")
    page = read(run)
    assert page.count("script") == 0
    assert "20.0% of the output channels of <script>$x^</script>" in page.text


@pytest.mark.slow
def test_observed_run_without_its_dataset_or_samples_has_no_images(make_run: MakeRun) -> None:
    run = make_run()
    write_probed(run)
    for path in (run.parent / "dataset" / "images").iterdir():
        path.unlink()
    assert "6 of 6 hardest images can no longer be read" in read(run).text
    (run.parent / "dataset").rename(run.parent / "elsewhere")
    text = read(run).text
    assert "Inside the network" in text
    assert "hardest" not in text.lower()
    (run / "observed" / "samples.parquet").unlink()
    assert "Inside the network" in read(run).text


@pytest.mark.slow
def test_observed_run_with_a_frozen_backbone_or_no_epoch_gives_a_report(make_run: MakeRun) -> None:
    run = make_run()
    write_probed(run)
    path = run / "observed" / "layers.csv"
    table = pd.read_csv(path)
    table[table["layer"] == "fc"].to_csv(path, index=False)
    assert "fc (first)" in read(run).text
    table[table["quantity"] == "dead_channels"].to_csv(path, index=False)
    assert "20.0% of the output channels" in read(run).text
    table.iloc[:0].to_csv(path, index=False)
    assert "Inside the network" not in read(run).text


def test_report_needs_nothing_but_itself(usual_report: str) -> None:
    for tag, attributes in Page(usual_report).elements:
        assert tag not in ("script", "link", "iframe")
        for name in ("src", "href", "xlink:href"):
            value = attributes.get(name) or ""
            assert value == "" or value.startswith(("#", "data:image/jpeg;base64,"))
    assert not re.search(r"https?://|@import|@font-face", usual_report)


def test_report_knows_light_dark_and_phones(usual_report: str) -> None:
    assert "prefers-color-scheme: dark" in usual_report
    assert '<meta name="viewport" content="width=device-width' in usual_report
    for tag, attributes in (page := Page(usual_report)).elements:
        if tag == "svg":
            assert "width" not in attributes
    assert usual_report.count('<div class="scroll"') == page.count("table")


def test_names_and_paths_are_text_never_markup(make_run: MakeRun) -> None:
    page = read(make_run(classes=('<script>alert("1")</script>', "a & <b>b</b>' onload='x")))
    assert page.count("script") == 0
    assert page.count("b") == len([w for w in page.elements if w[0] == "b" and w[1].get("title")])
    assert '<script>alert("1")</script>' in page.text
    assert all("onload" not in attributes for _, attributes in page.elements)


def test_most_confident_mistakes_come_first(usual_report: str) -> None:
    text = Page(usual_report).text
    # Rows 0, 3, 6 and 9 of 12 are wrong, the later the surer.
    sure = [int(n) for n in re.findall(r"(\d+)% confident", text)]
    assert sure == [85, 76, 68, 60]
    assert "predicted dog" in text


def test_classes_called_na_null_and_7_keep_their_names(make_run: MakeRun) -> None:
    text = read(make_run(classes=("7", "NA", "null"))).text
    assert "predicted NA" in text
    assert "nan" not in text.lower().replace("nanosecond", "")


@pytest.mark.slow
def test_images_are_small_jpegs_of_each_class(make_run: MakeRun) -> None:
    images = read(make_run(side=400)).images()
    samples, mistakes = 6, 4
    assert len(images) == samples + mistakes
    assert {max(image.size) for image in images} == {160}
    assert all(image.format == "JPEG" for image in images)


def test_missing_images_are_counted_and_left_out(make_run: MakeRun) -> None:
    run = make_run()
    for path in (run.parent / "dataset" / "images").iterdir():
        path.unlink()
    page = read(run)
    assert page.count("img") == 0
    assert "6 of 6 sample images can no longer be read" in page.text
    assert "4 of these images can no longer be read" in page.text


def test_report_without_its_dataset_says_so(make_run: MakeRun) -> None:
    run = make_run()
    (run.parent / "dataset").rename(run.parent / "elsewhere")
    text = read(run).text
    assert "The prepared dataset is no longer at" in text
    assert "6 train, 6 val, 12 test images" in text
    assert "Accuracy 66.7%" in text


@pytest.mark.slow
def test_report_without_evaluation_shows_the_training(make_run: MakeRun) -> None:
    text = read(make_run(splits=())).text
    assert "This run has not been evaluated yet" in text
    assert "Validation accuracy 75.0% in the best epoch, 5" in text


def test_interrupted_run_before_its_first_epoch_gives_a_report(make_run: MakeRun) -> None:
    run = make_run(splits=())
    (run / "metrics.csv").unlink()
    (run / "run.json").write_text("{}")
    assert "No epoch was finished" in read(run).text
    (run / "metrics.csv").write_text("epoch,train_loss,val_loss\n")
    assert "No epoch was finished" in read(run).text


def test_losses_that_are_not_finite_are_shown_as_such(make_run: MakeRun) -> None:
    run = make_run()
    write_metrics(run, np.arange(1, 5), np.array([1.0, np.nan, np.inf, np.nan]))
    text = read(run).text
    assert "Training diverged in epoch 2" in text
    assert "∞" in text
    assert "Non-finite values are left out" in text


def test_run_without_any_finite_loss_gives_a_report(make_run: MakeRun) -> None:
    run = make_run()
    (run / "run.json").write_text("{}")
    write_metrics(run, np.arange(1, 3), np.array([np.nan, np.inf]))
    assert "Training diverged in epoch 1" in read(run).text


def test_one_epoch_is_drawn_as_points(make_run: MakeRun) -> None:
    page = read(make_run(epochs=1))
    assert "One epoch gives points, not curves" in page.text
    assert "Dotted" not in page.text


@pytest.mark.slow
def test_test_split_of_the_own_dataset_leads_whatever_else_was_measured(make_run: MakeRun) -> None:
    run = make_run(splits=("train", "val"))
    manifest = pd.read_parquet(run.parent / "dataset" / "manifest.parquet")
    other = {"dataset": "others", "dataset_fingerprint": "0" * 64, "split": "test"}
    write_evaluation(run, manifest, "others-test", ("cat", "dog"), **other)
    assert "Classes, on the validation split" in read(run).text
    write_evaluation(run, manifest[manifest["split"] == "test"], "test", ("cat", "dog"))
    text = read(run).text
    assert "Classes, on the test split" in text
    assert "others, test 24" in text


def test_evaluation_of_another_dataset_alone_is_named(make_run: MakeRun) -> None:
    run = make_run(splits=())
    manifest = pd.read_parquet(run.parent / "dataset" / "manifest.parquet")
    write_evaluation(
        run, manifest, "others-test", ("cat", "dog"), dataset="others", dataset_fingerprint="0" * 64, split="test"
    )
    assert "another dataset, “others”" in read(run).text


def test_many_classes_get_a_table_of_pairs_and_fit(make_run: MakeRun) -> None:
    run = make_run(classes=tuple(f"class {i:02d}" for i in range(40)))
    page = read(run)
    assert "With 40 classes, the most frequent confusions" in page.text
    assert page.count("img") == 24 + 12
    assert (run / "report.html").stat().st_size < 1_500_000


def test_same_run_gives_the_same_bytes(make_run: MakeRun) -> None:
    run = make_run()
    first = write_report(run).read_bytes()
    assert write_report(run).read_bytes() == first


def test_folder_that_is_no_run_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no config\.yaml"):
        write_report(tmp_path)
    assert not list(tmp_path.iterdir())


def test_events_during_training_are_listed(make_run: MakeRun) -> None:
    run = make_run()
    assert "Events during training" not in write_report(run).read_text()
    about = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(about | {"events": ["left out of train, 1 of up to 3: <cat>.jpg: gone"]}))
    text = write_report(run).read_text()
    assert "Events during training" in text
    assert "left out of train, 1 of up to 3: &lt;cat&gt;.jpg: gone" in text
