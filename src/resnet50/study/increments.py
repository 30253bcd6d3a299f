"""Does every block compute something new, or does it correct its input: F(x) beside x, block by block."""

from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from resnet50.data.transforms import Preprocess
from resnet50.model.hooks import block_names, record, record_branches
from resnet50.model.resnet import ResNet
from resnet50.runtime.stats import number, percent, points, standard_error
from resnet50.study.experiment import Experiment, Measured, rule, rules_of
from resnet50.study.figures import DOTTED, GRAY, band, name_blocks, new_figure, style_of
from resnet50.study.intervals import SIGNIFICANT, mean_interval, rank_correlation
from resnet50.study.lab import Images, Lab, TrainedRun
from resnet50.study.norms import settle_norms
from resnet50.study.outcome import Outcome, decide
from resnet50.study.pages import load_page
from resnet50.study.runs import keep_run, residual_runs
from resnet50.study.tables import changes_shape, networks, select, value_of

BATCH_SIZE = 32

UNTRAINED = (0, (2, 2))
"""Dashes of a network's line before training."""

SETTLING = 128
"""Training images for an untrained network's batch-norm statistics."""

COLUMNS = ["network", "state", "epoch", "block", "quantity", "value"]

ALL_IDENTITY = "identity blocks"
"""Name of the mean over all blocks with an identity shortcut."""

ENDS = ("", "_low", "_high")
"""Endings of a quantity's name for its mean and the ends of its spread."""

LAYERS = "observed/layers.csv"


def ratio_and_cosine(shortcut: Tensor, residual: Tensor) -> Tensor:
    """Return ‖F(x)‖/‖x‖ and the cosine between F(x) and x of every image, N×2, for N×C×H×W each."""
    x, change = shortcut.flatten(1), residual.flatten(1)
    return torch.stack([change.norm(dim=1) / x.norm(dim=1), F.cosine_similarity(x, change)], 1)


def probe_blocks(network: ResNet, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Compare every block's F(x) with x and with the gradient of the loss; the network is in evaluation mode.

    With an identity shortcut the gradient is that at x, the block's input. With a projection x has another shape than
    F(x): then x is the projected one, and the gradient is taken there.

    Returns:
        Per block N×3: ‖F(x)‖/‖x‖, cos(F(x), x), cos(F(x), −∂L/∂x) (Jastrzębski et al. 2018, arXiv 1710.04773).
    """
    images = images.detach().requires_grad_()  # so that there is a gradient even where no weight requires one
    with torch.enable_grad(), record_branches(network, lambda x, residual: (x, residual)) as branches:
        loss = F.cross_entropy(network(images), labels, reduction="sum")
        gradients = torch.autograd.grad(loss, [x for x, _ in branches.values()])
    found: dict[str, Tensor] = {}
    for (block, (x, residual)), gradient in zip(branches.items(), gradients, strict=True):
        descent = F.cosine_similarity(residual.detach().flatten(1), -gradient.flatten(1))
        found[block] = torch.cat([ratio_and_cosine(x.detach(), residual.detach()), descent[:, None]], 1).cpu()
    return found


def identity_blocks(network: ResNet) -> list[str]:
    return [name for name in block_names(network) if getattr(network.get_submodule(name), "downsample", None) is None]


def block_rows(lab: Lab, network: ResNet, images: Images, preprocess: Preprocess) -> list[tuple[str, str, float]]:
    """Return block, quantity, value of `probe_blocks`: mean and spread over the images."""
    parts: list[dict[str, Tensor]] = []
    for pixels, labels in zip(images.pixels.split(BATCH_SIZE), images.labels.split(BATCH_SIZE), strict=True):
        x = preprocess.normalize(pixels.to(lab.device.torch_device))
        parts.append(probe_blocks(network, x, labels.to(lab.device.torch_device)))
    found = {name: torch.cat([part[name] for part in parts]).double().numpy() for name in block_names(network)}
    rows: list[tuple[str, str, float]] = []
    for block, columns in found.items():
        for quantity, column in zip(("residual_ratio", "residual_cosine"), columns.T, strict=False):
            spread = (column.mean(), *np.quantile(column, (0.1, 0.9)))
            rows += [(block, quantity + end, float(at)) for end, at in zip(ENDS, spread, strict=True)]
    descents = {name: columns[:, 2] for name, columns in found.items()}
    descents[ALL_IDENTITY] = np.mean([descents[name] for name in identity_blocks(network)], axis=0)
    for block, column in descents.items():
        spread = (float(column.mean()), *mean_interval(column))
        rows += [(block, "descent" + end, at) for end, at in zip(ENDS, spread, strict=True)]
    return rows


@torch.no_grad()
def pooled_outputs(lab: Lab, network: ResNet, pixels: Tensor, preprocess: Preprocess) -> dict[str, np.ndarray]:
    """Return the outputs of the stem and of every block, averaged over positions: N×C each, by block."""
    parts: list[dict[str, Tensor]] = []
    names = {"maxpool": "stem"} | {name: name for name in block_names(network)}
    for part in pixels.split(BATCH_SIZE):
        with lab.device.autocast(), record(network, names, lambda _, y: y.float().mean((2, 3)).cpu()) as kept:
            network(preprocess.normalize(part.to(lab.device.torch_device)))
        parts.append(dict(kept))
    return {name: torch.cat([part[module] for part in parts]).numpy() for module, name in names.items()}


PENALTY = 0.01
"""Inverse strength of the read-out's L2 penalty: there are more features than images."""


def readout_accuracy(train: np.ndarray, train_labels: np.ndarray, val: np.ndarray, val_labels: np.ndarray) -> float:
    classifier: Any = make_pipeline(StandardScaler(), LogisticRegression(C=PENALTY, max_iter=300))
    classifier.fit(train, train_labels)
    return float(classifier.score(val, val_labels))


def measure_run(lab: Lab, run: TrainedRun) -> pd.DataFrame:
    preprocess = run.model.preprocess
    train = lab.images("train", preprocess, lab.plan.images)
    val = lab.images("val", preprocess, lab.plan.looked_at)
    start = lab.start_of(run)
    if run.options.weights == "none":
        x = preprocess.normalize(train.pixels[:SETTLING].to(lab.device.torch_device))
        settle_norms(start, x.split(BATCH_SIZE))
    tables: list[pd.DataFrame] = []
    for state, network in {"before": start, "after": run.network}.items():
        rows = block_rows(lab, network, val, preprocess)
        fitted, scored = (pooled_outputs(lab, network, images.pixels, preprocess) for images in (train, val))
        for block, features in fitted.items():
            accuracy = readout_accuracy(features, train.labels.numpy(), scored[block], val.labels.numpy())
            rows.append((block, "readout", accuracy))
        tables.append(pd.DataFrame(rows, columns=["block", "quantity", "value"]).assign(state=state))
    share = float(torch.bincount(val.labels).max() / len(val))
    about = pd.DataFrame([("-", "majority", share), ("-", "images", len(val))], columns=["block", "quantity", "value"])
    return pd.concat([*tables, about.assign(state="after")]).assign(epoch=np.nan)


def observed(run: TrainedRun) -> pd.DataFrame:
    """Return ratio and cosine by epoch of a run trained with --observe; no rows of any other."""
    path = run.folder / LAYERS
    if not path.is_file():
        return pd.DataFrame(columns=["epoch", "block", "quantity", "value", "state"])
    table = select(pd.read_csv(path), quantity=("residual_ratio", "residual_cosine"))
    return table.rename(columns={"layer": "block"}).assign(state="during")


def measure(lab: Lab) -> Measured:
    """Probe every trained network before and after training; add what was recorded during training."""
    tables: list[pd.DataFrame] = []
    for name, run in residual_runs(lab).items():
        lab.step(f"F(x) beside x, {name}")
        tables.append(keep_run(lab, "increments/{}", name, lambda r=run: measure_run(lab, r)))
        tables.append(observed(run).assign(network=name))
    return Measured(pd.concat([part for part in tables if len(part)])[COLUMNS])


def by_block(table: pd.DataFrame, network: str, state: str, quantity: str) -> pd.Series:
    rows = select(table, network=network, state=state, quantity=quantity)
    return rows[rows["block"].str.startswith(("layer", "stem"))].set_index("block")["value"]


def about(table: pd.DataFrame, network: str, quantity: str) -> float:
    """Return a fact of a network's validation images."""
    return value_of(table, network=network, state="after", block="-", quantity=quantity)


def draw(measured: Measured) -> Figure:
    table = measured.table
    figure, axes = new_figure(2, 3, 6.0)
    panels = (
        (axes[0, 0], "residual_ratio", "‖F(x)‖ / ‖x‖", "how much a block changes"),
        (axes[0, 1], "residual_cosine", "cosine between F(x) and x", "in what direction"),
        (axes[1, 0], "readout", "validation accuracy", "linear read-out of a block's output"),
        (axes[1, 1], "descent", "cosine between F(x) and −∂L/∂x", "along the negative gradient?"),
    )
    for panel, quantity, name, title in panels:
        draw_by_block(panel, table, quantity)
        panel.set(ylabel=name, title=title)
    axes[0, 0].axhline(1, color=GRAY, linewidth=0.8)
    for panel in (axes[0, 1], axes[1, 1]):
        panel.axhline(0, color=GRAY, linewidth=0.8)
    axes[1, 0].axhline(about(table, networks(table)[0], "majority"), color=GRAY, linewidth=1, linestyle=":")
    draw_by_epoch(axes[0, 2], table)
    draw_legend(axes[1, 2], table)
    return figure


def draw_by_block(axes: Axes, table: pd.DataFrame, quantity: str) -> None:
    """Draw a quantity by block: trained as a line with its spread, untrained dashed; hollow: changes the shape."""
    labels: list[str] = []
    for network in networks(table):
        line = style_of(network)
        before, values, low, high = (
            by_block(table, network, state, quantity + end)
            for state, end in (("before", ""), *(("after", end) for end in ENDS))
        )
        line.plot(axes, range(len(before)), before, linestyle=UNTRAINED, linewidth=1, marker="")
        at, hollow = np.arange(len(values)), changes_shape(values.index)
        line.plot(axes, at, values, linestyle="-", marker="")
        line.plot(axes, at[~hollow], values[~hollow], linestyle="none")
        line.plot(axes, at[hollow], values[hollow], linestyle="none", markerfacecolor="w")
        if len(low):
            axes.fill_between(at, low, high, color=line.color, alpha=0.15, linewidth=0)
        labels = [str(block) for block in values.index]
    name_blocks(axes, labels)
    axes.set_xlabel("block (stage.number)")


def draw_by_epoch(axes: Axes, table: pd.DataFrame) -> None:
    """Draw the ratio by epoch, of the first blocks of the stages and of the others; or that it was not recorded."""
    axes.set_title("while it is trained")
    rows = select(table, state="during", quantity="residual_ratio")
    if rows.empty:
        words = "not recorded: train the runs\nwith --observe"
        axes.text(0.5, 0.5, words, ha="center", va="center", transform=axes.transAxes, color=GRAY)
        axes.set(xticks=[], yticks=[], xlabel="epoch")
        return
    rows = rows.assign(first=changes_shape(rows["block"]))
    for (network, first), group in rows.groupby(["network", "first"], sort=False):
        means = group.groupby(["epoch"])["value"].mean().reset_index()
        band(axes, means, "epoch", "", style_of(str(network))._replace(dashes=DOTTED if first else "-"))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="epoch (0: before the first step)", ylabel="‖F(x)‖ / ‖x‖")


def draw_legend(axes: Axes, table: pd.DataFrame) -> None:
    axes.axis("off")
    looks: dict[str, dict[str, Any]] = {
        "before training": {"linestyle": UNTRAINED, "linewidth": 1},
        "first block of a stage": {"linestyle": "none", "marker": "o", "markerfacecolor": "w"},
        "other block": {"linestyle": "none", "marker": "o"},
        "read-out: always one class": {"linestyle": ":", "linewidth": 1},
    }
    if (table["state"] == "during").any():
        looks |= {"by epoch: first blocks": {"linestyle": DOTTED}, "by epoch: other blocks": {}}
    styles = {name: style_of(name) for name in networks(table)}
    lines = [Line2D([], [], color=line.color, marker=line.marker, label=name) for name, line in styles.items()]
    lines += [Line2D([], [], color=GRAY, label=name, **look) for name, look in looks.items()]
    axes.legend(handles=lines, loc="upper left")


def stage_ratios(table: pd.DataFrame, network: str, state: str) -> pd.DataFrame:
    """Return the ratio of each stage's first block, and the mean of its later ones, by stage."""
    return by_place(select(table, network=network, state=state, quantity="residual_ratio"), ["stage"], "place")


def by_place(rows: pd.DataFrame, keys: list[str], columns: str) -> pd.DataFrame:
    """Return means over the blocks by stage and place in it: the first, or a later one."""
    rows = rows[rows["block"].str.startswith("layer")]
    place = np.where(changes_shape(rows["block"]), "first", "later")
    rows = rows.assign(stage=rows["block"].str.split(".").str[0], place=place)
    return rows.pivot_table("value", keys, columns, sort=False)


@rule
def later_blocks_correct_little(table: pd.DataFrame, network: str) -> tuple[Outcome, str]:
    """Seen if in every stage the later blocks' mean ratio is below 1 and below the first block's.

    Not seen if that holds in no more than half of the stages; undecided in between.
    """
    ratios = stage_ratios(table, network, "after")
    holds = (ratios["later"] < 1) & (ratios["later"] < ratios["first"])
    outcome = decide(seen=bool(holds.all()), not_seen=bool(holds.mean() <= 1 / 2))
    each = "; ".join(
        f"{stage} {number(first)} then {number(later)}"
        for stage, first, later in zip(ratios.index, ratios["first"], ratios["later"], strict=True)
    )
    return outcome, (
        f"‖F(x)‖/‖x‖ in the {network} network, for a stage's first block and the mean of its later ones: {each}. The "
        f"later blocks make the smaller change, and one smaller than x, in {holds.sum()} of {len(holds)} stages."
    )


@rule
def readout_improves_with_depth(table: pd.DataFrame, network: str) -> tuple[Outcome, str]:
    """Seen if read-out accuracy rises with depth (Spearman > 0, p < SIGNIFICANT) and from first to last beyond chance.

    Beyond chance: by more than two standard errors of a share of so many images. Not seen if the correlation is not
    positive; undecided in between.
    """
    accuracy = by_block(table, network, "after", "readout")
    ranks, chance = rank_correlation(np.arange(len(accuracy)), accuracy.to_numpy(float))
    first, last, n = float(accuracy.iloc[0]), float(accuracy.iloc[-1]), about(table, network, "images")
    error = standard_error(last, round(n))
    rises = chance < SIGNIFICANT and last - first > 2 * error
    outcome = decide(seen=ranks > 0 and rises, not_seen=ranks <= 0)
    start = by_block(table, network, "before", "readout")
    return outcome, (
        f"A linear read-out of the {network} network reaches {percent(first)} after the stem and {percent(last)} after "
        f"the last block (standard error {points(error)}, {n:.0f} images); its rank correlation with depth is "
        f"{ranks:.2f} (p = {chance:.2g}). It is best after {accuracy.idxmax()} ({percent(float(accuracy.max()))}). "
        f"Before training it reached {percent(float(start.iloc[-1]))} after the last block."
    )


@rule
def blocks_move_down_the_gradient(table: pd.DataFrame, network: str) -> tuple[Outcome, str]:
    """Seen if F(x) points along −∂L/∂x: the 95% t-interval over images of the mean over identity blocks is above 0.

    Not seen if it is below; undecided if 0 is in it.
    """
    identity = select(table, network=network, block=ALL_IDENTITY)
    mean, low, high = (value_of(identity, state="after", quantity=f"descent{end}") for end in ENDS)
    before = value_of(identity, state="before", quantity="descent")
    descents, lows, highs = (by_block(table, network, "after", f"descent{end}") for end in ENDS)
    return decide(seen=low > 0, not_seen=high < 0), (
        f"In the {network} network the cosine between F(x) and −∂L/∂x is {mean:+.4f} on average over the identity "
        f"blocks (95% interval {low:+.4f} to {high:+.4f}, {about(table, network, 'images'):.0f} "
        f"images), so {number(100 * abs(mean))}% of the step's length lies along it. Before training it was "
        f"{before:+.4f}. Individually, {(lows > 0).sum()} of {len(lows)} blocks are "
        f"clearly above 0 and {(highs < 0).sum()} clearly below; the largest is {descents.idxmax()}."
    )


@rule
def training_changes_the_ratio(table: pd.DataFrame, network: str) -> tuple[Outcome, str]:
    """A note: the later blocks' ratio before and after training, and by epoch where the run was observed."""
    before, after = (float(stage_ratios(table, network, state)["later"].mean()) for state in ("before", "after"))
    text = (
        f"Training takes the later blocks' ‖F(x)‖/‖x‖ in the {network} network from {number(before)} to "
        f"{number(after)} (means over the stages)."
    )
    rows = select(table, network=network, state="during", quantity="residual_ratio")
    rows = rows[~changes_shape(rows["block"])]
    if rows.empty:
        text += " The epochs in between are unknown: the run was not observed."
    else:
        means = rows.groupby("epoch")["value"].mean()
        text += (
            f" By epoch, on training batches: {number(means.iloc[0])} before the first step, "
            f"{number(means.max())} at its largest (epoch {means.idxmax():.0f}), {number(means.iloc[-1])} at the end."
        )
    return "note", text


def summarize(table: pd.DataFrame) -> pd.DataFrame:
    """Return ratio, cosine, descent and read-out by stage: the first block, the mean of the later ones."""
    kept = ["residual_ratio", "residual_cosine", "descent", "readout"]
    keys = ["network", "stage", "place"]
    return by_place(select(table, state="after", quantity=kept), keys, "quantity").reset_index()[[*keys, *kept]]


EXPERIMENT = Experiment(
    load_page("increments"), measure, draw, summarize, rules_of(__name__), details=lambda plan: {"settling": SETTLING}
)

run = EXPERIMENT.run
