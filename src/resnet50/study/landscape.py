"""The loss around the weights: surfaces along filter-normalized directions, and sharpness."""

from itertools import product

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.contour import ContourSet
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter
from torch import Tensor

from resnet50.model.resnet import ResNet
from resnet50.options import Depth, ShortcutKind
from resnet50.runtime.stats import number, percent
from resnet50.study.curvature import LANCZOS_STEPS, TOLERANCE, curvature
from resnet50.study.experiment import Experiment, Measured, rule, rules_of
from resnet50.study.figures import GRAY, band, new_figure, style_of
from resnet50.study.lab import Lab, Plan
from resnet50.study.outcome import Outcome, agree, decide, span
from resnet50.study.pages import load_page
from resnet50.study.small import BATCH_SIZE, Setup, Watch, small_images, train_small, training_options
from resnet50.study.surface import along, filter_normalized_direction, mean_loss
from resnet50.study.tables import select, value_of, values_of

NETWORKS: dict[str, ShortcutKind] = {"plain": "none", "residual": "B"}

SURFACE_DEPTH: Depth = 34
"""Layers of the networks whose surface is drawn. A plain network of 50 layers would have to be better trained first."""

SHARPNESS_DEPTH: Depth = 18
"""Layers of the networks whose sharpness is followed: a Hessian-vector product costs several steps of training."""

REACH = 0.5
"""The surface reaches from −½ to ½: at ½ every filter has moved by half its length. Li et al. go to 1, with four times
as many points along a side as here; farther out these networks know nothing any more."""

COLUMNS = ["network", "depth", "seed", "epoch", "draw", "x", "y", "quantity", "value"]


def largest_stable_sharpness(lr: float, momentum: float) -> float:
    """Return 2/η·(1+β)/(1+2β): above it full-batch gradient descent with Nesterov's momentum diverges on a quadratic.

    Cohen et al. 2021, equation 1 and appendix B; without momentum it is 2/η, with Polyak's (2+2β)/η.
    """
    return (2 + 2 * momentum) / (1 + 2 * momentum) / lr


SHARPNESS_EPOCHS = 6
"""Epochs at which the sharpness is measured, evenly spaced from before the first step to the last."""


def sharpness_watch(lab: Lab) -> Watch:
    """Return a function that measures a network's curvature on a fixed batch of training images."""
    x, labels = fixed_images(lab)
    epochs = set(np.linspace(0, lab.plan.epochs, SHARPNESS_EPOCHS).round().astype(int).tolist())

    def watch(network: ResNet, epoch: int) -> dict[str, float]:
        if epoch not in epochs:
            return {}
        found = curvature(network, x, labels, lab.seed + epoch)
        return {"sharpness": found.largest, "smallest_eigenvalue": found.smallest, "sharpness_error": found.error}

    return watch


def image_count(plan: Plan) -> int:
    """Return how many images the loss is computed on: for the Hessian one batch, kept for a second backward pass."""
    return min(256, plan.looked_at // 3, plan.images)


def fixed_images(lab: Lab) -> tuple[Tensor, Tensor]:
    images, count = small_images(lab, "train"), image_count(lab.plan)
    x = lab.small_preprocess().normalize(images.pixels[:count].to(lab.device.torch_device))
    return x, images.labels[:count].to(lab.device.torch_device)


def measure_sharpness(lab: Lab) -> pd.DataFrame:
    """Train and follow the curvature; a row per network, epoch and quantity."""
    rows: list[pd.DataFrame] = []
    for name, kind in NETWORKS.items():
        setup = Setup(depth=SHARPNESS_DEPTH, shortcuts=kind, watched="sharpness")
        lab.step(f"{setup.name}: sharpness by epoch")
        trained = train_small(lab, setup, sharpness_watch(lab))
        tidy = trained.watched.melt("epoch", var_name="quantity").dropna(subset=["value"])
        edge = largest_stable_sharpness(setup.lr, training_options(lab, setup).momentum)
        tidy = pd.concat([tidy, pd.DataFrame({"quantity": ["stability_edge"], "value": [edge]})])
        rows.append(tidy.assign(network=name, depth=SHARPNESS_DEPTH, seed=setup.seed))
    return pd.concat(rows)


def measure_surface(lab: Lab, name: str) -> pd.DataFrame:
    """Return the loss around a trained network: on a grid, and along single directions.

    `surface_loss` at (x, y) of two directions, `profile_loss` at x along each of `plan.draws` others, `label_entropy`:
    the loss of guessing by the class frequencies.
    """
    setup = Setup(depth=SURFACE_DEPTH, shortcuts=NETWORKS[name])
    network = lab.to_device(train_small(lab, setup).network())
    x, labels = fixed_images(lab)
    generator = torch.Generator().manual_seed(lab.seed)

    def losses(points: list[tuple[float, ...]], dimensions: int) -> list[float]:
        directions = [filter_normalized_direction(network, generator) for _ in range(dimensions)]
        return along(network, directions, points, lambda: mean_loss(network, x, labels))

    coarse, fine = (np.linspace(-REACH, REACH, n).tolist() for n in (lab.plan.grid, 2 * lab.plan.grid - 1))
    grid = list(product(coarse, coarse))
    surface = pd.DataFrame(grid, columns=["x", "y"])
    rows = [surface.assign(quantity="surface_loss", value=losses(grid, 2))]
    for number_ in range(lab.plan.draws):
        values = losses([(step,) for step in fine], 1)
        rows.append(pd.DataFrame({"x": fine, "draw": number_, "quantity": "profile_loss", "value": values}))
    entropy = float(torch.special.entr(torch.bincount(labels).double() / len(labels)).sum())
    rows.append(pd.DataFrame({"quantity": ["label_entropy"], "value": [entropy]}))
    return pd.concat(rows).assign(network=name, depth=SURFACE_DEPTH, seed=setup.seed)


def measure(lab: Lab) -> Measured:
    rows: list[pd.DataFrame] = []
    for name in NETWORKS:
        lab.step(f"loss surface of the {name} network")
        rows.append(lab.keep(f"landscape/{name}", lambda name=name: measure_surface(lab, name)))
    return Measured(pd.concat([*rows, measure_sharpness(lab)]).reindex(columns=COLUMNS))


CONTOURS = np.geomspace(1 / 2, 16, 16)
"""Levels of the surface, in multiples of the loss at the center; what lies outside is clipped."""

TICKS = np.linspace(-REACH, REACH, 5)


def draw(measured: Measured) -> Figure:
    table = measured.table
    figure, axes = new_figure(2, 2, 7.2)
    surfaces, (profiles, sharp) = axes
    _, filled = (draw_surface(panel, table, name) for panel, name in zip(surfaces, NETWORKS, strict=True))
    bar = figure.colorbar(filled, ax=list(surfaces), label="loss ÷ loss at the center", shrink=0.9)
    bar.set_ticks([1 / 2, 1, 2, 4, 8, 16])
    bar.ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    bar.ax.minorticks_off()
    draw_profiles(profiles, table)
    draw_sharpness(sharp, table)
    return figure


def draw_surface(axes: Axes, table: pd.DataFrame, name: str) -> ContourSet:
    grid = select(table, network=name, quantity="surface_loss").pivot_table("value", "y", "x", dropna=False)
    center = grid.to_numpy(float)[len(grid) // 2, len(grid) // 2]
    clipped = np.nan_to_num(grid.to_numpy(float) / center, nan=np.inf).clip(CONTOURS[0], CONTOURS[-1])
    filled = axes.contourf(grid.columns, grid.index, clipped, levels=CONTOURS, norm="log")
    axes.contour(grid.columns, grid.index, clipped, levels=CONTOURS, colors="white", linewidths=0.5)
    axes.plot(0, 0, marker="+", color="white", markersize=9, markeredgewidth=1.6)
    axes.set(xlabel="step along direction 1", ylabel="step along direction 2", aspect="equal")
    axes.set(xticks=TICKS, yticks=TICKS, title=f"{name}, {SURFACE_DEPTH} layers: {center:.3f} nats at +")
    axes.grid(visible=False)
    return filled


def draw_profiles(axes: Axes, table: pd.DataFrame) -> None:
    for name in NETWORKS:
        steps, losses = profiles_of(table, name)
        for number_, profile in enumerate(losses / losses[:, [len(steps) // 2]]):
            label = None if number_ else f"{name}, {len(losses)} directions"
            style_of(name).plot(axes, steps, profile, marker="", linewidth=1.1, label=label)
    axes.axhline(2, color=GRAY, linestyle=":", linewidth=1)
    axes.set(xlabel="step along one direction", ylabel="loss ÷ loss at the center", yscale="log")
    axes.set_title("along single directions; dotted: the loss has doubled")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2)


def draw_sharpness(axes: Axes, table: pd.DataFrame) -> None:
    for name in NETWORKS:
        band(axes, select(table, network=name, quantity="sharpness"), "epoch", name)
    edge = value_of(table, quantity="stability_edge")
    axes.axhline(edge, color=GRAY, linestyle=":", label=f"edge of stability, {number(edge)}")
    axes.set(xlabel="epoch (0: before the first step)", ylabel="largest Hessian eigenvalue", yscale="log")
    axes.set_title(f"sharpness, {SHARPNESS_DEPTH} layers")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=3)


def profiles_of(table: pd.DataFrame, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the steps (P) and a network's losses along them (draws×P)."""
    rows = select(table, network=name, quantity="profile_loss")
    by_draw = rows.pivot_table("value", "draw", "x", dropna=False)
    return by_draw.columns.to_numpy(float), by_draw.to_numpy(float)


def reach(steps: np.ndarray, losses: np.ndarray, level: float) -> np.ndarray:
    """Return how far one can go, on the worse side, before the loss reaches a level; one per direction.

    Args:
        steps: from −r to r, evenly, with 0 in the middle.
        losses: directions×steps.
        level: in nats, above the loss in the middle.

    Returns:
        Steps, linear between the points; r where the loss stays below. A loss that is no number is above every level.
    """
    middle = len(steps) // 2
    losses = np.nan_to_num(losses, nan=1e9, posinf=1e9)
    sides = np.stack([losses[:, middle:], losses[:, middle::-1]], 1)
    return np.array([min(first_crossing(steps[middle:], side, level) for side in both) for both in sides])


def first_crossing(steps: np.ndarray, losses: np.ndarray, level: float) -> float:
    """Return the step, linear between points, at which the loss reaches a level; the last step if it doesn't."""
    above = np.flatnonzero(losses >= level)
    if not len(above):
        return float(steps[-1])
    end = above[0]
    return float(np.interp(level, losses[[max(0, end - 1), end]], steps[[max(0, end - 1), end]]))


def center_loss(table: pd.DataFrame, name: str) -> float:
    steps, losses = profiles_of(table, name)
    return float(losses[0, len(steps) // 2])


def doubling_distances(table: pd.DataFrame, name: str) -> np.ndarray:
    """Return how far one can go before a network's loss is twice that at the center, see `reach`."""
    return reach(*profiles_of(table, name), 2 * center_loss(table, name))


def forgetting_distances(table: pd.DataFrame, name: str) -> np.ndarray:
    """Return how far one can go before a network is no better than guessing by the class frequencies, see `reach`."""
    return reach(*profiles_of(table, name), label_entropy(table))


def label_entropy(table: pd.DataFrame) -> float:
    """Return the loss of guessing by the class frequencies, in nats."""
    return value_of(table, quantity="label_entropy")


BEND = 1e-3
"""A second difference counts as bending down when it exceeds this share of the loss at the center: above rounding."""


def bending_down(losses: np.ndarray) -> np.ndarray:
    """Return the share of a profile's inner points where it bends downwards: 0 for a convex one; one per direction.

    Args:
        losses: directions×steps, evenly spaced.
    """
    bends = losses[:, :-2] - 2 * losses[:, 1:-1] + losses[:, 2:]
    return (bends < -BEND * losses[:, [losses.shape[1] // 2]]).mean(axis=1)


def paired(plain: np.ndarray, residual: np.ndarray) -> Outcome:
    """Return seen if `residual` is larger in at least three quarters of all pairs, not seen if in at most a quarter.

    Every direction of one network is set against every one of the other: they belong to different weights.
    """
    share = ((residual[:, None] > plain[None, :]) + 0.5 * (residual[:, None] == plain[None, :])).mean()
    return decide(seen=bool(share >= MOST), not_seen=bool(share <= 1 - MOST))


MOST = 0.75
"""Share of pairs of directions that counts as most: with four directions each, three quarters come from a shift of
about one standard deviation."""

LEARNED = 0.9
"""A training has led somewhere if its loss is below this share of the labels' entropy."""


@rule
def both_have_learned(table: pd.DataFrame) -> tuple[Outcome, str]:
    """Note the loss at both centers, and whether it is clearly below that of guessing by the class frequencies.

    Around untrained weights the surface is flat because nothing has been learned.
    """
    entropy = label_entropy(table)
    centers = {name: center_loss(table, name) for name in NETWORKS}
    behind = [name for name, center in centers.items() if center > LEARNED * entropy]
    verdict = (
        f"Hardly anything learned, which makes a surface flat ({' and '.join(behind)}): compare with care"
        if behind
        else "Both networks have learned"
    )
    numbers = ", ".join(f"{name} {center:.3f}" for name, center in centers.items())
    return "note", (
        f"{verdict}. Loss at the center in nats: {numbers}; guessing by the class frequencies costs {entropy:.3f}."
    )


def distances_in_words(plain: np.ndarray, residual: np.ndarray) -> str:
    return (
        f"after a step of {residual.mean():.2f} with shortcuts ({span(residual, '.2f')} in {len(residual)} "
        f"directions), of {plain.mean():.2f} without ({span(plain, '.2f')})"
    )


@rule
def shortcuts_widen_the_valley(table: pd.DataFrame) -> tuple[Outcome, str]:
    """Li et al., section 6.1: seen if most directions go farther before the loss doubles, see `paired`."""
    plain, residual = doubling_distances(table, "plain"), doubling_distances(table, "residual")
    return paired(plain, residual), (
        f"The loss doubles {distances_in_words(plain, residual)}; a step of 1 moves every filter by its own length. A "
        "lower loss at the center doubles sooner."
    )


@rule
def shortcuts_keep_what_was_learned_farther(table: pd.DataFrame) -> tuple[Outcome, str]:
    """Seen if most directions go farther before the network is no better than guessing, see `paired`.

    The level is the same for both networks, whatever the loss at their centers.
    """
    plain, residual = forgetting_distances(table, "plain"), forgetting_distances(table, "residual")
    return paired(plain, residual), (
        f"The network is no better than guessing ({label_entropy(table):.3f} nats) "
        f"{distances_in_words(plain, residual)}."
    )


@rule
def shortcuts_make_it_more_convex(table: pd.DataFrame) -> tuple[Outcome, str]:
    """Li et al., section 6.1: seen if most directions bend down at fewer points with shortcuts, see `paired`."""
    plain, residual = (bending_down(profiles_of(table, name)[1]) for name in ("plain", "residual"))
    return paired(-plain, -residual), (
        f"Along a random direction the loss bends down at {percent(residual.mean())} of the points with shortcuts, at "
        f"{percent(plain.mean())} without ({len(plain)} directions each; a convex function never does)."
    )


def sharpness_of(table: pd.DataFrame, name: str) -> np.ndarray:
    return values_of(table, "epoch", network=name, quantity="sharpness")


@rule
def progressive_sharpening(table: pd.DataFrame) -> tuple[Outcome, str]:
    """Cohen et al., section 3.1: seen if both networks end sharper than they were at the first measurement in training.

    Not seen if neither does. The one before the first step doesn't count: large steps leave a sharp start at once.
    """
    courses = {name: sharpness_of(table, name)[1:] for name in NETWORKS}
    sharper = [course[-1] > course[0] for course in courses.values()]
    numbers = "; ".join(
        f"{name}: from {number(course[0])} over {number(course.min())} to {number(course[-1])}"
        for name, course in courses.items()
    )
    return agree(sharper), (
        f"Sharpness from the first measurement in training over the lowest to the last, {numbers} (one seed each)."
    )


@rule
def minibatches_stay_below_the_edge(table: pd.DataFrame) -> tuple[Outcome, str]:
    """Cohen et al., section 6: seen if both networks end below the edge of stability, not seen if neither does."""
    edge = value_of(table, quantity="stability_edge")
    ends = {name: sharpness_of(table, name)[-1] for name in NETWORKS}
    below = [end < edge for end in ends.values()]
    numbers = ", ".join(f"{name} {number(end)}, {number(end / edge)} of it" for name, end in ends.items())
    return agree(below), (
        f"Full-batch gradient descent would be stable up to a sharpness of {number(edge)}. After the last epoch: "
        f"{numbers}."
    )


def summarize(table: pd.DataFrame) -> pd.DataFrame:
    numbers = {
        "network": list(NETWORKS),
        "loss_at_center": [center_loss(table, name) for name in NETWORKS],
        "doubling_step": [doubling_distances(table, name).mean() for name in NETWORKS],
        "forgetting_step": [forgetting_distances(table, name).mean() for name in NETWORKS],
        "bending_down": [bending_down(profiles_of(table, name)[1]).mean() for name in NETWORKS],
        "first_sharpness": [sharpness_of(table, name)[0] for name in NETWORKS],
        "last_sharpness": [sharpness_of(table, name)[-1] for name in NETWORKS],
    }
    return pd.DataFrame(numbers)


EXPERIMENT = Experiment(
    load_page("landscape"),
    measure,
    draw,
    summarize,
    rules_of(__name__),
    details=lambda plan: {
        "surface_depth": SURFACE_DEPTH,
        "images": image_count(plan),
        "profile_points": 2 * plan.grid - 1,
        "sharpness_depth": SHARPNESS_DEPTH,
        "sharpness_epochs": SHARPNESS_EPOCHS,
        "lanczos_steps": LANCZOS_STEPS,
        "tolerance": percent(TOLERANCE),
        "batch": BATCH_SIZE,
    },
)

run = EXPERIMENT.run
