"""The options of `predict`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from resnet50.options.fields import option
from resnet50.options.groups import InferenceOptions, ShardOptions

EngineName = Literal["auto", "torch", "openvino"]


@dataclass(frozen=True, kw_only=True)
class EngineOptions(InferenceOptions):
    """What runs a trained network."""

    engine: EngineName = option(
        "What runs the network; auto: on a CPU OpenVINO if it is installed, else torch.", "auto"
    )


@dataclass(frozen=True, kw_only=True)
class PredictOptions(EngineOptions, ShardOptions):
    """Predict the class of images with a trained network."""

    section = "Input and output"

    run: Path = option("Run folder or model file (model.safetensors).", positional=True)
    images: tuple[str, ...] = option("Image files, folders or globs.", (), positional=True)
    out: Path | None = option("CSV to write. Left out: predictions are only shown.", None)
    format: Literal["table", "submission"] = option(
        "table: id, path, prediction, probability of every class; submission: the template's ids and columns.", "table"
    )
    template: Path | None = option("For --format submission: the sample_submission.csv to fill in.", None)
    submit: str | None = option(
        "What a template's only column gets: labels, or probability:CLASS. Left out: as its name and values tell.", None
    )
    top_k: int = option("Classes to show for each image.", 3, at_least=1)
    strict: bool = option(
        "Stop at the first image that can't be read. Without it such images are listed in OUT.errors.csv, the others "
        "are classified, and the exit code is 3.",
        False,
    )
    overwrite: bool = option("Replace an existing CSV, and start an interrupted run afresh.", False)
    resume: bool = option("Continue an interrupted run from what it has left in OUT.csv.parts.", False)
