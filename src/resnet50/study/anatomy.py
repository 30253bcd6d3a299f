"""Where a ResNet-50's parameters, work, memory and time are: bottleneck and basic block, v1 and v1.5, projections."""

import dataclasses
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
from resnet50.study.experiment import Experiment, Measured, rule, rules_of
from resnet50.study.figures import BLUE, GRAY, GREEN, ORANGE, SKY, VERMILION, band, new_figure, style_of
from resnet50.study.lab import Lab
from resnet50.study.outcome import Outcome, agree, decide, span
from resnet50.study.pages import load_page
from resnet50.study.small import Setup, train_small
from resnet50.study.tables import final_values, means_by, melted, select

SUBJECT = "ResNet-50 v1.5"

NETWORKS: dict[str, tuple[Depth, Variant]] = {
    SUBJECT: (50, "v1.5"),
    "ResNet-50 v1": (50, "v1"),
    "ResNet-34": (34, "v1.5"),
}

SIZE, BATCH = 224, 8
"""The published counts are for images of 224 pixels; a batch of eight keeps every core busy."""

KINDS: tuple[ShortcutKind, ...] = ("A", "B", "C")

COLUMNS = ["network", "stage", "seed", "epoch", "quantity", "value"]


def measure(lab: Lab) -> Measured:
    """Count, time and train; a row per network, stage, repetition or seed, epoch and quantity."""
    tables = [lab.keep("anatomy/costs", lambda: measure_costs(lab))]
    setups = {"ResNet-34": Setup(depth=34), "ResNet-50": Setup(depth=50)}
    setups |= {f"shortcuts {kind}": Setup(shortcuts=kind) for kind in KINDS}
    for (name, setup), seed in product(setups.items(), range(lab.plan.seeds)):
        lab.step(f"{name}, seed {seed}")
        history = train_small(lab, dataclasses.replace(setup, seed=seed)).history
        tables.append(melted(history, ["train_loss", "val_loss"], network=name, stage="-", seed=seed))
    return Measured(pd.concat(tables)[COLUMNS].reset_index(drop=True))


def measure_costs(lab: Lab) -> pd.DataFrame:
    """Return every network's counts, bytes, seconds and roofline by stage; `seed` numbers the repetitions."""
    lab.step("rates of this machine")
    rate, bandwidth = matrix_rate(lab.device), copy_bandwidth(lab.device)
    rates = {"operations_per_second": rate, "bytes_per_second": bandwidth}
    rows = [("machine", "-", 0, name, value) for name, value in rates.items()]
    generator = torch.Generator().manual_seed(lab.seed)
    images = torch.randn(BATCH, 3, SIZE, SIZE, generator=generator)
    images = images.to(lab.device.torch_device, memory_format=torch.channels_last)
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
    for repetition in range(lab.plan.draws + 1):  # in turns, so that other load on the machine hits all of them
        lab.step(f"time of all, repetition {repetition}")
        for name, network in networks.items():
            times = stage_seconds(network, images, labels, lab.device)
            rows += [(name, at, repetition, f"{way}_seconds", s / BATCH) for (at, way), s in times.items()]
    return pd.DataFrame(rows, columns=["network", "stage", "seed", "quantity", "value"]).assign(epoch=0)


def by_stage(table: pd.DataFrame, network: str, quantity: str) -> np.ndarray:
    """Return the mean over repetitions in the order of `STAGES`."""
    return means_by(table, "stage", network=network, quantity=quantity).reindex(list(STAGES)).to_numpy(float)


def seconds_by_stage(table: pd.DataFrame, network: str) -> np.ndarray:
    """Return the seconds of forward and backward pass: repetitions×stages."""
    rows = select(table, network=network, quantity=("forward_seconds", "backward_seconds"))
    return rows.pivot_table("value", "seed", "stage", "sum").reindex(columns=list(STAGES)).to_numpy(float)


def costs_by_stage(table: pd.DataFrame, network: str) -> dict[str, np.ndarray]:
    """Return a network's parameters, multiply-accumulates, kept bytes and seconds an image, each by stage."""
    return {
        "parameters": by_stage(table, network, "parameters"),
        "work": by_stage(table, network, "macs"),
        "memory": by_stage(table, network, "activation_bytes"),
        "time": seconds_by_stage(table, network).mean(0),
    }


def totals(table: pd.DataFrame, network: str) -> dict[str, float]:
    return {cost: float(numbers.sum()) for cost, numbers in costs_by_stage(table, network).items()}


def draw(measured: Measured) -> Figure:
    table = measured.table
    figure, axes = new_figure(2, 3, 6.0)
    draw_shares(axes[0, 0], table)
    draw_time(axes[0, 1], table)
    draw_networks(axes[0, 2], table)
    for panel, quantity, words in ((axes[1, 0], "train_loss", "training"), (axes[1, 1], "val_loss", "validation")):
        for name in (f"shortcuts {kind}" for kind in KINDS):
            band(panel, select(table, network=name, quantity=quantity), "epoch", name)
        panel.set(title="ResNet-18, shortcuts A, B and C", xlabel="epoch", ylabel=f"{words} loss (nats)")
        panel.legend()
    for depth, blocks in ((34, "basic blocks"), (50, "bottlenecks")):
        rows = select(table, network=f"ResNet-{depth}", quantity="train_loss")
        band(axes[1, 2], rows, "epoch", f"ResNet-{depth} ({blocks})", style_of(f"{depth} layers"))
    axes[1, 2].set(title="two kinds of block", xlabel="epoch", ylabel="training loss (nats)")
    axes[1, 2].legend()
    return figure


def draw_shares(axes: Axes, table: pd.DataFrame) -> None:
    costs = costs_by_stage(table, SUBJECT)
    looks = ((GRAY, ""), (SKY, "///"), (BLUE, ""), (GREEN, "..."), (ORANGE, ""), (VERMILION, "xx"))
    shares = np.array([100 * values / values.sum() for values in costs.values()]).T
    for stage, share, left, (color, hatch) in zip(STAGES, shares, shares.cumsum(0) - shares, looks, strict=True):
        axes.barh(list(costs), share, left=left, color=color, hatch=hatch, label=stage, edgecolor="white")
    axes.invert_yaxis()
    axes.set(xlabel="share of the whole (%)", title="ResNet-50 v1.5, by stage")
    axes.grid(visible=False)
    axes.legend(ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.1), fontsize=7.5)


def draw_time(axes: Axes, table: pd.DataFrame) -> None:
    seconds = 1e3 * seconds_by_stage(table, SUBJECT)
    least = 1e3 * by_stage(table, SUBJECT, "roofline_seconds")
    places = np.arange(len(STAGES))
    axes.bar(places - 0.2, seconds.mean(0), 0.4, yerr=seconds.std(0), color=BLUE, capsize=2, label="measured")
    axes.bar(places + 0.2, least, 0.4, color=SKY, hatch="///", edgecolor="white", label="roofline")
    axes.set_xticks(places, [stage.removeprefix("layer") for stage in STAGES])
    axes.set(xlabel="stage (1 to 4: the layers)", ylabel="ms per image, forward and backward")
    axes.set(title="time against the roofline", ylim=(0, 1.35 * axes.get_ylim()[1]))
    axes.legend(loc="upper left")


def draw_networks(axes: Axes, table: pd.DataFrame) -> None:
    base = totals(table, "ResNet-34")
    bars = {"ResNet-34": (ORANGE, "///"), "ResNet-50 v1": (SKY, ""), SUBJECT: (BLUE, "...")}
    places = np.arange(len(base))
    for number, (name, (color, hatch)) in enumerate(bars.items()):
        costs = totals(table, name)
        heights = [costs[cost] / base[cost] for cost in base]
        axes.bar(places + 0.27 * (number - 1), heights, 0.26, color=color, hatch=hatch, edgecolor="white", label=name)
    axes.set_xticks(places, list(base), fontsize=8)
    axes.set(ylabel="multiple of ResNet-34", title="basic block and bottleneck", ylim=(0, 1.45 * axes.get_ylim()[1]))
    axes.legend(loc="upper left")


def summarize(table: pd.DataFrame) -> pd.DataFrame:
    rows: list[tuple[object, ...]] = []
    for network in NETWORKS:
        parameters, work, memory, time = costs_by_stage(table, network).values()
        least = by_stage(table, network, "roofline_seconds")
        costs = np.array([parameters, work, memory / 1e6, 1e3 * time, 1e3 * least])
        parts = zip(STAGES, costs.T, strict=True) if network == SUBJECT else ()
        for stage, values in [*parts, ("all", costs.sum(1))]:
            rows.append((network, stage, *(int(value) if value >= 1e4 else float(value) for value in values)))
    columns = ["network", "stage", "parameters", "MACs", "MB kept", "ms", "roofline ms"]
    return pd.DataFrame(rows, columns=columns, dtype=object)


PUBLISHED = {"ResNet-50 v1": 3.8e9, "ResNet-50 v1.5": 4.1e9, "ResNet-34": 3.6e9}
"""Multiply-accumulates at 224 pixels: table 1 of the paper, which calls them FLOPs, and torchvision for v1.5."""

ROUNDING = 0.03
"""Relative error left by publishing two digits."""


@rule
def work_is_as_published(table: pd.DataFrame) -> tuple[Outcome, str]:
    """Seen if every network's multiply-accumulates are within 3% of the published count; not seen otherwise."""
    found = {name: totals(table, name)["work"] for name in PUBLISHED}
    close = all(abs(found[name] / published - 1) <= ROUNDING for name, published in PUBLISHED.items())
    numbers = ", ".join(f"{name} {found[name] / 1e9:.2f} G (published {PUBLISHED[name] / 1e9:.1f})" for name in found)
    return decide(seen=close), f"Multiply-accumulates for one image: {numbers}."


@rule
def where_the_costs_are(table: pd.DataFrame) -> tuple[Outcome, str]:
    """Name the stage with most of each cost of ResNet-50 v1.5."""
    names = {"work": "multiply-accumulates", "memory": "kept activations"}
    words = [
        f"{percent(numbers.max() / numbers.sum())} of the {names.get(cost, cost)} in {STAGES[int(numbers.argmax())]}"
        for cost, numbers in costs_by_stage(table, SUBJECT).items()
    ]
    return "note", f"ResNet-50 v1.5 has {', '.join(words)}."


@rule
def share_of_the_roofline(table: pd.DataFrame) -> tuple[Outcome, str]:
    """Compare the measured time with the roofline, in all and in the stage where most time is lost."""
    seconds = seconds_by_stage(table, SUBJECT)
    least = by_stage(table, SUBJECT, "roofline_seconds")
    shares = least / seconds.mean(0)
    worst = int(np.argmax(seconds.mean(0) - least))
    whole = seconds.sum(1)
    return "note", (
        f"Forward and backward take {1e3 * whole.mean():.0f} ± {1e3 * whole.std(ddof=1):.0f} ms per image "
        f"(n = {len(whole)} batches); arithmetic and memory traffic alone would take {1e3 * least.sum():.0f} ms, "
        f"{percent(least.sum() / whole.mean())} of that. {STAGES[worst].capitalize()} loses the most time: its "
        f"roofline is {percent(shares[worst])} of its measured time."
    )


EQUAL_WORK = 0.15
"""Difference of work up to which the paper's two networks count as equal: 3.8 against 3.6."""


@rule
def bottlenecks_cost_no_more_work(table: pd.DataFrame) -> tuple[Outcome, str]:
    """Seen if ResNet-50 v1 needs at most 15% more multiply-accumulates than ResNet-34; not seen otherwise."""
    basic, bottleneck = totals(table, "ResNet-34"), totals(table, "ResNet-50 v1")
    ratio = {cost: bottleneck[cost] / basic[cost] for cost in basic}
    times = seconds_by_stage(table, "ResNet-50 v1").sum(1) / seconds_by_stage(table, "ResNet-34").sum(1)
    return decide(seen=ratio["work"] <= 1 + EQUAL_WORK), (
        f"50 layers of bottlenecks (v1) need {ratio['work']:.2f} times the multiply-accumulates of 34 layers of basic "
        f"blocks. They keep {ratio['memory']:.2f} times the activations and take {times.mean():.2f} times as long here "
        f"({span(times, '.2f')} in {len(times)} rounds): work is not the only cost."
    )


@rule
def bottlenecks_train_better(table: pd.DataFrame) -> tuple[Outcome, str]:
    """Seen if ResNet-50 ends with the lower training loss than ResNet-34 in every seed; not seen if in none."""
    basic, bottleneck = (final_values(table, network=f"ResNet-{n}", quantity="train_loss") for n in (34, 50))
    gain = basic - bottleneck
    return agree(gain), (
        f"Training loss after the last epoch: {loss(basic.mean())} nats with basic blocks, {loss(bottleneck.mean())} "
        f"with bottlenecks (difference {span(gain, '+.3f')} in {len(gain)} seeds)."
    )


@rule
def projections_are_not_essential(table: pd.DataFrame) -> tuple[Outcome, str]:
    """Seen if the mean validation losses of A, B and C lie closer together than the seeds of one of them do.

    Not seen otherwise: then the kind of shortcut matters more than chance. Undecided with one seed.
    """
    ends = {kind: final_values(table, network=f"shortcuts {kind}", quantity="val_loss") for kind in KINDS}
    means = {kind: float(losses.mean()) for kind, losses in ends.items()}
    spread = max(float(np.ptp(losses)) for losses in ends.values())
    between = max(means.values()) - min(means.values())
    count = len(ends["B"])
    numbers = ", ".join(f"{kind} {loss(mean)}" for kind, mean in means.items())
    return "undecided" if count < 2 else decide(seen=between <= spread), (
        f"Validation loss after the last epoch, mean of {count} seeds: {numbers} nats. The means differ by up to "
        f"{between:.3f}, the seeds of one kind by up to {spread:.3f}."
    )


EXPERIMENT = Experiment(
    load_page("anatomy"), measure, draw, summarize, rules_of(__name__),
    details=lambda plan: {"size": SIZE, "passes": plan.draws + 1, "batch": BATCH},
)  # fmt: skip

run = EXPERIMENT.run
