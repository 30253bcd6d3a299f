"""Degradation: plain networks get worse with depth, even on their training images; residual networks don't."""

from itertools import product

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from resnet50.options import Depth, ShortcutKind
from resnet50.runtime.stats import loss
from resnet50.study.experiment import Experiment, Measured, rule, rules_of
from resnet50.study.figures import band, new_figure
from resnet50.study.lab import Lab, Plan
from resnet50.study.outcome import Outcome, agree, decide, span
from resnet50.study.pages import load_page
from resnet50.study.small import BATCH_SIZE, Setup, train_small
from resnet50.study.tables import final_values, last_epoch, melted, select

DEPTHS: tuple[Depth, ...] = (18, 34, 50)

NETWORKS: dict[str, ShortcutKind] = {"plain": "none", "residual": "B"}

QUANTITIES = ["train_loss", "train_accuracy", "val_loss", "val_accuracy"]


def setups(plan: Plan) -> list[Setup]:
    return [
        Setup(depth=depth, shortcuts=kind, seed=seed)
        for seed, depth, kind in product(range(plan.seeds), DEPTHS, NETWORKS.values())
    ]


def measure(lab: Lab) -> Measured:
    """Train them; a row per network, seed, epoch and quantity."""
    rows: list[pd.DataFrame] = []
    for number, setup in enumerate(setups(lab.plan), 1):
        lab.step(f"{setup.name} ({number} of {len(setups(lab.plan))})")
        about = {"network": "plain" if setup.shortcuts == "none" else "residual", "depth": setup.depth}
        rows.append(melted(train_small(lab, setup).history, QUANTITIES, **about, seed=setup.seed))
    return Measured(pd.concat(rows)[["network", "depth", "seed", "epoch", "quantity", "value"]])


def draw(measured: Measured) -> Figure:
    losses = select(measured.table, quantity="train_loss")
    figure, axes = new_figure(1, 3, 3.1, width_ratios=(1, 1, 0.8))
    first, second, last = axes[0]
    for panel, network in ((first, "plain"), (second, "residual")):
        for depth in DEPTHS:
            band(panel, select(losses, network=network, depth=depth), "epoch", f"{depth} layers")
        panel.set(title=f"{network} networks", xlabel="epoch")
        panel.legend()
    second.sharey(first)
    first.set_ylabel("training loss (nats)")
    for network in NETWORKS:
        band(last, select(last_epoch(losses), network=network), "depth", network)
    last.set(xticks=DEPTHS, xlabel="layers", title="after the last epoch")
    last.legend()
    return figure


def summarize(table: pd.DataFrame) -> pd.DataFrame:
    means = last_epoch(table).pivot_table("value", ["network", "depth"], "quantity", "mean").reset_index()
    return means.reindex(columns=["network", "depth", *QUANTITIES])


def last_losses(table: pd.DataFrame, network: str, depth: int) -> np.ndarray:
    return final_values(table, network=network, depth=depth, quantity="train_loss")


def cost_of_depth(table: pd.DataFrame, network: str, depth: int = 34) -> np.ndarray:
    """Return how much higher the training loss ends with `depth` layers than with 18, in nats, one per seed."""
    return last_losses(table, network, depth) - last_losses(table, network, 18)


@rule
def degradation_without_shortcuts(table: pd.DataFrame) -> tuple[Outcome, str]:
    """Seen if in every seed 34 plain layers end with a higher training loss than 18; not seen if in none.

    These are the paper's two depths, of the same kind of block; 50 layers are made of another kind.
    """
    cost = cost_of_depth(table, "plain")
    ends = [loss(float(last_losses(table, "plain", depth).mean())) for depth in DEPTHS]
    outcome = agree(cost)
    start = {
        "seen": "The deeper plain network is worse on its own training images",
        "not seen": "The deeper plain network is no worse here",
        "undecided": "The seeds disagree on whether depth hurts the plain network",
    }[outcome]
    return outcome, (
        f"{start}: {ends[0]} nats with 18 plain layers, {ends[1]} with 34, {ends[2]} with 50 (means of {len(cost)} "
        "seeds)."
    )


GONE = 0.1
"""Share of the plain networks' degradation up to which the residual networks' counts as gone."""


@rule
def no_degradation_with_shortcuts(table: pd.DataFrame) -> tuple[Outcome, str]:
    """Seen if 34 residual layers cost less than a tenth of what 34 plain layers cost, on average over the seeds.

    Undecided where the plain networks don't degrade: then shortcuts have nothing to fix.
    """
    plain, residual = cost_of_depth(table, "plain").mean(), cost_of_depth(table, "residual").mean()
    numbers = f"from 18 to 34 layers the training loss changes by {residual:+.3f} nats with them, {plain:+.3f} without"
    if plain <= 0:
        return "undecided", f"There is no degradation for shortcuts to fix: {numbers}."
    outcome = decide(seen=bool(residual < GONE * plain))
    if outcome == "seen":
        return outcome, f"With shortcuts the degradation is gone: {numbers}."
    share = f"{100 * residual / plain:.0f}% of it is left after so few steps"
    return outcome, f"With shortcuts, depth still has a cost: {numbers}; {share}."


@rule
def shortcuts_help_at_the_same_depth(table: pd.DataFrame) -> tuple[Outcome, str]:
    """Seen if with 34 and with 50 layers the residual network has the lower training loss in every seed.

    Not seen if in none.
    """
    gains = {depth: last_losses(table, "plain", depth) - last_losses(table, "residual", depth) for depth in (34, 50)}
    numbers = " and ".join(
        f"by {gain.mean():.3f} nats with {depth} layers ({span(gain, '.3f')} in {len(gain)} seeds)"
        for depth, gain in gains.items()
    )
    text = (
        f"At the same depth, shortcuts lower the training loss {numbers}; a negative number means that they raise it."
    )
    return agree(np.concatenate(list(gains.values()))), text


EXPERIMENT = Experiment(
    load_page("degradation"), measure, draw, summarize, rules_of(__name__),
    details=lambda plan: {"steps": plan.images // BATCH_SIZE * plan.epochs},
)  # fmt: skip

run = EXPERIMENT.run
