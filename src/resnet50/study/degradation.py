"""Why shortcuts at all? Plain networks get worse with depth, on the training pictures already; residual ones don't."""

from itertools import product

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from resnet50.options import Depth, ShortcutKind
from resnet50.runtime.stats import loss
from resnet50.study.experiment import Experiment, Measured, Observation, Source
from resnet50.study.figures import BLUE, GRAY, ORANGE, PLAIN, RESIDUAL, band, new_figure
from resnet50.study.lab import Lab, Plan
from resnet50.study.small import BATCH_SIZE, Setup, train_small

DEPTHS: tuple[Depth, ...] = (18, 34, 50)

NETWORKS: dict[str, ShortcutKind] = {"plain": "none", "residual": "B"}

LINES = {18: (GRAY, ":", "^"), 34: (ORANGE, (0, (4, 1.5)), "s"), 50: (BLUE, "-", "o")}
"""Color, dashes and marker of a depth."""


def setups(plan: Plan) -> list[Setup]:
    """Return the trainings that are compared: every depth, plain and residual, by seed."""
    return [
        Setup(depth=depth, shortcuts=kind, seed=seed)
        for seed, depth, kind in product(range(plan.seeds), DEPTHS, NETWORKS.values())
    ]


def measure(lab: Lab) -> Measured:
    """Train them; a row per network, seed, epoch and quantity."""
    rows: list[pd.DataFrame] = []
    for number, setup in enumerate(setups(lab.plan), 1):
        lab.step(f"{setup.name} ({number} of {len(setups(lab.plan))})")
        history = train_small(lab, setup).history
        tidy = history.melt(
            ["epoch"], ["train_loss", "train_accuracy", "val_loss", "val_accuracy"], "quantity", "value"
        )
        network = "plain" if setup.shortcuts == "none" else "residual"
        rows.append(tidy.assign(network=network, depth=setup.depth, seed=setup.seed))
    return Measured(pd.concat(rows)[["network", "depth", "seed", "epoch", "quantity", "value"]])


def draw(measured: Measured) -> Figure:
    """Draw the training loss by epoch, plain left, residual right, and the last epoch by depth."""
    losses = measured.table[measured.table["quantity"] == "train_loss"]
    figure, axes = new_figure(1, 3, 3.1, width_ratios=(1, 1, 0.8))
    first, second, last = axes[0]
    for panel, network in ((first, "plain"), (second, "residual")):
        for depth, (color, dashes, marker) in LINES.items():
            rows = losses[(losses["network"] == network) & (losses["depth"] == depth)]
            band(panel, rows, "epoch", f"{depth} layers", color, dashes, marker)
        panel.set_title(f"{network} networks")
        panel.set_xlabel("epoch")
        panel.legend()
    second.sharey(first)
    first.set_ylabel("training loss (nats)")
    ends = losses[losses["epoch"] == losses["epoch"].max()]
    for network, color, dashes, marker in (("plain", PLAIN, (0, (4, 1.5)), "s"), ("residual", RESIDUAL, "-", "o")):
        band(last, ends[ends["network"] == network], "depth", network, color, dashes, marker)
    last.set_xticks(DEPTHS)
    last.set_xlabel("layers")
    last.set_title("after the last epoch")
    last.legend()
    return figure


def summarize(table: pd.DataFrame) -> pd.DataFrame:
    """Return the last epoch's figures by network and depth: mean over the seeds."""
    ends = table[table["epoch"] == table["epoch"].max()]
    means = ends.pivot_table("value", ["network", "depth"], "quantity", "mean").reset_index()
    return means.reindex(columns=["network", "depth", "train_loss", "train_accuracy", "val_loss", "val_accuracy"])


def last_losses(table: pd.DataFrame, network: str, depth: int) -> np.ndarray:
    """Return the training losses of the last epoch, one per seed."""
    rows = table[(table["network"] == network) & (table["depth"] == depth) & (table["quantity"] == "train_loss")]
    return rows[rows["epoch"] == rows["epoch"].max()].sort_values("seed")["value"].to_numpy(float)


def price_of_depth(table: pd.DataFrame, network: str, depth: int = 34) -> np.ndarray:
    """Return how much higher the training loss ends with `depth` layers than with 18, in nats, one per seed."""
    return last_losses(table, network, depth) - last_losses(table, network, 18)


def degradation_without_shortcuts(table: pd.DataFrame) -> Observation:
    """Seen if in every seed 34 plain layers end with a higher training loss than 18; not seen if in none.

    These are the paper's two depths, of the same kind of block; 50 layers are made of another kind.
    """
    rule, price = "degradation_without_shortcuts", price_of_depth(table, "plain")
    ends = [loss(float(last_losses(table, "plain", depth).mean())) for depth in DEPTHS]
    numbers = f"{ends[0]} nats with 18 plain layers, {ends[1]} with 34, {ends[2]} with 50 (means of {len(price)} seeds)"
    if price.min() > 0:
        text = f"The deeper plain network is worse on the very pictures it is trained on: {numbers}."
        return Observation(rule, "seen", text)
    if price.max() <= 0:
        return Observation(rule, "not seen", f"The deeper plain network is no worse here: {numbers}.")
    return Observation(rule, "undecided", f"The seeds disagree whether depth hurts the plain network: {numbers}.")


GONE = 0.1
"""Share of the plain networks' degradation up to which that of the residual ones counts as gone."""


def no_degradation_with_shortcuts(table: pd.DataFrame) -> Observation:
    """Seen if 34 residual layers cost less than a tenth of what 34 plain layers cost, on average over the seeds.

    Undecided where the plain networks don't degrade: then there is nothing for shortcuts to mend.
    """
    rule = "no_degradation_with_shortcuts"
    plain, residual = price_of_depth(table, "plain").mean(), price_of_depth(table, "residual").mean()
    numbers = f"from 18 to 34 layers the training loss changes by {residual:+.3f} nats with them, {plain:+.3f} without"
    if plain <= 0:
        return Observation(rule, "undecided", f"There is no degradation for shortcuts to mend: {numbers}.")
    if residual < GONE * plain:
        return Observation(rule, "seen", f"With shortcuts the degradation is gone: {numbers}.")
    share = f"{100 * residual / plain:.0f} % of it is left after so few steps"
    return Observation(rule, "not seen", f"With shortcuts depth still costs something: {numbers}; {share}.")


def shortcuts_help_at_the_same_depth(table: pd.DataFrame) -> Observation:
    """Seen if with 34 and with 50 layers the residual network has the lower training loss in every seed.

    Not seen if in none.
    """
    gains = {depth: last_losses(table, "plain", depth) - last_losses(table, "residual", depth) for depth in (34, 50)}
    every = np.concatenate(list(gains.values()))
    outcome = "seen" if every.min() > 0 else "not seen" if every.max() <= 0 else "undecided"
    numbers = " and ".join(
        f"by {gain.mean():.3f} nats with {depth} layers ({gain.min():.3f} to {gain.max():.3f} in {len(gain)} seeds)"
        for depth, gain in gains.items()
    )
    text = f"At the same depth shortcuts change the training loss for the better {numbers}; a negative number is worse."
    return Observation("shortcuts_help_at_the_same_depth", outcome, text)


def read(table: pd.DataFrame) -> list[Observation]:
    """Read the numbers."""
    return [
        degradation_without_shortcuts(table),
        no_degradation_with_shortcuts(table),
        shortcuts_help_at_the_same_depth(table),
    ]


def setting(plan: Plan) -> str:
    """Say what is done here."""
    return (
        f"ResNet-18, -34 and -50 and the same networks without shortcuts, each from {plan.seeds} random beginnings, on "
        f"{plan.images} pictures of {plan.size} pixels for {plan.epochs} epochs "
        f"({plan.images // BATCH_SIZE * plan.epochs} steps). The paper trained on 1.28 million pictures for 600,000 "
        "steps: there the curves have settled, here they show the beginning. A plain network that is merely slow and "
        "one that never gets there look alike in so few steps."
    )


EXPERIMENT = Experiment(
    name="degradation",
    title="The degradation problem",
    question="Why shortcuts at all?",
    claim="A deeper network could do at least as well as a shallower one: its additional layers would only have to "
    "pass on what they get. Plain networks don't find that solution. With 34 layers their training error is higher "
    "than with 18, so it is not overfitting; batch norm keeps signals and gradients healthy, so it is not vanishing "
    "gradients either. With shortcuts, which make passing on the easy case, the deeper network is the better one.",
    setting=setting,
    caption="Training loss by epoch, plain and residual networks of the same depths, and after the last epoch by "
    "depth. Lines are means over the seeds, bands reach from the smallest to the largest.",
    sources=(
        Source(
            "He, Zhang, Ren and Sun", 2015, "Deep Residual Learning for Image Recognition", "1512.03385",
            "figures 1 and 4, table 2",
        ),
    ),
    measure=measure,
    draw=draw,
    summarize=summarize,
    read=read,
)  # fmt: skip

run = EXPERIMENT.run
