"""How the experiments' figures look: one palette, one line style per network, bands for what differs between seeds."""

import io
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator

from resnet50.runtime.atomic import atomic_write

BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, GRAY = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#6b6b6b",
)  # fmt: skip
"""Okabe and Ito's colors, which color-blind people tell apart; lines differ in their dashes or markers as well."""

SOLID, DASHED, DOTTED = "-", (0, (4, 1.5)), (0, (1, 1))


class LineStyle(NamedTuple):
    """A line's color, dashes and marker."""

    color: str
    dashes: Any = SOLID
    marker: str = "o"

    def plot(self, axes: Axes, x: Any, y: Any, **other: Any) -> None:
        """Draw a line in this style; `other`: keywords of `Axes.plot`, which come first."""
        look: dict[str, Any] = {"color": self.color, "linestyle": self.dashes, "marker": self.marker}
        axes.plot(x, y, **look | other)


OTHER = LineStyle(GREEN, ":", "^")
"""A second run of the same kind."""

STYLES = {
    "fine-tuned": LineStyle(BLUE),
    "from scratch": LineStyle(VERMILION, DASHED, "s"),
    "plain": LineStyle(VERMILION, DASHED, "s"),
    "residual": LineStyle(BLUE),
    "small plain": LineStyle(VERMILION, DASHED, "s"),
    "small residual": LineStyle(BLUE),
    "residual, zero γ": LineStyle(GREEN, DOTTED, "^"),
    "residual, no norms": LineStyle(SKY, (0, (5, 1.5, 1, 1.5)), "D"),
    "plain, no norms": LineStyle(ORANGE, (0, (2, 1.5)), "v"),
    "18 layers": LineStyle(GRAY, ":", "^"),
    "34 layers": LineStyle(ORANGE, DASHED, "s"),
    "50 layers": LineStyle(BLUE),
    "shortcuts A": LineStyle(ORANGE, ":", "^"),
    "shortcuts B": LineStyle(BLUE),
    "shortcuts C": LineStyle(GREEN, DASHED, "s"),
}
"""The networks' lines, in every figure."""

WIDTH = 9.0
"""Inches; on a page of 900 pixels text of 9 points is as large as the page's."""

STYLE = {
    "font.size": 9,
    "font.family": "sans-serif",
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.7,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.6,
    "lines.markersize": 4,
    "image.cmap": "viridis",
}


def style() -> AbstractContextManager[None]:
    return rc_context(cast(Any, STYLE))


def style_of(network: str) -> LineStyle:
    return STYLES.get(network, OTHER)


def new_figure(rows: int, columns: int, height: float, **ratios: Sequence[float]) -> tuple[Figure, np.ndarray]:
    """Return an empty figure of `WIDTH`×`height` inches and its axes, rows×columns; use it inside `style()`."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, gridspec_kw=dict(ratios))


def new_strips(height: float, ratios: Sequence[float]) -> tuple[Figure, list[SubFigure]]:
    """Return an empty figure and its horizontal strips, from the top."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    strips = figure.subfigures(len(ratios), 1, height_ratios=list(ratios), squeeze=False)
    return figure, cast(list[SubFigure], list(strips[:, 0]))


def save_svg(figure: Figure, path: Path) -> None:
    """Write a figure as SVG atomically; the same figure gives the same bytes."""
    file = io.StringIO()
    with style(), rc_context({"svg.fonttype": "none", "svg.hashsalt": path.stem}):
        figure.savefig(file, format="svg", facecolor="white", metadata={"Date": None, "Creator": None}, dpi=150)
    with atomic_write(path) as partial:
        partial.write_text(file.getvalue(), encoding="utf-8")


def band(axes: Axes, table: pd.DataFrame, x: str, label: str, line: LineStyle | None = None) -> None:
    """Draw the mean of `value` by column `x` as a line, and from the smallest to the largest value as a band around it.

    The line is styled as the network that its label names unless it has a style of its own.
    """
    line = line or style_of(label)
    finite = table.replace([np.inf, -np.inf], np.nan).dropna(subset=["value"])
    rows = finite.groupby(x, sort=True)["value"].agg(["mean", "min", "max"]).reset_index()
    line.plot(axes, rows[x], rows["mean"], label=label)
    axes.fill_between(rows[x], rows["min"], rows["max"], color=line.color, alpha=0.15, linewidth=0)
    if x == "epoch":
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))


def name_blocks(axes: Axes, blocks: Sequence[str]) -> None:
    """Name the residual blocks on the horizontal axis, "layer3.5" as 3.5."""
    axes.set_xticks(range(len(blocks)), [name.removeprefix("layer") for name in blocks], rotation=90, fontsize=7.5)


def legend_above(axes: Axes, what: str) -> None:
    """Put a legend between title and data, so that it covers neither: the lines whose names contain `what`."""
    title = axes.get_title(loc="left")
    axes.set_title("")
    chosen = [(line, name) for line, name in zip(*axes.get_legend_handles_labels(), strict=True) if what in name]
    axes.legend(
        [line for line, _ in chosen], [name for _, name in chosen], loc="lower left", bbox_to_anchor=(-0.02, 0.98),
        title=title, ncols=len(chosen), alignment="left", borderpad=0, columnspacing=1,
    )  # fmt: skip
