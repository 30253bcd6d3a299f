"""Render the report: sections into the template, numbers and diagnoses into HTML."""

import dataclasses
import importlib.resources
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

from resnet50.evaluation.diagnostics.classes import diagnose_classes, never_trained
from resnet50.evaluation.diagnostics.diagnosis import Diagnosis
from resnet50.evaluation.report.layers import layers_section
from resnet50.evaluation.report.record import RunRecord, load_record
from resnet50.evaluation.report.sections import data_section, details_section, evaluation_section, training_section
from resnet50.evaluation.report.summary import evaluation_tiles, subtitle, training_tiles
from resnet50.runtime.atomic import atomic_write
from resnet50.runtime.stats import percent

OPTION = re.compile(r"--[a-z][a-z-]*(?: (?:\d[\d.e-]*\d|\d|balanced|imagenet|light|standard|B)\b)?")
"""An option of the command line, with its value, in the text of a diagnosis."""


def write_report(run: Path, folder: Path | None = None, evaluation: Path | None = None) -> Path:
    """Write `report.html` of a run from what its folder holds, and return its path.

    Args:
        run: Run folder.
        folder: Where to write it; by default the run folder.
        evaluation: The metrics of an evaluation outside the run folder, which the report is to show too.

    Parts whose sources are gone (the dataset, its images, an evaluation not yet made) are left out, and the report
    says so.

    Raises:
        UserError: The folder is not a run folder.
    """
    html = render(load_record(run, evaluation))
    path = (folder or run) / "report.html"
    with atomic_write(path) as partial:
        partial.write_text(html, encoding="utf-8")
    return path


def render(run: RunRecord) -> str:
    """Render the report as HTML. Class names, ids and paths are escaped everywhere."""
    name = run.main_evaluation()
    evaluation = run.evaluations[name] if name else None
    counts = run.dataset.train_counts() if run.dataset else None
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    cast(dict[str, Any], environment.filters).update(percent=percent, prose=prose, dash=dash)
    template = importlib.resources.files("resnet50.evaluation.report").joinpath("report.html.j2")
    return environment.from_string(template.read_text(encoding="utf-8")).render(
        title=run.dataset_name,
        subtitle=subtitle(run),
        tiles=(evaluation_tiles(evaluation) if evaluation else []) + training_tiles(run),
        training_diagnoses=training_diagnoses(run, evaluation, counts),
        class_diagnoses=diagnose_classes(evaluation, counts, run.config) if evaluation else [],
        data=data_section(run),
        training=training_section(run),
        layers=layers_section(run),
        evaluation=evaluation_section(run, name, counts) if name else None,
        details=details_section(run),
    )


def training_diagnoses(
    run: RunRecord, evaluation: Mapping[str, Any] | None, counts: Mapping[str, int] | None
) -> list[Diagnosis]:
    """Diagnose the training; without advice if classes were never trained on, since the data is what is wrong then."""
    diagnoses = run.diagnose()
    if evaluation is not None and never_trained(evaluation, counts):
        return [dataclasses.replace(diagnosis, advice="") for diagnosis in diagnoses]
    return diagnoses


def dash(value: float | None, form: str) -> str:
    """Format a number; a dash for a missing one, ∞ for an infinite one."""
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞"
    return format(value, form) if value else "0"


def prose(text: str) -> Markup:
    """Set the text of a diagnosis: options as code that doesn't break."""
    return Markup(OPTION.sub(r"<code>\g<0></code>", str(escape(text))))  # noqa: S704  # escaped here
