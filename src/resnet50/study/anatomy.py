"""Where are parameters, work, memory and time of a ResNet-50? Bottleneck and basic block, v1 and v1.5, projections."""

from itertools import product

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from resnet50.model.resnet import ResNet
from resnet50.options import Depth, ShortcutKind, Variant
from resnet50.runtime.stats import loss, percent
from resnet50.study.costs import (
    STAGES,
    activation_bytes,
    copy_bandwidth,
    counts,
    matrix_rate,
    roofline_seconds,
    stage_seconds,
)
from resnet50.study.experiment import Experiment, Measured, Observation, Source
from resnet50.study.figures import BLUE, GRAY, GREEN, ORANGE, SKY, VERMILION, band, new_figure
from resnet50.study.lab import Lab, Plan
from resnet50.study.small import Setup, train_small

NETWORKS: dict[str, tuple[Depth, Variant]] = {
    "ResNet-50 v1.5": (50, "v1.5"),
    "ResNet-50 v1": (50, "v1"),
    "ResNet-34": (34, "v1.5"),
}

SIZE, BATCH = 224, 8
"""The published counts are for pictures of 224 pixels; eight at a time are enough to keep every core busy."""

KINDS: tuple[ShortcutKind, ...] = ("A", "B", "C")

LOOKS = {"A": (ORANGE, ":", "^"), "B": (BLUE, "-", "o"), "C": (GREEN, (0, (4, 1.5)), "s")}
"""Color, dashes and marker of a kind of shortcut."""

COLUMNS = ["network", "stage", "seed", "epoch", "quantity", "value"]


def measure(lab: Lab) -> Measured:
    """Count, time and train; a row per network, stage, repetition or seed, epoch and quantity."""
    tables = [lab.keep("anatomy/costs", lambda: measure_costs(lab))]
    setups = {f"ResNet-{depth}": Setup(depth=depth) for depth in (34, 50)} | {
        f"shortcuts {kind}": Setup(shortcuts=kind) for kind in KINDS
    }
    for (name, setup), seed in product(setups.items(), range(lab.plan.seeds)):
        lab.step(f"{name}, seed {seed}")
        training = train_small(lab, Setup(depth=setup.depth, shortcuts=setup.shortcuts, seed=seed))
        tidy = training.history.melt(["epoch"], ["train_loss", "val_loss"], "quantity", "value")
        tables.append(tidy.assign(network=name, stage="-", seed=seed))
    return Measured(pd.concat(tables)[COLUMNS].reset_index(drop=True))


def measure_costs(lab: Lab) -> pd.DataFrame:
    """Return every network's counts, bytes, seconds and least seconds by stage; `seed` numbers the repetitions."""
    lab.step("rates of this machine")
    rate, bandwidth = matrix_rate(lab.device), copy_bandwidth(lab.device)
    rows: list[tuple[str, str, int, str, float]] = [
        ("machine", "-", 0, "operations_per_second", rate),
        ("machine", "-", 0, "bytes_per_second", bandwidth),
    ]
    generator = torch.Generator().manual_seed(lab.seed)
    images = torch.randn(BATCH, 3, SIZE, SIZE, generator=generator).to(
        lab.device.torch_device, memory_format=torch.channels_last
    )
    labels = torch.zeros(BATCH, dtype=torch.long, device=lab.device.torch_device)
    networks: dict[str, ResNet] = {}
    for name, (depth, variant) in NETWORKS.items():
        lab.step(f"memory of {name}")
        torch.manual_seed(lab.seed)
        network = networks[name] = lab.to_device(ResNet(depth, 1000, variant))
        rows += [(name, stage, 0, what, value) for (stage, what), value in counts(network, SIZE).items()]
        kept = activation_bytes(network, images, lab.device)
        rows += [(name, stage, 0, "activation_bytes", value) for stage, value in kept.items()]
        least = roofline_seconds(network, images, lab.device, rate, bandwidth)
        rows += [(name, stage, 0, "roofline_seconds", value / BATCH) for stage, value in least.items()]
        stage_seconds(network, images, labels, lab.device)  # to warm up
    for repetition in range(lab.plan.draws + 1):  # in turns, so that whatever else the machine does hits all of them
        lab.step(f"time of all, repetition {repetition}")
        for name, network in networks.items():
            seconds = stage_seconds(network, images, labels, lab.device)
            rows += [(name, at, repetition, f"{way}_seconds", s / BATCH) for (at, way), s in seconds.items()]
    return pd.DataFrame(rows, columns=["network", "stage", "seed", "quantity", "value"]).assign(epoch=0)


def by_stage(table: pd.DataFrame, network: str, quantity: str) -> np.ndarray:
    """Return a quantity of a network by stage, in the order of `STAGES`: the mean over repetitions."""
    rows = table[(table["network"] == network) & (table["quantity"] == quantity)]
    return rows.groupby("stage")["value"].mean().reindex(list(STAGES)).to_numpy(float)


def seconds_by_stage(table: pd.DataFrame, network: str) -> np.ndarray:
    """Return the seconds of forward and backward pass by repetition and stage: repetitions×stages."""
    rows = table[(table["network"] == network) & table["quantity"].isin(["forward_seconds", "backward_seconds"])]
    return rows.pivot_table("value", "seed", "stage", "sum").reindex(columns=list(STAGES)).to_numpy(float)


def draw(measured: Measured) -> Figure:
    """Draw shares by stage, time against the roofline, networks beside each other, and the small trainings."""
    table = measured.table
    figure, axes = new_figure(2, 3, 6.0)
    draw_shares(axes[0, 0], table)
    draw_time(axes[0, 1], table)
    draw_networks(axes[0, 2], table)
    for panel, quantity, words in ((axes[1, 0], "train_loss", "training"), (axes[1, 1], "val_loss", "validation")):
        for kind, (color, dashes, marker) in LOOKS.items():
            rows = table[(table["network"] == f"shortcuts {kind}") & (table["quantity"] == quantity)]
            band(panel, rows, "epoch", f"shortcuts {kind}", color, dashes, marker)
        panel.set_title("ResNet-18, shortcuts A, B and C")
        panel.set_xlabel("epoch")
        panel.set_ylabel(f"{words} loss (nats)")
        panel.legend()
    looks = (("ResNet-34", ORANGE, (0, (4, 1.5)), "s"), ("ResNet-50", BLUE, "-", "o"))
    for network, color, dashes, marker in looks:
        rows = table[(table["network"] == network) & (table["quantity"] == "train_loss")]
        kind = "bottlenecks" if network == "ResNet-50" else "basic blocks"
        band(axes[1, 2], rows, "epoch", f"{network} ({kind})", color, dashes, marker)
    axes[1, 2].set_title("two kinds of block")
    axes[1, 2].set_xlabel("epoch")
    axes[1, 2].set_ylabel("training loss (nats)")
    axes[1, 2].legend()
    return figure


def draw_shares(axes: Axes, table: pd.DataFrame) -> None:
    """Draw which share of each cost of ResNet-50 v1.5 each stage has."""
    network = "ResNet-50 v1.5"
    costs = {
        "parameters": by_stage(table, network, "parameters"),
        "work": by_stage(table, network, "macs"),
        "memory": by_stage(table, network, "activation_bytes"),
        "time": seconds_by_stage(table, network).mean(0),
    }
    hatches = ("", "///", "", "...", "", "xx")
    colors = (GRAY, SKY, BLUE, GREEN, ORANGE, VERMILION)
    left = np.zeros(len(costs))
    for number, stage in enumerate(STAGES):
        shares = np.array([100 * values[number] / values.sum() for values in costs.values()])
        axes.barh(
            list(costs), shares, left=left, color=colors[number], hatch=hatches[number], label=stage, edgecolor="white"
        )
        left += shares
    axes.invert_yaxis()
    axes.set_xlabel("share of the whole (%)")
    axes.set_title("ResNet-50 v1.5, by stage")
    axes.grid(visible=False)
    axes.legend(ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.1), fontsize=7.5)


def draw_time(axes: Axes, table: pd.DataFrame) -> None:
    """Draw the measured time of each stage beside the least it could take."""
    seconds = 1e3 * seconds_by_stage(table, "ResNet-50 v1.5")
    least = 1e3 * by_stage(table, "ResNet-50 v1.5", "roofline_seconds")
    places = np.arange(len(STAGES))
    axes.bar(places - 0.2, seconds.mean(0), 0.4, yerr=seconds.std(0), color=BLUE, capsize=2, label="measured")
    axes.bar(places + 0.2, least, 0.4, color=SKY, hatch="///", edgecolor="white", label="roofline")
    axes.set_xticks(places, [stage.removeprefix("layer") for stage in STAGES])
    axes.set_xlabel("stage (1 to 4: the layers)")
    axes.set_ylabel("ms an image, forward and backward")
    axes.set_title("time against the least possible")
    axes.set_ylim(0, 1.35 * axes.get_ylim()[1])
    axes.legend(loc="upper left")


def draw_networks(axes: Axes, table: pd.DataFrame) -> None:
    """Draw the costs of the networks, each as a multiple of ResNet-34's."""
    whole = {name: totals(table, name) for name in NETWORKS}
    base = whole["ResNet-34"]
    looks = {"ResNet-34": (ORANGE, "///"), "ResNet-50 v1": (SKY, ""), "ResNet-50 v1.5": (BLUE, "...")}
    places = np.arange(len(base))
    for number, (name, (color, hatch)) in enumerate(looks.items()):
        heights = [whole[name][cost] / base[cost] for cost in base]
        axes.bar(places + 0.27 * (number - 1), heights, 0.26, color=color, hatch=hatch, edgecolor="white", label=name)
    axes.set_xticks(places, list(base), fontsize=8)
    axes.set_ylabel("times ResNet-34")
    axes.set_title("basic block and bottleneck")
    axes.set_ylim(0, 1.45 * axes.get_ylim()[1])
    axes.legend(loc="upper left")


def totals(table: pd.DataFrame, network: str) -> dict[str, float]:
    """Return a network's parameters, multiply-accumulates, kept bytes and seconds an image."""
    return {
        "parameters": by_stage(table, network, "parameters").sum(),
        "work": by_stage(table, network, "macs").sum(),
        "memory": by_stage(table, network, "activation_bytes").sum(),
        "time": seconds_by_stage(table, network).sum(1).mean(),
    }


def summarize(table: pd.DataFrame) -> pd.DataFrame:
    """Return each network's costs by stage and in all."""
    rows: list[dict[str, object]] = []
    for network in NETWORKS:
        seconds = seconds_by_stage(table, network)
        values = {
            "parameters": by_stage(table, network, "parameters"),
            "MACs": by_stage(table, network, "macs"),
            "MB kept": by_stage(table, network, "activation_bytes") / 1e6,
            "ms": 1e3 * seconds.mean(0),
            "roofline ms": 1e3 * by_stage(table, network, "roofline_seconds"),
        }
        sums = {cost: number.sum() for cost, number in values.items()}
        if network == "ResNet-50 v1.5":
            for place, stage in enumerate(STAGES):
                rows.append(row(network, stage, {cost: number[place] for cost, number in values.items()}))
        rows.append(row(network, "all", sums))
    return pd.DataFrame(rows, dtype=object)


def row(network: str, stage: str, costs: dict[str, float]) -> dict[str, object]:
    """Return a row of the summary; large counts are whole numbers."""
    numbers: dict[str, object] = {cost: int(value) if value >= 1e4 else float(value) for cost, value in costs.items()}
    return {"network": network, "stage": stage} | numbers


PUBLISHED = {"ResNet-50 v1": 3.8e9, "ResNet-50 v1.5": 4.1e9, "ResNet-34": 3.6e9}
"""Multiply-accumulates at 224 pixels: table 1 of the paper, which calls them FLOPs, and torchvision for v1.5."""

ROUNDING = 0.03
"""Relative distance that two published digits leave open."""


def work_is_as_published(table: pd.DataFrame) -> Observation:
    """Seen if every network's multiply-accumulates are within 3 % of the published count; not seen otherwise."""
    found = {name: totals_of(table, name, "macs") for name in PUBLISHED}
    close = all(abs(found[name] / published - 1) <= ROUNDING for name, published in PUBLISHED.items())
    numbers = ", ".join(f"{name} {found[name] / 1e9:.2f} G (published {PUBLISHED[name] / 1e9:.1f})" for name in found)
    return Observation(
        "work_is_as_published", "seen" if close else "not seen", f"Multiply-accumulates for one picture: {numbers}."
    )


def totals_of(table: pd.DataFrame, network: str, quantity: str) -> float:
    """Return the sum of a quantity over the stages."""
    return float(by_stage(table, network, quantity).sum())


def where_the_costs_are(table: pd.DataFrame) -> Observation:
    """Name the stage that has most of each cost of ResNet-50 v1.5."""
    network = "ResNet-50 v1.5"
    costs = {
        "parameters": by_stage(table, network, "parameters"),
        "multiply-accumulates": by_stage(table, network, "macs"),
        "kept activations": by_stage(table, network, "activation_bytes"),
        "time": seconds_by_stage(table, network).mean(0),
    }
    words = [f"{percent(v.max() / v.sum())} of the {k} in {STAGES[int(v.argmax())]}" for k, v in costs.items()]
    return Observation("where_the_costs_are", "note", f"ResNet-50 v1.5 has {', '.join(words)}.")


def share_of_the_roofline(table: pd.DataFrame) -> Observation:
    """Say how much of the least possible time the measured time is, in all and where it is furthest away."""
    seconds = seconds_by_stage(table, "ResNet-50 v1.5")
    least = by_stage(table, "ResNet-50 v1.5", "roofline_seconds")
    shares = least / seconds.mean(0)
    worst = int(np.argmax(seconds.mean(0) - least))
    whole = seconds.sum(1)
    return Observation(
        "share_of_the_roofline",
        "note",
        f"An image takes {1e3 * whole.mean():.0f} ± {1e3 * whole.std(ddof=1):.0f} ms forward and backward "
        f"(n = {len(whole)} batches), where arithmetic and memory alone would take {1e3 * least.sum():.0f} ms: "
        f"{percent(least.sum() / whole.mean())}. Most is lost in {STAGES[worst]}, at {percent(shares[worst])} of its "
        "least time.",
    )


EQUAL_WORK = 0.15
"""Difference of work up to which the paper's two networks count as equal: 3.8 against 3.6."""


def bottlenecks_cost_no_more_work(table: pd.DataFrame) -> Observation:
    """Seen if ResNet-50 v1 needs at most 15 % more multiply-accumulates than ResNet-34; not seen otherwise."""
    basic, bottleneck = totals(table, "ResNet-34"), totals(table, "ResNet-50 v1")
    ratio = {cost: bottleneck[cost] / basic[cost] for cost in basic}
    times = seconds_by_stage(table, "ResNet-50 v1").sum(1) / seconds_by_stage(table, "ResNet-34").sum(1)
    return Observation(
        "bottlenecks_cost_no_more_work",
        "seen" if ratio["work"] <= 1 + EQUAL_WORK else "not seen",
        f"50 layers of bottlenecks (v1) take {ratio['work']:.2f} times the multiply-accumulates of 34 layers of basic "
        f"blocks. They keep {ratio['memory']:.2f} times the activations and take {times.mean():.2f} times as long here "
        f"({times.min():.2f} to {times.max():.2f} in {len(times)} rounds): work is not all that costs.",
    )


def last(table: pd.DataFrame, network: str, quantity: str) -> np.ndarray:
    """Return a small training's quantity after the last epoch, one per seed."""
    rows = table[(table["network"] == network) & (table["quantity"] == quantity)]
    return rows[rows["epoch"] == rows["epoch"].max()].sort_values("seed")["value"].to_numpy(float)


def bottlenecks_train_better(table: pd.DataFrame) -> Observation:
    """Seen if ResNet-50 ends with the lower training loss than ResNet-34 in every seed; not seen if in none."""
    gain = last(table, "ResNet-34", "train_loss") - last(table, "ResNet-50", "train_loss")
    outcome = "seen" if gain.min() > 0 else "not seen" if gain.max() <= 0 else "undecided"
    return Observation(
        "bottlenecks_train_better",
        outcome,
        f"Training loss after the last epoch: {loss(last(table, 'ResNet-34', 'train_loss').mean())} nats with basic "
        f"blocks, {loss(last(table, 'ResNet-50', 'train_loss').mean())} with bottlenecks (difference "
        f"{gain.min():+.3f} to {gain.max():+.3f} in {len(gain)} seeds).",
    )


def projections_are_not_essential(table: pd.DataFrame) -> Observation:
    """Seen if the mean validation losses of A, B and C lie closer together than the seeds of one of them do.

    Not seen otherwise: then the kind of shortcut matters more than chance. (One seed can't say: undecided.)
    """
    ends = {kind: last(table, f"shortcuts {kind}", "val_loss") for kind in KINDS}
    means = {kind: float(values.mean()) for kind, values in ends.items()}
    spread = max(float(np.ptp(values)) for values in ends.values())
    between = max(means.values()) - min(means.values())
    count = len(ends["B"])
    outcome = "undecided" if count < 2 else "seen" if between <= spread else "not seen"
    numbers = ", ".join(f"{kind} {loss(mean)}" for kind, mean in means.items())
    return Observation(
        "projections_are_not_essential",
        outcome,
        f"Validation loss after the last epoch, mean of {count} seeds: {numbers} nats. The means lie {between:.3f} "
        f"apart, the seeds of one kind up to {spread:.3f}.",
    )


def read(table: pd.DataFrame) -> list[Observation]:
    """Read the numbers."""
    return [
        work_is_as_published(table),
        where_the_costs_are(table),
        share_of_the_roofline(table),
        bottlenecks_cost_no_more_work(table),
        bottlenecks_train_better(table),
        projections_are_not_essential(table),
    ]


def setting(plan: Plan) -> str:
    """Say what is done here."""
    return (
        f"Counts are for one picture of {SIZE} pixels and 1,000 classes. Memory is what autograd keeps for the "
        f"backward pass. Times are means of {plan.draws + 1} forward and backward passes of {BATCH} pictures, without "
        "loading and without the optimizer's step; the roofline takes, for every module, the longer of its arithmetic "
        "at the measured rate of a matrix product and its input and output at the measured bandwidth of a copy. The "
        f"comparisons by loss are small trainings: {plan.images} pictures of {plan.size} pixels, {plan.epochs} epochs, "
        f"{plan.seeds} seeds, A, B and C on ResNet-18 where the paper has ResNet-34 and ImageNet; so few steps favor "
        "the shallower network."
    )


EXPERIMENT = Experiment(
    name="anatomy",
    title="Anatomy of a ResNet-50",
    question="Where are its parameters, its work, its memory and its time?",
    claim="A ResNet-50 takes 3.8 billion multiply-accumulates for a picture, hardly more than a ResNet-34 with 3.6: a "
    "bottleneck squeezes the channels to a quarter before its 3×3 convolution, so that 50 layers cost about what 34 "
    "do, and they are more accurate. Where a block changes the shape, the shortcut may pad with zeros (A), project "
    "(B), or all shortcuts may project (C). B is slightly better than A and C than B; the differences are small, so "
    "projections are not essential.",
    setting=setting,
    caption="Above: which share of each cost a stage has; its time against the least possible (whiskers: one "
    "deviation); three networks, each cost as a multiple of ResNet-34's. Below: small trainings with the three kinds "
    "of shortcut, and with two kinds of block; lines are means over the seeds, bands reach from the smallest to the "
    "largest.",
    sources=(
        Source(
            "He, Zhang, Ren and Sun", 2015, "Deep Residual Learning for Image Recognition", "1512.03385",
            "section 3.3, tables 1 and 3",
        ),
    ),
    measure=measure,
    draw=draw,
    summarize=summarize,
    read=read,
)  # fmt: skip

run = EXPERIMENT.run
