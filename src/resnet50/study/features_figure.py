"""The figure of `features`, and the fields and similarities that it and the rules read."""

from itertools import product
from typing import Any, cast

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Rectangle

from resnet50.model.resnet import STAGES
from resnet50.study.experiment import Measured
from resnet50.study.figures import DASHED, DOTTED, GRAY, PURPLE, LineStyle, band, new_strips, style_of
from resnet50.study.tables import changes_shape, select, trained_networks, values_of
from resnet50.study.tiles import map_side

SEEDS = "two seeds"
"""Name of the pair of small networks in the table."""

WHOLE, HALVES = "all", ("first half", "second half")
"""Parts of the images that a CKA is computed on: the halves show the effect of chance."""


def draw(measured: Measured) -> Figure:
    figure, (top, middle, fields, below) = new_strips(10.2, (1.75, 2.9, 2.55, 3.0))
    kinds = trained_networks(measured.table)
    draw_way(top, measured.images, kinds[0])
    draw_filters_and_sizes(middle, measured, kinds)
    draw_field_maps(fields, measured, kinds)
    draw_similarity(below, measured.table, kinds)
    return figure


def draw_way(part: SubFigure, images: dict[str, np.ndarray], kind: str) -> None:
    part.suptitle(f"An image on its way through the network ({kind}): four maps of each stage", fontsize=9.5)
    names = ("picture", *STAGES)  # as stored
    for axes, name in zip(panels(part, len(names)), names, strict=True):
        image = images[f"{name} {kind}"]
        axes.imshow(image, interpolation="nearest")
        across = f"{image.shape[1]}×{image.shape[0]}" if name == "picture" else f"{map_side(image)}×{map_side(image)}"
        show_image(axes, f"{name}, {across}")


def draw_filters_and_sizes(part: SubFigure, measured: Measured, kinds: list[str]) -> None:
    *tiles, sizes = panels(part, len(kinds) + 1, [1.0] * len(kinds) + [1.45])
    for axes, kind in zip(tiles, kinds, strict=True):
        axes.imshow(measured.images[f"filters {kind}"], interpolation="nearest")
        show_image(axes, f"first filters, {kind}")
    for kind in kinds:
        rows = select(measured.table, network=kind, layer=STAGES)
        rows = rows.assign(stage=rows["layer"].map(STAGES.index))
        at_most, line = select(rows, quantity="theoretical_field", state="after"), style_of(kind)
        label = f"{kind}: theoretical"
        line.plot(sizes, at_most["stage"], at_most["value"], linestyle=":", marker="_", label=label)
        for state, dashes in (("before", DASHED), ("after", "-")):
            found = select(rows, quantity="effective_field", state=state)
            band(sizes, found, "stage", f"{kind}: effective, {state}", line._replace(dashes=dashes))
    sizes.set_yscale("log", base=2)
    ticks = [8, 16, 32, 64, 128, 256, 512]
    sizes.set_yticks(ticks, [str(tick) for tick in ticks])
    sizes.set_xticks(range(len(STAGES)), STAGES)
    sizes.legend(fontsize=7.5, loc="upper left", handlelength=2.6)
    sizes.set(ylabel="side of the receptive field (pixels)", ylim=(5, 2500), title="what one value depends on")


def draw_field_maps(part: SubFigure, measured: Measured, kinds: list[str]) -> None:
    """Draw the gradient maps of the last stage's central position, before and after training."""
    title = "What a value of layer4 depends on (square root of the gradient; dashed: theoretical field, solid: 95%)"
    part.suptitle(title, fontsize=9.5)
    cases = list(product(kinds, ("before", "after")))
    for axes, (kind, state) in zip(panels(part, len(cases)), cases, strict=True):
        image = measured.images[f"field {kind} {state}"]
        axes.imshow(np.sqrt(image), cmap="magma", interpolation="antialiased")
        for quantity, dashes in (("theoretical_field", (0, (3, 2))), ("effective_field", "-")):
            side = mean_field(measured.table, kind, state, "layer4", quantity)
            look: dict[str, Any] = {"fill": False, "edgecolor": "white", "linestyle": dashes, "linewidth": 1.2}
            corner = len(image) / 2 - side / 2
            axes.add_patch(Rectangle((corner, corner), side, side, **look))
        show_image(axes, f"{kind}, {state}", "" if len(image) == 0 else f"{len(image)} pixels across")


def draw_similarity(part: SubFigure, table: pd.DataFrame, kinds: list[str]) -> None:
    """Draw the CKA within networks, between two seeds, and between before and after."""
    places = panels(part, len(kinds) + 2, [1.0] * (len(kinds) + 1) + [1.1])
    image = None
    for axes, network in zip(places, [*kinds, SEEDS], strict=False):
        matrix = cka_matrix(table, network, "after", WHOLE)
        image = axes.imshow(matrix, vmin=0, vmax=1, origin="lower")
        axes.grid(visible=False)
        starts: list[int] = np.flatnonzero(changes_shape(matrix.index)).tolist()
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_ticks(starts, [str(matrix.index[start]).removeprefix("layer") for start in starts])
        two = network == SEEDS
        axes.set_title("two seeds, 18 layers" if two else f"within {network}", fontsize=8.5)
        axes.set(xlabel="block, seed 1" if two else "block", ylabel="block, seed 0" if two else "block")
    if image is not None:
        bar = part.colorbar(image, ax=places[:-1], location="bottom", shrink=0.4, aspect=30, pad=0.02)
        bar.set_label("CKA (linear, unbiased)")
    draw_lines(places[-1], table, kinds)


def draw_lines(axes: Axes, table: pd.DataFrame, kinds: list[str]) -> None:
    """Draw every block's similarity to itself before training, and to itself from another seed."""
    lines = [
        (kind, "both", "cka_before_after", f"{kind}: before, after", style_of(kind)._replace(dashes="-"))
        for kind in kinds
    ]
    lines += [
        (SEEDS, "before", "cka", "two seeds: untrained", LineStyle(GRAY, DOTTED, "^")),
        (SEEDS, "after", "cka", "two seeds: trained", LineStyle(PURPLE, DASHED, "^")),
    ]
    for network, state, quantity, label, line in lines:
        rows = select(table, network=network, state=state, quantity=quantity)
        rows = rows[rows["layer"] == rows["other"]]
        whole, *halves = (select(rows, part=part)["value"].to_numpy(float) for part in (WHOLE, *HALVES))
        depth = np.linspace(0, 1, len(whole))
        line.plot(axes, depth, whole, label=label)
        axes.fill_between(depth, np.minimum(*halves), np.maximum(*halves), color=line.color, alpha=0.15, linewidth=0)
    axes.set(xlabel="depth (first block 0, last 1)", ylabel="CKA of the same block")
    axes.set_ylim(-0.1, 1.75)
    axes.set_yticks(np.linspace(0, 1, 6))
    axes.legend(fontsize=7.5, loc="upper left", handlelength=2.6)


def panels(part: SubFigure, count: int, widths: list[float] | None = None) -> list[Axes]:
    axes = part.subplots(1, count, squeeze=False, gridspec_kw={"width_ratios": widths or [1.0] * count})
    return cast(list[Axes], list(axes[0]))


def cka_matrix(table: pd.DataFrame, network: str, state: str, part: str) -> pd.DataFrame:
    rows = select(table, network=network, state=state, quantity="cka", part=part)
    names = list(dict.fromkeys(rows["layer"]))
    return rows.pivot_table("value", "layer", "other").loc[names, names]


def mean_field(table: pd.DataFrame, network: str, state: str, stage: str, quantity: str) -> float:
    """Return a stage's field, the mean over the canvases; NaN where there is none."""
    return float(field_values(table, network, state, stage, quantity).mean())


def field_values(table: pd.DataFrame, network: str, state: str, stage: str, quantity: str) -> np.ndarray:
    return values_of(table, "part", network=network, state=state, layer=stage, quantity=quantity)


def show_image(axes: Axes, title: str, below: str = "") -> None:
    axes.set_title(title, fontsize=8.5)
    axes.set_xlabel(below, fontsize=8)
    axes.set(xticks=[], yticks=[])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
