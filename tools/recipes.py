"""Compare training recipes on your own data: rates, length, size, averaging, crops. No test image is looked at.

    python tools/recipes.py --data cells=demo/dataset --data clothing=clothing --work FOLDER COMPARISON [RECIPE ...]

A comparison has a base; each of its recipes changes a few options of that. All are trained on every dataset with a few
seeds. A seed also draws another third of the images to validate on, without those of the test split, groups together.
`cells:0.33` takes a third of the images first. A result is a row of docs/recipes/runs.csv, and how a base's
networks do with other preprocessing a row of docs/recipes/preprocessing.csv. What is there is not repeated, so an
interrupted comparison goes on. docs/make_recipes.py makes tables of them.
"""

import argparse
import csv
import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import log_loss

import resnet50
from resnet50.data.transforms import Preprocess
from resnet50.inference.classifier import Classifier
from resnet50.model.file import load_model
from resnet50.runtime.device import choose_precision, resolve_device

RESULTS = Path(__file__).parents[1] / "docs" / "recipes"

CELLS = {"flips": "both"}
"""Options that belong to the data: a cell has no up and no left."""

OLD_RATES = {"lr": 2e-4, "head_lr": 2e-3}


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A base, and recipes that each change a few of its options; every other option is at its default."""

    base: dict[str, object]
    recipes: dict[str, dict[str, object]]


COMPARISONS = {
    "rates": Comparison(
        {"image_size": 96, "epochs": 6, **OLD_RATES},
        {
            "rate / 4": {"lr": 5e-5, "head_lr": 5e-4},
            "rate / 2": {"lr": 1e-4, "head_lr": 1e-3},
            "rate x 2": {"lr": 4e-4, "head_lr": 4e-3},
            "head x 3": {"lr": 2e-4, "head_lr": 6e-4},
            "EMA 0.98": {"ema": 0.98},
            "head at backbone's rate, EMA 0.98": {"lr": 3e-4, "head_lr": 3e-4, "ema": 0.98},
            "the same, cosine": {"lr": 3e-4, "head_lr": 3e-4, "ema": 0.98, "schedule": "cosine", "warmup": 0.125},
            "the same, 12 epochs": {"lr": 3e-4, "head_lr": 3e-4, "ema": 0.98, "epochs": 12},
            "12 epochs": {"epochs": 12},
            "64 pixels, 12 epochs": {"image_size": 64, "epochs": 12},
            "128 pixels, 4 epochs": {"image_size": 128, "epochs": 4},
            "standard augmentation": {"augment": "standard"},
            "crops from 0.2": {"crop_scale": 0.2},
            "no label smoothing": {"label_smoothing": 0.0},
        },
    ),
    "time": Comparison(
        {"image_size": 128, "epochs": 4, "lr": 3e-4, "head_lr": 3e-4, "ema": 0.98},
        {
            "stem and layer1 frozen, 5 epochs": {"freeze": 2, "epochs": 5},
            "160 pixels, 3 epochs": {"image_size": 160, "epochs": 3},
            "96 pixels, 7 epochs": {"image_size": 96, "epochs": 7},
            "rate x 2": {"lr": 6e-4, "head_lr": 6e-4},
            "rate / 2": {"lr": 15e-5, "head_lr": 15e-5},
            "head x 3": {"lr": 3e-4, "head_lr": 9e-4},
            "EMA 0.95": {"ema": 0.95},
            "crops from 0.2": {"crop_scale": 0.2},
            "crops from 0.6": {"crop_scale": 0.6},
            "batch 16": {"batch_size": 16, "lr": 2e-4, "head_lr": 2e-4},
            "batch 64": {"batch_size": 64, "lr": 45e-5, "head_lr": 45e-5},
            "SGD": {"optimizer": "sgd", "lr": 1e-2, "head_lr": 1e-2},
            "weight decay 0.2": {"weight_decay": 0.2},
            "label smoothing 0.1": {"label_smoothing": 0.1},
        },
    ),
}


@dataclasses.dataclass(frozen=True)
class Data:
    """A prepared dataset, and the share of its images that is used."""

    name: str
    path: Path
    share: float = 1.0

    @classmethod
    def parse(cls, text: str) -> "Data":
        name, _, path = text.partition("=")
        name, _, share = name.partition(":")
        return cls(name, Path(path), float(share or 1))


def fold(data: Data, seed: int, work: Path) -> Path:
    """Prepare a share of the images outside the test split, a third of them to validate on; return the dataset."""
    out = work / f"{data.name}-{data.share:g}-{seed}"
    if (out / "dataset.yaml").is_file():
        return out
    rows = resnet50.Dataset(data.path).manifest
    rows = rows[rows["split"] != "test"]
    groups = rows["group"].drop_duplicates().sort_values().sample(frac=data.share, random_state=seed)
    rows = rows[rows["group"].isin(groups)]
    resnet50.prepare(
        rows[["path", "label", "group"]],
        out,
        images=Path(rows["path"].iloc[0]).parent,
        id_column="path",
        label_column="label",
        group_column="group",
        split="0.67/0.33",
        seed=seed,
        overwrite=True,
    )
    return out


def options_of(comparison: str, recipe: str, data: Data) -> dict[str, object]:
    chosen = COMPARISONS[comparison]
    return chosen.base | (CELLS if data.name == "cells" else {}) | ({} if recipe == "base" else chosen.recipes[recipe])


def train(dataset: Path, run: Path, options: dict[str, object], seed: int) -> float:
    """Train in a process of its own; return the seconds it took."""
    flags = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    command = [sys.executable, "-m", "resnet50", "train", str(dataset), "--out", str(run), "--overwrite"]
    start = time.monotonic()
    subprocess.run([*command, *flags, "--seed", str(seed)], check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - start


def preprocessings(size: int) -> dict[str, Preprocess]:
    """Return ways to look at an image in evaluation, for a network trained at a size."""
    ways = {"crop 7/8 of the side": Preprocess(size=size, resize=round(size * 8 / 7))}
    for factor in (1, 1.125, 1.25):
        larger = round(size * factor / 16) * 16
        ways[f"shorter side, {factor:g} times the size"] = Preprocess(size=larger, resize=larger)
        ways[f"squash, {factor:g} times the size"] = Preprocess(size=larger, resize=larger, resize_mode="squash")
    return ways


def measure(run: Path, dataset: Path, size: int) -> dict[str, tuple[float, float]]:
    """Return accuracy and log loss on the validation images under each preprocessing."""
    model = load_model(run)
    val = resnet50.Dataset(dataset).split("val")
    truth = np.array([model.classes.index(label) for label in val["label"]])
    results = {}
    for name, preprocess in preprocessings(size).items():
        own = dataclasses.replace(preprocess, interpolation=model.preprocess.interpolation)
        classifier = Classifier(dataclasses.replace(model, preprocess=own), resolve_device("auto", "auto"))
        probabilities = classifier.predict_proba(val["path"].tolist())
        accuracy = float((probabilities.argmax(1) == truth).mean())
        results[name] = accuracy, float(log_loss(truth, probabilities, labels=range(len(model.classes))))
    return results


def append(path: Path, row: Mapping[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(row), lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(row)


KEYS = ["cpu", "comparison", "data", "share", "recipe", "seed"]
"""Columns that name a run; the figures of different kinds of CPU are not compared."""


def done(path: Path) -> set[tuple[str, ...]]:
    if not path.exists():
        return set()
    return set(pd.read_csv(path, dtype=str)[KEYS].itertuples(index=False, name=None))


def compare(comparison: str, data: list[Data], recipes: list[str], seeds: int, work: Path) -> None:
    """Train what is missing: seed by seed, so that all recipes are soon there."""
    cpu = choose_precision(torch.device("cpu"))[0]
    there = done(RESULTS / "runs.csv")
    for seed in range(seeds):
        for recipe in recipes:
            for one in data:
                key = dict(zip(KEYS, (cpu, comparison, one.name, f"{one.share:g}", recipe, str(seed)), strict=True))
                if tuple(key.values()) not in there:
                    print(" ".join(key.values()), flush=True)
                    train_and_record(key, one, work)


def train_and_record(key: dict[str, str], data: Data, work: Path) -> None:
    """Train one recipe on one dataset with one seed, and append its results."""
    seed, recipe = int(key["seed"]), key["recipe"]
    dataset, options, run = fold(data, seed, work), options_of(key["comparison"], recipe, data), work / "run"
    seconds = train(dataset, run, options, seed)
    last = pd.read_csv(run / "metrics.csv").iloc[-1]
    if recipe == "base":
        for name, (accuracy, loss) in measure(run, dataset, int(str(options["image_size"]))).items():
            extra = {"preprocessing": name, "accuracy": f"{accuracy:.4f}", "log_loss": f"{loss:.4f}"}
            append(RESULTS / "preprocessing.csv", key | extra)
    numbers = {name: f"{last[name]:.4f}" for name in ("train_loss", "train_accuracy", "val_loss", "val_accuracy")}
    append(RESULTS / "runs.csv", key | numbers | {"seconds": f"{seconds:.0f}", "options": json.dumps(options)})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("comparison", choices=COMPARISONS)
    parser.add_argument("recipes", nargs="*", metavar="RECIPE", help="left out: all")
    parser.add_argument("--data", action="append", type=Data.parse, default=[], metavar="NAME[:SHARE]=DATASET")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--work", type=Path, default=Path("build/recipes"), help="folder for datasets and runs")
    arguments = parser.parse_args()
    recipes = arguments.recipes or ["base", *COMPARISONS[arguments.comparison].recipes]
    compare(arguments.comparison, arguments.data, recipes, arguments.seeds, arguments.work)


if __name__ == "__main__":
    main()
