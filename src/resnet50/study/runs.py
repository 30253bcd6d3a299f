"""The trained networks that experiments look into: their names in tables, figures and files."""

from collections.abc import Callable, Iterable

import pandas as pd

from resnet50.runtime.console import warn
from resnet50.runtime.errors import UserError
from resnet50.study.lab import Lab, TrainedRun


def named(runs: Iterable[TrainedRun]) -> dict[str, TrainedRun]:
    """Return runs by their kind; a second one of the same kind is "the other"."""
    found: dict[str, TrainedRun] = {}
    for run in runs:
        found[run.kind if run.kind not in found else f"{run.kind}, the other"] = run
    return found


def residual_runs(lab: Lab) -> dict[str, TrainedRun]:
    """Return the trained runs that have shortcuts, by name; raises UserError if there is none."""
    plain = [run for run in lab.runs if run.network.shortcuts == "none"]
    for run in plain:
        warn(f"{run.folder} has no shortcuts: this experiment skips it")
    runs = named(run for run in lab.runs if run not in plain)
    if not runs:
        raise UserError("this experiment needs a trained network with shortcuts: pass such a run")
    return runs


def keep_run(lab: Lab, part: str, name: str, measure: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """Return `Lab.keep` of a run's part, labeled with the run's name; that goes into `part`, a name with {} for it."""
    return lab.keep(part.format(name.replace(" ", "-").replace(",", "")), measure).assign(network=name)
