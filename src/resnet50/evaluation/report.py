"""`report.html`: everything a run learned about itself, on one page that needs nothing but a browser."""

import base64
import importlib.resources
import io
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import yaml
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape
from PIL import Image

from resnet50.etl.audit import KINDS
from resnet50.etl.decode import UnreadableImageError, decode
from resnet50.etl.split import SPLITS
from resnet50.evaluation.class_diagnostics import majority, read_classes
from resnet50.evaluation.diagnosis import Diagnosis
from resnet50.evaluation.diagnostics import read_training
from resnet50.evaluation.layer_diagnostics import by_epoch, read_inside
from resnet50.evaluation.plots import Floats, Line, Unit, plot_by_epoch, plot_by_layer
from resnet50.options import TrainOptions, read_yaml
from resnet50.runtime.atomic import atomic_write
from resnet50.runtime.console import duration
from resnet50.runtime.errors import UserError
from resnet50.runtime.stats import loss, number, percent, standard_error, wilson

SPLIT_NAMES = {"train": "training", "val": "validation", "test": "test"}

SAMPLES = 24
"""Sample pictures of the data, over all classes."""

MISTAKES = 12
"""Most confident mistakes that are shown."""

HARDEST = 12
"""Hardest training pictures that are shown."""

THUMBNAIL = 160
"""Longer side of a picture in the report, in pixels."""

MATRIX_CLASSES = 30
"""Classes up to which a confusion matrix can be read; beyond, its largest entries are listed."""

PAIRS = 25
"""Confusions listed in place of a matrix."""

OPTION = re.compile(r"--[a-z][a-z-]*(?: (?:\d[\d.e-]*\d|\d|balanced|imagenet|light|standard|B)\b)?")
"""An option of the command line, with its value, in a finding's text."""


@dataclass(frozen=True)
class Prepared:
    """What is left of the dataset that a run was trained on."""

    folder: Path
    about: Mapping[str, Any]
    manifest: pd.DataFrame
    audit: Mapping[str, Any]


@dataclass(frozen=True)
class RunFolder:
    """What a run folder holds, read; `about` is `run.json`.

    `dataset` is None when it is no longer there; `layers` and `samples`, of `observed/`, when the run has none.
    """

    folder: Path
    config: Mapping[str, Any]
    about: Mapping[str, Any]
    metrics: pd.DataFrame
    evaluations: Mapping[str, Mapping[str, Any]]
    dataset: Prepared | None
    layers: pd.DataFrame | None
    samples: pd.DataFrame | None


@dataclass(frozen=True)
class Tile:
    """A figure of the summary: what it is, its value, and what to hold it against."""

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Picture:
    """A small picture with its captions; `uri` is None where the file can't be read any more."""

    uri: str | None
    image_id: str
    label: str
    prediction: str = ""
    probability: float = math.nan


def write_report(run: Path) -> Path:
    """Write `report.html` of a run from what its folder holds, whole or not at all, and return its path.

    Parts whose sources are gone (the dataset, its images, an evaluation not yet made) are left out, and the report
    says so.

    Raises:
        UserError: no run folder.
    """
    html = render(load_run(run))
    path = run / "report.html"
    with atomic_write(path) as partial:
        partial.write_text(html, encoding="utf-8")
    return path


def load_run(run: Path) -> RunFolder:
    """Read a run folder; a UserError when it is none."""
    if not (run / "config.yaml").is_file():
        raise UserError(f"{run} is no run folder (no config.yaml in it): give the output of `resnet50 train`")
    config = read_yaml(run / "config.yaml", TrainOptions)
    metrics, observed = run / "metrics.csv", run / "observed"
    layers, samples = observed / "layers.csv", observed / "samples.parquet"
    return RunFolder(
        folder=run,
        config=config,
        about=read_json(run / "run.json"),
        metrics=pd.read_csv(metrics) if metrics.is_file() and metrics.stat().st_size else pd.DataFrame(),
        evaluations={path.stem: read_json(path) for path in sorted((run / "evaluation").glob("*.json"))},
        dataset=load_dataset(Path(str(config.get("dataset", "")))),
        layers=pd.read_csv(layers, dtype={"layer": str}) if layers.is_file() and layers.stat().st_size else None,
        samples=pd.read_parquet(samples) if samples.is_file() else None,
    )


def load_dataset(folder: Path) -> Prepared | None:
    """Read a prepared dataset as far as the report needs it; None when it is no longer there."""
    manifest = folder / "manifest.parquet"
    if not manifest.is_file():
        return None
    described = folder / "dataset.yaml"
    about = yaml.safe_load(described.read_text(encoding="utf-8")) if described.is_file() else {}
    return Prepared(folder, about or {}, pd.read_parquet(manifest), read_json(folder / "audit.json"))


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON file's object; an empty one when there is no such file."""
    return cast(dict[str, Any], json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def render(run: RunFolder) -> str:
    """Return the report as HTML. Class names, ids and paths are escaped wherever they stand."""
    name = main_evaluation(run)
    evaluation = run.evaluations[name] if name else None
    counts = train_counts(run.dataset)
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    cast(dict[str, Any], environment.filters).update(percent=percent, prose=prose, dash=dash)
    template = importlib.resources.files("resnet50.evaluation").joinpath("report.html.j2").read_text(encoding="utf-8")
    return environment.from_string(template).render(
        title=dataset_name(run),
        subtitle=subtitle(run),
        tiles=evaluation_tiles(evaluation) + training_tiles(run) if evaluation else training_tiles(run),
        findings=read_run(run),
        class_findings=read_classes(evaluation, counts, run.config) if evaluation else [],
        data=data_chapter(run),
        training=training_chapter(run),
        inside=inside_chapter(run),
        evaluation=evaluation_chapter(run, name, counts) if name else None,
        made=made_chapter(run),
    )


def main_evaluation(run: RunFolder) -> str | None:
    """Choose what the report is about: the run's own test split, else validation, training, another dataset."""
    own = mapping(run.about, "dataset").get("fingerprint")

    def rank(name: str) -> tuple[bool, int, str]:
        evaluation = run.evaluations[name]
        foreign = own is not None and evaluation.get("dataset_fingerprint", own) != own
        return foreign, -SPLITS.index(evaluation["split"]) if evaluation.get("split") in SPLITS else 1, name

    return min((name for name in run.evaluations if run.evaluations[name].get("images")), key=rank, default=None)


def train_counts(dataset: Prepared | None) -> dict[str, int] | None:
    """Return the training images of each class, 0 for a class that has none there."""
    if dataset is None:
        return None
    labels = dataset.manifest["label"].astype(str)
    counts = labels[dataset.manifest["split"] == "train"].value_counts()
    return {name: int(counts.get(name, 0)) for name in sorted(labels.unique())}


def read_run(run: RunFolder) -> list[Diagnosis]:
    """Read the curves with all that the folder knows about the data."""
    images = mapping(mapping(run.about, "dataset"), "images").get("val")
    classes = next((len(evaluation["classes"]) for evaluation in run.evaluations.values()), None)
    if run.dataset is not None:
        classes = run.dataset.manifest["label"].nunique()
        images = images or int((run.dataset.manifest["split"] == "val").sum())
    return read_training(run.metrics, run.config, images, classes)


def dataset_name(run: RunFolder) -> str:
    """Return what the data is called: the name it was prepared under, else its folder's."""
    name = mapping(run.about, "dataset").get("name") or (run.dataset.about.get("name") if run.dataset else None)
    return str(name or Path(str(run.config.get("dataset", run.folder))).name)


def subtitle(run: RunFolder) -> str:
    """Say in a line what was trained and how."""
    depth, size = run.config.get("depth", 50), run.config.get("image_size")
    source = mapping(run.about, "weights").get("source") or run.config.get("weights", "")
    start = "trained from scratch" if source == "none" else f"fine-tuned from {source} weights"
    return f"ResNet-{depth}, {start}" + (f", at {size} × {size} pixels" if size else "")


def evaluation_tiles(evaluation: Mapping[str, Any]) -> list[Tile]:
    """Return the figures of an evaluation that come first."""
    n, accuracy, classes = int(evaluation["images"]), float(evaluation["accuracy"]), len(evaluation["classes"])
    low, high = wilson(round(accuracy * n), n)
    commonest, share = majority(evaluation)
    tiles = [
        Tile("Accuracy", percent(accuracy), f"95 % interval {100 * low:.1f}–{100 * high:.1f}"),
        Tile("Majority baseline", percent(share), f"always saying “{commonest}”"),
        Tile("Balanced accuracy", percent(evaluation["balanced_accuracy"]), "mean recall of the classes"),
        Tile("Macro F1", f"{evaluation['macro_f1']:.3f}", "mean F1 of the classes"),
        Tile("Log loss", loss(evaluation["log_loss"]), f"guessing evenly: {loss(math.log(classes))}"),
    ]
    if classes > 5:
        tiles.append(Tile("Top-5 accuracy", percent(evaluation["top5_accuracy"]), "the class is among five guesses"))
    return [*tiles, Tile("Images measured", f"{n:,}", f"{split_name(evaluation['split'])} split, {classes} classes")]


def training_tiles(run: RunFolder) -> list[Tile]:
    """Return what the training itself came to."""
    if run.metrics.empty:
        return []
    metrics, planned = run.metrics, run.config.get("epochs")
    best = best_row(run)
    tiles = [
        Tile("Validation accuracy", percent(best["val_accuracy"]), f"in the best epoch, {int(best['epoch'])}"),
        Tile("Epochs", f"{len(metrics)}" + (f" of {planned}" if planned else ""), str(run.about.get("stopped", ""))),
    ]
    seconds = run.about.get("seconds") or metrics["seconds"].sum()
    speed = metrics["images_per_second"].median()
    return [*tiles, Tile("Training time", duration(seconds), f"{number(speed)} images/s in training")]


def best_row(run: RunFolder) -> pd.Series:
    """Return the row of the epoch whose weights were kept; without a finite validation loss, the last."""
    known = run.about.get("best_epoch")
    if known in set(run.metrics["epoch"]):
        return run.metrics[run.metrics["epoch"] == known].iloc[0]
    losses = run.metrics["val_loss"].replace([math.inf, -math.inf], math.nan)
    return run.metrics.iloc[-1 if losses.isna().all() else int(np.nanargmin(losses))]


def data_chapter(run: RunFolder) -> dict[str, Any]:
    """Return what the report shows of the data: counts, audit, sample pictures."""
    dataset = run.dataset
    if dataset is None:
        return {"folder": run.config.get("dataset"), "images": mapping(mapping(run.about, "dataset"), "images")}
    counts = pd.crosstab(dataset.manifest["label"].astype(str), dataset.manifest["split"])
    counts = counts.reindex(columns=list(SPLITS), fill_value=0)
    counts["total"] = counts.sum(axis=1)
    counts = counts.sort_values("total", ascending=False, kind="stable")
    samples = sample_pictures(dataset)
    return {
        "folder": str(dataset.folder),
        "counts": [
            (str(name), [int(n) for n in row]) for name, row in zip(counts.index, counts.to_numpy(), strict=True)
        ],
        "totals": [int(n) for n in counts.sum()],
        "sizes": image_sizes(dataset.manifest),
        "audit": audit_rows(dataset.audit),
        "samples": samples,
        "unreadable": sum(picture.uri is None for picture in samples),
    }


def image_sizes(manifest: pd.DataFrame) -> str:
    """Say how large the images are."""
    if manifest.empty or not {"width", "height"} <= set(manifest):
        return ""
    width, height = manifest["width"], manifest["height"]
    if width.min() == width.max() and height.min() == height.max():
        return f"All are {width.iloc[0]} × {height.iloc[0]} pixels."
    return (
        f"Their median size is {width.median():.0f} × {height.median():.0f} pixels, the shorter side from "
        f"{np.minimum(width, height).min()} to {np.minimum(width, height).max()}."
    )


def audit_rows(audit: Mapping[str, Any]) -> list[tuple[str, int, str, str]]:
    """Return (what, how many, what was done, the first few) of everything the audit looked for."""
    rows: list[tuple[str, int, str, str]] = []
    for kind, (what, done) in KINDS.items():
        found = mapping(audit, kind)
        if "count" in found:
            items = found.get("items", [])
            examples = ", ".join(item_text(item) for item in list(items)[:3]) + (", …" if len(items) > 3 else "")
            rows.append((what, int(found["count"]), done if found["count"] else "", examples))
    return rows


def item_text(item: Any) -> str:
    """Return an item of an audit list in a few words."""
    if isinstance(item, Mapping):
        item = " ".join(map(str, cast(Mapping[str, Any], item).values()))
    elif isinstance(item, list):
        item = " = ".join(map(str, cast(list[Any], item)))
    text = str(item)
    return text if len(text) <= 60 else f"{text[:28]}…{text[-28:]}"


def sample_pictures(dataset: Prepared) -> list[Picture]:
    """Return up to SAMPLES training pictures, as many of each class, of the commonest classes when there are more.

    The order of their hashes is as good as a random one, and always the same.
    """
    rows = dataset.manifest[dataset.manifest["split"] == "train"]
    if rows.empty:
        return []
    rows = rows.assign(label=rows["label"].astype(str)).sort_values("sha256" if "sha256" in rows else "image_id")
    labels = sorted(rows["label"].value_counts().index[:SAMPLES])
    each = SAMPLES // len(labels)
    chosen = pd.concat([rows[rows["label"] == label].head(each) for label in labels])
    return [
        Picture(thumbnail(path, dataset.folder), str(image_id), label)
        for image_id, path, label in zip(chosen["image_id"], chosen["path"], chosen["label"], strict=True)
    ]


def thumbnail(path: str, folder: Path) -> str | None:
    """Return a small JPEG of an image as a data URI; None when it can't be read any more.

    A relative path counts from the working directory or, if nothing is there, from the prepared dataset.
    """
    file = Path(path)
    try:
        image = decode(file if file.is_file() else folder / file)
    except UnreadableImageError:
        return None
    image.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS, reducing_gap=3.0)
    jpeg = io.BytesIO()
    image.save(jpeg, "JPEG", quality=80, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg.getvalue()).decode()}"


def training_chapter(run: RunFolder) -> dict[str, Any] | None:
    """Return curves and the table of epochs; None when no epoch was finished."""
    metrics = run.metrics
    if metrics.empty:
        return None
    epochs = [int(epoch) for epoch in metrics["epoch"]]
    best = int(best_row(run)["epoch"])
    val_images = mapping(mapping(run.about, "dataset"), "images").get("val")

    def values(name: str) -> Floats:
        return metrics[name].to_numpy(dtype=np.float64)

    def plot(title: str, *lines: Line, unit: str = "plain") -> Markup:
        return Markup(plot_by_epoch(title, epochs, lines, best, "percent" if unit == "percent" else "plain"))  # noqa: S704  # our own SVG, of numbers

    accuracy = values("val_accuracy")
    band = np.array([2 * standard_error(p, val_images) for p in accuracy]) if val_images else None
    rates = [Line("backbone", values("lr"), "train"), Line("head", values("head_lr"), "val", dashed=True)]
    return {
        "plots": [
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
        ],
        "band": band is not None,
        "epochs": metrics.to_dict("records"),
        "best": best,
        "not_finite": not np.isfinite(metrics[["train_loss", "val_loss", "grad_norm"]].to_numpy()).all(),
    }


def inside_chapter(run: RunFolder) -> dict[str, Any] | None:
    """Return what was seen inside the network: findings, plots, the hardest pictures; None when nothing was."""
    if run.layers is None or run.layers.empty:
        return None
    hardest = hardest_pictures(run)
    return {
        "findings": read_inside(run.layers),
        "plots": [Markup(svg) for svg in inside_plots(run.layers)],  # noqa: S704  # our own SVG, its texts escaped
        "first": "before the first step" if run.layers["epoch"].min() == 0 else "in the first epoch that was recorded",
        "last": int(run.layers["epoch"].max()),
        "three": three_layers(run.layers),
        "hardest": hardest,
        "epochs": 0 if run.samples is None else run.samples["epoch"].nunique(),
        "unreadable": sum(picture.uri is None for picture, _ in hardest),
    }


def inside_plots(layers: pd.DataFrame) -> list[str]:
    """Draw gradients by layer, residuals by block, updates by epoch and, if there are any, dead channels by block."""
    updates = by_epoch(layers, "update_ratio")
    trained = [str(name) for name in updates.columns]
    gradients = by_epoch(layers, "gradient_norm")
    plots = [
        first_and_last("Gradient norm", gradients[[name for name in trained if name in gradients.columns]], "log"),
        first_and_last("‖F(x)‖ / ‖x‖", by_epoch(layers, "residual_ratio"), "log"),
    ]
    chosen = three_layers(layers)
    steps = updates.loc[updates.index > 0, list(chosen.values())]
    if positive(steps):
        lines = [
            Line(place, drawable(steps[layer], "log"), color, dashed=color == "val")
            for (place, layer), color in zip(chosen.items(), ("train", "val", "third"), strict=True)
        ]
        plots.append(plot_by_epoch("Update ratio", [int(epoch) for epoch in steps.index], lines, None, "log"))
    dead = by_epoch(layers, "dead_channels")
    if positive(dead):
        plots.append(first_and_last("Dead channels", dead, "percent"))
    return [plot for plot in plots if plot]


def three_layers(layers: pd.DataFrame) -> dict[str, str]:
    """Return the first, middle and last of the layers that have updates; none when no layer has."""
    names = [str(name) for name in by_epoch(layers, "update_ratio").columns]
    return {"first": names[0], "middle": names[len(names) // 2], "last": names[-1]} if names else {}


def first_and_last(title: str, table: pd.DataFrame, unit: Unit) -> str:
    """Draw the first and the last row of a table whose columns are layers; an empty string when there is nothing."""
    if not positive(table):
        return ""
    names = {0: "at first"}
    lines = [
        Line(names.get(int(table.index[row]), f"epoch {table.index[row]}"), drawable(table.iloc[row], unit), *look)
        for row, look in zip(sorted({0, len(table) - 1}), (("val", True), ("train", False)), strict=False)
    ]
    return plot_by_layer(title, [str(name) for name in table.columns], lines, unit)


def drawable(values: pd.Series, unit: Unit) -> Floats:
    """Return values with a gap where a logarithm has none."""
    return (values.where(values > 0) if unit == "log" else values).to_numpy(dtype=np.float64)


def positive(table: pd.DataFrame) -> bool:
    """Return whether there is anything above zero to draw."""
    return bool((table.to_numpy(dtype=np.float64) > 0).any())


def hardest_pictures(run: RunFolder) -> list[tuple[Picture, float]]:
    """Return the training pictures of the highest mean loss over the epochs, with it; none without the dataset."""
    if run.samples is None or run.dataset is None:
        return []
    losses = run.samples.assign(image_id=run.samples["image_id"].astype(str)).groupby("image_id")["loss"].mean()
    rows = run.dataset.manifest.assign(image_id=run.dataset.manifest["image_id"].astype(str))
    rows = rows[rows["split"] == "train"].assign(loss=rows["image_id"].map(losses)).dropna(subset="loss")
    chosen = rows.sort_values(["loss", "image_id"], ascending=[False, True]).head(HARDEST)
    return [
        (Picture(thumbnail(row["path"], run.dataset.folder), row["image_id"], str(row["label"])), float(row["loss"]))
        for row in chosen.to_dict("records")
    ]


def evaluation_chapter(run: RunFolder, name: str, counts: Mapping[str, int] | None) -> dict[str, Any]:
    """Return what the report shows of its main evaluation, and a line for each of the others."""
    evaluation = run.evaluations[name]
    mistakes, wrong = mistake_pictures(run, name)
    few = len(evaluation["classes"]) <= MATRIX_CLASSES
    return {
        "name": f"{split_name(evaluation['split'])} split",
        "dataset": evaluation.get("dataset"),
        "foreign": evaluation.get("dataset", dataset_name(run)) != dataset_name(run),
        "all": list(run.evaluations.values()),
        "matrix": confusion_rows(evaluation) if few else None,
        "classes": evaluation["classes"],
        "pairs": None if few else confused_pairs(evaluation),
        "per_class": class_rows(evaluation, counts),
        "mistakes": mistakes,
        "wrong": wrong,
        "unreadable": sum(picture.uri is None for picture in mistakes),
    }


def confusion_rows(evaluation: Mapping[str, Any]) -> list[tuple[str, list[tuple[int, float]]]]:
    """Return per true class its name and, per predicted class, the count and its share of the row."""
    confusion = np.array(evaluation["confusion"])
    shares = confusion / np.maximum(1, confusion.sum(axis=1, keepdims=True))
    return [
        (name, [(int(count), float(share)) for count, share in zip(row, row_shares, strict=True)])
        for name, row, row_shares in zip(evaluation["classes"], confusion, shares, strict=True)
    ]


def confused_pairs(evaluation: Mapping[str, Any]) -> list[tuple[str, str, int, float]]:
    """Return the largest entries off the diagonal: true class, predicted class, count, share of the true class."""
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
    """Return the rows of the table of classes, lowest recall first, classes without images last."""
    rows = [
        {
            **row,
            "train": None if counts is None else counts.get(row["label"], 0),
            "interval": wilson(round(row["recall"] * row["support"]), row["support"]),
        }
        for row in evaluation["per_class"]
    ]
    return sorted(rows, key=lambda row: (row["support"] == 0, row["recall"]))


def mistake_pictures(run: RunFolder, name: str) -> tuple[list[Picture], int | None]:
    """Return the mistakes that the network was surest of, and how many there are; None without the rows."""
    path = run.folder / "evaluation" / f"{name}.csv"
    if not path.is_file():
        return [], None
    texts = ("image_id", "path", "label", "prediction")
    # A class may be called "NA", "null" or 7: its name stays as it is.
    rows = pd.read_csv(path, dtype=dict.fromkeys(texts, str), keep_default_na=False)
    rows = rows[rows["label"] != rows["prediction"]]
    classes = run.evaluations[name]["classes"]
    # The prediction is the likeliest class, so its probability is the row's largest.
    rows = rows.assign(sure=rows[[f"p_{label}" for label in classes]].to_numpy(dtype=np.float64).max(axis=1))
    chosen = rows.sort_values(["sure", "image_id"], ascending=[False, True]).head(MISTAKES)
    folder = Path(str(run.config.get("dataset", "")))
    pictures = [
        Picture(thumbnail(row["path"], folder), row["image_id"], row["label"], row["prediction"], row["sure"])
        for row in chosen.to_dict("records")
    ]
    return pictures, len(rows)


def made_chapter(run: RunFolder) -> dict[str, Any]:
    """Return how the run was made: facts by name, decisions, the config."""
    about, weights, dataset = run.about, mapping(run.about, "weights"), mapping(run.about, "dataset")
    facts = {
        "Starting weights": weights.get("source"),
        "SHA-256 of the weights": weights.get("sha256"),
        "Variant": weights.get("variant"),
        "Parameters": f"{about['parameters']:,}" if "parameters" in about else None,
        "Dataset": run.config.get("dataset"),
        "Fingerprint of the dataset": dataset.get("fingerprint"),
        "Device": about.get("device"),
        "Precision": about.get("precision"),
        "Training ended": about.get("stopped"),
        "Versions": ", ".join(f"{name} {version}" for name, version in mapping(about, "versions").items()),
    }
    return {
        "facts": {name: str(value) for name, value in facts.items() if value},
        "decisions": about.get("decisions", []),
        "events": about.get("events", []),
        "config": (run.folder / "config.yaml").read_text(encoding="utf-8"),
    }


def mapping(values: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return a mapping inside another, empty when it isn't there: an interrupted run lacks some."""
    return values.get(key) or {}


def split_name(split: str) -> str:
    """Return a split's name in words."""
    return SPLIT_NAMES.get(split, split)


def dash(value: float | None, form: str) -> str:
    """Format a number; a dash for one that isn't there, ∞ for one beyond bounds."""
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞"
    return format(value, form) if value else "0"


def prose(text: str) -> Markup:
    """Set a finding's text: options as code that doesn't break, no line break before a percent sign."""
    html = OPTION.sub(r"<code>\g<0></code>", str(escape(text)))
    return Markup(re.sub(r"(\d) %", "\\1\u00a0%", html))  # noqa: S704  # escaped above
