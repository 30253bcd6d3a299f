"""Does the signal reach the first layers? Gradient norms and activation variances by block, and shattered gradients."""

import dataclasses
import math
from collections.abc import Iterator
from itertools import product

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor, nn

from resnet50.model.hooks import block_names, output_with_gradient, record
from resnet50.model.resnet import ResNet
from resnet50.options import Depth
from resnet50.runtime.stats import number
from resnet50.study.experiment import Experiment, Measured, Observation, Outcome, Source
from resnet50.study.figures import GRAY, GREEN, ORANGE, PLAIN, PURPLE, RESIDUAL, SKY, band, new_figure
from resnet50.study.lab import Lab, Plan
from resnet50.study.small import BATCH_SIZE, Setup, make_network, small_pictures, train_small

NETWORKS: dict[str, Setup] = {
    "residual": Setup(depth=50),
    "plain": Setup(depth=50, shortcuts="none"),
    "residual, zero γ": Setup(depth=50, zero_gamma=True),
    "residual, no norms": Setup(depth=50, batch_norm=False),
    "plain, no norms": Setup(depth=50, shortcuts="none", batch_norm=False),
}

LOOKS = {
    "residual": (RESIDUAL, "-", "o"),
    "plain": (PLAIN, (0, (4, 1.5)), "s"),
    "residual, zero γ": (GREEN, (0, (1, 1)), "^"),
    "residual, no norms": (SKY, (0, (5, 1.5, 1, 1.5)), "D"),
    "plain, no norms": (ORANGE, (0, (2, 1.5)), "v"),
}
"""Color, dashes and marker of a network."""

SHATTERING_DEPTHS: tuple[Depth, ...] = (18, 50)

POINTS = 64
"""Points on a line from one picture toward another."""

REACH = 1 / 16
"""Length of the line as a share of the way to the other picture: over the whole way both deep networks are white noise
from one point to the next."""

LAGS = 16
"""Distances at which gradients are compared, 0 to 15 points apart, as in Balduzzi et al.'s figure 2."""

SHALLOW_UNITS = 200
"""Units of the network with one hidden layer, as in Balduzzi et al.'s figure 1a."""

STEM = "maxpool"
"""The module whose output is x₀, what the first block gets."""

COLUMNS = ["network", "depth", "seed", "epoch", "layer", "position", "lag", "quantity", "value"]


def error_signals(network: ResNet, x: Tensor, labels: Tensor) -> pd.DataFrame:
    """Return what one batch (x: normalized images N×3×H×W, labels: N) sends forth and back through a network.

    Training mode, so batch norms normalize by the batch, as in a step of training; running statistics do move.

    Returns:
        layer, position (0: what the first block gets, then the blocks' outputs), quantity, value. `signal_norm`:
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


def line(first: Tensor, last: Tensor, points: int) -> Tensor:
    """Return `points` pictures (P×3×H×W), evenly spaced from one picture (3×H×W) `REACH` of the way to another."""
    share = torch.linspace(0, REACH, points, device=first.device).view(-1, 1, 1, 1)
    return (1 - share) * first + share * last


def input_gradients(network: nn.Module, x: Tensor) -> Tensor:
    """Return the gradient of the first logit with respect to every picture (N×3×H×W) by itself: N×3HW, on the CPU.

    The network has to treat pictures one by one: batch norms in evaluation mode.
    """
    x = x.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(network(x)[:, 0].sum(), x)
    return gradient.flatten(1).cpu()


def autocorrelation(gradients: Tensor, lags: int) -> np.ndarray:
    """Return the mean cosine of gradients (P×D, in the order of the line) that lie 0, 1, … lags−1 points apart.

    0 for white noise in expectation, 1 for a constant. Not centerd: what all gradients on the line have in common is
    not shattered.
    """
    unit = F.normalize(gradients.double(), dim=1)
    return np.array([(unit[: len(unit) - lag] * unit[lag:]).sum(1).mean().item() for lag in range(lags)])


def brown_autocorrelation(points: int, lags: int) -> np.ndarray:
    """Return the same of brown noise: B(t), a sum of t white steps, has correlation √(t/(t+k)) with B(t+k)."""
    return np.array([np.sqrt((t := np.arange(1, points - lag + 1)) / (t + lag)).mean() for lag in range(lags)])


@torch.no_grad()
def settle_norms(network: nn.Module, x: Tensor) -> None:
    """Give batch norms the statistics of a batch (normalized images) and switch to evaluation mode."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    usual = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    network.train()(x)
    network.eval()
    for norm, momentum in zip(norms, usual, strict=True):
        norm.momentum = momentum


def shallow_network(inputs: int, classes: int, seed: int) -> nn.Module:
    """Build a network with one hidden layer, He initialization: N×3×H×W with 3HW = inputs, to logits."""
    torch.manual_seed(seed)
    hidden, head = nn.Linear(inputs, SHALLOW_UNITS), nn.Linear(SHALLOW_UNITS, classes)
    nn.init.kaiming_normal_(hidden.weight, nonlinearity="relu")
    return nn.Sequential(nn.Flatten(), hidden, nn.ReLU(), head)


def shattering_networks(lab: Lab, x: Tensor, seed: int) -> Iterator[tuple[str, int, nn.Module]]:
    """Yield (name, depth, network in evaluation mode) at its initial weights; x: images for the norms' statistics."""
    yield "shallow", 2, shallow_network(x[0].numel(), len(lab.dataset.classes), lab.seed + seed).to(x.device)
    for depth, name in product(SHATTERING_DEPTHS, ("plain", "residual")):
        network = make_network(lab, Setup(depth=depth, shortcuts="none" if name == "plain" else "B", seed=seed))
        settle_norms(network, x)
        yield name, depth, network


def measure_start(lab: Lab) -> pd.DataFrame:
    """Return `error_signals` of every network and seed on one batch, before training."""
    pictures = small_pictures(lab, "train")
    x = lab.small_preprocess().normalize(pictures.pixels[: 2 * BATCH_SIZE].to(lab.device.torch_device))
    labels = pictures.labels[: 2 * BATCH_SIZE].to(lab.device.torch_device)
    rows: list[pd.DataFrame] = []
    for seed, (name, setup) in product(range(lab.plan.seeds), NETWORKS.items()):
        network = make_network(lab, dataclasses.replace(setup, seed=seed))
        rows.append(error_signals(network, x, labels).assign(network=name, depth=setup.depth, seed=seed, epoch=0))
    return pd.concat(rows)


def measure_shattering(lab: Lab) -> pd.DataFrame:
    """Return autocorrelations of input gradients along lines between pictures, by network, depth, seed and lag."""
    pixels = small_pictures(lab, "train").pixels
    x = lab.small_preprocess().normalize(pixels[: 2 * BATCH_SIZE].to(lab.device.torch_device))
    rows: list[pd.DataFrame] = []
    for seed in range(lab.plan.seeds):
        rng = np.random.default_rng([lab.seed, seed, 0x5A77])
        pairs = [rng.choice(len(x), 2, replace=False) for _ in range(lab.plan.draws)]
        for name, depth, network in shattering_networks(lab, x, seed):
            found = [
                autocorrelation(input_gradients(network, line(x[first], x[last], POINTS)), LAGS)
                for first, last in pairs
            ]
            part = pd.DataFrame({"lag": range(LAGS), "value": np.mean(found, axis=0)})
            rows.append(part.assign(network=name, depth=depth, seed=seed, quantity="autocorrelation"))
    return pd.concat(rows)


def trainings(plan: Plan) -> list[tuple[str, Setup]]:
    """Return what is trained: with batch norm by seed, shared with other experiments; the variants once.

    Those without norms for a third of the epochs: whether they start at all shows soon.
    """
    shared = [
        (name, dataclasses.replace(NETWORKS[name], seed=seed))
        for seed, name in product(range(plan.seeds), ("residual", "plain"))
    ]
    variants = [(name, setup) for name, setup in NETWORKS.items() if name not in ("residual", "plain")]
    short = max(1, plan.epochs // 3)
    return shared + [
        (name, setup if setup.batch_norm else dataclasses.replace(setup, epochs=short)) for name, setup in variants
    ]


def block_gradients(layers: pd.DataFrame) -> pd.DataFrame:
    """Return the gradient norm over the convolutions of each block by epoch, from those of `SmallTraining.layers`.

    Returns:
        epoch, layer (the block), position (1 for the first), value.
    """
    found = layers[layers["quantity"] == "gradient_norm"]
    blocks = found["layer"].str.extract(r"^(layer\d\.\d+)\.conv\d$")[0]
    squares = found.assign(layer=blocks, value=found["value"] ** 2).dropna(subset=["layer"])
    sums = squares.groupby(["epoch", "layer"], as_index=False)["value"].sum(min_count=1)
    positions = {block: position for position, block in enumerate(sorted(sums["layer"].unique()), 1)}
    return sums.assign(position=sums["layer"].map(positions), value=np.sqrt(sums["value"]))


def measure_epochs(lab: Lab) -> pd.DataFrame:
    """Return the gradient norms of the blocks' convolutions, and the training loss, by epoch."""
    rows: list[pd.DataFrame] = []
    for name, setup in trainings(lab.plan):
        lab.step(f"{setup.name}: gradients by epoch")
        trained = train_small(lab, setup)
        about = {"network": name, "depth": setup.depth, "seed": setup.seed}
        layers = block_gradients(trained.layers).assign(quantity="trained_gradient_norm")
        losses = trained.history[["epoch"]].assign(quantity="train_loss", value=trained.history["train_loss"])
        rows += [layers.assign(**about), losses.assign(**about)]
    return pd.concat(rows)


def measure(lab: Lab) -> Measured:
    """Measure at the start, along lines between pictures, and epoch by epoch; see `COLUMNS`."""
    lab.step("gradients: signals before the first step")
    start = lab.keep("gradients/start", lambda: measure_start(lab))
    lab.step("gradients: along lines between pictures")
    shattering = lab.keep("gradients/shattering", lambda: measure_shattering(lab))
    return Measured(pd.concat([start, shattering, measure_epochs(lab)]).reindex(columns=COLUMNS))


def draw(measured: Measured) -> Figure:
    """Draw signals by block at the start, gradients along a line, and how both go on during training."""
    table = measured.table
    figure, axes = new_figure(2, 3, 6.4)
    (signal, variance, shattered), (after, first, losses) = axes
    for panel, quantity, title, y in (
        (signal, "signal_norm", "before the first step: error signal", "‖∂L/∂x‖"),
        (variance, "activation_variance", "before the first step: activations", "variance of x"),
    ):
        draw_networks(panel, table[table["quantity"] == quantity], "position", title)
        panel.set(xlabel="after block (0: stem)", ylabel=y, yscale="log")
    draw_shattering(shattered, table[table["quantity"] == "autocorrelation"])
    trained = table[table["quantity"] == "trained_gradient_norm"]
    ends = trained[trained["epoch"] == trained.groupby("network")["epoch"].transform("max")]
    draw_networks(after, ends, "position", "gradients in the last epoch")
    after.set(xlabel="block", ylabel="‖gradient‖ of its convolutions", yscale="log")
    draw_networks(first, trained[trained["position"] == 1], "epoch", "the first block's gradient")
    first.set(xlabel="epoch (0: before the first step)", ylabel="‖gradient‖ of its convolutions", yscale="log")
    draw_networks(losses, table[table["quantity"] == "train_loss"], "epoch", "what is learned")
    losses.set(xlabel="epoch", ylabel="training loss (nats)")
    handles, labels = signal.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(LOOKS))
    return figure


def draw_networks(axes: Axes, rows: pd.DataFrame, x: str, title: str) -> None:
    """Draw a line with a band over the seeds for every network."""
    for name, (color, dashes, marker) in LOOKS.items():
        part = rows[rows["network"] == name]
        if len(part):
            band(axes, part, x, name, color, dashes, marker)
    axes.set_title(title)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def draw_shattering(axes: Axes, rows: pd.DataFrame) -> None:
    """Draw autocorrelations by distance, between brown and white noise."""
    for name, depth, color, dashes, marker in (
        ("shallow", 2, PURPLE, "-", "*"),
        ("residual", 18, RESIDUAL, (0, (1, 1)), "^"),
        ("residual", 50, RESIDUAL, "-", "o"),
        ("plain", 18, PLAIN, (0, (1, 1)), "v"),
        ("plain", 50, PLAIN, (0, (4, 1.5)), "s"),
    ):
        label = "one hidden layer" if name == "shallow" else f"{name}, {depth}"
        band(axes, rows[(rows["network"] == name) & (rows["depth"] == depth)], "lag", label, color, dashes, marker)
    axes.plot(brown_autocorrelation(POINTS, LAGS), color=GRAY, linestyle=(0, (4, 1.5)), label="brown noise")
    axes.plot([1.0] + [0.0] * (LAGS - 1), color=GRAY, linestyle=":", label="white noise")
    axes.set(xlabel=f"distance k (of {POINTS} points)", ylabel="correlation of input gradients", ylim=(-0.05, 1.05))
    axes.set_title("shattering: gradients along a line")
    axes.legend(ncols=2, loc="upper center", bbox_to_anchor=(0.45, -0.2), fontsize=7.5)


def first_over_last(table: pd.DataFrame, network: str) -> np.ndarray:
    """Return ‖∂L/∂x₀‖ ÷ ‖∂L/∂x_L‖ before the first step, one per seed: below 1 the signal fades on its way back."""
    rows = table[(table["network"] == network) & (table["quantity"] == "signal_norm")]
    by_seed = rows.pivot_table("value", "seed", "position")
    return (by_seed[by_seed.columns.min()] / by_seed[by_seed.columns.max()]).to_numpy(float)


def variance_growth(table: pd.DataFrame, network: str) -> np.ndarray:
    """Return the factor by which a block multiplies the activations' variance before the first step, one per seed.

    The geometric mean over all blocks.
    """
    rows = table[(table["network"] == network) & (table["quantity"] == "activation_variance")]
    by_seed = rows.pivot_table("value", "seed", "position")
    first, last = float(rows["position"].min()), float(rows["position"].max())
    return (by_seed[last] / by_seed[first]).to_numpy(float) ** (1 / (last - first))


HEALTHY = 10.0
"""A norm that changes by less than this factor, up or down, on the way through 16 blocks is called healthy: 1.15 a
block. Vanishing and exploding gradients are exponential: they show as orders of magnitude."""


def spoken(values: np.ndarray) -> str:
    """Return mean, range and number of seeds in words; the mean is geometric."""
    mean = math.exp(np.log(values).mean())
    return f"{number(mean)} ({number(values.min())} to {number(values.max())} in {len(values)} seeds)"


def vote(yes: np.ndarray) -> Outcome:
    """Return seen if all seeds say so, not seen if none does, else undecided; nothing can be said without seeds."""
    if len(yes) == 0:
        return "undecided"
    return "seen" if yes.all() else "not seen" if not yes.any() else "undecided"


def batch_norm_keeps_plain_gradients_healthy(table: pd.DataFrame) -> Observation:
    """He et al. 2015, section 4.1: seen if the plain network's error signal stays within a factor of 10, every seed."""
    ratio = first_over_last(table, "plain")
    outcome = vote((ratio > 1 / HEALTHY) & (ratio < HEALTHY))
    how = "vanishes" if ratio.max() <= 1 / HEALTHY else "explodes" if ratio.min() >= HEALTHY else "changes"
    verdict = "arrives in good health" if outcome == "seen" else f"{how} on its way back"
    return Observation(
        "batch_norm_keeps_plain_gradients_healthy",
        outcome,
        f"In the plain network with batch norms the error signal {verdict}: ‖∂L/∂x‖ below the first block is "
        f"{spoken(ratio)} times that above the last, before the first step.",
    )


def shortcuts_keep_gradients_from_vanishing(table: pd.DataFrame) -> Observation:
    """He et al. 2016, equation 5: seen if the residual network's error signal keeps a tenth or more, in every seed."""
    ratio = first_over_last(table, "residual")
    return Observation(
        "shortcuts_keep_gradients_from_vanishing",
        vote(ratio > 1 / HEALTHY),
        f"With shortcuts and batch norms ‖∂L/∂x‖ below the first block is {spoken(ratio)} times that above the last, "
        "before the first step.",
    )


def shortcuts_tame_the_change(table: pd.DataFrame) -> Observation:
    """Seen if the error signal changes by a smaller factor with shortcuts than without, up or down, in every seed."""
    plain, residual = first_over_last(table, "plain"), first_over_last(table, "residual")
    return Observation(
        "shortcuts_tame_the_change",
        vote(np.abs(np.log(residual)) < np.abs(np.log(plain))),
        f"From the last block to the first the error signal changes by a factor of {spoken(residual)} with shortcuts, "
        f"of {spoken(plain)} without; batch norms in both. A factor much above 1 is what Yang et al. predict: batch "
        "norms without shortcuts make gradients explode with depth.",
    )


GROWING = 1.2
"""Growth of the variance per block from which it counts as exponential: 18 times after 16 blocks."""


def shortcuts_need_norms(table: pd.DataFrame) -> Observation:
    """Seen if, without norms, the variance grows by 1.2 and more a block, and more than with them, in every seed.

    Adding two signals of the same variance doubles it, block after block; a norm takes the branch back to 1.
    """
    without, with_norms = variance_growth(table, "residual, no norms"), variance_growth(table, "residual")
    return Observation(
        "shortcuts_need_norms",
        vote((without >= GROWING) & (without > with_norms)),
        f"Each residual block multiplies the activations' variance by {spoken(without)} without norms, by "
        f"{spoken(with_norms)} with them.",
    )


def zero_gamma_passes_gradients_on(table: pd.DataFrame) -> Observation:
    """Goyal et al. 2017, section 5.1: seen if with γ = 0 the error signal changes by less than with γ = 1, every seed.

    How much it changes is |log of first over last|.
    """
    zero, one = first_over_last(table, "residual, zero γ"), first_over_last(table, "residual")
    return Observation(
        "zero_gamma_passes_gradients_on",
        vote(np.abs(np.log(zero)) < np.abs(np.log(one))),
        f"With γ = 0 at the end of every branch the error signal below the first block is {spoken(zero)} times that "
        f"above the last; with γ = 1 {spoken(one)} times.",
    )


def neighbors(table: pd.DataFrame, network: str, depth: int) -> np.ndarray:
    """Return the correlation of gradients one point apart, one per seed."""
    rows = table[(table["quantity"] == "autocorrelation") & (table["lag"] == 1)]
    rows = rows[(rows["network"] == network) & (rows["depth"] == depth)]
    return rows.sort_values("seed")["value"].to_numpy(float)


def plain_gradients_shatter_with_depth(table: pd.DataFrame) -> Observation:
    """Balduzzi et al., figure 2: seen if neighbors' gradients agree less in 50 plain layers than in 18, every seed."""
    shallow, deep = neighbors(table, "plain", 18), neighbors(table, "plain", 50)
    return Observation(
        "plain_gradients_shatter_with_depth",
        vote(deep < shallow),
        f"One point further on the line the plain network's input gradient has a correlation of {shallow.mean():.2f} "
        f"with the last one at 18 layers, of {deep.mean():.2f} at 50 ({len(deep)} seeds; white noise has 0, brown "
        f"noise {brown_autocorrelation(POINTS, 2)[1]:.2f}).",
    )


def shortcuts_prevent_shattering(table: pd.DataFrame) -> Observation:
    """Balduzzi et al., figure 2: seen if at 50 layers neighbors' gradients agree more with shortcuts, every seed."""
    plain, residual = neighbors(table, "plain", 50), neighbors(table, "residual", 50)
    return Observation(
        "shortcuts_prevent_shattering",
        vote(residual > plain),
        f"At 50 layers neighboring input gradients have a correlation of {residual.mean():.2f} with shortcuts, "
        f"{plain.mean():.2f} without ({len(plain)} seeds).",
    )


def zero_gamma_eases_the_start(table: pd.DataFrame) -> Observation:
    """Goyal et al. 2017, section 5.1: seen if the training loss with γ = 0 is below that of every seed with γ = 1.

    The mean over all epochs, which is the lower the faster the start. Not seen if it is above every seed's.
    """
    rows = table[table["quantity"] == "train_loss"]
    one = rows[rows["network"] == "residual"].groupby("seed")["value"].mean().to_numpy(float)
    zero = float(rows[rows["network"] == "residual, zero γ"]["value"].mean())
    return Observation(
        "zero_gamma_eases_the_start",
        vote(zero < one),
        f"Over all epochs the training loss is {zero:.3f} nats with γ = 0 (one seed), {one.mean():.3f} with γ = 1 "
        f"({one.min():.3f} to {one.max():.3f} in {len(one)} seeds).",
    )


def what_norms_are_for(table: pd.DataFrame) -> Observation:
    """Note how far the trainings without norms got, beside the residual one with norms in the same epoch."""
    rows = table[table["quantity"] == "train_loss"]
    texts: list[str] = []
    for name in ("residual, no norms", "plain, no norms"):
        losses = rows[rows["network"] == name].sort_values("epoch")["value"].to_numpy(float)
        end = f"is at {losses[-1]:.3f} nats" if np.isfinite(losses).all() else "is no longer a number"
        texts.append(f"the {name.split(',')[0]} network's loss {end} in epoch {len(losses)}")
    last = rows[rows["network"] == "residual, no norms"]["epoch"].max()
    with_norms = rows[(rows["network"] == "residual") & (rows["epoch"] == last)]["value"].mean()
    return Observation(
        "what_norms_are_for",
        "note",
        f"Trained without norms at the same rate, {' and '.join(texts)} (one seed each); with norms and shortcuts it "
        f"is {with_norms:.3f} in epoch {last:.0f}.",
    )


def read(table: pd.DataFrame) -> list[Observation]:
    """Read the numbers."""
    rules = (
        batch_norm_keeps_plain_gradients_healthy,
        shortcuts_keep_gradients_from_vanishing,
        shortcuts_tame_the_change,
        shortcuts_need_norms,
        zero_gamma_passes_gradients_on,
        plain_gradients_shatter_with_depth,
        shortcuts_prevent_shattering,
        zero_gamma_eases_the_start,
        what_norms_are_for,
    )
    return [rule(table) for rule in rules]


def summarize(table: pd.DataFrame) -> pd.DataFrame:
    """Return for every network at 50 layers what the reading rests on: means over the seeds (geometric for ratios)."""
    losses = table[table["quantity"] == "train_loss"]
    rows: list[dict[str, object]] = []
    for name in NETWORKS:
        near, last = neighbors(table, name, 50), losses[losses["network"] == name]
        rows.append(
            {
                "network": name,
                "signal_first_over_last": math.exp(np.log(first_over_last(table, name)).mean()),
                "variance_growth_per_block": math.exp(np.log(variance_growth(table, name)).mean()),
                "neighbors_correlation": near.mean() if len(near) else math.nan,
                "epochs": last["epoch"].max(),
                "last_train_loss": last[last["epoch"] == last["epoch"].max()]["value"].mean(),
            }
        )
    return pd.DataFrame(rows)


def setting(plan: Plan) -> str:
    """Say what is done here."""
    return (
        f"Networks of 50 layers on pictures of {plan.size} pixels. Before training: one batch of {2 * BATCH_SIZE} "
        f"pictures, {plan.seeds} random beginnings, in 32-bit numbers. By epoch: {plan.seeds} seeds of the residual "
        f"and the plain network with batch norms, one seed of each other, {plan.epochs} epochs of {plan.images} "
        f"pictures, a third of the epochs without norms. Shattering: "
        f"{plan.draws} straight lines of {POINTS} points for each beginning, from one training "
        f"picture a {round(1 / REACH)}th of the way to another; "
        "batch norms take their statistics from the batch. Balduzzi et al. look at fully connected networks of one "
        "input and one output, whose gradient is a number, on 256 points from −2 to 2; here the gradient is that of a "
        "logit with respect to all pixels, and what is compared is its direction. How fast the correlation falls "
        "depends on how far apart the points are, so only networks on the same lines can be compared."
    )


EXPERIMENT = Experiment(
    name="gradients",
    title="Gradients through depth",
    question="Does the signal reach the first layers?",
    claim="Through shortcuts the error signal gets from any block to any earlier one as a sum: a direct term and what "
    "the branches add, so it doesn't vanish (He et al. 2016). Batch norms keep the sizes of signals healthy even "
    "without shortcuts (He et al. 2015), though Yang et al. find that they make gradients grow with depth. They don't "
    "keep directions: in a plain network gradients at neighboring inputs become less alike with depth, down to white "
    "noise, in a residual one they stay alike much longer (Balduzzi et al.). A zero weight in the last norm of every "
    "block lets signals run through the shortcuts alone at first, which eases the start (Goyal et al.).",
    setting=setting,
    caption="Above, before the first step: norm of the loss's gradient with respect to what each block puts out, "
    "variance of the same, and how alike the gradients of a logit are at points k apart on a line between two pictures "
    "(1: the same direction). Below: gradients of the blocks' convolutions in each network's last epoch, those of the "
    "first block by epoch (0 before the first step with γ = 0, so not drawn), and the training loss; the networks "
    "without norms are trained for fewer epochs. Lines are means over the seeds, bands reach from the "
    "smallest to the largest.",
    sources=(
        Source(
            "Balduzzi, Frean, Leary, Lewis, Ma and McWilliams", 2017, "The Shattered Gradients Problem: If resnets are "
            "the answer, then what is the question?", "1702.08591", "figures 1 and 2, section 2",
        ),
        Source(
            "He, Zhang, Ren and Sun", 2016, "Identity Mappings in Deep Residual Networks", "1603.05027",
            "section 2, equation 5",
        ),
        Source(
            "He, Zhang, Ren and Sun", 2015, "Deep Residual Learning for Image Recognition", "1512.03385",
            "section 4.1, plain networks",
        ),
        Source(
            "Yang, Pennington, Rao, Sohl-Dickstein and Schoenholz", 2019, "A Mean Field Theory of Batch Normalization",
            "1902.08129", "abstract: gradients explode with depth",
        ),
        Source(
            "Goyal, Dollár, Girshick and others", 2017, "Accurate, Large Minibatch SGD: Training ImageNet in 1 Hour",
            "1706.02677", "section 5.1",
        ),
    ),
    measure=measure,
    draw=draw,
    summarize=summarize,
    read=read,
)  # fmt: skip

run = EXPERIMENT.run
