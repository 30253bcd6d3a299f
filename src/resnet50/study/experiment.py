"""The shape that all experiments have: question → measurements → figure → reading → sources."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from resnet50.study.figures import save_svg, style
from resnet50.study.lab import Effort, Lab, Plan, open_lab, write_table

Outcome = Literal["seen", "not seen", "undecided", "note"]
"""Is the paper's claim to be seen in the numbers; does chance allow no answer; or is it no claim at all."""


@dataclass(frozen=True)
class Source:
    """A paper, and where in it the claim stands."""

    authors: str
    year: int
    title: str
    arxiv: str
    where: str = ""


@dataclass(frozen=True)
class Observation:
    """What one rule reads in an experiment's numbers.

    Attributes:
        rule: the rule's name: that of the function that applies it.
        outcome: how the claim fares.
        text: what the numbers say, with the numbers.
    """

    rule: str
    outcome: Outcome
    text: str


@dataclass(frozen=True, eq=False)
class Measured:
    """What an experiment measured.

    Attributes:
        table: tidy: columns that say what was measured where (network, seed, epoch, layer …), then `quantity` and
            `value`.
        pictures: images that the figure shows, uint8, H×W or H×W×3, or float32 maps, by name.
    """

    table: pd.DataFrame
    pictures: dict[str, np.ndarray] = field(default_factory=dict[str, np.ndarray])


@dataclass(frozen=True, eq=False)
class Result:
    """A finished experiment: the numbers, the figure, the reading."""

    table: pd.DataFrame
    figure: Figure
    reading: list[Observation]
    pictures: dict[str, np.ndarray]


@dataclass(frozen=True)
class Experiment:
    """An experiment.

    Attributes:
        name: of its module and files.
        title: a few words.
        question: what it asks.
        claim: what the papers say, in a few sentences.
        setting: what is done here, by the plan, and where it is cheaper than the papers' and what that may change.
        caption: how to read the figure.
        sources: the papers.
        measure: makes the measurements; long ones part by part through `Lab.keep`.
        draw: draws the figure from them; `figures.style()` holds while it does.
        summarize: picks the numbers for the page: a table of at most twenty rows or so.
        read: reads them by stated rules.
        trained: looks at trained runs.
    """

    name: str
    title: str
    question: str
    claim: str
    setting: Callable[[Plan], str]
    caption: str
    sources: tuple[Source, ...]
    measure: Callable[[Lab], Measured]
    draw: Callable[[Measured], Figure]
    summarize: Callable[[pd.DataFrame], pd.DataFrame]
    read: Callable[[pd.DataFrame], list[Observation]]
    trained: bool = False

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
            beside: another run, to be shown beside the source.
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
            if measured.pictures:
                np.savez_compressed(lab.folder / f"{self.name}.npz", **measured.pictures)  # pyright: ignore[reportArgumentType]
            write_table(measured.table, self.csv(lab))  # last: it says that the experiment is finished
            measured = self.finished(lab) or measured
        with style():
            figure = self.draw(measured)
        save_svg(figure, lab.folder / f"{self.name}.svg")
        return Result(measured.table, figure, self.read(measured.table), measured.pictures)

    def csv(self, lab: Lab) -> Path:
        """Return where the table is kept."""
        return lab.folder / f"{self.name}.csv"

    def finished(self, lab: Lab) -> Measured | None:
        """Return what was measured before, or None."""
        if not self.csv(lab).is_file():
            return None
        pictures = lab.folder / f"{self.name}.npz"
        table = pd.read_csv(self.csv(lab), keep_default_na=False, na_values=[""])
        if not pictures.is_file():
            return Measured(table)
        with np.load(pictures, allow_pickle=False) as file:
            return Measured(table, dict(file))
