"""How the experiments' figures look: one palette, one size, bands for what differs between seeds."""

import io
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from resnet50.runtime.atomic import atomic_write

BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, GRAY = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#6b6b6b",
)  # fmt: skip
"""Okabe and Ito's colors, which color-blind people tell apart; lines differ in their dashes or markers as well."""

PLAIN, RESIDUAL = VERMILION, BLUE
"""The plain network and the residual one, in every figure."""

KIND_COLORS = {"fine-tuned": BLUE, "from scratch": VERMILION}
"""The two kinds of trained runs, in every figure."""

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
    """Draw in `STYLE` inside this context."""
    return rc_context(cast(Any, STYLE))


def new_figure(rows: int, columns: int, height: float, **ratios: Sequence[float]) -> tuple[Figure, np.ndarray]:
    """Return an empty figure of `WIDTH`×`height` inches and its axes, rows×columns; use it inside `style()`.

    Args:
        rows: of panels.
        columns: of panels.
        height: in inches.
        ratios: `width_ratios` and `height_ratios` of the panels.
    """
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, gridspec_kw=dict(ratios))


def save_svg(figure: Figure, path: Path) -> None:
    """Write a figure as SVG, whole or not at all; the same figure gives the same bytes."""
    file = io.StringIO()
    with style(), rc_context({"svg.fonttype": "none", "svg.hashsalt": path.stem}):
        figure.savefig(file, format="svg", facecolor="white", metadata={"Date": None, "Creator": None}, dpi=150)
    with atomic_write(path) as partial:
        partial.write_text(file.getvalue(), encoding="utf-8")


def spread(table: pd.DataFrame, by: str | list[str]) -> pd.DataFrame:
    """Return mean, min, max and count of `value` over everything but the columns `by`, in their order."""
    return table.groupby(by, sort=True)["value"].agg(["mean", "min", "max", "count"]).reset_index()


def band(
    axes: Axes, table: pd.DataFrame, x: str, label: str, color: str, dashes: Any = "-", marker: str | None = "o"
) -> None:
    """Draw the mean of `value` by `x` as a line, and from the smallest to the largest value as a band around it.

    Args:
        axes: to draw on.
        table: rows of one line, with several values (seeds, draws) for every x.
        x: column of the horizontal axis.
        label: in the legend.
        color: of line and band.
        dashes: of the line, so that it differs in more than color.
        marker: of its points.
    """
    rows = spread(table.replace([np.inf, -np.inf], np.nan).dropna(subset=["value"]), x)
    axes.plot(rows[x], rows["mean"], color=color, linestyle=dashes, marker=marker, label=label)
    axes.fill_between(rows[x], rows["min"], rows["max"], color=color, alpha=0.15, linewidth=0)
    if x == "epoch":
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
