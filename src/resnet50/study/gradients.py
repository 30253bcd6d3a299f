"""Does the signal reach the first layers: gradient norms and activation variances by block, shattered gradients."""

import dataclasses
import math
from itertools import product
from typing import Any, cast

import numpy as np
import pandas as pd
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy import stats
from torch import Tensor, nn

from resnet50.model.hooks import block_names, output_with_gradient, record
from resnet50.model.resnet import ResNet
from resnet50.runtime.stats import number
from resnet50.study.experiment import Experiment, Measured, rule, rules_of
from resnet50.study.figures import BLUE, DASHED, DOTTED, GRAY, PURPLE, VERMILION, LineStyle, band, new_figure, style_of
from resnet50.study.lab import Lab, Plan
from resnet50.study.outcome import Outcome, agree, span
from resnet50.study.pages import load_page
from resnet50.study.shattering import LAGS, POINTS, REACH, brown_autocorrelation, measure_shattering
from resnet50.study.small import BATCH_SIZE, Setup, make_network, small_images, train_small
from resnet50.study.tables import last_epoch, melted, select, values_of

NETWORKS: dict[str, Setup] = {
    "residual": Setup(depth=50),
    "plain": Setup(depth=50, shortcuts="none"),
    "residual, zero γ": Setup(depth=50, zero_gamma=True),
    "residual, no norms": Setup(depth=50, batch_norm=False),
    "plain, no norms": Setup(depth=50, shortcuts="none", batch_norm=False),
}

STEM = "maxpool"
"""The module whose output is x₀, the first block's input."""

COLUMNS = ["network", "depth", "seed", "epoch", "layer", "position", "lag", "quantity", "value"]


def error_signals(network: ResNet, x: Tensor, labels: Tensor) -> pd.DataFrame:
    """Return signals and gradients of one batch (x: normalized images N×3×H×W, labels: N) in a network.

    Training mode, so batch norms normalize by the batch, as in a step of training; running statistics do move.

    Returns:
        layer, position (0: the first block's input, then the blocks' outputs), quantity, value. `signal_norm`:
        ‖∂L/∂x‖ of the mean cross-entropy L (He et al. 2016, arXiv 1603.05027, equation 5); `activation_variance`:
        over all entries of x; `gradient_norm`: of all the block's parameters.
    """
    network.train().zero_grad()
    blocks = block_names(network)
    with record(network, [STEM, *blocks], output_with_gradient) as kept:
        F.cross_entropy(network(x), labels).backward()
    rows: list[tuple[str, int, str, float]] = []
    for position, (layer, y) in enumerate(kept.items()):
        assert y.grad is not None
        rows.append((layer, position, "signal_norm", float(y.grad.norm())))
        rows.append((layer, position, "activation_variance", float(y.detach().var())))
        if layer != STEM:
            gradients = [p.grad for p in network.get_submodule(layer).parameters() if p.grad is not None]
            rows.append((layer, position, "gradient_norm", float(nn.utils.get_total_norm(gradients))))
    return pd.DataFrame(rows, columns=["layer", "position", "quantity", "value"])


def measure_start(lab: Lab) -> pd.DataFrame:
    images = small_images(lab, "train")
    x = lab.small_preprocess().normalize(images.pixels[: 2 * BATCH_SIZE].to(lab.device.torch_device))
    labels = images.labels[: 2 * BATCH_SIZE].to(lab.device.torch_device)
    rows: list[pd.DataFrame] = []
    for seed, (name, setup) in product(range(lab.plan.seeds), NETWORKS.items()):
        network = make_network(lab, dataclasses.replace(setup, seed=seed))
        rows.append(error_signals(network, x, labels).assign(network=name, depth=setup.depth, seed=seed, epoch=0))
    return pd.concat(rows)


def trainings(plan: Plan) -> list[tuple[str, Setup]]:
    """Return what is trained: with batch norm by seed, shared with other experiments; the variants once.

    Those without norms for a third of the epochs: whether they start at all shows soon.
    """
    found = [
        (name, dataclasses.replace(NETWORKS[name], seed=seed))
        for seed, name in product(range(plan.seeds), ("residual", "plain"))
    ]
    short = max(1, plan.epochs // 3)
    for name, setup in list(NETWORKS.items())[2:]:
        found.append((name, setup if setup.batch_norm else dataclasses.replace(setup, epochs=short)))
    return found


def block_gradients(layers: pd.DataFrame) -> pd.DataFrame:
    """Return the gradient norm over the convolutions of each block by epoch, from those of `SmallTraining.layers`.

    Returns:
        epoch, layer (the block), position (1 for the first), value.
    """
    found = select(layers, quantity="gradient_norm")
    blocks = found["layer"].str.extract(r"^(layer\d\.\d+)\.conv\d$")[0]
    squares = found.assign(layer=blocks, value=found["value"] ** 2).dropna(subset=["layer"])
    sums = squares.groupby(["epoch", "layer"], as_index=False)["value"].sum(min_count=1)
    positions = sums["layer"].rank(method="dense").astype(int)
    return sums.assign(position=positions, value=np.sqrt(sums["value"]))


def measure_epochs(lab: Lab) -> pd.DataFrame:
    rows: list[pd.DataFrame] = []
    for name, setup in trainings(lab.plan):
        lab.step(f"{setup.name}: gradients by epoch")
        trained = train_small(lab, setup)
        layers = block_gradients(trained.layers).assign(quantity="trained_gradient_norm")
        both = pd.concat([layers, melted(trained.history, ["train_loss"])])
        rows.append(both.assign(network=name, depth=setup.depth, seed=setup.seed))
    return pd.concat(rows)


def measure(lab: Lab) -> Measured:
    lab.step("gradients: signals before the first step")
    start = lab.keep("gradients/start", lambda: measure_start(lab))
    lab.step("gradients: along lines between images")
    shattering = lab.keep("gradients/shattering", lambda: measure_shattering(lab))
    return Measured(pd.concat([start, shattering, measure_epochs(lab)]).reindex(columns=COLUMNS))


def draw(measured: Measured) -> Figure:
    table = measured.table
    figure, axes = new_figure(2, 3, 6.4)
    (signal, variance, shattered), (after, first, losses) = axes
    for panel, quantity, title, y in (
        (signal, "signal_norm", "before the first step: error signal", "‖∂L/∂x‖"),
        (variance, "activation_variance", "before the first step: activations", "variance of x"),
    ):
        draw_networks(panel, select(table, quantity=quantity), "position", title)
        panel.set(xlabel="after block (0: stem)", ylabel=y, yscale="log")
    draw_shattering(shattered, select(table, quantity="autocorrelation"))
    trained = select(table, quantity="trained_gradient_norm")
    lasts = trained[trained["epoch"] == trained.groupby("network")["epoch"].transform("max")]
    draw_networks(after, lasts, "position", "gradients in the last epoch")
    after.set(xlabel="block", ylabel="‖gradient‖ of its convolutions", yscale="log")
    draw_networks(first, select(trained, position=1), "epoch", "the first block's gradient")
    first.set(xlabel="epoch (0: before the first step)", ylabel="‖gradient‖ of its convolutions", yscale="log")
    draw_networks(losses, select(table, quantity="train_loss"), "epoch", "what is learned")
    losses.set(xlabel="epoch", ylabel="training loss (nats)")
    handles, labels = signal.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(NETWORKS))
    return figure


def draw_networks(axes: Axes, rows: pd.DataFrame, x: str, title: str) -> None:
    for name in NETWORKS:
        part = select(rows, network=name)
        if len(part):
            band(axes, part, x, name)
    axes.set_title(title)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def draw_shattering(axes: Axes, rows: pd.DataFrame) -> None:
    for name, depth, line_style in (
        ("shallow", 2, LineStyle(PURPLE, marker="*")),
        ("residual", 18, LineStyle(BLUE, DOTTED, "^")),
        ("residual", 50, style_of("residual")),
        ("plain", 18, LineStyle(VERMILION, DOTTED, "v")),
        ("plain", 50, style_of("plain")),
    ):
        label = "one hidden layer" if name == "shallow" else f"{name}, {depth}"
        band(axes, select(rows, network=name, depth=depth), "lag", label, line_style)
    axes.plot(brown_autocorrelation(POINTS, LAGS), color=GRAY, linestyle=DASHED, label="brown noise")
    axes.plot([1.0] + [0.0] * (LAGS - 1), color=GRAY, linestyle=":", label="white noise")
    axes.set(xlabel=f"distance k (of {POINTS} points)", ylabel="correlation of input gradients", ylim=(-0.05, 1.05))
    axes.set_title("shattering: gradients along a line")
    axes.legend(ncols=2, loc="upper center", bbox_to_anchor=(0.45, -0.2), fontsize=7.5)


def ends(table: pd.DataFrame, network: str, quantity: str) -> tuple[np.ndarray, np.ndarray, float]:
    """Return a quantity before the first block and after the last one, one per seed, and the number of blocks."""
    by_seed = select(table, network=network, quantity=quantity).pivot_table("value", "seed", "position")
    first, last = by_seed.columns.min(), by_seed.columns.max()
    return by_seed[first].to_numpy(float), by_seed[last].to_numpy(float), float(cast(Any, last) - cast(Any, first))


def first_over_last(table: pd.DataFrame, network: str) -> np.ndarray:
    """Return ‖∂L/∂x₀‖ ÷ ‖∂L/∂x_L‖ before the first step, one per seed: below 1 the signal fades on its way back."""
    first, last, _ = ends(table, network, "signal_norm")
    return first / last


def variance_growth(table: pd.DataFrame, network: str) -> np.ndarray:
    """Return by what a block multiplies the activations' variance before the first step: geometric mean, per seed."""
    first, last, blocks = ends(table, network, "activation_variance")
    return (last / first) ** (1 / blocks)


HEALTHY = 10.0
"""A norm that changes by less than this factor, up or down, on the way through 16 blocks is called healthy: 1.15 a
block. Vanishing and exploding gradients are exponential: they show as orders of magnitude."""


def spoken(values: np.ndarray) -> str:
    """Return geometric mean, range and number of seeds in words."""
    return f"{number(float(stats.gmean(values)))} ({span(values, '.3g')} in {len(values)} seeds)"


@rule
def batch_norm_keeps_plain_gradients_healthy(table: pd.DataFrame) -> tuple[Outcome, str]:
    """He et al. 2015, section 4.1: seen if the plain network's error signal stays within a factor of 10, every seed."""
    ratio = first_over_last(table, "plain")
    outcome = agree((ratio > 1 / HEALTHY) & (ratio < HEALTHY))
    how = "vanishes" if ratio.max() <= 1 / HEALTHY else "explodes" if ratio.min() >= HEALTHY else "changes"
    verdict = "stays healthy" if outcome == "seen" else f"{how} on its way back"
    return outcome, (
        f"In the plain network with batch norms the error signal {verdict}: before the first step, ‖∂L/∂x‖ below the "
        f"first block is {spoken(ratio)} times that above the last."
    )


@rule
def shortcuts_keep_gradients_from_vanishing(table: pd.DataFrame) -> tuple[Outcome, str]:
    """He et al. 2016, equation 5: seen if the residual network's error signal keeps a tenth or more, in every seed."""
    ratio = first_over_last(table, "residual")
    return agree(ratio > 1 / HEALTHY), (
        f"With shortcuts and batch norms, before the first step, ‖∂L/∂x‖ below the first block is {spoken(ratio)} "
        "times that above the last."
    )


@rule
def shortcuts_tame_the_change(table: pd.DataFrame) -> tuple[Outcome, str]:
    """Seen if the error signal changes by a smaller factor with shortcuts than without, up or down, in every seed."""
    plain, residual = first_over_last(table, "plain"), first_over_last(table, "residual")
    return agree(np.abs(np.log(residual)) < np.abs(np.log(plain))), (
        f"From the last block to the first the error signal changes by a factor of {spoken(residual)} with shortcuts, "
        f"of {spoken(plain)} without; both have batch norms. Yang et al. predict a factor much above 1: with "
        "batch norms but without shortcuts, gradients explode with depth."
    )


GROWING = 1.2
"""Growth of the variance per block from which it counts as exponential: 18 times after 16 blocks."""


@rule
def shortcuts_need_norms(table: pd.DataFrame) -> tuple[Outcome, str]:
    """Seen if, without norms, the variance grows by 1.2 and more a block, and more than with them, in every seed.

    Adding two signals of the same variance doubles it, block after block; a norm takes the branch back to 1.
    """
    without, with_norms = variance_growth(table, "residual, no norms"), variance_growth(table, "residual")
    return agree((without >= GROWING) & (without > with_norms)), (
        f"Each residual block multiplies the activations' variance by {spoken(without)} without norms, by "
        f"{spoken(with_norms)} with them."
    )


@rule
def zero_gamma_passes_gradients_on(table: pd.DataFrame) -> tuple[Outcome, str]:
    """Goyal et al. 2017, section 5.1: seen if with γ = 0 the error signal changes by less than with γ = 1, every seed.

    How much it changes is |log of first over last|.
    """
    zero, one = first_over_last(table, "residual, zero γ"), first_over_last(table, "residual")
    return agree(np.abs(np.log(zero)) < np.abs(np.log(one))), (
        f"With γ = 0 at the end of every branch the error signal below the first block is {spoken(zero)} times that "
        f"above the last; with γ = 1 {spoken(one)} times."
    )


def neighbors(table: pd.DataFrame, network: str, depth: int) -> np.ndarray:
    return values_of(table, "seed", quantity="autocorrelation", lag=1, network=network, depth=depth)


@rule
def plain_gradients_shatter_with_depth(table: pd.DataFrame) -> tuple[Outcome, str]:
    """Balduzzi et al., figure 2: seen if neighbors' gradients agree less in 50 plain layers than in 18, every seed."""
    shallow, deep = neighbors(table, "plain", 18), neighbors(table, "plain", 50)
    return agree(deep < shallow), (
        f"Along the line, neighboring input gradients of the plain network have a correlation of {shallow.mean():.2f} "
        f"at 18 layers, {deep.mean():.2f} at 50 ({len(deep)} seeds; white noise has 0, brown "
        f"noise {brown_autocorrelation(POINTS, 2)[1]:.2f})."
    )


@rule
def shortcuts_prevent_shattering(table: pd.DataFrame) -> tuple[Outcome, str]:
    """Balduzzi et al., figure 2: seen if at 50 layers neighbors' gradients agree more with shortcuts, every seed."""
    plain, residual = neighbors(table, "plain", 50), neighbors(table, "residual", 50)
    return agree(residual > plain), (
        f"At 50 layers neighboring input gradients have a correlation of {residual.mean():.2f} with shortcuts, "
        f"{plain.mean():.2f} without ({len(plain)} seeds)."
    )


@rule
def zero_gamma_eases_the_start(table: pd.DataFrame) -> tuple[Outcome, str]:
    """Goyal et al. 2017, section 5.1: seen if the training loss with γ = 0 is below that of every seed with γ = 1.

    The mean over all epochs, which is the lower the faster the start. Not seen if it is above every seed's.
    """
    rows = select(table, quantity="train_loss")
    one = select(rows, network="residual").groupby("seed")["value"].mean().to_numpy(float)
    zero = float(select(rows, network="residual, zero γ")["value"].mean())
    return agree(zero < one), (
        f"Over all epochs the training loss is {zero:.3f} nats with γ = 0 (one seed), {one.mean():.3f} with γ = 1 "
        f"({span(one, '.3f')} in {len(one)} seeds)."
    )


@rule
def what_norms_are_for(table: pd.DataFrame) -> tuple[Outcome, str]:
    """Note how far the trainings without norms got, beside the residual one with norms in the same epoch."""
    rows = select(table, quantity="train_loss")
    texts: list[str] = []
    for name in ("residual, no norms", "plain, no norms"):
        losses = select(rows, network=name).sort_values("epoch")["value"].to_numpy(float)
        end = f"is at {losses[-1]:.3f} nats" if np.isfinite(losses).all() else "is no longer a number"
        texts.append(f"the {name.split(',')[0]} network's loss {end} in epoch {len(losses)}")
    last = select(rows, network="residual, no norms")["epoch"].max()
    with_norms = select(rows, network="residual", epoch=last)["value"].mean()
    return "note", (
        f"Without norms, at the same learning rate, {' and '.join(texts)} (one seed each). With norms and shortcuts it "
        f"is {with_norms:.3f} in epoch {last:.0f}."
    )


def summarize(table: pd.DataFrame) -> pd.DataFrame:
    """Return for every network at 50 layers what the reading rests on: means over the seeds (geometric for ratios)."""
    losses = select(table, quantity="train_loss")
    lasts = {name: last_epoch(select(losses, network=name)) for name in NETWORKS}
    near = {name: neighbors(table, name, 50) for name in NETWORKS}
    numbers = {
        "network": list(NETWORKS),
        "signal_first_over_last": [stats.gmean(first_over_last(table, name)) for name in NETWORKS],
        "variance_growth_per_block": [stats.gmean(variance_growth(table, name)) for name in NETWORKS],
        "neighbors_correlation": [near[name].mean() if len(near[name]) else math.nan for name in NETWORKS],
        "epochs": [last["epoch"].max() for last in lasts.values()],
        "last_train_loss": [last["value"].mean() for last in lasts.values()],
    }
    return pd.DataFrame(numbers)


EXPERIMENT = Experiment(
    load_page("gradients"), measure, draw, summarize, rules_of(__name__),
    details=lambda plan: {"batch": 2 * BATCH_SIZE, "points": POINTS, "fraction": round(1 / REACH)},
)  # fmt: skip

run = EXPERIMENT.run
