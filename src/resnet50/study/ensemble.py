"""One deep network or a collection of shallow ones: blocks removed, blocks swapped, gradients along single paths."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from resnet50.model.hooks import block_names
from resnet50.options import Depth, ShortcutKind
from resnet50.runtime.stats import percent, points
from resnet50.study.experiment import Experiment, Measured, rule, rules_of
from resnet50.study.figures import GRAY, band, legend_above, name_blocks, new_figure, style_of
from resnet50.study.intervals import SIGNIFICANT, beats, rank_correlation, resampled_means
from resnet50.study.lab import Lab, TrainedRun
from resnet50.study.lesions import SWAPS, blocks_by_name, keeps_shape, lesion_rows, removals, reorderings, without
from resnet50.study.outcome import Outcome, decide
from resnet50.study.pages import load_page
from resnet50.study.paths import mean_norm, path_graph, path_shares
from resnet50.study.runs import keep_run, residual_runs
from resnet50.study.small import Setup, small_images, train_small
from resnet50.study.tables import changes_shape, means_by, select, trained_networks, value_of

PATH_IMAGES = 8
"""Images whose gradients are followed along single paths: their whole graph is kept in memory."""

PATH_DRAWS = 4
"""Random paths of every length, times the plan's draws: gradient norms along them differ by a factor of a hundred."""

SMALL: dict[str, ShortcutKind] = {"small residual": "B", "small plain": "none"}
"""The same small training with and without shortcuts."""

DEPTHS: tuple[Depth, ...] = (50, 18)
"""Their depth: where a plain network of 50 layers learns nothing in so few steps, 18 layers show the contrast."""

COLUMNS = ["network", "part", "blocks", "k", "draw", "tau", "quantity", "value"]


def measure_lesions(lab: Lab, run: TrainedRun) -> pd.DataFrame:
    names, rng = block_names(run.network), np.random.default_rng([lab.seed, 0xB10C])
    removed = [("removed", len(lesion.removed), lesion) for lesion in removals(names, lab.plan.draws, rng)]
    reordered = [("reordered", k, lesion) for k, lesion in reorderings(run.network, lab.plan.draws, rng)]
    images = lab.images("val", run.model.preprocess, lab.plan.looked_at)
    lesions = [("intact", 0, without(names, [])), *removed, *reordered]
    return lesion_rows(lab, run.network, run.model.preprocess, images, lesions)


def measure_small(lab: Lab, setup: Setup) -> pd.DataFrame:
    """Return a small network's metrics on its training images without each block that keeps its shape.

    On its training images, because a network can only lose what it has learned, and so few images generalize little.
    """
    network = lab.to_device(train_small(lab, setup).network())
    names = block_names(network)
    singles = [name for name, block in blocks_by_name(network).items() if keeps_shape(block)]
    lesions = [("intact", 0, without(names, [])), *(("removed", 1, without(names, [name])) for name in singles)]
    rows = lesion_rows(lab, network, lab.small_preprocess(), small_images(lab, "train"), lesions)
    return pd.concat([rows, select(rows, quantity="images").assign(quantity="depth", value=setup.depth)])


def small_networks(lab: Lab) -> pd.DataFrame:
    """Return the small networks' rows, of the largest depth at which both have learned something."""
    table = pd.DataFrame()
    for depth in DEPTHS:
        tables: list[pd.DataFrame] = []
        for name, kind in SMALL.items():
            lab.step(f"blocks removed, {name} network of {depth} layers")
            setup = Setup(depth=depth, shortcuts=kind)
            tables.append(keep_run(lab, f"ensemble/{{}}-{depth}", name, lambda s=setup: measure_small(lab, s)))
        table = pd.concat(tables)
        if all(lost(table, name) is not None for name in SMALL):
            break
    return table


def measure_paths(lab: Lab, run: TrainedRun) -> pd.DataFrame:
    """Return the share of paths, the gradient of random single ones and of all together, by length."""
    images = lab.images("val", run.model.preprocess, min(PATH_IMAGES, lab.plan.looked_at))
    x = run.model.preprocess.normalize(images.pixels.to(lab.device.torch_device))
    graph = path_graph(run.network, x, images.labels.to(lab.device.torch_device))
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
    tables = list[pd.DataFrame]()
    for name, run in residual_runs(lab).items():
        lab.step(f"blocks removed and swapped, {name}")
        tables.append(keep_run(lab, "ensemble/{}-lesions", name, lambda r=run: measure_lesions(lab, r)))
        lab.step(f"gradients along single paths, {name}")
        tables.append(keep_run(lab, "ensemble/{}-paths", name, lambda r=run: measure_paths(lab, r)))
    return Measured(pd.concat([*tables, small_networks(lab)])[COLUMNS])


def draw(measured: Measured) -> Figure:
    table = measured.table
    figure, axes = new_figure(2, 3, 6.2)
    draw_single(axes[0, 0], table, trained_networks(table), "one block removed")
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
    labels: list[str] = []
    for name in names:
        line, rows = style_of(name), singles(table, name)
        labels = rows["blocks"].tolist() if len(rows) > len(labels) else labels
        line.plot(axes, rows["blocks"], rows["value"], label=name)
        axes.axhline(intact(table, name, "accuracy"), color=line.color, linewidth=0.8, linestyle=line.dashes)
    draw_majority(axes, table, names)
    name_blocks(axes, labels)
    axes.set(xlabel="block removed (stage.number)", ylabel="validation accuracy", title=title)
    if set(names) == set(SMALL):
        legend_above(axes, "small")


def draw_removed(axes: Axes, table: pd.DataFrame) -> None:
    for name in trained_networks(table):
        band(axes, select(table, network=name, quantity="accuracy", part=("intact", "removed")), "k", name)
    draw_majority(axes, table, trained_networks(table))
    axes.set(xlabel="blocks removed at random", title="several blocks removed")


def draw_reordered(axes: Axes, table: pd.DataFrame) -> None:
    for name in trained_networks(table):
        rows = reordered(table, name)
        style_of(name).plot(axes, rows["tau"], rows["value"], linestyle="none", alpha=0.7, label=name)
    draw_majority(axes, table, trained_networks(table))
    axes.invert_xaxis()
    axes.set(xlabel="Kendall's τ with the trained order", ylabel="validation accuracy")
    axes.set_title("blocks swapped within their stage")


def draw_paths(axes: Axes, table: pd.DataFrame) -> None:
    for name in trained_networks(table):
        band(axes, select(table, network=name, quantity="gradient"), "k", name)
    axes.set(yscale="log", xlabel="path length (residual branches)", ylabel="gradient's norm at the image")
    axes.set_title("gradient along one path")


def draw_gradient(axes: Axes, table: pd.DataFrame) -> None:
    names = trained_networks(table)
    paths = of_paths(table, names[0], "paths")
    axes.bar(paths.index, paths.to_numpy(), color="#c8c8c8", width=0.8, label="paths")
    for name in names:
        shares = gradient_shares(table, name)
        style_of(name).plot(axes, shares.index, shares, label=f"gradient, {name}")
    axes.set(xlabel="path length (residual branches)", ylabel="share", title="paths and gradient by length")
    legend_above(axes, "paths")


def draw_majority(axes: Axes, table: pd.DataFrame, names: Sequence[str]) -> None:
    axes.axhline(intact(table, names[0], "majority"), color=GRAY, linewidth=1, linestyle=":", label="always one class")


def intact(table: pd.DataFrame, network: str, quantity: str) -> float:
    return value_of(table, network=network, part="intact", quantity=quantity)


def singles(table: pd.DataFrame, network: str, quantity: str = "accuracy") -> pd.DataFrame:
    """Return the rows of a network without one block, in forward order of the blocks."""
    return select(table, network=network, part="removed", k=1, quantity=quantity).sort_values("draw")


def reordered(table: pd.DataFrame, network: str) -> pd.DataFrame:
    """Return the accuracies of a network with blocks swapped, the intact one among them."""
    return select(table, network=network, quantity="accuracy", part=("intact", "reordered"))


def of_paths(table: pd.DataFrame, network: str, quantity: str) -> pd.Series:
    return means_by(table, "k", network=network, part="path", quantity=quantity)


def gradient_shares(table: pd.DataFrame, network: str) -> pd.Series:
    """Return the share of the gradient by path length: number of paths times the mean norm along one of them."""
    product = of_paths(table, network, "paths") * of_paths(table, network, "gradient")
    return product / product.sum()


def short_share(table: pd.DataFrame, network: str) -> tuple[float, float, float]:
    """Return the gradient's share of lengths up to half the blocks, and its 95% bootstrap interval over the draws."""
    rows = select(table, network=network, part="path", quantity="gradient")
    norms = [group["value"].to_numpy(float) for _, group in rows.groupby("k")]
    product = of_paths(table, network, "paths").to_numpy(float)[:, None] * resampled_means(norms)
    half = (len(product) - 1) // 2
    low, high = np.quantile(product[: half + 1].sum(0) / product.sum(0), (0.025, 0.975))
    return float(gradient_shares(table, network).loc[:half].sum()), float(low), float(high)


LITTLE, BROKEN = 0.2, 0.5
"""Shares of a network's lead over always answering the most frequent class: losing up to a fifth of it is little,
losing more than half is broken. Smaller shares are one or two images of a hundred."""


def lost(table: pd.DataFrame, network: str) -> pd.Series | None:
    """Return the share of its lead that a network loses with each block; None if it has no lead beyond chance."""
    accuracy, majority = intact(table, network, "accuracy"), intact(table, network, "majority")
    if not beats(accuracy, majority, round(intact(table, network, "images"))):
        return None
    rows = singles(table, network)
    return pd.Series((accuracy - rows["value"].to_numpy(float)) / (accuracy - majority), index=rows["blocks"].tolist())


def lead(table: pd.DataFrame, network: str) -> float:
    return intact(table, network, "accuracy") - intact(table, network, "majority")


def no_lead(table: pd.DataFrame, network: str) -> tuple[Outcome, str]:
    """Say that a network has learned too little to lose anything."""
    return "undecided", (
        f"The {network} network ({percent(intact(table, network, 'accuracy'))} correct) is not clearly better than "
        f"always answering the most frequent class ({percent(intact(table, network, 'majority'))}): there is nothing "
        "for a removed block to break."
    )


def change(fall: float) -> str:
    return f"{-100 * fall:+.1f} points"


@rule
def removal_breaks_the_plain_network(table: pd.DataFrame) -> tuple[Outcome, str]:
    """Seen if the median block costs the plain network more than half (BROKEN) of its lead, the residual one less.

    Undecided if one of them has no lead.
    """
    plain, residual = lost(table, "small plain"), lost(table, "small residual")
    if plain is None or residual is None:
        return no_lead(table, "small plain" if plain is None else "small residual")
    return decide(seen=bool(plain.median() > BROKEN > residual.median())), (
        f"Without one block, the small plain network of {intact(table, 'small plain', 'depth'):.0f} layers loses "
        f"{percent(float(plain.median()))} of its lead over always answering the most frequent class, the residual "
        f"network {percent(float(residual.median()))} (medians over the same {len(plain)} blocks, one training each, "
        f"{intact(table, 'small plain', 'images'):.0f} training images)."
    )


@rule
def single_removal_costs_little(table: pd.DataFrame, network: str) -> tuple[Outcome, str]:
    """Seen if the median block that keeps the shape costs at most a fifth (LITTLE) of the network's lead.

    The lead is its accuracy less that of always answering the most frequent class. Not seen if it costs more;
    undecided if the network has no lead.
    """
    shares = lost(table, network)
    if shares is None:
        return no_lead(table, network)
    shares = shares[~changes_shape(shares.index)]
    whole = lead(table, network)
    return decide(seen=bool(shares.median() <= LITTLE)), (
        f"Without one of its {len(shares)} blocks that keep the shape, the {network} network's accuracy changes by "
        f"{change(float(shares.median()) * whole)} in the median and {change(float(shares.max()) * whole)} at worst "
        f"({shares.idxmax()}). Intact, it is {points(whole)} better than always answering the most frequent class "
        f"({intact(table, network, 'images'):.0f} images)."
    )


RISE, JUMP, RANKS = 0.05, 0.5, 0.8
"""A rise in error below five points is too small to tell how it rises. Gradual means: no step from one number of
removed blocks to the next makes up more than half of the rise, and ranks agree at 0.8 or more."""


@rule
def error_grows_gradually(table: pd.DataFrame, network: str) -> tuple[Outcome, str]:
    """Seen if the mean error rises with the number of removed blocks (Spearman ≥ RANKS) without a jump (JUMP).

    Undecided if it rises by less than RISE altogether.
    """
    errors = 1 - means_by(table, "k", network=network, quantity="accuracy", part=("intact", "removed"))
    rise = float(errors.max() - errors.iloc[0])
    text = f"The {network} network's error rises from {percent(float(errors.iloc[0]))} to "
    text += f"{percent(float(errors.max()))} with the number of removed blocks"
    if rise < RISE:
        return "undecided", f"{text}: too little to tell how."
    ranks = rank_correlation(errors.index.to_numpy(), errors.to_numpy())[0]
    jumps = errors.diff().iloc[1:] / rise
    numbers, after = errors.index.tolist(), int(np.argmax(jumps.to_numpy(float))) + 1
    return decide(seen=bool(ranks >= RANKS and jumps.max() <= JUMP)), (
        f"{text} (rank correlation {ranks:.2f}). The largest step, from {numbers[after - 1]} to {numbers[after]} "
        f"blocks, makes up {percent(float(jumps.max()))} of the rise."
    )


@rule
def error_grows_with_reordering(table: pd.DataFrame, network: str) -> tuple[Outcome, str]:
    """Seen if the accuracy falls as Kendall's τ does (Spearman > 0, p < SIGNIFICANT); not seen if it doesn't.

    Undecided if the correlation is positive but may be chance, or nothing was reordered.
    """
    rows = reordered(table, network)
    if rows["tau"].nunique() < 3 or rows["value"].nunique() < 2:
        return "undecided", f"The {network} network has too few blocks that can be swapped."
    ranks, chance = rank_correlation(rows["tau"].to_numpy(float), rows["value"].to_numpy(float))
    worst = rows.sort_values("value").iloc[0]
    return decide(seen=ranks > 0 and chance < SIGNIFICANT, not_seen=ranks <= 0), (
        f"The {network} network's accuracy and τ have a rank correlation of {ranks:.2f} (p = {chance:.2g}, "
        f"{len(rows) - 1} random orders): {percent(intact(table, network, 'accuracy'))} in the trained order, "
        f"{percent(float(worst['value']))} in the worst one (τ = {worst['tau']:.2f})."
    )


@rule
def shape_changing_blocks_matter_most(table: pd.DataFrame, network: str) -> tuple[Outcome, str]:
    """Seen if blocks that change the shape cost more accuracy than the others (Mann–Whitney, one-sided, SIGNIFICANT).

    Not seen if their mean is no larger; undecided in between, or if the network has no lead to lose.
    """
    shares = lost(table, network)
    if shares is None:
        return no_lead(table, network)
    changing = changes_shape(shares.index)
    first, others = (shares.to_numpy()[blocks] * lead(table, network) for blocks in (changing, ~changing))
    chance = float(stats.mannwhitneyu(first, others, alternative="greater").pvalue)
    larger = bool(first.mean() > others.mean())
    return decide(seen=larger and chance < SIGNIFICANT, not_seen=not larger), (
        f"In the {network} network, removing the residual of a block that changes the shape changes accuracy by "
        f"{change(float(first.mean()))} on average ({len(first)} blocks), of any other by "
        f"{change(float(others.mean()))} ({len(others)} blocks; p = {chance:.2g}). The most costly block is "
        f"{shares.idxmax()}."
    )


MOST = 0.9
"""Share that counts as almost all of the gradient."""


@rule
def gradient_comes_along_short_paths(table: pd.DataFrame, network: str) -> tuple[Outcome, str]:
    """Seen if paths of at most half the blocks carry at least nine tenths (MOST) of the gradient.

    Not seen if they carry less; undecided if the 95% interval over the drawn paths contains nine tenths. A length's
    part of the gradient is the number of its paths times the mean norm along one, as in the paper.
    """
    shares = gradient_shares(table, network)
    half = (len(shares) - 1) // 2
    short, low, high = short_share(table, network)
    paths = float(of_paths(table, network, "paths").loc[:half].sum())
    total = shares.cumsum()
    first, last = total[total > (1 - MOST) / 2].index[0], total[total >= (1 + MOST) / 2].index[0]
    return decide(seen=low >= MOST, not_seen=high < MOST), (
        f"In the {network} network, paths through at most {half} of {len(shares) - 1} residuals are {percent(paths)} "
        f"of all paths and carry {percent(short)} of the gradient ({percent(low)} to {percent(high)}, 95% interval "
        f"over the drawn paths). The middle {percent(MOST)} of the gradient comes along {first} to {last} residuals."
    )


@rule
def paths_cancel(table: pd.DataFrame, network: str) -> tuple[Outcome, str]:
    """Note what is left of the norms when the gradients of a length's paths are added as vectors.

    The paper multiplies norms by numbers: an upper bound, reached if all paths agree in direction.
    """
    shares = of_paths(table, network, "paths")
    n = len(shares) - 1
    norms = of_paths(table, network, "gradient") * shares * 2.0**n
    sums = of_paths(table, network, "gradient_sum")
    return "note", (
        f"Number times norm ignores direction. In the {network} network, the gradients of all paths of a length, added "
        f"as vectors, keep {percent(float(sums.sum() / norms.sum()))} of the sum of their norms. Measured that way, "
        f"lengths up to {n // 2} carry {percent(float(sums.loc[: n // 2].sum() / sums.sum()))}."
    )


def summarize(table: pd.DataFrame) -> pd.DataFrame:
    rows = select(table, part=("intact", "removed"), quantity=("accuracy", "loss")).rename(columns={"k": "removed"})
    keys = ["network", "removed"]
    means = rows.pivot_table("value", keys, "quantity", sort=False)
    means["worst_accuracy"] = select(rows, quantity="accuracy").groupby(keys)["value"].min()
    means = means.reset_index()
    chosen = means[means["removed"].isin([0, 1, 2, 3]) | (means["removed"] == means["removed"].max())]
    return chosen[[*keys, "accuracy", "worst_accuracy", "loss"]]


EXPERIMENT = Experiment(
    load_page("ensemble"), measure, draw, summarize, rules_of(__name__),
    details=lambda plan: {
        "swaps": ", ".join(map(str, SWAPS)), "paths": PATH_DRAWS * plan.draws, "path_images": PATH_IMAGES,
    },
)  # fmt: skip

run = EXPERIMENT.run
