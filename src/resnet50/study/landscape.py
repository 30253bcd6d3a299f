"""What does the loss look like around the weights? Surfaces along filter-normalized directions, and sharpness."""

import copy
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.contour import ContourSet
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter
from torch import Tensor, nn

from resnet50.model.resnet import ResNet
from resnet50.options import Depth, ShortcutKind
from resnet50.runtime.stats import number, percent
from resnet50.study.experiment import Experiment, Measured, Observation, Outcome, Source
from resnet50.study.figures import GRAY, PLAIN, RESIDUAL, band, new_figure
from resnet50.study.lab import Lab, Plan
from resnet50.study.small import BATCH_SIZE, Setup, Watch, small_pictures, train_small, training_options

NETWORKS: dict[str, ShortcutKind] = {"plain": "none", "residual": "B"}

LOOKS = {"plain": (PLAIN, (0, (4, 1.5)), "s"), "residual": (RESIDUAL, "-", "o")}
"""Color, dashes and marker of a network."""

SURFACE_DEPTH: Depth = 34
"""Layers of the networks whose surface is drawn. A plain network of 50 layers would have to be better trained first."""

SHARPNESS_DEPTH: Depth = 18
"""Layers of the networks whose sharpness is followed: a Hessian-vector product costs several steps of training."""

REACH = 0.5
"""The surface reaches from −½ to ½: at ½ every filter has moved by half its length. Li et al. go to 1, with four times
as many points along a side as here; farther out these networks know nothing any more."""

LANCZOS_STEPS = 20
"""At most so many Hessian-vector products for one sharpness."""

TOLERANCE = 0.05
"""Relative error of the sharpness from which it is exact enough: what it is compared with differs by factors."""

COLUMNS = ["network", "depth", "seed", "epoch", "draw", "x", "y", "quantity", "value"]


def filter_normalized_direction(network: nn.Module, generator: torch.Generator) -> list[Tensor]:
    """Draw a random direction in the space of weights: a tensor like every parameter, in their order.

    Normal noise, each filter (each row, for a linear layer) scaled to the norm of the weights' own filter; zero for
    norms and biases (Li et al. 2018, arXiv 1712.09913, section 4).
    """
    direction: list[Tensor] = []
    for parameter in network.parameters():
        weight = parameter.detach()
        if weight.ndim <= 1:
            direction.append(torch.zeros_like(weight))
            continue
        noise = torch.randn(weight.shape, generator=generator).to(weight)
        norms = [tensor.flatten(1).norm(dim=1).view(-1, *[1] * (weight.ndim - 1)) for tensor in (weight, noise)]
        direction.append(noise * (norms[0] / norms[1]))
    return direction


@contextmanager
def moved(network: nn.Module, directions: Sequence[Sequence[Tensor]]) -> Generator[Callable[[Sequence[float]], None]]:
    """Yield a function that puts the weights at θ + Σ step·direction; θ is back, bit for bit, when the context ends."""
    parameters = list(network.parameters())
    center = [parameter.detach().clone() for parameter in parameters]

    @torch.no_grad()
    def move(steps: Sequence[float]) -> None:
        for number_, (parameter, weight) in enumerate(zip(parameters, center, strict=True)):
            parameter.copy_(weight)
            for step, direction in zip(steps, directions, strict=True):
                parameter.add_(direction[number_], alpha=step)

    try:
        yield move
    finally:
        with torch.no_grad():
            for parameter, weight in zip(parameters, center, strict=True):
                parameter.copy_(weight)


@torch.no_grad()
def mean_loss(network: nn.Module, x: Tensor, labels: Tensor, batch_size: int = 64) -> float:
    """Return the mean cross-entropy in nats (x: normalized images N×3×H×W, labels: N), the network as it stands."""
    parts = zip(x.split(batch_size), labels.split(batch_size), strict=True)
    return sum(float(F.cross_entropy(network(images), part, reduction="sum")) for images, part in parts) / len(x)


def along(
    network: nn.Module,
    directions: Sequence[Sequence[Tensor]],
    points: Sequence[tuple[float, ...]],
    loss: Callable[[], float],
) -> list[float]:
    """Return the loss at θ + Σ step·direction for every point, a step per direction."""
    values: list[float] = []
    with moved(network, directions) as move:
        for point in points:
            move(point)
            values.append(loss())
    return values


@dataclass(frozen=True)
class Curvature:
    """The ends of a Hessian's spectrum.

    Attributes:
        largest: eigenvalue, the sharpness.
        smallest: eigenvalue; the more negative, the less convex.
        error: bound of the largest one's, relative to it.
    """

    largest: float
    smallest: float
    error: float


def curvature(network: nn.Module, x: Tensor, labels: Tensor, seed: int) -> Curvature:
    """Return the ends of the spectrum of the Hessian of the mean cross-entropy over one batch, in all parameters.

    Lanczos' method (1950, J. Res. Nat. Bur. Stand. 45, 255–282), as in Cohen et al. 2021: power iteration that doesn't
    forget the vectors on its way, so it needs fewer of them and finds both ends. Hessian-vector products are the
    gradient of (gradient · v) (Pearlmutter 1994). The batch is taken as in training: norms use its statistics.
    The network is not changed.

    Args:
        network: any that can be differentiated twice.
        x: normalized images, N×3×H×W.
        labels: N.
        seed: of the first vector.
    """
    network = copy.deepcopy(network).train()
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    gradients = torch.autograd.grad(F.cross_entropy(network(x), labels), parameters, create_graph=True)
    gradient = torch.cat([part.flatten() for part in gradients])

    def product_with(vector: Tensor) -> Tensor:
        parts = torch.autograd.grad(gradient, parameters, vector, retain_graph=True, materialize_grads=True)
        return torch.cat([part.flatten() for part in parts])

    first = torch.randn(len(gradient), generator=torch.Generator().manual_seed(seed)).to(gradient)
    return lanczos(product_with, first)


def lanczos(product_with: Callable[[Tensor], Tensor], first: Tensor) -> Curvature:
    """Return the ends of the spectrum of a symmetric matrix known by its products, starting from a vector."""
    vectors = [first / first.norm()]
    diagonal: list[float] = []
    beside: list[float] = []
    while True:
        image = product_with(vectors[-1])
        diagonal.append(float(image @ vectors[-1]))
        for vector in vectors:  # against all: rounding would bring the first ones back
            image = image - (image @ vector) * vector
        beside.append(float(image.norm()))
        values, states = np.linalg.eigh(np.diag(diagonal) + np.diag(beside[:-1], 1) + np.diag(beside[:-1], -1))
        error = beside[-1] * abs(states[-1, -1]) / max(abs(values[-1]), 1e-12)
        exhausted = len(vectors) == len(first) or beside[-1] <= 1e-6 * max(map(abs, values))
        if error <= TOLERANCE or exhausted or len(vectors) == LANCZOS_STEPS:
            return Curvature(float(values[-1]), float(values[0]), float(error))
        vectors.append(image / beside[-1])


def largest_stable_sharpness(lr: float, momentum: float) -> float:
    """Return 2/η·(1+β)/(1+2β): above it full-batch gradient descent with Nesterov's momentum diverges on a quadratic.

    Cohen et al. 2021, equation 1 and appendix B; without momentum it is 2/η, with Polyak's (2+2β)/η.
    """
    return (2 + 2 * momentum) / (1 + 2 * momentum) / lr


SHARPNESS_LOOKS = 6
"""Epochs at which the sharpness is measured, spread evenly from before the first step to the last."""


def sharpness_watch(lab: Lab) -> Watch:
    """Return what looks at a network's curvature on a fixed batch of training pictures."""
    x, labels = fixed_pictures(lab)
    looks = set(np.linspace(0, lab.plan.epochs, SHARPNESS_LOOKS).round().astype(int).tolist())

    def watch(network: ResNet, epoch: int) -> dict[str, float]:
        if epoch not in looks:
            return {}
        found = curvature(network, x, labels, lab.seed + epoch)
        return {"sharpness": found.largest, "smallest_eigenvalue": found.smallest, "sharpness_error": found.error}

    return watch


def picture_count(plan: Plan) -> int:
    """Return how many pictures the loss is taken on: for the Hessian one batch, kept for a second backward."""
    return min(256, plan.looked_at // 3, plan.images)


def fixed_pictures(lab: Lab) -> tuple[Tensor, Tensor]:
    """Return the first `picture_count` training pictures, normalized, and their labels, on the lab's device."""
    pictures, count = small_pictures(lab, "train"), picture_count(lab.plan)
    x = lab.small_preprocess().normalize(pictures.pixels[:count].to(lab.device.torch_device))
    return x, pictures.labels[:count].to(lab.device.torch_device)


def measure_sharpness(lab: Lab) -> pd.DataFrame:
    """Train with a look at the curvature after every epoch; a row per network, epoch and quantity."""
    rows: list[pd.DataFrame] = []
    for name, kind in NETWORKS.items():
        setup = Setup(depth=SHARPNESS_DEPTH, shortcuts=kind, watched="sharpness")
        lab.step(f"{setup.name}: sharpness by epoch")
        trained = train_small(lab, setup, sharpness_watch(lab))
        tidy = trained.watched.melt("epoch", var_name="quantity", value_name="value").dropna(subset=["value"])
        options = training_options(lab, setup)
        assert options.lr is not None
        edge = pd.DataFrame(
            {"quantity": ["stability_edge"], "value": [largest_stable_sharpness(options.lr, options.momentum)]}
        )
        rows.append(pd.concat([tidy, edge]).assign(network=name, depth=SHARPNESS_DEPTH, seed=setup.seed))
    return pd.concat(rows)


def measure_surface(lab: Lab, name: str) -> pd.DataFrame:
    """Return the loss around a trained network: on a grid, and along single directions.

    `surface_loss` at (x, y) of two directions, `profile_loss` at x along each of `plan.draws` others, `label_entropy`:
    the loss of whoever only knows how frequent the classes are.
    """
    setup = Setup(depth=SURFACE_DEPTH, shortcuts=NETWORKS[name])
    network = lab.to_device(train_small(lab, setup).network())
    x, labels = fixed_pictures(lab)
    generator = torch.Generator().manual_seed(lab.seed)
    pair = [filter_normalized_direction(network, generator) for _ in range(2)]
    steps = np.linspace(-REACH, REACH, lab.plan.grid).tolist()
    points = list(product(steps, steps))
    surface = pd.DataFrame(points, columns=["x", "y"]).assign(
        quantity="surface_loss", value=along(network, pair, points, lambda: mean_loss(network, x, labels))
    )
    fine = np.linspace(-REACH, REACH, 2 * lab.plan.grid - 1).tolist()
    rows = [surface]
    for draw_ in range(lab.plan.draws):
        direction = filter_normalized_direction(network, generator)
        values = along(network, [direction], [(step,) for step in fine], lambda: mean_loss(network, x, labels))
        rows.append(pd.DataFrame({"x": fine, "draw": draw_, "quantity": "profile_loss", "value": values}))
    shares = torch.bincount(labels).double() / len(labels)
    rows.append(pd.DataFrame({"quantity": ["label_entropy"], "value": [float(torch.special.entr(shares).sum())]}))
    return pd.concat(rows).assign(network=name, depth=SURFACE_DEPTH, seed=setup.seed)


def measure(lab: Lab) -> Measured:
    """Measure surfaces, profiles, and sharpness by epoch; see `COLUMNS`."""
    rows: list[pd.DataFrame] = []
    for name in NETWORKS:
        lab.step(f"loss surface of the {name} network")
        rows.append(lab.keep(f"landscape/{name}", lambda name=name: measure_surface(lab, name)))
    return Measured(pd.concat([*rows, measure_sharpness(lab)]).reindex(columns=COLUMNS))


CONTOURS = np.geomspace(1 / 2, 16, 16)
"""Levels of the surface, in multiples of the loss at the center; what lies outside is clipped."""


TICKS = np.linspace(-REACH, REACH, 5)


def draw(measured: Measured) -> Figure:
    """Draw both surfaces with the same levels, the profiles, and the sharpness by epoch beside the edge."""
    table = measured.table
    figure, axes = new_figure(2, 2, 7.2)
    (plain, residual), (profiles, sharp) = axes
    filled = None
    for panel, name in ((plain, "plain"), (residual, "residual")):
        filled = draw_surface(panel, table[table["network"] == name], f"{name}, {SURFACE_DEPTH} layers")
    assert filled is not None
    bar = figure.colorbar(filled, ax=[plain, residual], label="loss ÷ loss at the center", shrink=0.9)
    bar.set_ticks([1 / 2, 1, 2, 4, 8, 16])
    bar.ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    bar.ax.minorticks_off()
    draw_profiles(profiles, table[table["quantity"] == "profile_loss"])
    draw_sharpness(sharp, table)
    return figure


def draw_surface(axes: Axes, rows: pd.DataFrame, title: str) -> ContourSet:
    """Draw a surface as filled contours on a logarithmic scale; returns them, for the color bar."""
    grid = rows[rows["quantity"] == "surface_loss"].pivot_table("value", "y", "x", dropna=False)
    size = len(grid) // 2
    ratio = np.nan_to_num(grid.to_numpy(float) / grid.to_numpy(float)[size, size], nan=np.inf)
    clipped = ratio.clip(CONTOURS[0], CONTOURS[-1])
    filled = axes.contourf(grid.columns, grid.index, clipped, levels=CONTOURS, norm="log")
    axes.contour(grid.columns, grid.index, clipped, levels=CONTOURS, colors="white", linewidths=0.5)
    axes.plot(0, 0, marker="+", color="white", markersize=9, markeredgewidth=1.6)
    axes.set(
        xlabel="step along direction 1", ylabel="step along direction 2", aspect="equal", xticks=TICKS, yticks=TICKS
    )
    axes.set_title(f"{title}: {grid.to_numpy(float)[size, size]:.3f} nats at +")
    axes.grid(visible=False)
    return filled


def draw_profiles(axes: Axes, rows: pd.DataFrame) -> None:
    """Draw the loss along every single direction, over that at the center."""
    for name, (color, dashes, _) in LOOKS.items():
        for number_, (_, profile) in enumerate(rows[rows["network"] == name].groupby("draw")):
            values = profile["value"].to_numpy(float)
            label = f"{name}, {rows['draw'].nunique()} directions" if number_ == 0 else None
            axes.plot(
                profile["x"],
                values / values[len(values) // 2],
                color=color,
                linestyle=dashes,
                linewidth=1.1,
                label=label,
            )
    axes.axhline(2, color=GRAY, linestyle=":", linewidth=1)
    axes.set(xlabel="step along one direction", ylabel="loss ÷ loss at the center", yscale="log")
    axes.set_title("along single directions; dotted: the loss has doubled")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2)


def draw_sharpness(axes: Axes, table: pd.DataFrame) -> None:
    """Draw the largest Hessian eigenvalue by epoch, and the edge of stability."""
    rows = table[table["quantity"] == "sharpness"]
    for name, (color, dashes, marker) in LOOKS.items():
        band(axes, rows[rows["network"] == name], "epoch", name, color, dashes, marker)
    edge = table[table["quantity"] == "stability_edge"]["value"].iloc[0]
    axes.axhline(edge, color=GRAY, linestyle=":", label=f"edge of stability, {number(edge)}")
    axes.set(xlabel="epoch (0: before the first step)", ylabel="largest Hessian eigenvalue", yscale="log")
    axes.set_title(f"sharpness, {SHARPNESS_DEPTH} layers")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=3)


def profiles_of(table: pd.DataFrame, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the steps (P) and a network's losses along them (draws×P)."""
    rows = table[(table["network"] == name) & (table["quantity"] == "profile_loss")]
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
    return np.array(
        [
            min(first_crossing(steps[middle:], side, level) for side in (profile[middle:], profile[middle::-1]))
            for profile in losses
        ]
    )


def first_crossing(steps: np.ndarray, losses: np.ndarray, level: float) -> float:
    """Return the step, linear between points, at which the loss reaches a level; the last step if it doesn't."""
    above = np.flatnonzero(losses >= level)
    if len(above) == 0 or above[0] == 0:
        return float(steps[-1] if len(above) == 0 else steps[0])
    end = above[0]
    share = (level - losses[end - 1]) / (losses[end] - losses[end - 1])
    return float(steps[end - 1] + share * (steps[end] - steps[end - 1]))


def doubling_distances(table: pd.DataFrame, name: str) -> np.ndarray:
    """Return how far one can go before a network's loss is twice that at the center, see `reach`."""
    steps, losses = profiles_of(table, name)
    return reach(steps, losses, 2 * losses[0, len(steps) // 2])


def forgetting_distances(table: pd.DataFrame, name: str) -> np.ndarray:
    """Return how far one can go before a network is no better than guessing by classes' frequencies, see `reach`."""
    return reach(*profiles_of(table, name), label_entropy(table))


def label_entropy(table: pd.DataFrame) -> float:
    """Return the loss of guessing by the classes' frequencies, in nats."""
    return float(table[table["quantity"] == "label_entropy"]["value"].iloc[0])


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
    return "seen" if share >= MOST else "not seen" if share <= 1 - MOST else "undecided"


MOST = 0.75
"""Share of pairs of directions that counts as most: with four directions each, three quarters come from a shift of
about one standard deviation."""

LEARNED = 0.9
"""A training has led somewhere if its loss is below this share of the labels' entropy."""


def both_have_learned(table: pd.DataFrame) -> Observation:
    """Note the loss at both centers, and whether it is clearly below that of guessing by the classes' frequencies.

    Around weights that know nothing the surface is that of the class frequencies, and flat for a bad reason.
    """
    entropy = label_entropy(table)
    centers = {name: float(profiles_of(table, name)[1][0, len(profiles_of(table, name)[0]) // 2]) for name in NETWORKS}
    behind = [name for name, center in centers.items() if center > LEARNED * entropy]
    verdict = (
        f"Hardly anything learned, which makes a surface flat ({' and '.join(behind)}): compare with care"
        if behind
        else "Both networks have learned"
    )
    numbers = ", ".join(f"{name} {center:.3f}" for name, center in centers.items())
    return Observation(
        "both_have_learned", "note",
        f"{verdict}. Loss at the center in nats: {numbers}; guessing by the classes' frequencies costs {entropy:.3f}.",
    )  # fmt: skip


def distances_in_words(plain: np.ndarray, residual: np.ndarray) -> str:
    """Return both networks' distances with their ranges."""
    return (
        f"after a step of {residual.mean():.2f} with shortcuts ({residual.min():.2f} to {residual.max():.2f} in "
        f"{len(residual)} directions), of {plain.mean():.2f} without ({plain.min():.2f} to {plain.max():.2f})"
    )


def shortcuts_widen_the_valley(table: pd.DataFrame) -> Observation:
    """Li et al., section 6.1: seen if most directions go farther before the loss doubles, see `paired`."""
    plain, residual = doubling_distances(table, "plain"), doubling_distances(table, "residual")
    return Observation(
        "shortcuts_widen_the_valley",
        paired(plain, residual),
        f"The loss has doubled {distances_in_words(plain, residual)}; 1 moves every filter by its own length. Whoever "
        "starts from a lower loss doubles it sooner.",
    )


def shortcuts_keep_what_was_learned_farther(table: pd.DataFrame) -> Observation:
    """Seen if most directions go farther before the network is no better than guessing, see `paired`.

    The level is the same for both networks, whatever the loss at their centers.
    """
    plain, residual = forgetting_distances(table, "plain"), forgetting_distances(table, "residual")
    return Observation(
        "shortcuts_keep_what_was_learned_farther",
        paired(plain, residual),
        f"The network is no better than guessing ({label_entropy(table):.3f} nats) "
        f"{distances_in_words(plain, residual)}.",
    )


def shortcuts_make_it_more_convex(table: pd.DataFrame) -> Observation:
    """Li et al., section 6.1: seen if most directions bend down at fewer points with shortcuts, see `paired`."""
    plain, residual = (bending_down(profiles_of(table, name)[1]) for name in ("plain", "residual"))
    return Observation(
        "shortcuts_make_it_more_convex",
        paired(-plain, -residual),
        f"Along a random direction the loss bends down at {percent(residual.mean())} of the points with shortcuts, at "
        f"{percent(plain.mean())} without ({len(plain)} directions each; a convex function never does).",
    )


def sharpness_of(table: pd.DataFrame, name: str) -> np.ndarray:
    """Return a network's sharpness by epoch."""
    rows = table[(table["network"] == name) & (table["quantity"] == "sharpness")]
    return rows.sort_values("epoch")["value"].to_numpy(float)


def progressive_sharpening(table: pd.DataFrame) -> Observation:
    """Cohen et al., section 3.1: seen if both networks end sharper than they were at the first look in training.

    Not seen if neither does. The look before the first step doesn't count: large steps leave sharp beginnings at once.
    """
    courses = {name: sharpness_of(table, name)[1:] for name in NETWORKS}
    sharper = [course[-1] > course[0] for course in courses.values()]
    outcome: Outcome = "seen" if all(sharper) else "undecided" if any(sharper) else "not seen"
    numbers = "; ".join(
        f"{name}: from {number(course[0])} over {number(course.min())} to {number(course[-1])}"
        for name, course in courses.items()
    )
    return Observation(
        "progressive_sharpening", outcome,
        f"From the first look in training over the lowest to the last the sharpness goes, {numbers} (one seed each).",
    )  # fmt: skip


def minibatches_stay_below_the_edge(table: pd.DataFrame) -> Observation:
    """Cohen et al., section 6: seen if both networks end below the edge of stability, not seen if neither does."""
    edge = float(table[table["quantity"] == "stability_edge"]["value"].iloc[0])
    ends = {name: sharpness_of(table, name)[-1] for name in NETWORKS}
    below = [end < edge for end in ends.values()]
    outcome: Outcome = "seen" if all(below) else "undecided" if any(below) else "not seen"
    numbers = ", ".join(f"{name} {number(end)}, {number(end / edge)} of it" for name, end in ends.items())
    return Observation(
        "minibatches_stay_below_the_edge", outcome,
        f"Full-batch descent would be stable up to a sharpness of {number(edge)}. After the last epoch: {numbers}.",
    )  # fmt: skip


def read(table: pd.DataFrame) -> list[Observation]:
    """Read the numbers."""
    return [
        both_have_learned(table),
        shortcuts_widen_the_valley(table),
        shortcuts_keep_what_was_learned_farther(table),
        shortcuts_make_it_more_convex(table),
        progressive_sharpening(table),
        minibatches_stay_below_the_edge(table),
    ]


def summarize(table: pd.DataFrame) -> pd.DataFrame:
    """Return what the reading rests on, a row per network."""
    rows: list[dict[str, object]] = []
    for name in NETWORKS:
        steps, losses = profiles_of(table, name)
        course = sharpness_of(table, name)
        rows.append(
            {
                "network": name,
                "loss_at_center": losses[0, len(steps) // 2],
                "doubling_step": doubling_distances(table, name).mean(),
                "forgetting_step": forgetting_distances(table, name).mean(),
                "bending_down": bending_down(losses).mean(),
                "first_sharpness": course[0],
                "last_sharpness": course[-1],
            }
        )
    return pd.DataFrame(rows)


def setting(plan: Plan) -> str:
    """Say what is done here."""
    return (
        f"The surface: networks of {SURFACE_DEPTH} layers trained for {plan.epochs} epochs on {plan.images} pictures "
        f"of {plan.size} pixels, looked at on {picture_count(plan)} of these; {plan.grid}×{plan.grid} points, and "
        f"{plan.draws} single directions of {2 * plan.grid - 1} points. As in Li et al.'s code, norms and biases don't "
        "move and batch norms keep the statistics of training; steps reach half as far as the paper's. Its networks "
        "were trained to the end (ResNet-56 and -110 on CIFAR-10, 51×51 points): with so few steps as here both are "
        "still on their way down, and a valley "
        f"that is still being entered is not the minimum's. Sharpness: networks of {SHARPNESS_DEPTH} layers, one seed, "
        f"at {SHARPNESS_LOOKS} epochs, on {picture_count(plan)} pictures as one batch with the batch's own statistics; "
        f"at most {LANCZOS_STEPS} Lanczos steps, to {percent(TOLERANCE)}. Trained by minibatches of {BATCH_SIZE} with "
        "Nesterov's momentum of 0.9; the edge of stability is a law of full-batch descent."
    )


EXPERIMENT = Experiment(
    name="landscape",
    title="The loss landscape",
    question="What do shortcuts do to the surface that training descends?",
    claim="Without shortcuts the loss around the trained weights of a deep network is chaotic: steep, with many bends; "
    "with them it is smooth and nearly convex far around, which is why they can be trained (Li et al.). Full-batch "
    "gradient descent drives the sharpness, the largest eigenvalue of the Hessian, up to 2/η and stays there, at the "
    "edge of stability; with Nesterov's momentum β the edge is (2+2β)/(1+2β)/η, with Polyak's (2+2β)/η. Minibatches "
    "keep the sharpness below it, the more so the smaller they are (Cohen et al.).",
    setting=setting,
    caption="Above: the loss as a multiple of that at the trained weights (+), on the plane of two random "
    "filter-normalized directions, the same colors for both networks; from 16 times on it is clipped. Below left: the "
    "same along single random directions. Below right: the largest eigenvalue of the Hessian during training, and the "
    "sharpness above which full-batch descent with this rate and momentum would diverge.",
    sources=(
        Source(
            "Li, Xu, Taylor, Studer and Goldstein", 2018, "Visualizing the Loss Landscape of Neural Nets", "1712.09913",
            "sections 4 and 6",
        ),
        Source(
            "Cohen, Kaur, Li, Kolter and Talwalkar", 2021, "Gradient Descent on Neural Networks Typically Occurs at "
            "the Edge of Stability", "2103.00065", "sections 3 and 6, equation 1",
        ),
    ),
    measure=measure,
    draw=draw,
    summarize=summarize,
    read=read,
)  # fmt: skip

run = EXPERIMENT.run
