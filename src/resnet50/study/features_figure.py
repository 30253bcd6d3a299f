"""The figure of `features`, and the fields and similarities that it and the rules read."""

from itertools import product
from typing import cast

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Rectangle

from resnet50.model.resnet import STAGES
from resnet50.study.experiment import Measured
from resnet50.study.figures import DASHED, DOTTED, GRAY, PURPLE, LineStyle, band, new_strips, style_of
from resnet50.study.tables import select, trained_networks, values_of
from resnet50.study.tiles import map_side

SEEDS = "two seeds"
"""Name of the pair of small networks in the table."""


WHOLE, HALVES = "all", ("first half", "second half")
"""Parts of the images that a CKA is computed on: the halves show the effect of chance."""


def draw(measured: Measured) -> Figure:
    """Draw an image's way, the first filters and fields, the last stage's fields as maps, and the similarities."""
    figure, (top, middle, fields, below) = new_strips(10.2, (1.75, 2.9, 2.55, 3.0))
    kinds = trained_networks(measured.table)
    draw_way(top, measured.images, kinds[0])
    draw_filters_and_sizes(middle, measured, kinds)
    draw_field_maps(fields, measured, kinds)
    draw_similarity(below, measured.table, kinds)
    return figure


def draw_way(part: SubFigure, images: dict[str, np.ndarray], kind: str) -> None:
    """Draw an image and feature maps of each stage of one network."""
    part.suptitle(f"An image on its way through the network ({kind}): four maps of each stage", fontsize=9.5)
    names = ("picture", *STAGES)  # as stored
    for axes, name in zip(panels(part, len(names)), names, strict=True):
        image = images[f"{name} {kind}"]
        axes.imshow(image, interpolation="nearest")
        across = f"{image.shape[1]}×{image.shape[0]}" if name == "picture" else f"{map_side(image)}×{map_side(image)}"
        show_image(axes, f"{name}, {across}")


def draw_filters_and_sizes(part: SubFigure, measured: Measured, kinds: list[str]) -> None:
    """Draw the first filters of every run, and the fields' sizes by stage."""
    *tiles, sizes = panels(part, len(kinds) + 1, [1.0] * len(kinds) + [1.45])
    for axes, kind in zip(tiles, kinds, strict=True):
        axes.imshow(measured.images[f"filters {kind}"], interpolation="nearest")
        show_image(axes, f"first filters, {kind}")
    for kind in kinds:
        rows = measured.table[measured.table["network"] == kind]
        color, _, marker = style_of(kind)
        at_most = select(rows, quantity="theoretical_field", state="after")
        sizes.plot(*by_stage(at_most), color=color, linestyle=":", marker="_", label=f"{kind}: theoretical")
        for state, dashes in (("before", DASHED), ("after", "-")):
            found = select(rows, quantity="effective_field", state=state)
            found = found.assign(stage=found["layer"].map(STAGES.index))
            band(sizes, found, "stage", f"{kind}: effective, {state}", LineStyle(color, dashes, marker))
    sizes.set_yscale("log", base=2)
    sizes.set_yticks([8, 16, 32, 64, 128, 256, 512], ["8", "16", "32", "64", "128", "256", "512"])
    sizes.set_xticks(range(len(STAGES)), STAGES)
    sizes.set_ylabel("side of the receptive field (pixels)")
    sizes.legend(fontsize=7.5, loc="upper left", handlelength=2.6)
    sizes.set_ylim(5, 2500)
    sizes.set_title("what one value depends on")


def by_stage(rows: pd.DataFrame) -> tuple[list[int], list[float]]:
    """Return stages by number, and the values."""
    return [STAGES.index(str(stage)) for stage in rows["layer"]], rows["value"].tolist()


def draw_field_maps(part: SubFigure, measured: Measured, kinds: list[str]) -> None:
    """Draw the gradient maps of the last stage's central position, before and after training."""
    part.suptitle(
        "What a value of layer4 depends on (square root of the gradient; dashed: theoretical field, solid: 95%)",
        fontsize=9.5,
    )
    cases = list(product(kinds, ("before", "after")))
    for axes, (kind, state) in zip(panels(part, len(cases)), cases, strict=True):
        image = measured.images[f"field {kind} {state}"]
        axes.imshow(np.sqrt(image), cmap="magma", interpolation="antialiased")
        center = len(image) / 2
        for quantity, dashes in (("theoretical_field", (0, (3, 2))), ("effective_field", "-")):
            side = mean_field(measured.table, kind, state, "layer4", quantity)
            corner = (center - side / 2, center - side / 2)
            axes.add_patch(
                Rectangle(corner, side, side, fill=False, edgecolor="white", linestyle=dashes, linewidth=1.2)
            )
        show_image(axes, f"{kind}, {state}", "" if len(image) == 0 else f"{len(image)} pixels across")


def draw_similarity(part: SubFigure, table: pd.DataFrame, kinds: list[str]) -> None:
    """Draw the CKA within networks, between two seeds, and between before and after."""
    places = panels(part, len(kinds) + 2, [1.0] * (len(kinds) + 1) + [1.1])
    image = None
    for axes, network in zip(places, [*kinds, SEEDS], strict=False):
        matrix = cka_matrix(table, network, "after", WHOLE)
        image = axes.imshow(matrix, vmin=0, vmax=1, origin="lower")
        axes.grid(visible=False)
        names = [str(name).removeprefix("layer") for name in matrix.index]
        starts = [number for number, name in enumerate(names) if name.endswith(".0")]
        axes.set_xticks(starts, [names[number] for number in starts])
        axes.set_yticks(starts, [names[number] for number in starts])
        axes.set_title("two seeds, 18 layers" if network == SEEDS else f"within {network}", fontsize=8.5)
        axes.set_xlabel("block, seed 1" if network == SEEDS else "block")
        axes.set_ylabel("block, seed 0" if network == SEEDS else "block")
    if image is not None:
        bar = part.colorbar(image, ax=places[:-1], location="bottom", shrink=0.4, aspect=30, pad=0.02)
        bar.set_label("CKA (linear, unbiased)")
    draw_lines(places[-1], table, kinds)


def draw_lines(axes: Axes, table: pd.DataFrame, kinds: list[str]) -> None:
    """Draw every block's similarity to itself before training, and to itself from another seed."""
    lines = [(kind, "both", "cka_before_after", f"{kind}: before, after", style_of(kind).color, "-") for kind in kinds]
    lines += [
        (SEEDS, "before", "cka", "two seeds: untrained", GRAY, DOTTED),
        (SEEDS, "after", "cka", "two seeds: trained", PURPLE, DASHED),
    ]
    for network, state, quantity, label, color, dashes in lines:
        rows = select(table, network=network, state=state, quantity=quantity)
        rows = rows[rows["layer"] == rows["other"]]
        whole, *halves = (select(rows, part=part)["value"].to_numpy(float) for part in (WHOLE, *HALVES))
        depth = np.linspace(0, 1, len(whole))
        axes.plot(depth, whole, color=color, linestyle=dashes, marker=style_of(network).marker, label=label)
        axes.fill_between(depth, np.minimum(*halves), np.maximum(*halves), color=color, alpha=0.15, linewidth=0)
    axes.set(xlabel="depth (first block 0, last 1)", ylabel="CKA of the same block")
    axes.set_ylim(-0.1, 1.75)
    axes.set_yticks(np.linspace(0, 1, 6))
    axes.legend(fontsize=7.5, loc="upper left", handlelength=2.6)


def panels(part: SubFigure, count: int, widths: list[float] | None = None) -> list[Axes]:
    """Return panels beside each other."""
    axes = part.subplots(1, count, squeeze=False, gridspec_kw={"width_ratios": widths or [1.0] * count})
    return cast(list[Axes], list(axes[0]))


def cka_matrix(table: pd.DataFrame, network: str, state: str, part: str) -> pd.DataFrame:
    """Return a CKA of all pairs of blocks, in the order an image passes them."""
    rows = select(table, network=network, state=state, quantity="cka", part=part)
    names = list(dict.fromkeys(rows["layer"]))
    return rows.pivot_table("value", "layer", "other").loc[names, names]


def mean_field(table: pd.DataFrame, network: str, state: str, stage: str, quantity: str) -> float:
    """Return a stage's field, the mean over the canvases; NaN where there is none."""
    return float(field_values(table, network, state, stage, quantity).mean())


def field_values(table: pd.DataFrame, network: str, state: str, stage: str, quantity: str) -> np.ndarray:
    """Return a quantity of a stage's field, a value per canvas."""
    return values_of(table, "part", network=network, state=state, layer=stage, quantity=quantity)


def show_image(axes: Axes, title: str, below: str = "") -> None:
    """Remove ticks and lines from a panel that shows an image."""
    axes.set_title(title, fontsize=8.5)
    axes.set_xlabel(below, fontsize=8)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
