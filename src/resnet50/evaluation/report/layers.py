"""The report's section about the layers: what `--observe` recorded, drawn and diagnosed."""

from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from resnet50.evaluation.diagnostics.layers import by_epoch, diagnose_layers
from resnet50.evaluation.plots import Floats, Line, Unit, plot_by_epoch, plot_by_layer
from resnet50.evaluation.report.images import hardest_images, unreadable
from resnet50.evaluation.report.record import RunRecord


def layers_section(run: RunRecord) -> dict[str, Any] | None:
    """Collect diagnoses, plots and the hardest training images; None if nothing was recorded."""
    if run.layers is None or run.layers.empty:
        return None
    hardest = hardest_images(run)
    return {
        "diagnoses": diagnose_layers(run.layers),
        "plots": [Markup(svg) for svg in layer_plots(run.layers)],  # noqa: S704  # our own SVG, its texts escaped
        "first": "before the first step" if run.layers["epoch"].min() == 0 else "in the first recorded epoch",
        "last": int(run.layers["epoch"].max()),
        "three": three_layers(run.layers),
        "hardest": hardest,
        "epochs": 0 if run.samples is None else run.samples["epoch"].nunique(),
        "unreadable": unreadable(hardest),
    }


def layer_plots(layers: pd.DataFrame) -> list[str]:
    """Draw gradients by layer, residuals by block, updates by epoch and, if there are any, dead channels by block."""
    updates = by_epoch(layers, "update_ratio")
    trained = [str(name) for name in updates.columns]
    gradients = by_epoch(layers, "gradient_norm")
    dead = by_epoch(layers, "dead_channels")
    plots = [
        first_and_last("Gradient norm", gradients[[name for name in trained if name in gradients.columns]], "log"),
        first_and_last("‖F(x)‖ / ‖x‖", by_epoch(layers, "residual_ratio"), "log"),
        plot_updates(updates.loc[updates.index > 0], three_layers(layers)),
        first_and_last("Dead channels", dead, "percent"),
    ]
    return [plot for plot in plots if plot]


def three_layers(layers: pd.DataFrame) -> dict[str, str]:
    """Choose the first, middle and last of the layers that have updates; none if no layer has."""
    names = [str(name) for name in by_epoch(layers, "update_ratio").columns]
    return {"first": names[0], "middle": names[len(names) // 2], "last": names[-1]} if names else {}


def plot_updates(updates: pd.DataFrame, chosen: dict[str, str]) -> str:
    """Draw the update ratios of a few layers by epoch; an empty string if there is nothing to draw."""
    updates = updates[list(chosen.values())]
    if not any_positive(updates):
        return ""
    lines = [
        Line(place, drawable(updates[layer], "log"), color, dashed=color == "val")
        for (place, layer), color in zip(chosen.items(), ("train", "val", "third"), strict=True)
    ]
    return plot_by_epoch("Update ratio", [int(epoch) for epoch in updates.index], lines, None, "log")


def first_and_last(title: str, table: pd.DataFrame, unit: Unit) -> str:
    """Draw the first and last row of a table with a column per layer; an empty string if there is nothing to draw."""
    if not any_positive(table):
        return ""
    names = {0: "at first"}
    lines = [
        Line(names.get(int(table.index[row]), f"epoch {table.index[row]}"), drawable(table.iloc[row], unit), *look)
        for row, look in zip(sorted({0, len(table) - 1}), (("val", True), ("train", False)), strict=False)
    ]
    return plot_by_layer(title, [str(name) for name in table.columns], lines, unit)


def drawable(values: pd.Series, unit: Unit) -> Floats:
    """Leave a gap where a logarithm is undefined."""
    return (values.where(values > 0) if unit == "log" else values).to_numpy(dtype=np.float64)


def any_positive(table: pd.DataFrame) -> bool:
    return bool((table.to_numpy(dtype=np.float64) > 0).any())
