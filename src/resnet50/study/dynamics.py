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
from resnet50.study.experiment import Experiment, Measured, rule
from resnet50.study.figures import BLUE, DASHED, GRAY, GREEN, ORANGE, VERMILION, LineStyle, band, new_strips
from resnet50.study.intervals import rank_interval
from resnet50.study.lab import Lab
from resnet50.study.noise import noise_scales
from resnet50.study.outcome import Outcome, agree, decide
from resnet50.study.pages import load_page
from resnet50.study.samples import data_map, forgetting_events, histories, learning_epochs, regions, samples_to_map
from resnet50.study.small import BATCH_SIZE, Setup, SmallTraining, small_images, train_small
from resnet50.study.tables import final_values, select, value_of, values_of

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
    trainings = [train(lab, Setup(seed=seed)) for seed in range(lab.plan.seeds)]
    memorizing = [
        train(lab, Setup(seed=seed, shuffled_labels=True, epochs=2 * lab.plan.epochs))
        for seed in range(min(MEMORIZING_SEEDS, lab.plan.seeds))
    ]
    ids = small_images(lab, "train").ids
    tables = [curves(training, TRUE) for training in trainings]
    tables += [curves(training, SHUFFLED) for training in memorizing]
    tables += [sample_facts(training.samples, ids).assign(seed=training.setup.seed) for training in trainings]
    tables += [drift(training) for training in trainings]
    tables += [
        lab.keep("dynamics/noise", lambda: noise_scales(lab, trainings[:MEMORIZING_SEEDS])).assign(network=TRUE),
        majority(lab),
    ]
    name, samples = samples_to_map(lab, trainings[0], ids)
    mapped = data_map(samples)
    tables.append(mapped.melt(["sample"], ["confidence", "variability"], "quantity").assign(network=name))
    table = pd.concat(tables).reindex(columns=COLUMNS).reset_index(drop=True)
    return Measured(table, region_images(lab, mapped))


def train(lab: Lab, setup: Setup) -> SmallTraining:
    """Train and print the step."""
    lab.step(setup.name)
    return train_small(lab, setup)


def curves(training: SmallTraining, network: str) -> pd.DataFrame:
    """Return the accuracies of a training by epoch."""
    tidy = training.history.melt(["epoch"], ["train_accuracy", "val_accuracy"], "quantity", "value")
    return tidy.assign(network=network, seed=training.setup.seed)


def sample_facts(samples: pd.DataFrame, ids: list[str]) -> pd.DataFrame:
    """Return when each sample was learned and how often it was forgotten."""
    history = histories(samples)
    facts = {"learning_epoch": learning_epochs(history), "forgetting_events": forgetting_events(history)}
    tables = [
        pd.DataFrame({"network": TRUE, "sample": ids, "quantity": quantity, "value": values.astype(float)})
        for quantity, values in facts.items()
    ]
    return pd.concat(tables)


def drift(training: SmallTraining) -> pd.DataFrame:
    """Return the mean relative change of the norms' running statistics by epoch.

    From the second on: in the first the means come from zero, and have no relative change.
    """
    rows = training.layers[training.layers["quantity"].isin(["running_mean_drift", "running_var_drift"])]
    rows = rows[rows["epoch"] > 1]
    means = rows.groupby(["epoch", "quantity"])["value"].mean().reset_index()
    return means.assign(network=TRUE, seed=training.setup.seed)


def majority(lab: Lab) -> pd.DataFrame:
    """Return the share of the most frequent class among the small trainings' images, and their number."""
    labels = small_images(lab, "train").labels
    share = float(labels.bincount().max()) / len(labels)
    rows = [("majority_share", share), ("training_pictures", float(len(labels)))]
    return pd.DataFrame(rows, columns=["quantity", "value"]).assign(network="data")


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
    """Draw six panels of how learning went, and the images of the map's regions."""
    table = measured.table
    figure, (above, below) = new_strips(9.4, (5.6, 3.8))
    panels = above.subplots(2, 3)
    draw_memorizing(panels[0, 0], table)
    draw_forgetting(panels[0, 1], table)
    draw_order(panels[0, 2], table)
    draw_map(panels[1, 0], table)
    draw_drift(panels[1, 1], table)
    draw_noise(panels[1, 2], table)
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
    """Return a label that fits above a thumbnail."""
    return label if len(label) <= 14 else f"{label[:13]}…"


def draw_memorizing(axes: Axes, table: pd.DataFrame) -> None:
    """Draw accuracies by epoch with true and with shuffled labels."""
    looks = {TRUE: (BLUE, "o"), SHUFFLED: (VERMILION, "s")}
    for network, (color, marker) in looks.items():
        for quantity, dashes, words in (("train_accuracy", "-", "training"), ("val_accuracy", ":", "validation")):
            rows = of(table, quantity, network)
            rows = rows.assign(value=100 * rows["value"])
            band(axes, rows, "epoch", f"{network}, {words}", LineStyle(color, dashes, marker))
    axes.set_ylim(0, 165)
    axes.set_yticks(range(0, 101, 25))
    axes.set(xlabel="epoch", ylabel="accuracy (%)", title="learning and memorizing")
    axes.legend(loc="upper left", fontsize=7.5)


def draw_forgetting(axes: Axes, table: pd.DataFrame) -> None:
    """Draw how many images were forgotten how often."""
    rows = of(table, "forgetting_events", TRUE)
    counts = rows.assign(n=1).pivot_table("n", "seed", "value", "count", fill_value=0)
    shares = 100 * counts.div(counts.sum(axis=1), axis=0)
    axes.bar(
        shares.columns, shares.mean(), color=BLUE, yerr=[shares.mean() - shares.min(), shares.max() - shares.mean()]
    )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="times an image was forgotten", ylabel="share of the images (%)", title="forgetting")


def draw_order(axes: Axes, table: pd.DataFrame) -> None:
    """Draw when the first two seeds learned the same images: larger dots, more images."""
    orders = by_seed(table, "learning_epoch")
    first, second = orders[0], orders[min(1, orders.shape[1] - 1)]
    counts = pd.DataFrame({"x": first, "y": second}).value_counts().reset_index(name="n")
    axes.scatter(counts["x"], counts["y"], s=2 + 400 * counts["n"] / counts["n"].sum(), color=BLUE, alpha=0.7)
    last = int(of(table, "train_accuracy", TRUE)["epoch"].max())
    ticks = [1, *range(last // 3, last, max(1, last // 3)), last + 1]
    axes.set_xticks(ticks, [*map(str, ticks[:-1]), "never"])
    axes.set_yticks(ticks, [*map(str, ticks[:-1]), "never"])
    axes.set(xlabel="epoch learned, seed 0", ylabel="epoch learned, seed 1", title="the same order from two seeds?")


def draw_map(axes: Axes, table: pd.DataFrame) -> None:
    """Draw the map of the images, its regions marked."""
    mapped = mapped_in(table)
    axes.scatter(mapped["variability"], mapped["confidence"], s=5, color=GRAY, alpha=0.4)
    for region, (color, marker) in REGIONS.items():
        rows = regions(mapped)[region].head(SHOWN)
        axes.scatter(
            rows["variability"], rows["confidence"], s=22, color=color, marker=marker, label=f"{region}, shown"
        )
    axes.set(
        xlabel="variability: deviation of p(its class)",
        ylabel="confidence: mean of p(its class)",
        title=f"a map of {len(mapped):,} images ({map_network(table)})",
    )
    axes.set_ylim(-0.05, 1.45)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1])
    axes.legend(loc="upper right", fontsize=7.5)


def draw_drift(axes: Axes, table: pd.DataFrame) -> None:
    """Draw how much the norms' statistics change in an epoch."""
    for quantity, line in (
        ("running_mean_drift", LineStyle(BLUE)),
        ("running_var_drift", LineStyle(ORANGE, DASHED, "s")),
    ):
        band(axes, of(table, quantity, TRUE), "epoch", quantity.split("_")[1], line)
    axes.set_yscale("log")
    axes.set(xlabel="epoch", ylabel="relative change in the epoch", title="batch norms' running statistics")
    axes.legend()


def draw_noise(axes: Axes, table: pd.DataFrame) -> None:
    """Draw the noise scale before and after training, a dot per draw."""
    rows = of(table, "noise_scale", TRUE)
    rows = rows[np.isfinite(rows["value"])]
    for place, (epoch, group) in enumerate(rows.groupby("epoch")):
        shift = 0.06 * (group["seed"].to_numpy() - group["seed"].mean())
        axes.scatter(place + shift, group["value"], color=BLUE, s=18, alpha=0.7)
        axes.plot([place - 0.15, place + 0.15], [group["value"].median()] * 2, color="black", linewidth=1.2)
        del epoch
    axes.axhline(BATCH_SIZE, color=GRAY, linestyle=":", label=f"the batch size, {BATCH_SIZE}")
    axes.set_yscale("log")
    axes.set_xlim(-0.6, 1.6)
    axes.set_xticks([0, 1], ["before training", "after it"])
    axes.set(ylabel="noise scale (images)", title="gradient noise")
    axes.legend()


def of(table: pd.DataFrame, quantity: str, network: str) -> pd.DataFrame:
    """Return the rows of a quantity of a network."""
    return select(table, quantity=quantity, network=network)


def by_seed(table: pd.DataFrame, quantity: str) -> np.ndarray:
    """Return a quantity of every sample: a row of an array per seed, the samples in the same order."""
    return of(table, quantity, TRUE).pivot_table("value", "seed", "sample").to_numpy(float)


def map_network(table: pd.DataFrame) -> str:
    """Return which network the map is of."""
    return str(select(table, quantity="confidence")["network"].iloc[0])


def mapped_in(table: pd.DataFrame) -> pd.DataFrame:
    """Return the map: sample, confidence, variability."""
    rows = select(table, quantity=["confidence", "variability"])
    return rows.pivot_table("value", "sample", "quantity").reset_index()


def last_accuracy(table: pd.DataFrame, network: str, quantity: str) -> np.ndarray:
    """Return an accuracy after the last epoch, one per seed."""
    return final_values(table, quantity=quantity, network=network)


def fact(table: pd.DataFrame, quantity: str) -> float:
    """Return a fact of the data."""
    return value_of(table, quantity=quantity, network="data")


def summarize(table: pd.DataFrame) -> pd.DataFrame:
    """Return the main numbers: mean over seeds and draws, smallest, largest."""
    events, learned = by_seed(table, "forgetting_events"), by_seed(table, "learning_epoch")
    never = last_true_epoch(table) + 1
    noise = of(table, "noise_scale", TRUE)
    values = {
        "training accuracy, true labels": last_accuracy(table, TRUE, "train_accuracy"),
        "training accuracy, shuffled labels": last_accuracy(table, SHUFFLED, "train_accuracy"),
        "validation accuracy, true labels": last_accuracy(table, TRUE, "val_accuracy"),
        "validation accuracy, shuffled labels": last_accuracy(table, SHUFFLED, "val_accuracy"),
        "share learned for good": (learned < never).mean(1),
        "share never forgotten, of those learned": unforgettable(learned, events, never),
        "noise scale before training": select(noise, epoch=0)["value"].to_numpy(float),
        "noise scale after training": noise[noise["epoch"] > 0]["value"].to_numpy(float),
    }
    rows = [(name, float(v.mean()), float(v.min()), float(v.max()), len(v)) for name, v in values.items()]
    return pd.DataFrame(rows, columns=["number", "mean", "smallest", "largest", "n"])


def last_true_epoch(table: pd.DataFrame) -> int:
    """Return the last epoch of the trainings with true labels."""
    return int(of(table, "train_accuracy", TRUE)["epoch"].max())


def unforgettable(learned: np.ndarray, events: np.ndarray, never: int) -> np.ndarray:
    """Return which share of the samples that are known in the end was never forgotten, by seed."""
    known = learned < never
    return (known & (events == 0)).sum(1) / np.maximum(known.sum(1), 1)


WEAK = 0.2
"""Rank correlation below which two orders have next to nothing in common: 4% of their variance."""


@rule
def order_repeats(table: pd.DataFrame) -> tuple[Outcome, str]:
    """Seen if every pair of seeds learns the images in correlated order: the 95% interval lies above 0.

    Not seen if every pair's interval lies below 0.2; undecided otherwise, and with one seed.
    """
    return repeats(table, "learning_epoch", "the epoch in which an image is learned for good")


@rule
def forgetting_repeats(table: pd.DataFrame) -> tuple[Outcome, str]:
    """Seen if every pair of seeds forgets the same images: the rank correlation's 95% interval lies above 0.

    Not seen if every pair's interval lies below 0.2; undecided otherwise, and with one seed.
    """
    return repeats(table, "forgetting_events", "the number of times an image is forgotten")


def repeats(table: pd.DataFrame, quantity: str, words: str) -> tuple[Outcome, str]:
    """Read whether a quantity of the samples agrees between seeds."""
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


MANY = 0.25
"""Share of the known images that is a good part: Toneva et al. find 0.3 (CIFAR-10) to 0.9 (MNIST)."""


@rule
def many_are_never_forgotten(table: pd.DataFrame) -> tuple[Outcome, str]:
    """Seen if in every seed a quarter or more of the images known in the end was never forgotten.

    Not seen if in none.
    """
    shares = unforgettable(
        by_seed(table, "learning_epoch"), by_seed(table, "forgetting_events"), last_true_epoch(table) + 1
    )
    return agree(shares >= MANY), (
        f"Of the images that a network knows in the end, it never forgot {percent(shares.mean())} on the way "
        f"({percent(shares.min())} to {percent(shares.max())} in {len(shares)} seeds)."
    )


MEMORIZED = 0.9
"""Training accuracy from which on shuffled labels count as memorized."""


@rule
def shuffled_labels_are_memorized(table: pd.DataFrame) -> tuple[Outcome, str]:
    """Seen if shuffled labels are learned to 90%, and above the most frequent class's share by three standard errors.

    In every seed. Undecided if they are above that share only: on the way. Not seen otherwise.
    """
    shuffled = last_accuracy(table, SHUFFLED, "train_accuracy")
    share, n = fact(table, "majority_share"), int(fact(table, "training_pictures"))
    on_the_way = shuffled.min() > share + 3 * standard_error(share, n)
    outcome = decide(seen=bool(on_the_way and shuffled.min() >= MEMORIZED), not_seen=not on_the_way)
    ends = {"seen": "is memorized", "undecided": "is being memorized", "not seen": "was not memorized in this time"}
    epochs = int(of(table, "train_accuracy", SHUFFLED)["epoch"].max())
    return outcome, (
        f"What can't be learned {ends[outcome]}: {percent(shuffled.mean())} of the training images with shuffled "
        f"labels are right after {epochs} epochs ({len(shuffled)} seeds; the most frequent label: {percent(share)}), "
        f"{percent(last_accuracy(table, SHUFFLED, 'val_accuracy').mean())} of the validation images."
    )


@rule
def true_labels_are_learned_faster(table: pd.DataFrame) -> tuple[Outcome, str]:
    """Seen if after the same epochs every seed with true labels is ahead of every one with shuffled labels.

    Not seen if none is.
    """
    last = last_true_epoch(table)
    true = last_accuracy(table, TRUE, "train_accuracy")
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
    found: list[float] = []
    for quantity in ("running_mean_drift", "running_var_drift"):
        rows = of(table, quantity, TRUE).pivot_table("value", "seed", "epoch")
        found += (rows[rows.columns.max()] / rows[rows.columns.min()]).tolist()
    ratios = np.array(found)
    return agree(ratios < 1), (
        f"In the last epoch the running statistics change by {ratios.mean():.2f} of what they changed in the second "
        f"({ratios.min():.2f} to {ratios.max():.2f}, means and variances, {len(ratios) // 2} seeds)."
    )


@rule
def noise_grows(table: pd.DataFrame) -> tuple[Outcome, str]:
    """Seen if in every seed the median noise scale is larger after training than before; not seen if in none."""
    medians = of(table, "noise_scale", TRUE).pivot_table("value", "seed", "epoch", "median")
    before, after = medians[0].to_numpy(float), medians[medians.columns.max()].to_numpy(float)
    grown = after > before
    words = ", ".join(f"{number(a)} before and {number(b)} after" for a, b in zip(before, after, strict=True))
    return agree(grown), (
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
    page=load_page("dynamics"),
    measure=measure,
    draw=draw,
    summarize=summarize,
    rules=(
        order_repeats,
        many_are_never_forgotten,
        forgetting_repeats,
        shuffled_labels_are_memorized,
        true_labels_are_learned_faster,
        statistics_settle,
        noise_grows,
        images_to_check,
    ),
    details=lambda plan: {"twice": 2 * plan.epochs, "batch": BATCH_SIZE},
)

run = EXPERIMENT.run
