"""The report's section about the layers, from records as `--observe` leaves them."""

import re

import pandas as pd

from resnet50.evaluation.report.layers import layer_plots

LAYERS = ("conv1", "layer1.0.conv1", "fc")


def record(epochs: range, **values: float) -> pd.DataFrame:
    """Return the table of a run: each quantity with the same value in every layer and epoch."""
    rows = [(epoch, layer, name, value) for epoch in epochs for name, value in values.items() for layer in LAYERS]
    return pd.DataFrame(rows, columns=["epoch", "layer", "quantity", "value"])


def words(svg: str) -> list[str]:
    return re.findall(r">([^<>\n]+)</text>", svg)


def plots(layers: pd.DataFrame) -> dict[str, list[str]]:
    """Return the texts of each plot, by its title."""
    titles = ("Gradient norm", "‖F(x)‖ / ‖x‖", "Update ratio", "Dead channels")
    found = [words(svg) for svg in layer_plots(layers)]
    return {title: texts for texts in found for title in titles if title in texts}


def test_updates_are_drawn_from_the_first_epoch_on() -> None:
    ticks = plots(record(range(4), update_ratio=1e-3))["Update ratio"]
    assert {"1", "2", "3"} < set(ticks)
    assert "0" not in ticks


def test_quantity_that_was_never_above_zero_has_no_plot() -> None:
    layers = record(range(3), gradient_norm=0.5, update_ratio=0.0, residual_ratio=0.0, dead_channels=0.0)
    assert list(plots(layers)) == ["Gradient norm"]
    layers = record(range(3), gradient_norm=0.5, update_ratio=1e-3, residual_ratio=0.8, dead_channels=0.1)
    assert list(plots(layers)) == ["Gradient norm", "‖F(x)‖ / ‖x‖", "Update ratio", "Dead channels"]
