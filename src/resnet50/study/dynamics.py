"""The order of learning: which images come first, forgetting, memorizing, a map of the data, gradient noise."""

from itertools import combinations
from typing import Any, cast

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy.stats import spearmanr

from resnet50.data.dataset import ImageDataset
from resnet50.runtime.stats import number, percent, standard_error
from resnet50.study.experiment import Experiment, Measured, rule, rules_of
from resnet50.study.figures import BLUE, DASHED, GRAY, GREEN, ORANGE, VERMILION, LineStyle, band, new_strips
from resnet50.study.intervals import rank_interval
from resnet50.study.lab import Lab
from resnet50.study.noise import noise_scales
from resnet50.study.outcome import Outcome, agree, decide, span
from resnet50.study.pages import load_page
from resnet50.study.samples import data_map, forgetting_events, histories, learning_epochs, regions, samples_to_map
from resnet50.study.small import BATCH_SIZE, Setup, SmallTraining, small_images, train_small
from resnet50.study.tables import final_values, means_by, melted, select, value_of, values_of

COLUMNS = ["network", "seed", "sample", "epoch", "quantity", "value"]

TRUE, SHUFFLED = "true labels", "shuffled labels"

MEMORIZING_SEEDS = 2
"""Trainings with shuffled labels: each takes twice as long as the others."""

SHOWN = 7
"""Images shown of each region of the map."""

THUMBNAIL = 64
"""Their side in pixels."""

REGIONS = {"easy": (GREEN, "o"), "ambiguous": (ORANGE, "^"), "hard": (VERMILION, "s")}
"""Color and marker of the map's regions (Swayamdipta et al. 2020, section 2)."""


def measure(lab: Lab) -> Measured:
    """Follow small networks with true and with shuffled labels, and map the images of the best network available."""
    seeds, twice = range(lab.plan.seeds), 2 * lab.plan.epochs
    shuffled = [Setup(seed=seed, shuffled_labels=True, epochs=twice) for seed in seeds[:MEMORIZING_SEEDS]]
    trainings: list[SmallTraining] = []
    for setup in [*(Setup(seed=seed) for seed in seeds), *shuffled]:
        lab.step(setup.name)
        trainings.append(train_small(lab, setup))
    accuracies = ["train_accuracy", "val_accuracy"]
    names = [SHUFFLED if training.setup.shuffled_labels else TRUE for training in trainings]
    tables = [
        melted(training.history, accuracies, network=name, seed=training.setup.seed)
        for training, name in zip(trainings, names, strict=True)
    ]
    trainings = trainings[: len(seeds)]  # with true labels
    images = small_images(lab, "train")
    tables += [sample_facts(training, images.ids) for training in trainings]
    tables += [drift(training) for training in trainings]
    noise = lab.keep("dynamics/noise", lambda: noise_scales(lab, trainings[:MEMORIZING_SEEDS]))
    tables.append(noise.assign(network=TRUE))
    facts = {"majority_share": float(images.labels.bincount().max()) / len(images), "training_pictures": len(images)}
    tables.append(pd.DataFrame(facts.items(), columns=["quantity", "value"]).assign(network="data"))
    name, samples = samples_to_map(lab, trainings[0], images.ids)
    mapped = data_map(samples)
    tables.append(mapped.melt(["sample"], ["confidence", "variability"], "quantity").assign(network=name))
    table = pd.concat(tables).reindex(columns=COLUMNS).reset_index(drop=True)
    return Measured(table, region_images(lab, mapped))


def sample_facts(training: SmallTraining, ids: list[str]) -> pd.DataFrame:
    """Return when each sample was learned and how often it was forgotten."""
    history = histories(training.samples)
    facts = {"learning_epoch": learning_epochs(history), "forgetting_events": forgetting_events(history)}
    table = pd.DataFrame({"sample": ids} | facts).melt("sample", var_name="quantity").astype({"value": float})
    return table.assign(network=TRUE, seed=training.setup.seed)


def drift(training: SmallTraining) -> pd.DataFrame:
    """Return the mean relative change of the norms' running statistics by epoch.

    From the second on: in the first the means come from zero, and have no relative change.
    """
    rows = training.layers[training.layers["epoch"] > 1]
    means = means_by(rows, ["epoch", "quantity"], quantity=("running_mean_drift", "running_var_drift")).reset_index()
    return means.assign(network=TRUE, seed=training.setup.seed)


def region_images(lab: Lab, mapped: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return the images of each region's extremes (n×S×S×3, uint8) and their labels."""
    rows = lab.dataset.split("train").set_index("image_id")
    found: dict[str, np.ndarray] = {}
    for region, samples in regions(mapped).items():
        chosen = rows.loc[samples["sample"].head(SHOWN)]
        dataset = ImageDataset(chosen["path"], chosen["label_index"], lab.small_preprocess(THUMBNAIL))
        found[region] = np.stack([dataset[place][0].permute(1, 2, 0).numpy() for place in range(len(dataset))])
        found[f"{region} labels"] = np.array([str(label) for label in chosen["label"]])
    return found


def draw(measured: Measured) -> Figure:
    table = measured.table
    figure, (above, below) = new_strips(9.4, (5.6, 3.8))
    panels = above.subplots(2, 3)
    parts = (draw_memorizing, draw_forgetting, draw_order, draw_map, draw_drift, draw_noise)
    for panel, draw_part in zip(panels.flat, parts, strict=True):
        draw_part(panel, table)
    strips = below.subplots(3, SHOWN, squeeze=False)
    for row, region in zip(strips, REGIONS, strict=True):
        for place, axes in enumerate(row):
            axes.set_axis_off()
            if place < len(measured.images[region]):
                axes.imshow(measured.images[region][place])
                axes.set_title(shortened(str(measured.images[f"{region} labels"][place])), loc="center", fontsize=7.5)
        row[0].text(-0.12, 0.5, region, rotation=90, ha="right", va="center", transform=row[0].transAxes)
    return figure


def shortened(label: str) -> str:
    return label if len(label) <= 14 else f"{label[:13]}…"


def draw_memorizing(axes: Axes, table: pd.DataFrame) -> None:
    for network, color, marker in ((TRUE, BLUE, "o"), (SHUFFLED, VERMILION, "s")):
        for quantity, dashes, words in (("train_accuracy", "-", "training"), ("val_accuracy", ":", "validation")):
            rows = select(table, quantity=quantity, network=network)
            rows = rows.assign(value=100 * rows["value"])
            band(axes, rows, "epoch", f"{network}, {words}", LineStyle(color, dashes, marker))
    axes.set_ylim(0, 165)
    axes.set_yticks(range(0, 101, 25))
    axes.set(xlabel="epoch", ylabel="accuracy (%)", title="learning and memorizing")
    axes.legend(loc="upper left", fontsize=7.5)


def draw_forgetting(axes: Axes, table: pd.DataFrame) -> None:
    rows = select(table, quantity="forgetting_events", network=TRUE)
    shares = 100 * pd.crosstab(rows["seed"], rows["value"], normalize="index")
    reach = [shares.mean() - shares.min(), shares.max() - shares.mean()]
    axes.bar(shares.columns, shares.mean(), color=BLUE, yerr=reach)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="times an image was forgotten", ylabel="share of the images (%)", title="forgetting")


def draw_order(axes: Axes, table: pd.DataFrame) -> None:
    orders = by_seed(table, "learning_epoch")
    first, second = orders[0], orders[min(1, orders.shape[1] - 1)]
    counts = pd.DataFrame({"x": first, "y": second}).value_counts().reset_index(name="n")
    axes.scatter(counts["x"], counts["y"], s=2 + 400 * counts["n"] / counts["n"].sum(), color=BLUE, alpha=0.7)
    last = last_epoch_of(table, TRUE)
    ticks = [1, *range(last // 3, last, max(1, last // 3)), last + 1]
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks(ticks, [*map(str, ticks[:-1]), "never"])
    axes.set(xlabel="epoch learned, seed 0", ylabel="epoch learned, seed 1", title="the same order from two seeds?")


def draw_map(axes: Axes, table: pd.DataFrame) -> None:
    mapped = mapped_in(table)
    axes.scatter(mapped["variability"], mapped["confidence"], s=5, color=GRAY, alpha=0.4)
    for region, (color, marker) in REGIONS.items():
        x, y = (regions(mapped)[region].head(SHOWN)[column] for column in ("variability", "confidence"))
        axes.scatter(x, y, s=22, color=color, marker=marker, label=f"{region}, shown")
    axes.set(xlabel="variability: deviation of p(its class)", ylabel="confidence: mean of p(its class)")
    axes.set_title(f"a map of {len(mapped):,} images ({map_network(table)})")
    axes.set_ylim(-0.05, 1.45)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1])
    axes.legend(loc="upper right", fontsize=7.5)


def draw_drift(axes: Axes, table: pd.DataFrame) -> None:
    for name, line in (("mean", LineStyle(BLUE)), ("var", LineStyle(ORANGE, DASHED, "s"))):
        band(axes, select(table, quantity=f"running_{name}_drift", network=TRUE), "epoch", name, line)
    axes.set(xlabel="epoch", ylabel="relative change in the epoch", title="batch norms' running statistics")
    axes.set_yscale("log")
    axes.legend()


def draw_noise(axes: Axes, table: pd.DataFrame) -> None:
    rows = select(table, quantity="noise_scale", network=TRUE)
    for place, (_, group) in enumerate(rows[np.isfinite(rows["value"])].groupby("epoch")):
        shift = 0.06 * (group["seed"].to_numpy() - group["seed"].mean())
        axes.scatter(place + shift, group["value"], color=BLUE, s=18, alpha=0.7)
        axes.plot([place - 0.15, place + 0.15], [group["value"].median()] * 2, color="black", linewidth=1.2)
    axes.axhline(BATCH_SIZE, color=GRAY, linestyle=":", label=f"the batch size, {BATCH_SIZE}")
    axes.set_yscale("log")
    axes.set_xlim(-0.6, 1.6)
    axes.set_xticks([0, 1], ["before training", "after it"])
    axes.set(ylabel="noise scale (images)", title="gradient noise")
    axes.legend()


def by_seed(table: pd.DataFrame, quantity: str) -> np.ndarray:
    """Return a quantity of every sample: a row of an array per seed, the samples in the same order."""
    return select(table, quantity=quantity, network=TRUE).pivot_table("value", "seed", "sample").to_numpy(float)


def last_epoch_of(table: pd.DataFrame, network: str) -> int:
    return int(select(table, quantity="train_accuracy", network=network)["epoch"].max())


def map_network(table: pd.DataFrame) -> str:
    return str(select(table, quantity="confidence")["network"].iloc[0])


def mapped_in(table: pd.DataFrame) -> pd.DataFrame:
    """Return the map: sample, confidence, variability."""
    rows = select(table, quantity=["confidence", "variability"])
    return rows.pivot_table("value", "sample", "quantity").reset_index()


def summarize(table: pd.DataFrame) -> pd.DataFrame:
    values = {
        f"{words} accuracy, {network}": final_values(table, quantity=quantity, network=network)
        for quantity, words in (("train_accuracy", "training"), ("val_accuracy", "validation"))
        for network in (TRUE, SHUFFLED)
    }
    noise = select(table, quantity="noise_scale", network=TRUE)
    values |= {
        "share learned for good": (by_seed(table, "learning_epoch") <= last_epoch_of(table, TRUE)).mean(1),
        "share never forgotten, of those learned": unforgettable(table),
        "noise scale before training": values_of(noise, epoch=0),
        "noise scale after training": values_of(noise[noise["epoch"] > 0]),
    }
    rows = [(name, float(v.mean()), float(v.min()), float(v.max()), len(v)) for name, v in values.items()]
    return pd.DataFrame(rows, columns=["number", "mean", "smallest", "largest", "n"])


def unforgettable(table: pd.DataFrame) -> np.ndarray:
    """Return which share of the samples that are known in the end was never forgotten, by seed."""
    known = by_seed(table, "learning_epoch") <= last_epoch_of(table, TRUE)
    return (known & (by_seed(table, "forgetting_events") == 0)).sum(1) / np.maximum(known.sum(1), 1)


WEAK = 0.2
"""Rank correlation below which two orders have next to nothing in common: 4% of their variance."""


@rule
def order_repeats(table: pd.DataFrame) -> tuple[Outcome, str]:
    """Seen if every pair of seeds learns the images in correlated order: the 95% interval lies above 0.

    Not seen if every pair's interval lies below 0.2; undecided otherwise, and with one seed.
    """
    return repeats(table, "learning_epoch", "the epoch in which an image is learned for good")


MANY = 0.25
"""Share of the known images that is a good part: Toneva et al. find 0.3 (CIFAR-10) to 0.9 (MNIST)."""


@rule
def many_are_never_forgotten(table: pd.DataFrame) -> tuple[Outcome, str]:
    """Seen if in every seed a quarter or more of the images known in the end was never forgotten.

    Not seen if in none.
    """
    shares = unforgettable(table)
    return agree(shares >= MANY), (
        f"Of the images that a network knows in the end, it never forgot {percent(shares.mean())} on the way "
        f"({span(shares, '.1%')} in {len(shares)} seeds)."
    )


@rule
def forgetting_repeats(table: pd.DataFrame) -> tuple[Outcome, str]:
    """Seen if every pair of seeds forgets the same images: the rank correlation's 95% interval lies above 0.

    Not seen if every pair's interval lies below 0.2; undecided otherwise, and with one seed.
    """
    return repeats(table, "forgetting_events", "the number of times an image is forgotten")


def repeats(table: pd.DataFrame, quantity: str, words: str) -> tuple[Outcome, str]:
    values = by_seed(table, quantity)
    count = values.shape[1]
    varying = [value for value in values if len(np.unique(value)) > 1]  # a constant has no rank correlation
    found = [float(cast(Any, spearmanr(a, b)).statistic) for a, b in combinations(varying, 2)]
    if not found:
        return "undecided", f"There are no two seeds between which to compare {words}."
    lows, highs = zip(*(rank_interval(value, count) for value in found), strict=True)
    return decide(seen=min(lows) > 0, not_seen=max(highs) < WEAK), (
        f"Between two seeds, {words} has a rank correlation of {min(found):.2f} to {max(found):.2f} ({len(found)} "
        f"pairs of seeds, {count} images; 95% intervals from {min(lows):.2f} to {max(highs):.2f}). Part of "
        "it comes from classes that are learned before others."
    )


MEMORIZED = 0.9
"""Training accuracy from which on shuffled labels count as memorized."""


@rule
def shuffled_labels_are_memorized(table: pd.DataFrame) -> tuple[Outcome, str]:
    """Seen if shuffled labels are learned to 90%, and above the most frequent class's share by three standard errors.

    In every seed. Undecided if they are above that share only: on the way. Not seen otherwise.
    """
    shuffled, val = (final_values(table, quantity=f"{split}_accuracy", network=SHUFFLED) for split in ("train", "val"))
    share, n = value_of(table, quantity="majority_share"), int(value_of(table, quantity="training_pictures"))
    on_the_way = shuffled.min() > share + 3 * standard_error(share, n)
    outcome = decide(seen=bool(on_the_way and shuffled.min() >= MEMORIZED), not_seen=not on_the_way)
    ends = {"seen": "is memorized", "undecided": "is being memorized", "not seen": "was not memorized in this time"}
    return outcome, (
        f"What can't be learned {ends[outcome]}: {percent(shuffled.mean())} of the training images with shuffled "
        f"labels are right after {last_epoch_of(table, SHUFFLED)} epochs ({len(shuffled)} seeds; the most frequent "
        f"label: {percent(share)}), {percent(val.mean())} of the validation images."
    )


@rule
def true_labels_are_learned_faster(table: pd.DataFrame) -> tuple[Outcome, str]:
    """Seen if after the same epochs every seed with true labels is ahead of every one with shuffled labels.

    Not seen if none is.
    """
    last = last_epoch_of(table, TRUE)
    true = final_values(table, quantity="train_accuracy", network=TRUE)
    shuffled = values_of(table, quantity="train_accuracy", network=SHUFFLED, epoch=last)
    outcome = decide(seen=true.min() > shuffled.max(), not_seen=true.max() <= shuffled.min())
    return outcome, (
        f"After {last} epochs {percent(true.mean())} of the training images are right with true labels, "
        f"{percent(shuffled.mean())} with shuffled ones."
    )


@rule
def statistics_settle(table: pd.DataFrame) -> tuple[Outcome, str]:
    """Seen if in every seed the norms' statistics change less in the last epoch than in the second.

    Not seen if in none. The second epoch, because in the first they start from their initial values.
    """
    rows = select(table, quantity=("running_mean_drift", "running_var_drift"), network=TRUE)
    drifts = rows.pivot_table("value", ["quantity", "seed"], "epoch")
    ratios = (drifts[drifts.columns.max()] / drifts[drifts.columns.min()]).to_numpy(float)
    return agree(ratios < 1), (
        f"In the last epoch the running statistics change by {ratios.mean():.2f} of what they changed in the second "
        f"({span(ratios, '.2f')}, means and variances, {len(ratios) // 2} seeds)."
    )


@rule
def noise_grows(table: pd.DataFrame) -> tuple[Outcome, str]:
    """Seen if in every seed the median noise scale is larger after training than before; not seen if in none."""
    medians = select(table, quantity="noise_scale", network=TRUE).pivot_table("value", "seed", "epoch", "median")
    before, after = medians[0].to_numpy(float), medians[medians.columns.max()].to_numpy(float)
    words = ", ".join(f"{number(a)} before and {number(b)} after" for a, b in zip(before, after, strict=True))
    return agree(after > before), (
        f"The gradient's noise equals the gradient at a batch of {words} training (median of the draws, seed by "
        "seed): far above that, a larger batch buys little; far below, it is nearly as good as more steps. The batch "
        f"here has {BATCH_SIZE}."
    )


@rule
def images_to_check(table: pd.DataFrame) -> tuple[Outcome, str]:
    """Note how many images get less than a tenth of the probability on average: check their labels first."""
    mapped = mapped_in(table)
    doubtful = mapped[mapped["confidence"] < DOUBTFUL].sort_values("confidence")
    names = ", ".join(str(sample) for sample in doubtful["sample"].head(5))
    return "note", (
        f"{len(doubtful)} of {len(mapped)} training images get less than {percent(DOUBTFUL)} for their own label on "
        f"average over training ({map_network(table)})"
        + (f", {names} first: hard, or labeled wrongly." if names else ".")
    )


DOUBTFUL = 0.1
"""Mean probability of its own label below which an image is worth checking."""

EXPERIMENT = Experiment(
    load_page("dynamics"), measure, draw, summarize, rules_of(__name__),
    details=lambda plan: {"twice": 2 * plan.epochs, "batch": BATCH_SIZE},
)  # fmt: skip

run = EXPERIMENT.run
