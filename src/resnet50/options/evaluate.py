"""The options of `evaluate`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from resnet50.options.fields import option
from resnet50.options.groups import InferenceOptions, ShardOptions


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(InferenceOptions, ShardOptions):
    """Measure a trained network on a split it was not trained on, and write the report."""

    section = "Input"

    run: Path = option("Run folder (the output of `resnet50 train`).", positional=True)
    split: Literal["train", "val", "test"] = option("Which split to measure.", "test")
    dataset: Path | None = option("Another prepared dataset with the same classes. Left out: the run's own.", None)
    out: Path | None = option(
        "Folder for the metrics, the row per image and the report. Left out: the run folder.", None
    )
