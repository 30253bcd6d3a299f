"""Plots of a run, as SVG and as the matplotlib axes that it is drawn from."""

import re
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure

from resnet50.evaluation.plots import Line, Unit, draw, plot_by_epoch, style


def styled(epochs: Sequence[int], values: Sequence[float], unit: Unit = "plain", band: float | None = None) -> Axes:
    """Return the axes of a plot by epoch."""
    axes = Figure().add_subplot()
    around = None if band is None else np.full(len(epochs), band)
    draw(axes, epochs, Line("training", np.array(values, dtype=float), "train", band=around), scale=1)
    style(axes, epochs, unit)
    return axes


def ticks_in_view(low_high: tuple[float, float], ticks: np.ndarray) -> list[float]:
    low, high = low_high
    return [float(tick) for tick in ticks if low <= tick <= high]


def test_plot_takes_the_page_s_colors_and_counts_whole_epochs() -> None:
    values = np.linspace(1, 0.5, 30)
    svg = plot_by_epoch("Loss", range(1, 31), [Line("training", values, "train"), Line("validation", values, "val")], 7)
    assert svg.startswith("<svg viewBox=")
    assert "currentColor" in svg
    assert "var(--train)" in svg
    assert not re.search(r"#[0-9a-f]{6}[;\"]", svg)
    ticks = [float(t) for t in re.findall(r"text-anchor: middle[^>]*>([\d.]+)<", svg)]
    assert ticks
    assert all(tick == int(tick) and 1 <= tick <= 30 for tick in ticks)
    assert not re.search(r'(?<!xlink:href=")(?<!url\()\bid="(figure|axes|text|line2d)', svg)


def test_plotting_leaves_matplotlib_as_it_was() -> None:
    before = dict(mpl.rcParams)
    plot_by_epoch("Accuracy", [1], [Line("a", np.array([0.5]), "train", band=np.array([0.1]))], 1, "percent")
    assert dict(mpl.rcParams) == before


def test_up_to_eight_epochs_have_a_tick_each() -> None:
    eight = range(1, 23, 3)
    assert styled(eight, [1.0] * 8).get_xticks().tolist() == list(eight)
    nine = range(1, 26, 3)
    assert styled(nine, [1.0] * 9).get_xticks().tolist() != list(nine)


def test_one_epoch_stands_in_the_middle_and_several_fill_the_width() -> None:
    assert styled([3], [1.0]).get_xlim() == (2.5, 3.5)
    assert styled([1, 11], [1.0, 2.0]).get_xlim() == pytest.approx((0.7, 11.3))


def test_band_is_an_area_from_two_epochs_on_and_a_bar_for_one() -> None:
    (bar,) = styled([1], [0.5], band=0.1).collections
    assert isinstance(bar, LineCollection)
    (area,) = styled([1, 2], [0.5, 0.6], band=0.1).collections
    assert isinstance(area, PolyCollection)
    heights = np.asarray(area.get_paths()[0].vertices)[:, 1]
    assert (heights.min(), heights.max()) == pytest.approx((0.4, 0.7))


def test_logarithmic_axis_shows_a_decade_at_least_around_the_values() -> None:
    low, high = styled([1, 2], [1e-3, 2e-3], "log").get_ylim()
    assert high / low == pytest.approx(10)
    assert low * high == pytest.approx(2e-6)


def test_logarithmic_axis_names_more_than_decades_only_where_it_is_short() -> None:
    short, long = styled([1, 2], [1e-3, 2e-3], "log"), styled([1, 2], [1e-3, 1.0], "log")
    assert ticks_in_view(short.get_ylim(), short.get_yticks()) == pytest.approx([5e-4, 1e-3, 2e-3])
    assert ticks_in_view(long.get_ylim(), long.get_yticks()) == pytest.approx([1e-3, 1e-2, 1e-1, 1])


def best_label(best: int) -> str:
    """Return the opening tag of the text that marks the best epoch, of ten."""
    svg = plot_by_epoch("Loss", range(1, 11), [Line("training", np.linspace(1, 2, 10), "train")], best)
    (tag,) = re.findall(r"<text ([^>]*)>best<", svg)
    return tag


def test_best_epoch_is_named_on_the_side_with_more_room() -> None:
    assert "text-anchor: end" not in best_label(5)
    assert "text-anchor: end" in best_label(6)
