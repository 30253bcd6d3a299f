"""Does every block compute something new, or does it correct what is there? F(x) beside x, block by block."""

from typing import Any, cast

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from resnet50.data.transforms import Preprocess
from resnet50.model.hooks import block_names, record, record_branches
from resnet50.model.resnet import ResNet
from resnet50.runtime.stats import number, percent, points, standard_error
from resnet50.study.ensemble import SIGNIFICANT, rank_correlation, residual_runs
from resnet50.study.experiment import Experiment, Measured, Observation, Outcome, Source
from resnet50.study.figures import GRAY, GREEN, KIND_COLORS, band, new_figure
from resnet50.study.lab import Lab, Pictures, Plan, TrainedRun

BATCH_SIZE = 32

SETTLING = 128
"""Training pictures that give an untrained network's batch norms their averages."""

COLUMNS = ["network", "state", "epoch", "block", "quantity", "value"]

ALL_IDENTITY = "identity blocks"
"""Stands for the mean over all blocks with an identity shortcut, where a row is of them together."""

LAYERS = "observed/layers.csv"


def ratio_and_cosine(shortcut: Tensor, residual: Tensor) -> Tensor:
    """Return ‖F(x)‖/‖x‖ and the cosine between F(x) and x of every image, N×2, for N×C×H×W each."""
    x, change = shortcut.flatten(1), residual.flatten(1)
    ratio = change.norm(dim=1) / x.norm(dim=1)
    return torch.stack([ratio, F.cosine_similarity(x, change)], 1)


def look_at_blocks(network: ResNet, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Return how every block's F(x) lies to x and to the gradient of the loss, by block.

    With an identity shortcut the gradient is that at x, the block's input. With a projection x has another shape than
    F(x): then x is the projected one, and the gradient is taken there.

    Args:
        network: with shortcuts, in evaluation mode; nothing of it changes.
        images: normalized, N×3×S×S.
        labels: class indices, N.

    Returns:
        Per block N×3: ‖F(x)‖/‖x‖, cos(F(x), x), cos(F(x), −∂L/∂x) (Jastrzębski et al. 2018, arXiv 1710.04773).
    """
    images = images.detach().requires_grad_()  # so that there is a gradient even where no weight wants one
    with torch.enable_grad(), record_branches(network, lambda x, residual: (x, residual)) as branches:
        loss = F.cross_entropy(network(images), labels, reduction="sum")
        gradients = torch.autograd.grad(loss, [x for x, _ in branches.values()])
    found: dict[str, Tensor] = {}
    for (block, (x, residual)), gradient in zip(branches.items(), gradients, strict=True):
        descent = F.cosine_similarity(residual.detach().flatten(1), -gradient.flatten(1))
        found[block] = torch.cat([ratio_and_cosine(x.detach(), residual.detach()), descent[:, None]], 1).cpu()
    return found


def interval(values: np.ndarray) -> tuple[float, float]:
    """Return the 95 % interval of a mean by Student's t; from −∞ to ∞ for a single value."""
    if len(values) < 2:
        return -np.inf, np.inf
    reach = float(stats.t.ppf(0.975, len(values) - 1)) * float(values.std(ddof=1)) / np.sqrt(len(values))
    return float(values.mean()) - reach, float(values.mean()) + reach


def identity_blocks(network: ResNet) -> list[str]:
    """Return the names of the blocks whose shortcut is the identity."""
    return [name for name in block_names(network) if getattr(network.get_submodule(name), "downsample", None) is None]


def block_rows(lab: Lab, network: ResNet, pictures: Pictures, preprocess: Preprocess) -> list[tuple[str, str, float]]:
    """Return block, quantity, value of `look_at_blocks` on pictures: mean and spread over them."""
    parts: list[dict[str, Tensor]] = []
    for pixels, labels in zip(pictures.pixels.split(BATCH_SIZE), pictures.labels.split(BATCH_SIZE), strict=True):
        images = preprocess.normalize(pixels.to(lab.device.torch_device))
        parts.append(look_at_blocks(network, images, labels.to(lab.device.torch_device)))
    values = {name: torch.cat([part[name] for part in parts]).double().numpy() for name in block_names(network)}
    rows: list[tuple[str, str, float]] = []
    for block, columns in values.items():
        for quantity, column in zip(("residual_ratio", "residual_cosine"), columns.T, strict=False):
            spread = dict(zip(("", "_low", "_high"), (column.mean(), *np.quantile(column, (0.1, 0.9))), strict=True))
            rows += [(block, quantity + end, float(value)) for end, value in spread.items()]
    identities = np.mean([values[name][:, 2] for name in identity_blocks(network)], axis=0)
    for block, column in {**{name: value[:, 2] for name, value in values.items()}, ALL_IDENTITY: identities}.items():
        low, high = interval(column)
        rows += [(block, "descent", column.mean()), (block, "descent_low", low), (block, "descent_high", high)]
    return rows


@torch.no_grad()
def pooled_outputs(lab: Lab, network: ResNet, pixels: Tensor, preprocess: Preprocess) -> dict[str, np.ndarray]:
    """Return what comes out of the stem and of every block, averaged over positions: N×C each, by block."""
    parts: list[dict[str, Tensor]] = []
    names = {"maxpool": "stem"} | {name: name for name in block_names(network)}
    for part in pixels.split(BATCH_SIZE):
        with lab.device.autocast(), record(network, names, lambda _, y: y.float().mean((2, 3)).cpu()) as kept:
            network(preprocess.normalize(part.to(lab.device.torch_device)))
        parts.append(dict(kept))
    return {name: torch.cat([part[tap] for part in parts]).numpy() for tap, name in names.items()}


PENALTY = 0.01
"""Inverse strength of the read-out's L2 penalty: features outnumber the pictures."""


def readout_accuracy(train: np.ndarray, train_labels: np.ndarray, val: np.ndarray, val_labels: np.ndarray) -> float:
    """Return how many validation pictures a linear classifier gets right, fitted to standardized features, N×C."""
    classifier: Any = make_pipeline(StandardScaler(), LogisticRegression(C=PENALTY, max_iter=300))
    classifier.fit(train, train_labels)
    return float(classifier.score(val, val_labels))


def readout_rows(
    lab: Lab, network: ResNet, train: Pictures, val: Pictures, preprocess: Preprocess
) -> list[tuple[str, str, float]]:
    """Return the accuracy of a linear read-out after the stem and after every block."""
    fitted = pooled_outputs(lab, network, train.pixels, preprocess)
    scored = pooled_outputs(lab, network, val.pixels, preprocess)
    labels = train.labels.numpy(), val.labels.numpy()
    return [
        (block, "readout", readout_accuracy(fitted[block], labels[0], scored[block], labels[1])) for block in fitted
    ]


@torch.no_grad()
def settle_norms(network: ResNet, images: Tensor) -> None:
    """Give an untrained network's batch norms the averages of real pictures, so that they normalize when measuring.

    Args:
        network: left in evaluation mode.
        images: normalized, N×3×S×S.
    """
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # the mean over all batches
    network.train()
    for part in images.split(BATCH_SIZE):
        network(part)
    network.eval()


def measure_run(lab: Lab, run: TrainedRun) -> pd.DataFrame:
    """Return what is seen of a run's network before and after training."""
    preprocess = run.model.preprocess
    train = lab.pictures("train", preprocess, lab.plan.images)
    val = lab.pictures("val", preprocess, lab.plan.looked_at)
    start = lab.start_of(run)
    if run.options.weights == "none":
        settle_norms(start, preprocess.normalize(train.pixels[:SETTLING].to(lab.device.torch_device)))
    tables: list[pd.DataFrame] = []
    for state, network in {"before": start, "after": run.network}.items():
        rows = block_rows(lab, network, val, preprocess) + readout_rows(lab, network, train, val, preprocess)
        tables.append(pd.DataFrame(rows, columns=["block", "quantity", "value"]).assign(state=state))
    share = float(torch.bincount(val.labels).max() / len(val))
    about = pd.DataFrame([("-", "majority", share), ("-", "images", len(val))], columns=["block", "quantity", "value"])
    return pd.concat([*tables, about.assign(state="after")]).assign(epoch=np.nan)


def observed(run: TrainedRun) -> pd.DataFrame:
    """Return ratio and cosine by epoch from a run that was observed; nothing from one that was not."""
    path = run.folder / LAYERS
    if not path.is_file():
        return pd.DataFrame(columns=["epoch", "block", "quantity", "value", "state"])
    table = pd.read_csv(path)
    table = table[table["quantity"].isin(["residual_ratio", "residual_cosine"])]
    return table.rename(columns={"layer": "block"}).assign(state="during")


def measure(lab: Lab) -> Measured:
    """Look at every trained network before and after, and at what was observed during its training."""
    tables: list[pd.DataFrame] = []
    for name, run in residual_runs(lab).items():
        lab.step(f"F(x) beside x, {name}")
        kept = f"increments/{name.replace(' ', '-').replace(',', '')}"
        tables.append(lab.keep(kept, lambda r=run: measure_run(lab, r)).assign(network=name))
        during = observed(run)
        if len(during):
            tables.append(during.assign(network=name))
    return Measured(pd.concat(tables)[COLUMNS])


def networks(table: pd.DataFrame) -> list[str]:
    """Return the networks' names, in order."""
    return list(dict.fromkeys(cast(list[str], table["network"].tolist())))


def by_block(table: pd.DataFrame, network: str, state: str, quantity: str) -> pd.Series:
    """Return a quantity by block, in the order an image passes them."""
    rows = table[(table["network"] == network) & (table["state"] == state) & (table["quantity"] == quantity)]
    rows = rows[rows["block"].str.startswith(("layer", "stem"))]
    return rows.set_index("block")["value"]


def single(table: pd.DataFrame, network: str, state: str, block: str, quantity: str) -> float:
    """Return one value."""
    rows = table[(table["network"] == network) & (table["state"] == state) & (table["quantity"] == quantity)]
    return float(rows[rows["block"] == block]["value"].iloc[0])


def first_of_stage(blocks: pd.Index) -> np.ndarray:
    """Return which blocks are the first of their stage."""
    return np.array([str(block).endswith(".0") for block in blocks])


def draw(measured: Measured) -> Figure:
    """Draw ratio, cosine, read-out and descent by block, before and after, and the ratio by epoch."""
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
        panel.set_ylabel(name)
        panel.set_title(title)
    axes[0, 0].axhline(1, color=GRAY, linewidth=0.8)
    for panel in (axes[0, 1], axes[1, 1]):
        panel.axhline(0, color=GRAY, linewidth=0.8)
    chance = single(table, networks(table)[0], "after", "-", "majority")
    axes[1, 0].axhline(chance, color=GRAY, linewidth=1, linestyle=":")
    draw_by_epoch(axes[0, 2], table)
    draw_legend(axes[1, 2], table)
    return figure


def color_of(network: str) -> str:
    """Return a network's color."""
    return KIND_COLORS.get(network, GREEN)


MARKERS = {"fine-tuned": "o", "from scratch": "s"}


def draw_by_block(axes: Axes, table: pd.DataFrame, quantity: str) -> None:
    """Draw a quantity by block: trained as a line with its spread, untrained dashed; hollow: changes the shape."""
    labels: list[str] = []
    for network in networks(table):
        color, marker = color_of(network), MARKERS.get(network, "^")
        for state, dashes in (("before", (0, (2, 2))), ("after", "-")):
            values = by_block(table, network, state, quantity)
            at = np.arange(len(values))
            axes.plot(at, values, color=color, linestyle=dashes, linewidth=1.6 if state == "after" else 1)
            if state == "before":
                continue
            hollow = first_of_stage(values.index)
            axes.plot(at[~hollow], values[~hollow], color=color, linestyle="none", marker=marker)
            axes.plot(at[hollow], values[hollow], color=color, linestyle="none", marker=marker, markerfacecolor="w")
            low, high = (by_block(table, network, state, f"{quantity}_{end}") for end in ("low", "high"))
            if len(low):
                axes.fill_between(at, low, high, color=color, alpha=0.15, linewidth=0)
            labels = [str(block).removeprefix("layer") for block in values.index]
    axes.set_xticks(range(len(labels)), labels, rotation=90, fontsize=7.5)
    axes.set_xlabel("block (stage.number)")


def draw_by_epoch(axes: Axes, table: pd.DataFrame) -> None:
    """Draw the ratio by epoch, of the first blocks of the stages and of the others; or say that nobody looked."""
    axes.set_title("while it is trained")
    rows = table[(table["state"] == "during") & (table["quantity"] == "residual_ratio")]
    if rows.empty:
        axes.text(
            0.5, 0.5, "not known: these runs were\nnot observed (train with\n--observe)",
            ha="center", va="center", transform=axes.transAxes, color=GRAY,
        )  # fmt: skip
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_xlabel("epoch")
        return
    rows = rows.assign(first=first_of_stage(pd.Index(rows["block"])))
    for (network, first), group in rows.groupby(["network", "first"], sort=False):
        means = group.groupby(["epoch"])["value"].mean().reset_index()
        marker = MARKERS.get(str(network), "^")
        band(axes, means, "epoch", "", color_of(str(network)), (0, (1, 1)) if first else "-", marker)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("epoch (0: before the first step)")
    axes.set_ylabel("‖F(x)‖ / ‖x‖")


def draw_legend(axes: Axes, table: pd.DataFrame) -> None:
    """Explain lines and markers in a panel of its own."""
    axes.axis("off")
    dashed, dotted, thin = (0, (2, 2)), (0, (1, 1)), GRAY
    lines = [
        Line2D([], [], color=color_of(name), marker=MARKERS.get(name, "^"), label=name) for name in networks(table)
    ]
    lines += [
        Line2D([], [], color=thin, linestyle=dashed, linewidth=1, label="before training"),
        Line2D([], [], color=thin, linestyle="none", marker="o", markerfacecolor="w", label="first block of a stage"),
        Line2D([], [], color=thin, linestyle="none", marker="o", label="other block"),
        Line2D([], [], color=thin, linestyle=":", linewidth=1, label="read-out: always one class"),
    ]
    if (table["state"] == "during").any():
        lines.append(Line2D([], [], color=thin, linestyle=dotted, label="by epoch: first blocks"))
        lines.append(Line2D([], [], color=thin, label="by epoch: other blocks"))
    axes.legend(handles=lines, loc="upper left")


def stage_ratios(table: pd.DataFrame, network: str, state: str) -> pd.DataFrame:
    """Return the ratio of each stage's first block, and the mean of its later ones, by stage."""
    ratios = by_block(table, network, state, "residual_ratio").rename("ratio").reset_index()
    ratios["stage"] = ratios["block"].str.split(".").str[0]
    ratios["place"] = np.where(first_of_stage(pd.Index(ratios["block"])), "first", "later")
    return ratios.pivot_table("ratio", "stage", "place")


def later_blocks_correct_little(table: pd.DataFrame, network: str) -> Observation:
    """Seen if in every stage the later blocks' mean ratio is below 1 and below the first block's.

    Not seen if that holds in no more than half of the stages; undecided in between.
    """
    ratios = stage_ratios(table, network, "after")
    holds = (ratios["later"] < 1) & (ratios["later"] < ratios["first"])
    outcome: Outcome = "seen" if holds.all() else "not seen" if holds.mean() <= 1 / 2 else "undecided"
    each = "; ".join(
        f"{stage} {number(first)} then {number(later)}"
        for stage, first, later in zip(ratios.index, ratios["first"], ratios["later"], strict=True)
    )
    return Observation(
        "later_blocks_correct_little",
        outcome,
        f"‖F(x)‖/‖x‖ in the {network} network, a stage's first block and then the mean of the others: {each}. The "
        f"later blocks make the smaller change, and one smaller than x, in {holds.sum()} of {len(holds)} stages.",
    )


def readout_improves_with_depth(table: pd.DataFrame, network: str) -> Observation:
    """Seen if read-out accuracy rises with depth (Spearman > 0, p < SIGNIFICANT) and from first to last beyond chance.

    Beyond chance: by more than two standard errors of a share of so many pictures. Not seen if the correlation is not
    positive; undecided in between.
    """
    accuracy = by_block(table, network, "after", "readout")
    ranks, chance = rank_correlation(np.arange(len(accuracy)), accuracy.to_numpy(float))
    first, last, n = float(accuracy.iloc[0]), float(accuracy.iloc[-1]), single(table, network, "after", "-", "images")
    error = standard_error(last, round(n))
    rises = chance < SIGNIFICANT and last - first > 2 * error
    outcome: Outcome = "not seen" if ranks <= 0 else "seen" if rises else "undecided"
    start = by_block(table, network, "before", "readout")
    return Observation(
        "readout_improves_with_depth",
        outcome,
        f"A linear read-out of the {network} network gets {percent(first)} after the stem and {percent(last)} after "
        f"the last block (standard error {points(error)}, {n:.0f} pictures); its rank correlation with depth is "
        f"{ranks:.2f} (p = {chance:.2g}). It is best after {accuracy.idxmax()} ({percent(float(accuracy.max()))}). "
        f"Before training the last block gave {percent(float(start.iloc[-1]))}.",
    )


def blocks_move_down_the_gradient(table: pd.DataFrame, network: str) -> Observation:
    """Seen if F(x) points along −∂L/∂x: the 95 % t-interval over pictures of the mean over identity blocks is above 0.

    Not seen if it is below; undecided if 0 is in it.
    """
    mean, low, high = (
        single(table, network, "after", ALL_IDENTITY, quantity)
        for quantity in ("descent", "descent_low", "descent_high")
    )
    outcome: Outcome = "seen" if low > 0 else "not seen" if high < 0 else "undecided"
    lows, highs = by_block(table, network, "after", "descent_low"), by_block(table, network, "after", "descent_high")
    before = single(table, network, "before", ALL_IDENTITY, "descent")
    return Observation(
        "blocks_move_down_the_gradient",
        outcome,
        f"In the {network} network the cosine between F(x) and −∂L/∂x is {mean:+.4f} on average over the identity "
        f"blocks (95 % interval {low:+.4f} to {high:+.4f}, {single(table, network, 'after', '-', 'images'):.0f} "
        f"pictures), so {number(100 * abs(mean))} % of the step's length lies along it; before training it was "
        f"{before:+.4f}. Taken alone, {(lows > 0).sum()} of {len(lows)} blocks are "
        f"clearly above 0 and {(highs < 0).sum()} clearly below; the largest is "
        f"{by_block(table, network, 'after', 'descent').idxmax()}.",
    )


def training_changes_the_ratio(table: pd.DataFrame, network: str) -> Observation:
    """A note: the later blocks' ratio before and after training, and by epoch where the run was observed."""
    before, after = (float(stage_ratios(table, network, state)["later"].mean()) for state in ("before", "after"))
    text = (
        f"Training takes the later blocks' ‖F(x)‖/‖x‖ in the {network} network from {number(before)} to "
        f"{number(after)} (means over the stages)."
    )
    rows = table[(table["network"] == network) & (table["state"] == "during")]
    rows = rows[(rows["quantity"] == "residual_ratio") & ~rows["block"].str.endswith(".0")]
    if rows.empty:
        text += " How it went from epoch to epoch is not known: the run was not observed."
    else:
        means = rows.groupby("epoch")["value"].mean()
        text += (
            f" By epoch, on training batches: {number(means.iloc[0])} before the first step, "
            f"{number(means.max())} at its largest (epoch {means.idxmax():.0f}), {number(means.iloc[-1])} at the end."
        )
    return Observation("training_changes_the_ratio", "note", text)


def read(table: pd.DataFrame) -> list[Observation]:
    """Read the numbers of every network."""
    rules = (
        later_blocks_correct_little,
        readout_improves_with_depth,
        blocks_move_down_the_gradient,
        training_changes_the_ratio,
    )
    return [rule(table, network) for rule in rules for network in networks(table)]


def summarize(table: pd.DataFrame) -> pd.DataFrame:
    """Return ratio, cosine, descent and read-out by stage: the first block, the mean of the later ones."""
    kept = ["residual_ratio", "residual_cosine", "descent", "readout"]
    rows = table[(table["state"] == "after") & table["quantity"].isin(kept) & table["block"].str.startswith("layer")]
    rows = rows.assign(
        stage=rows["block"].str.split(".").str[0],
        place=np.where(first_of_stage(pd.Index(rows["block"])), "first", "later"),
    )
    means = rows.pivot_table("value", ["network", "stage", "place"], "quantity", sort=False).reset_index()
    return means[["network", "stage", "place", *kept]]


def setting(plan: Plan) -> str:
    """Say what is done here."""
    return (
        f"The trained networks and what they started from, on {plan.looked_at} validation pictures, one by one, in "
        "evaluation mode: norm of F(x) over norm of x, their cosine, and the cosine of F(x) with the negative gradient "
        "at x. Where a projection changes the shape, x is the projected one. A network with random weights first gets "
        f"batch-norm averages from {SETTLING} training pictures. The read-out is a logistic regression on the block's "
        f"output, averaged over positions and standardized, fitted to {plan.images} training pictures without "
        "augmentation. The papers looked at networks of up to 110 layers with up to eighteen blocks in a stage, after "
        "full training; here a stage has two to five blocks after its first, and ReLU follows the sum. Jastrzębski et "
        "al. read out with the network's own last layer; a classifier of its own for every block finds more."
    )


EXPERIMENT = Experiment(
    name="increments",
    title="Increments: x and what is added to it",
    question="Does every block compute something new, or does it correct what is there?",
    claim="The blocks of a stage work on the same features: the first one makes them, the later ones refine the "
    "estimate by small steps. So ‖F(x)‖/‖x‖ is large in a stage's first block and small afterwards, and a read-out of "
    "the features gets better from block to block. To first order a step changes the loss by F(x)·∂L/∂x; training "
    "lowers the loss, so it makes F(x) point along the negative gradient, as if each block took a step of gradient "
    "descent on the features.",
    setting=setting,
    caption="By block: the residual's norm relative to its input's, and the cosine between them (mean over pictures, "
    "bands from the 10th to the 90th percentile); accuracy of a linear read-out; cosine between the residual and the "
    "negative gradient of the loss (bands: 95 % interval of the mean). Dashed: before training. Upper right: the "
    "ratio by epoch, where the run was observed.",
    sources=(
        Source(
            "Greff, Srivastava and Schmidhuber", 2017,
            "Highway and Residual Networks learn Unrolled Iterative Estimation", "1612.07771", "sections 3 and 4",
        ),
        Source(
            "Jastrzębski, Arpit, Ballas, Verma, Che and Bengio", 2018,
            "Residual Connections Encourage Iterative Inference", "1710.04773", "sections 3 and 4",
        ),
    ),
    measure=measure,
    draw=draw,
    summarize=summarize,
    read=read,
    trained=True,
)  # fmt: skip

run = EXPERIMENT.run
