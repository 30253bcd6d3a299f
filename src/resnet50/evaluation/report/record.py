"""What a run folder holds, read for the report; missing parts stay empty."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import yaml

from resnet50.etl.split import SPLITS
from resnet50.evaluation.diagnostics.diagnosis import Diagnosis
from resnet50.evaluation.diagnostics.training import diagnose_training
from resnet50.options import TrainOptions, read_yaml
from resnet50.runtime.errors import UserError


@dataclass(frozen=True)
class DatasetRecord:
    """The prepared dataset that a run was trained on; `description` is `dataset.yaml`."""

    folder: Path
    description: Mapping[str, Any]
    manifest: pd.DataFrame
    audit: Mapping[str, Any]

    @property
    def bit_depth(self) -> int | None:
        """Bits that the images' integers use where they have more than 8."""
        return self.description.get("options", {}).get("bit_depth")

    def train_counts(self) -> dict[str, int]:
        """Count the training images of each class, including classes without any."""
        labels = self.manifest["label"].astype(str)
        counts = labels[self.manifest["split"] == "train"].value_counts()
        return {name: int(counts.get(name, 0)) for name in sorted(labels.unique())}


@dataclass(frozen=True)
class RunRecord:
    """A run folder.

    Attributes:
        info: `run.json`.
        metrics: `metrics.csv`; empty before the first epoch.
        evaluations: Each `evaluation/NAME.json` by name.
        tables: The row per image of each evaluation, `NAME.csv` beside it.
        dataset: None if it is no longer there.
        layers: `observed/layers.csv`, if the run has one.
        samples: `observed/samples.parquet`, if the run has one.
    """

    folder: Path
    config: Mapping[str, Any]
    info: Mapping[str, Any]
    metrics: pd.DataFrame
    evaluations: Mapping[str, Mapping[str, Any]]
    tables: Mapping[str, Path]
    dataset: DatasetRecord | None
    layers: pd.DataFrame | None
    samples: pd.DataFrame | None

    @property
    def split_sizes(self) -> Mapping[str, int]:
        """Images of each split as training saw them; empty if unknown."""
        return mapping(mapping(self.info, "dataset"), "images")

    @property
    def dataset_name(self) -> str:
        """Name that the dataset was prepared under, else that of its folder."""
        described = self.dataset.description.get("name") if self.dataset else None
        name = mapping(self.info, "dataset").get("name") or described
        return str(name or Path(str(self.config.get("dataset", self.folder))).name)

    def best_epoch(self) -> pd.Series:
        """Take the row of the epoch whose weights were saved; the last one if no validation loss is finite."""
        known = self.info.get("best_epoch")
        if known in set(self.metrics["epoch"]):
            return self.metrics[self.metrics["epoch"] == known].iloc[0]
        losses = self.metrics["val_loss"].replace([math.inf, -math.inf], math.nan)
        return self.metrics.iloc[-1 if losses.isna().all() else int(np.nanargmin(losses))]

    def main_evaluation(self) -> str | None:
        """Choose what the report is about: the run's own test split, else validation, training, another dataset."""
        own = mapping(self.info, "dataset").get("fingerprint")

        def rank(name: str) -> tuple[bool, int, str]:
            evaluation = self.evaluations[name]
            foreign = own is not None and evaluation.get("dataset_fingerprint", own) != own
            return foreign, -SPLITS.index(evaluation["split"]) if evaluation.get("split") in SPLITS else 1, name

        measured = (name for name, evaluation in self.evaluations.items() if evaluation.get("images"))
        return min(measured, key=rank, default=None)

    def diagnose(self) -> list[Diagnosis]:
        """Diagnose the training with all that the folder knows about the data."""
        val_images = self.split_sizes.get("val")
        classes = next((len(evaluation["classes"]) for evaluation in self.evaluations.values()), None)
        if self.dataset is not None:
            classes = self.dataset.manifest["label"].nunique()
            val_images = val_images or int((self.dataset.manifest["split"] == "val").sum())
        return diagnose_training(self.metrics, self.config, val_images, classes)


def load_record(run: Path, evaluation: Path | None = None) -> RunRecord:
    """Read a run folder, and the metrics of an evaluation that may lie elsewhere; a UserError if it is no run."""
    if not (run / "config.yaml").is_file():
        raise UserError(f"{run} is not a run folder (it has no config.yaml): give the output of `resnet50 train`")
    config = read_yaml(run / "config.yaml", TrainOptions)
    metrics, observed = run / "metrics.csv", run / "observed"
    layers, samples = observed / "layers.csv", observed / "samples.parquet"
    evaluations = {path.stem: path for path in sorted((run / "evaluation").glob("*.json"))}
    if evaluation is not None:
        evaluations[evaluation.stem] = evaluation
    return RunRecord(
        folder=run,
        config=config,
        info=read_json(run / "run.json"),
        metrics=pd.read_csv(metrics) if metrics.is_file() and metrics.stat().st_size else pd.DataFrame(),
        evaluations={name: read_json(path) for name, path in evaluations.items()},
        tables={name: path.with_suffix(".csv") for name, path in evaluations.items()},
        dataset=load_dataset(Path(str(config.get("dataset", "")))),
        layers=pd.read_csv(layers, dtype={"layer": str}) if layers.is_file() and layers.stat().st_size else None,
        samples=pd.read_parquet(samples) if samples.is_file() else None,
    )


def load_dataset(folder: Path) -> DatasetRecord | None:
    """Read a prepared dataset as far as the report needs it; None if it is no longer there."""
    manifest = folder / "manifest.parquet"
    if not manifest.is_file():
        return None
    path = folder / "dataset.yaml"
    description = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return DatasetRecord(folder, description or {}, pd.read_parquet(manifest), read_json(folder / "audit.json"))


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; an empty one if there is no such file."""
    return cast(dict[str, Any], json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def mapping(values: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return a nested mapping, empty if it is missing, as it may be in an interrupted run."""
    return values.get(key) or {}
