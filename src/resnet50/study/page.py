"""`index.html`: a study on one self-contained page, for a reader who has never seen the code."""

import importlib.resources
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from resnet50.runtime.atomic import atomic_write
from resnet50.runtime.console import duration
from resnet50.study.experiment import Experiment, Observation
from resnet50.study.lab import DESCRIPTION, Lab

OUTCOMES = {
    "seen": "seen here",
    "not seen": "not seen here",
    "undecided": "no answer from these numbers",
    "note": "worth knowing",
}
"""Outcomes in the reader's words."""


@dataclass(frozen=True)
class Chapter:
    """An experiment, ready for the page."""

    number: int
    experiment: Experiment
    setting: str
    figure: Markup
    columns: list[str]
    rows: list[list[str]]
    reading: list[Observation]
    seconds: float | None


def write_page(lab: Lab, experiments: Sequence[Experiment], seconds: Mapping[str, float]) -> Path:
    chapters = [
        chapter(number, experiment, lab, seconds.get(experiment.name))
        for number, experiment in enumerate(experiments, 1)
    ]
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    template = importlib.resources.files("resnet50.study").joinpath("page.html.j2").read_text(encoding="utf-8")
    html = environment.from_string(template).render(
        name=lab.dataset.name,
        facts=facts(lab, seconds),
        chapters=chapters,
        outcomes=OUTCOMES,
        duration=duration,
    )
    path = lab.folder / "index.html"
    with atomic_write(path) as partial:
        partial.write_text(html, encoding="utf-8")
    return path


def chapter(number: int, experiment: Experiment, lab: Lab, seconds: float | None) -> Chapter:
    measured = experiment.finished(lab)
    assert measured is not None  # only finished ones get a chapter
    numbers = experiment.summarize(measured.table)
    return Chapter(
        number=number,
        experiment=experiment,
        setting=experiment.setting(lab.plan),
        figure=inline((lab.folder / f"{experiment.name}.svg").read_text(encoding="utf-8"), experiment),
        columns=[str(column).replace("_", " ") for column in numbers.columns],
        rows=[[cell(value) for value in row] for row in numbers.itertuples(index=False)],
        reading=experiment.read(measured.table),
        seconds=seconds,
    )


def cell(value: Any) -> str:
    """Format a value of a table: three or four significant digits, thousands separated."""
    if value is None or (isinstance(value, float) and pd.isna(value)):
        return "–"
    if isinstance(value, float):
        if not value or 1e-3 <= abs(value) < 1e4:
            return f"{value:.4g}"
        return f"{value:,.0f}" if 1e4 <= abs(value) < 1e12 else f"{value:.2e}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 1e4 else str(value)


def inline(svg: str, experiment: Experiment) -> Markup:
    """Turn a matplotlib SVG file into an element that shares a page with others: its ids get a prefix."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    opening = rf'<svg viewBox="\1" role="img" aria-label="{experiment.page.title}">'
    svg = re.sub(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', opening, svg, count=1)
    svg = re.sub(r"<style[^>]*>.*?</style>", "", svg, count=1, flags=re.DOTALL)  # it would style the whole page
    svg = re.sub(r'\bid="', f'id="{experiment.name}-', svg)
    svg = re.sub(r'(href="#|url\(#)', rf"\g<1>{experiment.name}-", svg)
    return Markup(svg)  # noqa: S704  # our own drawing; matplotlib escapes what it writes


def facts(lab: Lab, seconds: Mapping[str, float]) -> dict[str, str]:
    about = yaml.safe_load((lab.folder / DESCRIPTION).read_text(encoding="utf-8"))
    counts = lab.dataset.manifest["split"].value_counts()
    runs = lab.folder / "runs"
    folders = about["runs"] or [str(path.relative_to(lab.folder)) for path in sorted(runs.glob("*"))]
    trained = [sentence for folder in folders if (sentence := run_facts(lab.folder, folder))]
    return {
        "images": f"{lab.dataset.name}: {counts.get('train', 0):,} training and {counts.get('val', 0):,} validation "
        f"images of {len(lab.dataset.classes)} classes",
        "effort": f"{about['effort']}; seed {about['seed']}",
        "machine": f"{about['device']}, {about['precision']}",
        "trained networks": "; ".join(trained) or "none",
        "time": duration(sum(seconds.values())) if seconds else "",
        "versions": ", ".join(f"{name} {number}" for name, number in about["versions"].items()),
    }


def run_facts(study: Path, folder: str) -> str:
    """Describe how a run was trained, or return "" if its folder is gone; a relative folder starts at the study."""
    run = study / folder
    if not (run / "config.yaml").is_file():
        return ""
    config = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    about = json.loads((run / "run.json").read_text(encoding="utf-8")) if (run / "run.json").is_file() else {}
    start = "from scratch" if config["weights"] == "none" else f"fine-tuned from {config['weights']}"
    return (
        f"ResNet-{config['depth']} {config['variant']}, {start}, {config['image_size']} pixels, "
        f"{about.get('epochs_done', config['epochs'])} epochs"
    )
