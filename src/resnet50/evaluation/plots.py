"""A run's curves as SVG, drawn to stand inside the report: text and axes take the page's colors, light and dark."""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, ScalarFormatter, StrMethodFormatter

Floats = np.ndarray[tuple[int], np.dtype[np.float64]]
Unit = Literal["plain", "percent", "log"]

INK, GRID = "#010203", "#040506"
"""Stand-ins while drawing, replaced by the page's own colors in the SVG."""

COLORS = {"train": "#0072b2", "val": "#d55e00", "third": "#009e73"}
"""Blue, vermilion and green of Okabe and Ito's palette, which color-blind people tell apart; CSS may adjust them."""

WIDTH, HEIGHT = 4.0, 2.6
"""Inches. At 100 pixels an inch a plot fits a phone without shrinking its text."""

MARKED = 20
"""Epochs up to which each has its marker."""


@dataclass(frozen=True)
class Line:
    """A curve by epoch or by layer.

    Attributes:
        name: its entry in the legend.
        values: one per epoch or layer; gaps where not finite.
        color: a key of `COLORS`.
        dashed: so that lines differ in more than color.
        band: half-width of a shaded band around the values, one per epoch.
    """

    name: str
    values: Floats
    color: str
    dashed: bool = False
    band: Floats | None = None


def plot_by_epoch(
    title: str, epochs: Sequence[int], lines: Sequence[Line], best_epoch: int | None, unit: Unit = "plain"
) -> str:
    """Draw curves over epochs, the best epoch marked, as an SVG element to be put into HTML.

    The same numbers give the same text. Its colors are CSS: `currentColor`, `--grid` and `--train`, `--val`,
    `--third`.
    """
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": title, "font.size": 9, "font.family": "sans-serif"}):
        figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
        axes = figure.add_subplot()
        for line in lines:
            draw(axes, epochs, line, scale=100 if unit == "percent" else 1)
        style(axes, epochs, unit)
        axes.set_title(title, loc="left", fontsize=10, color=INK)
        if best_epoch is not None and best_epoch in epochs and len(epochs) > 1:
            axes.axvline(best_epoch, color=INK, linewidth=0.8, linestyle=(0, (1, 2)), zorder=0)
            left = best_epoch > (epochs[0] + epochs[-1]) / 2
            axes.annotate(
                "best", (best_epoch, 1), (-3 if left else 3, -2), xycoords=("data", "axes fraction"),
                textcoords="offset points", ha="right" if left else "left", va="top", fontsize=8, color=INK,
            )  # fmt: skip
        add_legend(axes, lines)
        return to_svg(figure, title)


def plot_by_layer(title: str, layers: Sequence[str], lines: Sequence[Line], unit: Unit = "plain") -> str:
    """Draw a value of every layer or block in the network's order, its stages named below, as `plot_by_epoch` does.

    Args:
        title: stands above.
        layers: names as in `network.named_modules()`, e.g. "layer3.5.conv1".
        lines: with a value per layer.
        unit: of the values.
    """
    positions = range(len(layers))
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": title, "font.size": 9, "font.family": "sans-serif"}):
        figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
        axes = figure.add_subplot()
        for line in lines:
            draw(axes, positions, line, scale=100 if unit == "percent" else 1)
        style(axes, positions, unit)
        stages = [name.split(".")[0].removeprefix("layer") for name in layers]
        starts = [i for i in positions if i == 0 or stages[i] != stages[i - 1]]
        middles = [(a + b - 1) / 2 for a, b in zip(starts, [*starts[1:], len(layers)], strict=True)]
        # The stem and the first stage are too close for two names.
        names = ["" if stages[i] == "conv1" else stages[i] for i in starts]
        axes.set_xticks(middles, names, parse_math=False)
        axes.set_xlabel("stage, in the order an image passes them", color=INK)
        for start in starts[1:]:
            axes.axvline(start - 0.5, color=GRID, linewidth=0.8, zorder=0)
        axes.set_title(title, loc="left", fontsize=10, color=INK)
        add_legend(axes, lines)
        return to_svg(figure, title)


def add_legend(axes: Axes, lines: Sequence[Line]) -> None:
    """Name the curves above the plot, if there is more than one."""
    if len(lines) > 1:
        legend = axes.legend(
            loc="lower right", bbox_to_anchor=(1, 1), ncols=len(lines), frameon=False, labelcolor=INK,
            borderpad=0, borderaxespad=0.3, handlelength=1.6, columnspacing=1.0, fontsize=9,
        )  # fmt: skip
        for text in legend.get_texts():
            text.set_parse_math(False)


def to_svg(figure: Figure, title: str) -> str:
    """Return a figure as an SVG element."""
    file = io.StringIO()
    figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return to_inline(file.getvalue(), title)


def draw(axes: Axes, epochs: Sequence[int], line: Line, scale: float) -> None:
    """Draw one curve, its values times `scale`, with markers while they can be told apart."""
    color, values = COLORS[line.color], scale * line.values
    axes.plot(
        epochs,
        np.where(np.isfinite(values), values, np.nan),
        color=color,
        linewidth=1.6,
        linestyle=(0, (4, 1.5)) if line.dashed else "-",
        marker=("s" if line.dashed else "o") if len(epochs) <= MARKED else None,
        markersize=4,
        label=line.name,
    )
    if line.band is not None:
        low, high = values - scale * line.band, values + scale * line.band
        if len(epochs) == 1:
            axes.vlines(epochs, low, high, color=color, linewidth=6, alpha=0.2)
        else:
            axes.fill_between(epochs, low, high, color=color, alpha=0.18, linewidth=0)


def style(axes: Axes, epochs: Sequence[int], unit: Unit) -> None:
    """Give axes whole epochs, few ticks, a quiet grid, and no box."""
    axes.set_xlabel("epoch", color=INK)
    if len(epochs) <= 8:
        axes.set_xticks(list(epochs))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, steps=[1, 2, 5, 10]))
    pad = 0.5 if len(epochs) == 1 else min(0.5, 0.03 * (epochs[-1] - epochs[0]))  # so that there is no epoch 0
    axes.set_xlim(epochs[0] - pad, epochs[-1] + pad)
    axes.margins(y=0.1)
    if unit == "percent":
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:.0f}%"))
    elif unit == "log":
        axes.set_yscale("log")
        low, high = axes.get_ylim()
        if high < 10 * low:  # a decade at least, so that small differences look small
            low, high = (low * high / 10) ** 0.5, (low * high * 10) ** 0.5
            axes.set_ylim(low, high)
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high < 30 * low else (1.0,), numticks=6))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    else:
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]))
        plain = ScalarFormatter(useOffset=False)
        plain.set_scientific(False)
        axes.yaxis.set_major_formatter(plain)
    axes.tick_params(colors=INK, length=0)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(INK)


def to_inline(svg: str, title: str) -> str:
    """Turn a matplotlib SVG file into an element: no prologue, fixed size, fonts or ids; colors of the page."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<defs>\s*<style.*?</defs>", "", svg, count=1, flags=re.DOTALL)  # it would style the whole page
    opening = rf'<svg viewBox="\1" role="img" aria-label="{title}">'
    svg = re.sub(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', opening, svg, count=1)
    svg = re.sub(r' id="[A-Za-z][\w.]*_\d+"', "", svg)  # figure_1 and the like, the same in every plot
    svg = re.sub(r"font-family: [^;\"]*; ?", "", svg)
    svg = svg.replace(INK, "currentColor").replace(GRID, "var(--grid)")
    for name, color in COLORS.items():
        svg = svg.replace(color, f"var(--{name})")
    return re.sub(r"\s*\n\s*", "\n", svg).strip()
