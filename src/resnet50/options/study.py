"""The options of `study`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from resnet50.options.fields import option
from resnet50.options.groups import DeviceOptions

StudyName = Literal[
    "all",
    "degradation",
    "gradients",
    "ensemble",
    "increments",
    "landscape",
    "features",
    "dynamics",
    "anatomy",
    "resolution",
]


@dataclass(frozen=True, kw_only=True)
class StudyOptions(DeviceOptions):
    """Study residual learning: experiments on your own images, with figures and a written interpretation."""

    section = "Study"

    name: StudyName = option(
        "Which experiment: all, or one of degradation, gradients, ensemble, increments, landscape, features, "
        "dynamics, anatomy, resolution.",
        positional=True,
    )
    source: Path = option(
        "Prepared dataset (the study trains its own networks on it) or run folder.",
        Path("demo/dataset"),
        positional=True,
    )
    out: Path = option("Folder of the study; an interrupted study continues where it stopped.")
    beside: Path | None = option("Another run on the same classes to show beside the source.", None)
    effort: Literal["quick", "full"] = option("quick: small images, few epochs, minutes; full: hours.", "quick")
    seed: int = option("Seed of everything random.", 0, at_least=0)
    overwrite: bool = option("Replace another study in the output folder.", False)
