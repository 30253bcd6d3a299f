"""Is a residual network one deep network or a collection of shallow ones? Blocks taken away, blocks swapped, paths."""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats
from torch import Tensor

from resnet50.data.transforms import Preprocess
from resnet50.model.hooks import block_names
from resnet50.model.resnet import ResNet
from resnet50.options import Depth, ShortcutKind
from resnet50.runtime.console import warn
from resnet50.runtime.errors import UserError
from resnet50.runtime.stats import percent, points, wilson
from resnet50.study.experiment import Experiment, Measured, Observation, Outcome, Source
from resnet50.study.figures import GRAY, GREEN, KIND_COLORS, PLAIN, RESIDUAL, band, new_figure
from resnet50.study.lab import Lab, Pictures, Plan, TrainedRun
from resnet50.study.lesions import (
    SWAPS,
    Lesion,
    keeps_shape,
    kendall_tau,
    lesioned_logits,
    removals,
    reorderings,
    the_blocks,
    without,
)
from resnet50.study.paths import mean_norm, path_graph, path_shares
from resnet50.study.small import Setup, small_pictures, train_small

PATH_IMAGES = 8
"""Pictures whose gradients are followed along single paths: their whole graph is kept in memory."""

PATH_DRAWS = 4
"""Random paths of every length, times the plan's draws: along some of them a hundred times more gradient comes than
along others."""

SMALL: dict[str, ShortcutKind] = {"small residual": "B", "small plain": "none"}
"""The same small training with and without shortcuts."""

DEPTHS: tuple[Depth, ...] = (50, 18)
"""Their depth: a plain network of 50 layers may learn nothing in so few steps; then 18 show the contrast."""

COLUMNS = ["network", "part", "blocks", "k", "draw", "tau", "quantity", "value"]


def residual_runs(lab: Lab) -> dict[str, TrainedRun]:
    """Return the trained runs that have shortcuts, by what they are called in tables and figures.

    Raises:
        UserError: there is none.
    """
    runs: dict[str, TrainedRun] = {}
    for run in lab.runs:
        if run.network.shortcuts == "none":
            warn(f"{run.folder} has no shortcuts: it can't be looked at here")
        else:
            runs[run.kind if run.kind not in runs else f"{run.kind}, the other"] = run
    if not runs:
        raise UserError("this experiment looks at a trained network with shortcuts: give such a run")
    return runs


def judge(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """Return accuracy and mean cross-entropy in nats."""
    correct = (logits.argmax(1) == labels).float().mean()
    return {"accuracy": float(correct), "loss": float(F.cross_entropy(logits, labels))}


def lesion_rows(
    lab: Lab, network: ResNet, preprocess: Preprocess, pictures: Pictures, lesions: Sequence[tuple[str, int, Lesion]]
) -> pd.DataFrame:
    """Return accuracy and loss of lesions (part, k, lesion): a row each of every quantity."""
    names = block_names(network)
    logits = lesioned_logits(network, [lesion for *_, lesion in lesions], pictures.pixels, preprocess, lab.device)
    rows: list[dict[str, Any]] = []
    for draw, ((part, k, lesion), some) in enumerate(zip(lesions, logits, strict=True)):
        about = {
            "part": part,
            "blocks": " ".join(name for name in names if name in lesion.removed) or "-",
            "k": k,
            "draw": draw,
            "tau": kendall_tau(lesion, names),
        }
        rows += [about | {"quantity": name, "value": value} for name, value in judge(some, pictures.labels).items()]
    counts = torch.bincount(pictures.labels)
    for name, value in {"majority": float(counts.max() / counts.sum()), "images": len(pictures)}.items():
        rows.append({"part": "intact", "blocks": "-", "k": 0, "draw": 0, "tau": 1.0, "quantity": name, "value": value})
    return pd.DataFrame(rows)


def measure_lesions(lab: Lab, run: TrainedRun) -> pd.DataFrame:
    """Return what a trained network is worth with blocks removed and reordered."""
    names, rng = block_names(run.network), np.random.default_rng([lab.seed, 0xB10C])
    removed = [("removed", len(lesion.removed), lesion) for lesion in removals(names, lab.plan.draws, rng)]
    reordered = [("reordered", k, lesion) for k, lesion in reorderings(run.network, lab.plan.draws, rng)]
    pictures = lab.pictures("val", run.model.preprocess, lab.plan.looked_at)
    lesions = [("intact", 0, without(names, [])), *removed, *reordered]
    return lesion_rows(lab, run.network, run.model.preprocess, pictures, lesions)


def measure_small(lab: Lab, setup: Setup) -> pd.DataFrame:
    """Return how well a small network knows its training pictures without each block that keeps its shape.

    What it was trained on, because a network can only lose what it has learned, and so few pictures teach it little
    about others.
    """
    network = lab.to_device(train_small(lab, setup).network())
    names = block_names(network)
    singles = [name for name, block in the_blocks(network).items() if keeps_shape(block)]
    lesions = [("intact", 0, without(names, [])), *(("removed", 1, without(names, [name])) for name in singles)]
    rows = lesion_rows(lab, network, lab.small_preprocess(), small_pictures(lab, "train"), lesions)
    depth = rows[rows["quantity"] == "images"].assign(quantity="depth", value=setup.depth)
    return pd.concat([rows, depth])


def small_networks(lab: Lab) -> pd.DataFrame:
    """Return the small networks' rows, of the largest depth at which both have learned something."""
    table = pd.DataFrame()
    for depth in DEPTHS:
        tables: list[pd.DataFrame] = []
        for name, kind in SMALL.items():
            lab.step(f"blocks removed, {name} network of {depth} layers")
            kept, setup = f"ensemble/{name.replace(' ', '-')}-{depth}", Setup(depth=depth, shortcuts=kind)
            tables.append(lab.keep(kept, lambda s=setup: measure_small(lab, s)).assign(network=name))
        table = pd.concat(tables)
        if all(lost(table, name) is not None for name in SMALL):
            break
    return table


def measure_paths(lab: Lab, run: TrainedRun) -> pd.DataFrame:
    """Return the share of paths, the gradient of random single ones and of all together, by length."""
    pictures = lab.pictures("val", run.model.preprocess, min(PATH_IMAGES, lab.plan.looked_at))
    images = run.model.preprocess.normalize(pictures.pixels.to(lab.device.torch_device))
    graph = path_graph(run.network, images, pictures.labels.to(lab.device.torch_device))
    n, rng = len(graph.sections), np.random.default_rng([lab.seed, 0x9A7B])
    rows: list[tuple[int, int, str, float]] = []
    for k, share in enumerate(path_shares(n)):
        rows.append((k, 0, "paths", float(share)))
        for draw in range(PATH_DRAWS * lab.plan.draws if 0 < k < n else 1):
            through = rng.choice(n, k, replace=False).tolist()
            rows.append((k, draw, "gradient", mean_norm(graph.along(through))))
    rows += [(k, 0, "gradient_sum", mean_norm(gradient)) for k, gradient in enumerate(graph.by_length())]
    table = pd.DataFrame(rows, columns=["k", "draw", "quantity", "value"])
    return table.assign(part="path", blocks="-", tau=1.0)


def measure(lab: Lab) -> Measured:
    """Take blocks away, swap them, follow paths; then take blocks from the small residual and plain network."""
    tables: list[pd.DataFrame] = []
    for name, run in residual_runs(lab).items():
        lab.step(f"blocks removed and swapped, {name}")
        kept = name.replace(" ", "-").replace(",", "")
        tables.append(lab.keep(f"ensemble/{kept}-lesions", lambda r=run: measure_lesions(lab, r)).assign(network=name))
        lab.step(f"gradients along single paths, {name}")
        tables.append(lab.keep(f"ensemble/{kept}-paths", lambda r=run: measure_paths(lab, r)).assign(network=name))
    tables.append(small_networks(lab))
    return Measured(pd.concat(tables)[COLUMNS])


def trained_names(table: pd.DataFrame) -> list[str]:
    """Return the trained runs' names, in order."""
    return [name for name in table["network"].unique() if name not in SMALL]


LOOKS: dict[str, tuple[str, Any, str]] = {
    "fine-tuned": (KIND_COLORS["fine-tuned"], "-", "o"),
    "from scratch": (KIND_COLORS["from scratch"], (0, (4, 1.5)), "s"),
    "small residual": (RESIDUAL, "-", "o"),
    "small plain": (PLAIN, (0, (4, 1.5)), "s"),
}
"""Color, dashes and marker of a network."""


def look(name: str) -> tuple[str, Any, str]:
    """Return a network's color, dashes and marker; a second run of the same kind gets others."""
    return LOOKS.get(name, (GREEN, ":", "^"))


def draw(measured: Measured) -> Figure:
    """Draw accuracy with blocks removed and reordered, and how much gradient comes along paths of which length."""
    table = measured.table
    figure, axes = new_figure(2, 3, 6.2)
    draw_single(axes[0, 0], table, trained_names(table), "one block removed")
    depth = intact(table, "small plain", "depth")
    draw_single(axes[0, 1], table, list(SMALL), f"one block removed, {depth:.0f} layers")
    axes[0, 1].set_ylabel("training accuracy")
    draw_removed(axes[0, 2], table)
    draw_reordered(axes[1, 0], table)
    draw_paths(axes[1, 1], table)
    draw_gradient(axes[1, 2], table)
    handles, labels = axes[0, 2].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=len(labels))
    return figure


def draw_single(axes: Axes, table: pd.DataFrame, names: Sequence[str], title: str) -> None:
    """Draw the accuracy without each single block, and of the whole network as a thin line."""
    labels: list[str] = []
    for name in names:
        color, dashes, marker = look(name)
        rows = singles(table, name)
        labels = rows["blocks"].tolist() if len(rows) > len(labels) else labels
        axes.plot(rows["blocks"], rows["value"], color=color, linestyle=dashes, marker=marker, label=name)
        axes.axhline(intact(table, name, "accuracy"), color=color, linewidth=0.8, linestyle=dashes)
    chance_line(axes, table, names)
    axes.set_xticks(range(len(labels)), [label.removeprefix("layer") for label in labels], rotation=90, fontsize=7.5)
    axes.set_xlabel("block removed (stage.number)")
    axes.set_ylabel("validation accuracy")
    axes.set_title(title)
    if set(names) == set(SMALL):
        legend_above(axes, "small")


def draw_removed(axes: Axes, table: pd.DataFrame) -> None:
    """Draw the accuracy by how many blocks are gone."""
    for name in trained_names(table):
        color, dashes, marker = look(name)
        rows = table[(table["network"] == name) & (table["quantity"] == "accuracy")]
        band(axes, rows[rows["part"].isin(["intact", "removed"])], "k", name, color, dashes, marker)
    chance_line(axes, table, trained_names(table))
    axes.set_xlabel("blocks removed at random")
    axes.set_title("several blocks removed")


def draw_reordered(axes: Axes, table: pd.DataFrame) -> None:
    """Draw the accuracy by how far the order is from the trained one."""
    for name in trained_names(table):
        color, _, marker = look(name)
        rows = reordered(table, name)
        axes.plot(rows["tau"], rows["value"], linestyle="none", color=color, marker=marker, alpha=0.7, label=name)
    chance_line(axes, table, trained_names(table))
    axes.invert_xaxis()
    axes.set_xlabel("Kendall's τ with the trained order")
    axes.set_ylabel("validation accuracy")
    axes.set_title("blocks swapped within their stage")


def draw_paths(axes: Axes, table: pd.DataFrame) -> None:
    """Draw the gradient that arrives at the image along one path, by its length."""
    for name in trained_names(table):
        color, dashes, marker = look(name)
        rows = table[(table["network"] == name) & (table["quantity"] == "gradient")]
        band(axes, rows, "k", name, color, dashes, marker)
    axes.set_yscale("log")
    axes.set_xlabel("path length (residual branches)")
    axes.set_ylabel("gradient's norm at the image")
    axes.set_title("gradient along one path")


def draw_gradient(axes: Axes, table: pd.DataFrame) -> None:
    """Draw the share of paths and of gradient by length."""
    names = trained_names(table)
    paths = of_paths(table, names[0], "paths")
    axes.bar(paths.index, paths.to_numpy(), color="#c8c8c8", width=0.8, label="paths")
    for name in names:
        color, dashes, marker = look(name)
        shares = gradient_shares(table, name)
        axes.plot(shares.index, shares, color=color, linestyle=dashes, marker=marker, label=f"gradient, {name}")
    axes.set_xlabel("path length (residual branches)")
    axes.set_ylabel("share")
    axes.set_title("paths and gradient by length")
    legend_above(axes, "paths")


def chance_line(axes: Axes, table: pd.DataFrame, names: Sequence[str]) -> None:
    """Mark what always answering the most frequent class would score."""
    axes.axhline(intact(table, names[0], "majority"), color=GRAY, linewidth=1, linestyle=":", label="always one class")


def legend_above(axes: Axes, what: str) -> None:
    """Put a legend between title and data, over none of them: the lines whose names have `what` in them."""
    title = axes.get_title(loc="left")
    axes.set_title("")
    chosen = [(line, name) for line, name in zip(*axes.get_legend_handles_labels(), strict=True) if what in name]
    axes.legend(
        [line for line, _ in chosen], [name for _, name in chosen], loc="lower left", bbox_to_anchor=(-0.02, 0.98),
        title=title, ncols=len(chosen), alignment="left", borderpad=0, columnspacing=1,
    )  # fmt: skip


def intact(table: pd.DataFrame, network: str, quantity: str) -> float:
    """Return a figure of a whole network."""
    rows = table[(table["network"] == network) & (table["part"] == "intact") & (table["quantity"] == quantity)]
    return float(rows["value"].iloc[0])


def singles(table: pd.DataFrame, network: str, quantity: str = "accuracy") -> pd.DataFrame:
    """Return the rows of a network without one block, in the blocks' order."""
    rows = table[(table["network"] == network) & (table["part"] == "removed") & (table["k"] == 1)]
    return rows[rows["quantity"] == quantity].sort_values("draw")


def reordered(table: pd.DataFrame, network: str) -> pd.DataFrame:
    """Return the accuracies of a network with blocks swapped, the whole one among them."""
    rows = table[(table["network"] == network) & (table["quantity"] == "accuracy")]
    return rows[rows["part"].isin(["intact", "reordered"])]


def of_paths(table: pd.DataFrame, network: str, quantity: str) -> pd.Series:
    """Return the mean over draws of a quantity by path length."""
    rows = table[(table["network"] == network) & (table["part"] == "path") & (table["quantity"] == quantity)]
    return rows.groupby("k")["value"].mean()


def gradient_shares(table: pd.DataFrame, network: str) -> pd.Series:
    """Return the share of the gradient by path length: number of paths times the mean norm along one of them."""
    product = of_paths(table, network, "paths") * of_paths(table, network, "gradient")
    return product / product.sum()


RESAMPLED = 1000
"""Times that the drawn paths are drawn again, with replacement, for an interval."""


def short_share(table: pd.DataFrame, network: str) -> tuple[float, float, float]:
    """Return the gradient's share of the lengths up to half the blocks, and a 95 % interval of it.

    The interval is a bootstrap's, over the paths drawn of every length (Efron 1979).
    """
    rows = table[(table["network"] == network) & (table["part"] == "path") & (table["quantity"] == "gradient")]
    norms = [group["value"].to_numpy(float) for _, group in rows.groupby("k")]
    rng, paths = np.random.default_rng(0), of_paths(table, network, "paths").to_numpy(float)
    means = np.array([rng.choice(values, (RESAMPLED, len(values))).mean(1) for values in norms])
    product = paths[:, None] * means
    half = (len(paths) - 1) // 2
    low, high = np.quantile(product[: half + 1].sum(0) / product.sum(0), (0.025, 0.975))
    return float(gradient_shares(table, network).loc[:half].sum()), float(low), float(high)


def shape_changing(block: str) -> bool:
    """Return whether a block of these networks changes the shape: the first of every stage."""
    return block.endswith(".0")


LITTLE, BROKEN = 0.2, 0.5
"""Shares of a network's lead over always answering the most frequent class: up to a fifth of it is little to lose,
more than half is broken. Smaller shares are a picture or two of a hundred."""


def lost(table: pd.DataFrame, network: str) -> pd.Series | None:
    """Return the share of its lead over the most frequent class that a network loses with each block; None if it has
    no lead beyond chance (Wilson's 95 % interval)."""
    accuracy, majority = intact(table, network, "accuracy"), intact(table, network, "majority")
    n = round(intact(table, network, "images"))
    if wilson(round(accuracy * n), n)[0] <= majority:
        return None
    rows = singles(table, network)
    return pd.Series((accuracy - rows["value"].to_numpy(float)) / (accuracy - majority), index=rows["blocks"].tolist())


def no_lead(table: pd.DataFrame, rule: str, network: str) -> Observation:
    """Say that a network has learned too little to lose anything."""
    return Observation(
        rule,
        "undecided",
        f"The {network} network ({percent(intact(table, network, 'accuracy'))} correct) is not clearly better than "
        f"always answering the most frequent class ({percent(intact(table, network, 'majority'))}): there is nothing "
        "that removing a block could break.",
    )


def change(fall: float) -> str:
    """Return what a fall in accuracy changes, in percentage points."""
    return f"{-100 * fall:+.1f} points"


def single_removal_costs_little(table: pd.DataFrame, network: str) -> Observation:
    """Seen if the median block that keeps the shape costs at most a fifth (LITTLE) of the network's lead.

    The lead is its accuracy less that of always answering the most frequent class. Not seen if it costs more;
    undecided if the network has no lead.
    """
    rule = "single_removal_costs_little"
    shares = lost(table, network)
    if shares is None:
        return no_lead(table, rule, network)
    shares = shares[[block for block in shares.index if not shape_changing(str(block))]]
    lead = intact(table, network, "accuracy") - intact(table, network, "majority")
    outcome: Outcome = "seen" if shares.median() <= LITTLE else "not seen"
    return Observation(
        rule,
        outcome,
        f"The {network} network without one of its {len(shares)} blocks that keep the shape changes in "
        f"accuracy by {change(float(shares.median()) * lead)} in the median, {change(float(shares.max()) * lead)} at "
        f"worst ({shares.idxmax()}); whole, it is {points(lead)} better than always answering the most frequent "
        f"class ({intact(table, network, 'images'):.0f} pictures).",
    )


def removal_breaks_the_plain_network(table: pd.DataFrame) -> Observation:
    """Seen if the median block costs the plain network more than half (BROKEN) of its lead, the residual one less.

    Undecided if one of them has no lead.
    """
    rule = "removal_breaks_the_plain_network"
    plain, residual = lost(table, "small plain"), lost(table, "small residual")
    if plain is None or residual is None:
        return no_lead(table, rule, "small plain" if plain is None else "small residual")
    outcome: Outcome = "seen" if plain.median() > BROKEN > residual.median() else "not seen"
    return Observation(
        rule,
        outcome,
        "Of what it is better than always answering the most frequent class, the small plain network of "
        f"{intact(table, 'small plain', 'depth'):.0f} layers loses {percent(float(plain.median()))} without one block, "
        f"the residual one {percent(float(residual.median()))} (medians over the same {len(plain)} blocks, one "
        f"training each, {intact(table, 'small plain', 'images'):.0f} training pictures).",
    )


def rank_correlation(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Return Spearman's rank correlation and the probability of one as large by chance; 0 and 1 for a constant."""
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0, 1.0
    result = cast(Any, stats.spearmanr(a, b))
    return float(result[0]), float(result[1])


RISE, JUMP = 0.05, 0.5
"""A rise in error smaller than five points is too small to say how it rises; gradually means that no step from one
number of removed blocks to the next makes up more than half of the whole rise, and ranks agree at 0.8 or more."""

RANKS = 0.8


def error_grows_gradually(table: pd.DataFrame, network: str) -> Observation:
    """Seen if the mean error rises with the number of removed blocks (Spearman ≥ RANKS) without a jump (JUMP).

    Undecided if it rises by less than RISE altogether.
    """
    rows = table[(table["network"] == network) & (table["quantity"] == "accuracy")]
    errors = 1 - rows[rows["part"].isin(["intact", "removed"])].groupby("k")["value"].mean()
    rise = float(errors.max() - errors.iloc[0])
    text = f"The {network} network's error rises from {percent(float(errors.iloc[0]))} to "
    text += f"{percent(float(errors.max()))} with the number of removed blocks"
    if rise < RISE:
        return Observation("error_grows_gradually", "undecided", f"{text}: too little to say how.")
    ranks = rank_correlation(errors.index.to_numpy(), errors.to_numpy())[0]
    jumps = errors.diff().iloc[1:] / rise
    outcome: Outcome = "seen" if ranks >= RANKS and jumps.max() <= JUMP else "not seen"
    numbers = errors.index.tolist()
    after = int(np.argmax(jumps.to_numpy(float))) + 1
    return Observation(
        "error_grows_gradually",
        outcome,
        f"{text} (rank correlation {ranks:.2f}); the largest step, from {numbers[after - 1]} to "
        f"{numbers[after]} blocks, makes up {percent(float(jumps.max()))} of the rise.",
    )


SIGNIFICANT = 0.05
"""Probability of chance alone, below which a difference counts."""


def error_grows_with_reordering(table: pd.DataFrame, network: str) -> Observation:
    """Seen if the accuracy falls as Kendall's τ does (Spearman > 0, p < SIGNIFICANT); not seen if it doesn't.

    Undecided if the correlation is positive but may be chance, or nothing was reordered.
    """
    rule = "error_grows_with_reordering"
    rows = reordered(table, network)
    if rows["tau"].nunique() < 3 or rows["value"].nunique() < 2:
        return Observation(rule, "undecided", f"The {network} network has too few blocks that can be swapped.")
    ranks, chance = rank_correlation(rows["tau"].to_numpy(float), rows["value"].to_numpy(float))
    outcome: Outcome = "not seen" if ranks <= 0 else "seen" if chance < SIGNIFICANT else "undecided"
    worst = rows.sort_values("value").iloc[0]
    return Observation(
        rule,
        outcome,
        f"The {network} network's accuracy and τ have a rank correlation of {ranks:.2f} (p = {chance:.2g}, "
        f"{len(rows) - 1} random orders); {percent(intact(table, network, 'accuracy'))} in the trained order, "
        f"{percent(float(worst['value']))} in the worst one (τ = {worst['tau']:.2f}).",
    )


def shape_changing_blocks_matter_most(table: pd.DataFrame, network: str) -> Observation:
    """Seen if blocks that change the shape cost more accuracy than the others (Mann–Whitney, one-sided, SIGNIFICANT).

    Not seen if their mean is no larger; undecided in between, or if the network has no lead to lose.
    """
    rule = "shape_changing_blocks_matter_most"
    shares = lost(table, network)
    if shares is None:
        return no_lead(table, rule, network)
    lead = intact(table, network, "accuracy") - intact(table, network, "majority")
    changing = np.array([shape_changing(str(block)) for block in shares.index])
    first, others = shares.to_numpy()[changing] * lead, shares.to_numpy()[~changing] * lead
    chance = float(stats.mannwhitneyu(first, others, alternative="greater").pvalue)
    outcome: Outcome = "not seen" if first.mean() <= others.mean() else "seen" if chance < SIGNIFICANT else "undecided"
    return Observation(
        rule,
        outcome,
        f"In the {network} network taking the residual from a block that changes the shape changes "
        f"accuracy by {change(float(first.mean()))} on average ({len(first)} blocks), from any other by "
        f"{change(float(others.mean()))} ({len(others)} blocks; p = {chance:.2g}). The one that costs most is "
        f"{shares.idxmax()}.",
    )


MOST = 0.9
"""What counts as almost all of the gradient."""


def gradient_comes_along_short_paths(table: pd.DataFrame, network: str) -> Observation:
    """Seen if paths of at most half the blocks carry at least nine tenths (MOST) of the gradient.

    Not seen if they carry less; undecided if the 95 % interval over the drawn paths has nine tenths in it. A length's
    part of the gradient is the number of its paths times the mean norm along one, as in the paper.
    """
    shares = gradient_shares(table, network)
    half = (len(shares) - 1) // 2
    short, low, high = short_share(table, network)
    outcome: Outcome = "seen" if low >= MOST else "not seen" if high < MOST else "undecided"
    number = float(of_paths(table, network, "paths").loc[:half].sum())
    total = shares.cumsum()
    first, last = total[total > (1 - MOST) / 2].index[0], total[total >= (1 + MOST) / 2].index[0]
    return Observation(
        "gradient_comes_along_short_paths",
        outcome,
        f"In the {network} network paths through at most {half} of {len(shares) - 1} residuals, {percent(number)} of "
        f"all paths, carry {percent(short)} of the gradient ({percent(low)} to {percent(high)}, 95 % interval over "
        f"the drawn paths). The middle {percent(MOST)} of it comes along {first} to {last} residuals.",
    )


def paths_cancel(table: pd.DataFrame, network: str) -> Observation:
    """A note: what is left of the norms when the gradients of a length's paths are added as the vectors they are.

    The paper multiplies norms by numbers, which is what all paths could give if they agreed in direction.
    """
    shares = of_paths(table, network, "paths")
    n = len(shares) - 1
    norms = of_paths(table, network, "gradient") * shares * 2.0**n
    sums = of_paths(table, network, "gradient_sum")
    return Observation(
        "paths_cancel",
        "note",
        f"Number times norm takes no account of direction. In the {network} network the gradients of all paths of a "
        f"length, added up as vectors, keep {percent(float(sums.sum() / norms.sum()))} of the sum of their norms. "
        f"Measured so, lengths up to {n // 2} carry {percent(float(sums.loc[: n // 2].sum() / sums.sum()))}.",
    )


def read(table: pd.DataFrame) -> list[Observation]:
    """Read the numbers: the small networks' contrast, then every trained network's."""
    rules = (
        single_removal_costs_little,
        error_grows_gradually,
        error_grows_with_reordering,
        shape_changing_blocks_matter_most,
        gradient_comes_along_short_paths,
        paths_cancel,
    )
    return [removal_breaks_the_plain_network(table)] + [
        rule(table, name) for rule in rules for name in trained_names(table)
    ]


def summarize(table: pd.DataFrame) -> pd.DataFrame:
    """Return accuracy and loss of every network: whole, without one block (mean, worst), without several."""
    rows = table[table["part"].isin(["intact", "removed"]) & table["quantity"].isin(["accuracy", "loss"])]
    means = rows.groupby(["network", "k", "quantity"], sort=False)["value"].mean().reset_index()
    means = means.pivot_table("value", ["network", "k"], "quantity", sort=False).reset_index()
    worst = rows[rows["quantity"] == "accuracy"].groupby(["network", "k"])["value"].min().rename("worst_accuracy")
    process_group = means.merge(worst.reset_index(), on=["network", "k"])
    chosen = process_group[process_group["k"].isin([0, 1, 2, 3]) | (process_group["k"] == process_group["k"].max())]
    return chosen.rename(columns={"k": "removed"})[["network", "removed", "accuracy", "worst_accuracy", "loss"]]


def setting(plan: Plan) -> str:
    """Say what is done here."""
    return (
        f"The trained networks on {plan.looked_at} validation pictures: without every single block, without "
        f"{plan.draws} random sets of each of several sizes, and after {', '.join(map(str, SWAPS))} random swaps of "
        f"two blocks of a stage, {plan.draws} times each. A block without its residual is relu(x), or relu of the "
        "projected x where it changes the shape. A small ResNet-50 and its plain twin of the same training, or "
        f"ResNet-18 where one of them has learned nothing, show the contrast on their {plan.images} training pictures. "
        f"Gradients follow {PATH_DRAWS * plan.draws} random paths of every length on {PATH_IMAGES} of the validation "
        "pictures. The paper's networks have 54 and 66 blocks, most of them alike; sixteen blocks in four stages leave "
        "each more to do and few to swap, its paths are short to begin with, and it sampled 1,000 paths of every "
        "length from training batches."
    )


EXPERIMENT = Experiment(
    name="ensemble",
    title="Many shallow networks in one",
    question="Is a residual network one deep network or a collection of shallow ones?",
    claim="Every block can be passed by its residual or by its shortcut, so n blocks are 2ⁿ paths. They don't depend "
    "on each other much: taking one block out of a trained residual network hardly hurts, except where the feature "
    "map is downsampled, while it ruins a plain network. Error grows smoothly with the number of blocks that are taken "
    "out or put out of order, as it does for an ensemble that loses members. The gradient shrinks exponentially along "
    "longer paths, so training goes along the short ones: in a network of 54 blocks along those of 5 to 17.",
    setting=setting,
    caption="Top: validation accuracy with one block's residual branch off (thin lines: the whole network), in the "
    "trained networks and in a small residual and a small plain one (on their training pictures); and with several off "
    "(mean; bands from the smallest to the largest over the blocks or the random draws). Bottom: accuracy after random "
    "swaps, by rank correlation with the trained order; norm of the gradient at the image along single random paths by "
    "length (mean and range over the draws); share of the paths (bars) and share of the gradient, number times "
    "norm, by length.",
    sources=(
        Source(
            "Veit, Wilber and Belongie", 2016,
            "Residual Networks Behave Like Ensembles of Relatively Shallow Networks", "1605.06431",
            "sections 4 and 5, figures 3 to 6",
        ),
    ),
    measure=measure,
    draw=draw,
    summarize=summarize,
    read=read,
    trained=True,
)  # fmt: skip

run = EXPERIMENT.run
