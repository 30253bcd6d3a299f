"""The shape of every experiment: question → measurements → figure → reading → sources."""

import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from resnet50.study.figures import save_svg, style
from resnet50.study.lab import Effort, Lab, Plan, open_lab, read_table, write_table
from resnet50.study.outcome import Outcome
from resnet50.study.pages import Page
from resnet50.study.tables import trained_networks


@dataclass(frozen=True)
class Observation:
    """What one rule reads in an experiment's numbers: how the claim fares, and the numbers in a sentence."""

    rule: str
    outcome: Outcome
    text: str


@dataclass(frozen=True)
class Rule:
    """Reads an experiment's table, or one trained network's part of it; its docstring states when a claim is seen."""

    read: Callable[..., tuple[Outcome, str]]
    name: str
    per_network: bool

    def __call__(self, table: pd.DataFrame, *network: str) -> Observation:
        return Observation(self.name, *self.read(table, *network))

    def apply(self, table: pd.DataFrame) -> list[Observation]:
        """Apply the rule to the table, or to each of its trained networks."""
        if not self.per_network:
            return [self(table)]
        return [self(table, network) for network in trained_networks(table)]


def rule(read: Callable[..., tuple[Outcome, str]]) -> Rule:
    """Turn a function of a table, or of a table and a network, into a `Rule` of its name."""
    return Rule(read, read.__name__, per_network="network" in inspect.signature(read).parameters)


def rules_of(module: str) -> tuple[Rule, ...]:
    """Return the rules that a module defines, in that order."""
    return tuple(value for value in vars(sys.modules[module]).values() if isinstance(value, Rule))


@dataclass(frozen=True, eq=False)
class Measured:
    """What an experiment measured.

    Attributes:
        table: tidy: columns that say what was measured where (network, seed, epoch, layer …), then `quantity` and
            `value`.
        images: arrays that the figure shows, uint8, H×W or H×W×3, or float32 maps, by name.
    """

    table: pd.DataFrame
    images: dict[str, np.ndarray] = field(default_factory=dict[str, np.ndarray])


@dataclass(frozen=True, eq=False)
class Result:
    """A finished experiment: the numbers, the figure, the reading."""

    table: pd.DataFrame
    figure: Figure
    reading: list[Observation]
    images: dict[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Experiment:
    """An experiment.

    Attributes:
        page: its text.
        measure: makes the measurements; long ones part by part through `Lab.keep`.
        draw: draws the figure from them; `figures.style()` holds while it does.
        summarize: picks the numbers for the page: a table of at most twenty rows or so.
        rules: read the table, in this order.
        details: what the page's setting says besides the plan: values by name.
    """

    page: Page
    measure: Callable[[Lab], Measured]
    draw: Callable[[Measured], Figure]
    summarize: Callable[[pd.DataFrame], pd.DataFrame]
    rules: tuple[Rule, ...]
    details: Callable[[Plan], Mapping[str, object]] = lambda _plan: {}

    @property
    def name(self) -> str:
        """The name of its module and files."""
        return self.page.name

    def setting(self, plan: Plan) -> str:
        """Say what a plan does, and where that is cheaper than what the papers did."""
        return self.page.setting.format(plan=plan, **self.details(plan))

    def read(self, table: pd.DataFrame) -> list[Observation]:
        """Apply the rules."""
        return [observation for rule in self.rules for observation in rule.apply(table)]

    def run(
        self,
        source: str | Path,
        out: str | Path,
        *,
        beside: str | Path | None = None,
        effort: Effort = "quick",
        seed: int = 0,
    ) -> Result:
        """Run the experiment alone, or read it where `out` already has it.

        Args:
            source: prepared dataset, or run folder.
            out: folder of the study.
            beside: another run, shown beside the source.
            effort: quick: minutes; full: hours.
            seed: of everything random.
        """
        other = None if beside is None else Path(beside)
        return self.conduct(open_lab(Path(source), Path(out), other, effort, seed))

    def conduct(self, lab: Lab) -> Result:
        """Measure, unless that was done before; draw; read."""
        measured = self.finished(lab)
        if measured is None:
            measured = self.measure(lab)
            if measured.images:
                np.savez_compressed(lab.folder / f"{self.name}.npz", **measured.images)  # pyright: ignore[reportArgumentType]
            write_table(measured.table, self.csv(lab))  # last: it says that the experiment is finished
            measured = self.finished(lab) or measured
        with style():
            figure = self.draw(measured)
        save_svg(figure, lab.folder / f"{self.name}.svg")
        return Result(measured.table, figure, self.read(measured.table), measured.images)

    def csv(self, lab: Lab) -> Path:
        """Where the table is kept."""
        return lab.folder / f"{self.name}.csv"

    def finished(self, lab: Lab) -> Measured | None:
        """Return what was measured before, or None."""
        if not self.csv(lab).is_file():
            return None
        table, images = read_table(self.csv(lab)), lab.folder / f"{self.name}.npz"
        if not images.is_file():
            return Measured(table)
        with np.load(images, allow_pickle=False) as file:
            return Measured(table, dict(file))
