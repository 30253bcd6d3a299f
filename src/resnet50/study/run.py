"""`resnet50 study`: run one experiment or all of them and write the page."""

import json
import shutil
import time
from importlib import import_module
from pathlib import Path
from typing import cast

from resnet50.options import StudyOptions
from resnet50.runtime.atomic import check_writable
from resnet50.runtime.console import duration, say
from resnet50.runtime.provenance import write_json
from resnet50.study.estimate import estimate
from resnet50.study.experiment import Experiment, Result
from resnet50.study.lab import Lab, open_lab
from resnet50.study.page import write_page

COURSE = (
    "anatomy", "degradation", "gradients", "increments", "ensemble", "features", "dynamics", "landscape", "resolution",
)  # fmt: skip
"""The experiments as a short course: from one block to the whole network, and on to how it learns."""


def study(options: StudyOptions) -> Path:
    """Run experiments and return their page.

    Raises:
        UserError: no such dataset or run, or a folder with something else in it.
    """
    check_writable(options.out / "index.html")
    lab = open_lab(
        options.source, options.out, options.beside, options.effort, options.seed, options.device, options.precision,
        overwrite=options.overwrite,
    )  # fmt: skip
    names = COURSE if options.name == "all" else (options.name,)
    say(f"{options.effort} effort, {lab.device.precision} on {lab.device.torch_device}: {lab.device.why}")
    if to_do := [name for name in names if load(name).finished(lab) is None]:
        say(f"about {duration(estimate(lab, to_do))} on a machine like this one with nothing else running")
    start = time.perf_counter()
    for name in names:
        report(load(name), lab)
    finished = [load(name) for name in COURSE if load(name).csv(lab).is_file()]
    if len(finished) == len(COURSE):
        shutil.rmtree(lab.parts, ignore_errors=True)
    page = write_page(lab, finished, read_times(lab))
    say(f"results: {page} ({duration(time.perf_counter() - start)})")
    return page


def load(name: str) -> Experiment:
    return cast(Experiment, import_module(f"resnet50.study.{name}").EXPERIMENT)


def report(experiment: Experiment, lab: Lab) -> Result:
    """Conduct an experiment; print its question and what the rules read."""
    say(f"\n{experiment.name}: {experiment.page.question}")
    start, fresh = time.perf_counter(), experiment.finished(lab) is None
    result = experiment.conduct(lab)
    seconds = time.perf_counter() - start
    if fresh:
        write_json(read_times(lab) | {experiment.name: round(seconds, 1)}, lab.folder / "seconds.json")
    say(f"  {duration(seconds):>10}  finished" if fresh else "  was finished before")
    for observation in result.reading:
        say(f"  {observation.outcome:>10}  {observation.text}")
    return result


def read_times(lab: Lab) -> dict[str, float]:
    """Return the seconds of each experiment, the last session's where it was interrupted."""
    path = lab.folder / "seconds.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
