"""Is the training size the best size to test at? Random crops magnify: tests at a larger size look more alike."""

from itertools import permutations
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats
from torch import Tensor

from resnet50.data.transforms import Preprocess, crop_box
from resnet50.model.resnet import ResNet
from resnet50.runtime.errors import UserError
from resnet50.runtime.stats import number, percent, points, round_size, wilson
from resnet50.study.experiment import Experiment, Measured, Observation, Source
from resnet50.study.figures import GRAY, GREEN, KIND_COLORS, new_figure
from resnet50.study.lab import Lab, Pictures, Plan, TrainedRun

FACTORS = (0.5, 0.75, 1.25, 1.5, 1.75, 2.0)
"""Test sizes as multiples of the training size, before they are rounded: dense where crops of usual scales predict."""

CROP_PICTURES, CROP_DRAWS = 1000, 20
"""Training pictures, and crops of each, for the mean magnification: its standard error is then below half a percent."""

COLUMNS = ["network", "size", "other", "quantity", "value"]

LOOKS: dict[str, tuple[str, Any, str]] = {
    "fine-tuned": (KIND_COLORS["fine-tuned"], "-", "o"),
    "from scratch": (KIND_COLORS["from scratch"], (0, (4, 1.5)), "s"),
}
"""Color, dashes and marker of a network."""


def sizes_to_test(training_size: int) -> list[int]:
    """Return the sizes to test at, in pixels, ascending: the training size, and multiples of 32 around it.

    Multiples of 32, because the network halves its maps five times: at other sizes it works on ragged borders.
    """
    return sorted({training_size, *(max(32, round_size(factor * training_size)) for factor in FACTORS)})


def magnification(preprocess: Preprocess, width: int, height: int) -> float:
    """Return how many pixels of the network's input a pixel of the photo becomes, along a side, when measuring.

    Squashing scales the sides differently: the geometric mean of both, as for the crops of training.
    """
    if preprocess.resize_mode == "crop":
        return preprocess.resize / min(width, height)
    if preprocess.resize_mode == "pad":
        return preprocess.size / max(width, height)
    return preprocess.size / (width * height) ** 0.5


def crop_magnification(
    preprocess: Preprocess, width: int, height: int, smallest: float, rng: np.random.Generator, draws: int = CROP_DRAWS
) -> float:
    """Return the same for training, which scales random crops to the input: mean over `draws` crops (section 3.1).

    Args:
        preprocess: gives the input's size.
        width: of the photo, in pixels.
        height: of the photo, in pixels.
        smallest: share of the photo's area that a crop keeps at least.
        rng: random numbers of the crops.
        draws: number of crops.
    """
    boxes = [crop_box(rng, height, width, smallest) for _ in range(draws)]
    return float(np.mean([preprocess.size / (rows * columns) ** 0.5 for _, _, rows, columns in boxes]))


def mean_magnification(
    shapes: np.ndarray, preprocess: Preprocess, smallest: float | None, rng: np.random.Generator
) -> float:
    """Return how much larger objects appear in training than in a test at the same size; 1 where nothing is cropped.

    Args:
        shapes: widths and heights of photos, N×2.
        preprocess: the network's, at the training size.
        smallest: share of the area that a crop keeps at least; None: trained without crops.
        rng: random numbers of the crops.

    Raises:
        UserError: there is no photo.
    """
    if not len(shapes):
        raise UserError("the mean magnification needs training pictures, and there are none")
    if smallest is None:
        return 1.0
    ratios = [
        crop_magnification(preprocess, width, height, smallest, rng) / magnification(preprocess, width, height)
        for width, height in shapes.tolist()
    ]
    return float(np.mean(ratios))


def magnification_of(lab: Lab, run: TrainedRun) -> float:
    """Return `mean_magnification` on a run's training pictures."""
    rows = lab.dataset.split("train").sort_values("sha256", kind="stable").head(CROP_PICTURES)
    smallest = None if run.options.augment == "none" else run.options.crop_scale
    preprocess = run.model.preprocess.resized(run.options.image_size)
    rng = np.random.default_rng([lab.seed, 0x517E])
    return mean_magnification(rows[["width", "height"]].to_numpy(), preprocess, smallest, rng)


def logits_and_features(lab: Lab, network: ResNet, pictures: Pictures, preprocess: Preprocess) -> tuple[Tensor, Tensor]:
    """Return logits, N×classes, and what the head sees, N×features, both float32 on the CPU, of the same pass."""
    features: list[Tensor] = []

    def keep(_: torch.nn.Module, inputs: tuple[Tensor, ...]) -> None:
        features.append(inputs[0].float().cpu())

    hook = network.fc.register_forward_pre_hook(keep)
    try:
        logits = lab.logits(network, pictures.pixels, preprocess, batch_size=32)
    finally:
        hook.remove()
    return logits, torch.cat(features)


def paired_change(values: np.ndarray, base: np.ndarray) -> tuple[float, float]:
    """Return the mean difference of two columns of the same pictures and its standard error."""
    differences = values - base
    if len(differences) < 2:
        return float(differences.mean()), float("inf")
    return float(differences.mean()), float(differences.std(ddof=1) / len(differences) ** 0.5)


def measure_run(lab: Lab, run: TrainedRun, name: str) -> pd.DataFrame:
    """Return a run's figures by test size, paired counts by pairs of sizes (`size`, `other`), and the prediction."""
    training_size, rows = run.options.image_size, list[tuple[int, int, str, float]]()
    correct: dict[int, np.ndarray] = {}
    zeros: dict[int, np.ndarray] = {}
    for size in sizes_to_test(training_size):
        lab.step(f"{name}: test at {size} pixels")
        preprocess = run.model.preprocess.resized(size)
        pictures = lab.pictures("val", preprocess, lab.plan.looked_at)
        logits, features = logits_and_features(lab, run.network, pictures, preprocess)
        correct[size] = (logits.argmax(1) == pictures.labels).numpy()
        zeros[size] = (features == 0).float().mean(1).numpy()
        counts = torch.bincount(pictures.labels)
        rows += [
            (size, 0, "accuracy", float(correct[size].mean())),
            (size, 0, "loss", float(F.cross_entropy(logits, pictures.labels))),
            (size, 0, "images", float(len(pictures))),
            (size, 0, "majority", float(counts.max() / counts.sum())),
            (size, 0, "feature_mean", float(features.mean())),
            (size, 0, "zeros", float(zeros[size].mean())),
        ]
    for size, other in permutations(correct, 2):
        change, error = paired_change(zeros[size], zeros[other])
        rows += [
            (size, other, "only_here", float((correct[size] & ~correct[other]).sum())),
            (size, other, "zeros_change", change),
            (size, other, "zeros_change_error", error),
        ]
    ratio = magnification_of(lab, run)
    rows += [
        (training_size, 0, "training_size", training_size),
        (training_size, 0, "magnification", ratio),
        (training_size, 0, "predicted_size", ratio * training_size),
    ]
    return pd.DataFrame(rows, columns=COLUMNS[1:])


def measure(lab: Lab) -> Measured:
    """Test every trained run at several sizes."""
    tables: list[pd.DataFrame] = []
    for run in lab.runs:
        taken = [str(table["network"].iloc[0]) for table in tables]
        name = run.kind if run.kind not in taken else f"{run.kind}, the other"
        kept = f"resolution/{name.replace(' ', '-').replace(',', '')}"
        tables.append(lab.keep(kept, lambda r=run, n=name: measure_run(lab, r, n)).assign(network=name))
    if not tables:
        raise UserError("there is no trained network to test: give a run")
    return Measured(pd.concat(tables)[COLUMNS])


def by_size(table: pd.DataFrame, network: str, quantity: str) -> pd.Series:
    """Return a quantity of a network by test size."""
    rows = table[(table["network"] == network) & (table["quantity"] == quantity) & (table["other"] == 0)]
    return rows.set_index("size")["value"].sort_index()


def highest(values: pd.Series) -> int:
    """Return the size with the highest value, the smallest of several."""
    return int(values.index[int(values.to_numpy(float).argmax())])


def of_run(table: pd.DataFrame, network: str, quantity: str) -> float:
    """Return a figure that a network has once."""
    return float(by_size(table, network, quantity).iloc[0])


def between(table: pd.DataFrame, network: str, size: int, other: int, quantity: str) -> float:
    """Return a figure of a pair of sizes."""
    rows = table[(table["network"] == network) & (table["quantity"] == quantity)]
    return float(rows[(rows["size"] == size) & (rows["other"] == other)]["value"].iloc[0])


def mcnemar(only_here: int, only_there: int) -> float:
    """Return the p value of McNemar's exact test (two-sided): pictures that only one of two sizes gets right."""
    disagreeing = only_here + only_there
    return float(stats.binomtest(only_here, disagreeing, 0.5).pvalue) if disagreeing else 1.0


def draw(measured: Measured) -> Figure:
    """Draw accuracy by test size, a panel for each network, and the share of features that are zero."""
    table = measured.table
    names = list(table["network"].unique())
    figure, axes = new_figure(1, len(names) + 1, 3.4)
    *panels, last = axes[0]
    for panel, name in zip(panels, names, strict=True):
        if panel is not panels[0]:
            panel.sharey(panels[0])
        draw_accuracy(panel, table, name)
        color, dashes, marker = LOOKS.get(name, (GREEN, ":", "^"))
        zeros = by_size(table, name, "zeros")
        last.plot(zeros.index, 100 * zeros, color=color, linestyle=dashes, marker=marker, label=name)
        trained_at = of_run(table, name, "training_size")
        last.plot(
            [trained_at], [100 * zeros[trained_at]], marker="o", markersize=10, fillstyle="none", color=GRAY,
            linestyle="none", label="training size" if name == names[-1] else None,
        )  # fmt: skip
    panels[0].set_ylabel("validation accuracy")
    last.set_ylim(0, 140 * max(0.01, table[table["quantity"] == "zeros"]["value"].max()))  # the legend needs room
    last.set_yticks([tick for tick in last.get_yticks() if tick <= 100])
    name_sizes(last, sorted({int(size) for size in table["size"]}))
    last.set_xlabel("test size (pixels)")
    last.set_ylabel("pooled features that are zero (%)")
    last.set_title("what the head sees")
    last.legend()
    lines = {label: line for panel in panels for line, label in zip(*panel.get_legend_handles_labels(), strict=True)}
    figure.legend(list(lines.values()), list(lines), loc="outside upper left", ncols=len(lines))
    return figure


NEAR = 0.1
"""How far below the data the share of the most frequent class may lie to be drawn; farther, it would flatten them."""


def name_sizes(axes: Axes, sizes: list[int]) -> None:
    """Mark the tested sizes on the horizontal axis; many of them upright, so that they don't overlap."""
    axes.set_xticks(sizes, [str(size) for size in sizes], rotation=90 if len(sizes) > 6 else 0)


def draw_accuracy(axes: Axes, table: pd.DataFrame, name: str) -> None:
    """Draw a network's accuracy with 95 % intervals, the size it was trained at and the size that is predicted."""
    color, _, marker = LOOKS.get(name, (GREEN, ":", "^"))
    accuracy, images = by_size(table, name, "accuracy"), round(of_run(table, name, "images"))
    ends = np.array([wilson(round(value * images), images) for value in accuracy])
    majority = of_run(table, name, "majority")
    if majority > ends.min() - NEAR:
        axes.axhline(majority, color=GRAY, linewidth=1, linestyle=":", label="always one class")
    trained_at = of_run(table, name, "training_size")
    axes.axvline(trained_at, color=GRAY, linewidth=5, alpha=0.35, label="training size")
    predicted = of_run(table, name, "predicted_size")
    axes.axvline(predicted, color=GREEN, linewidth=1.4, linestyle="--", label="objects as large as in training")
    reach = np.abs(ends.T - accuracy.to_numpy())
    axes.errorbar(accuracy.index, accuracy, yerr=reach, color=color, marker=marker, capsize=3, elinewidth=1)
    name_sizes(axes, [int(size) for size in accuracy.index.to_numpy()])
    axes.set_xlabel("test size (pixels)")
    axes.set_title(f"{name}, {images} pictures")


def summarize(table: pd.DataFrame) -> pd.DataFrame:
    """Return every network's figures by test size."""
    wanted = ["accuracy", "loss", "zeros", "feature_mean"]
    rows = table[(table["other"] == 0) & table["quantity"].isin(wanted)]
    means = rows.pivot_table("value", ["network", "size"], "quantity", sort=False).reset_index()
    return means.sort_values(["network", "size"])[["network", "size", *wanted]]


CHANCE = 0.05
"""Up to this p value a difference counts as more than chance, divided by the number of sizes that are tried."""


def p_value(table: pd.DataFrame, network: str, size: int, other: int) -> float:
    """Return the p value of the difference between two test sizes on the same pictures."""
    here = round(between(table, network, size, other, "only_here"))
    return mcnemar(here, round(between(table, network, other, size, "only_here")))


def compared(table: pd.DataFrame, network: str, size: int, other: int) -> str:
    """Return the comparison of two test sizes in words."""
    accuracy = by_size(table, network, "accuracy")
    here, there = (round(between(table, network, *pair, "only_here")) for pair in ((size, other), (other, size)))
    return (
        f"{percent(accuracy[size])} at {size} pixels, {percent(accuracy[other])} at {other} "
        f"({here} pictures right only at {size}, {there} only at {other}, "
        f"McNemar p = {number(mcnemar(here, there))}, n = {of_run(table, network, 'images'):.0f})"
    )


def possible_gain(table: pd.DataFrame, network: str, size: int, other: int) -> float:
    """Return the upper end of the 95 % interval of how much higher the accuracy is at `size` than at `other`.

    Wald's interval for paired shares: the variance of b - c is b + c - (b - c)²/n.
    """
    n = of_run(table, network, "images")
    here, there = (between(table, network, *pair, "only_here") for pair in ((size, other), (other, size)))
    error = max(0.0, here + there - (here - there) ** 2 / n) ** 0.5
    return (here - there + 1.96 * error) / n


def has_learned(table: pd.DataFrame, network: str) -> bool:
    """Return whether a network at its best size is surely better than always answering the most frequent class."""
    images, best = round(of_run(table, network, "images")), float(by_size(table, network, "accuracy").max())
    return wilson(round(best * images), images)[0] > of_run(table, network, "majority")


def learned_too_little(table: pd.DataFrame, rule: str, network: str) -> Observation:
    """Say that a network has learned too little for its accuracy to tell sizes apart."""
    best = float(by_size(table, network, "accuracy").max())
    return Observation(
        rule,
        "undecided",
        f"At no size is the {network} network ({percent(best)} correct at best, n = "
        f"{of_run(table, network, 'images'):.0f}) clearly better than always answering the most frequent class "
        f"({percent(of_run(table, network, 'majority'))}): its accuracy can't tell sizes apart.",
    )


def a_larger_test_size_is_better(table: pd.DataFrame, network: str) -> Observation:
    """Seen if the best larger size beats the training size by more than chance (McNemar's test).

    The best of several sizes is looked at, so p has to be below CHANCE divided by how many larger ones there are. Not
    seen if no larger size has a higher accuracy; undecided if one has, but chance may have done it, or if the network
    has not learned enough (`has_learned`).
    """
    rule, accuracy = "a_larger_test_size_is_better", by_size(table, network, "accuracy")
    trained_at = round(of_run(table, network, "training_size"))
    larger = accuracy[accuracy.index > trained_at]
    size = highest(larger)
    numbers = compared(table, network, size, trained_at)
    if not has_learned(table, network):
        return learned_too_little(table, rule, network)
    if larger.max() <= accuracy[trained_at]:
        room = possible_gain(table, network, size, trained_at)
        text = f"No size above that of training is better for the {network} network; the best of them: {numbers}. "
        text += f"Chance leaves room for a gain of up to {points(max(0.0, room))}."
        return Observation(rule, "not seen", text)
    if p_value(table, network, size, trained_at) < CHANCE / len(larger):
        text = f"The {network} network is better at a size that it was not trained at: {numbers}."
        return Observation(rule, "seen", text)
    text = f"The {network} network may be better above its training size, or chance made it so: {numbers}."
    return Observation(rule, "undecided", text)


def predicted_by_magnification(table: pd.DataFrame, network: str) -> Observation:
    """Seen if the tested size nearest to the predicted one beats the training size, and no size beats it.

    Nearest in ratio; beats: a higher accuracy, McNemar p below CHANCE, divided by the number of other sizes where all
    of them are tried. Not seen if some size beats it; undecided if none does, but it does not beat the training size
    either, or is the training size itself, or if the network has not learned enough (`has_learned`).
    """
    rule, accuracy = "predicted_by_magnification", by_size(table, network, "accuracy")
    trained_at = round(of_run(table, network, "training_size"))
    if not has_learned(table, network):
        return learned_too_little(table, rule, network)
    predicted, ratio = of_run(table, network, "predicted_size"), of_run(table, network, "magnification")
    sizes = accuracy.index.to_numpy(float)
    size = int(accuracy.index[int(np.abs(np.log(sizes / predicted)).argmin())])
    best = highest(accuracy)
    said = (
        f"In the training crops of the {network} network objects appear {ratio:.2f} times as large as in a test at "
        f"{trained_at} pixels, and as large as in a test at {predicted:.0f}"
    )
    others = len(accuracy) - 1
    if accuracy[best] > accuracy[size] and p_value(table, network, best, size) < CHANCE / others:
        text = f"{said}; yet another size is better than the nearest tested: {compared(table, network, best, size)}."
        return Observation(rule, "not seen", text)
    if size == trained_at:
        text = f"{said}: of the tested sizes that of training is the nearest, so there is nothing to tell apart."
        return Observation(rule, "undecided", text)
    numbers = compared(table, network, size, trained_at)
    if accuracy[size] > accuracy[trained_at] and p_value(table, network, size, trained_at) < CHANCE:
        return Observation(rule, "seen", f"{said}; near there it is at its best: {numbers}.")
    text = f"{said}; near there it is neither clearly better than at its training size nor worse than elsewhere: "
    return Observation(rule, "undecided", f"{text}{numbers}.")


ERRORS = 2.0
"""Standard errors from which a mean difference counts as more than chance."""


def features_change_with_size(table: pd.DataFrame, network: str) -> Observation:
    """Seen if more features are zero at the smallest size than at the largest, by more than ERRORS standard errors.

    The mean is over differences of the same pictures. Not seen if it is the other way by as much, or if no feature is
    zero; undecided in between.
    """
    rule, zeros = "features_change_with_size", by_size(table, network, "zeros")
    small, large = int(zeros.index[0]), int(zeros.index[-1])
    change = between(table, network, small, large, "zeros_change")
    error = between(table, network, small, large, "zeros_change_error")
    means = by_size(table, network, "feature_mean")
    trained_at = round(of_run(table, network, "training_size"))
    numbers = (
        f"{percent(zeros[small])} of its pooled features are zero at {small} pixels (maps of {-(-small // 32)}² "
        f"places), {percent(zeros[trained_at])} at its training size of {trained_at}, {percent(zeros[large])} at "
        f"{large} ({-(-large // 32)}² places); their mean is {number(means[small])}, {number(means[trained_at])} and "
        f"{number(means[large])} (n = {of_run(table, network, 'images'):.0f})"
    )
    if change > ERRORS * error:
        text = f"The head of the {network} network sees other features at other sizes: {numbers}."
        return Observation(rule, "seen", text)
    if change < -ERRORS * error or zeros.max() == 0:
        text = f"The features of the {network} network don't get sparser at small sizes: {numbers}."
        return Observation(rule, "not seen", text)
    return Observation(rule, "undecided", f"The pictures of the {network} network disagree: {numbers}.")


def read(table: pd.DataFrame) -> list[Observation]:
    """Read every network's numbers."""
    rules = (a_larger_test_size_is_better, predicted_by_magnification, features_change_with_size)
    return [rule(table, name) for rule in rules for name in table["network"].unique()]


def setting(plan: Plan) -> str:
    """Say what is done here."""
    return (
        f"The trained networks on {plan.looked_at} validation pictures, read from their files at sizes from about half "
        "to twice that of training, resized as the network was trained to be tested (squashed, cropped or padded). How "
        f"much larger objects appear in training is the mean over {CROP_DRAWS} random crops of each of up to "
        f"{CROP_PICTURES} training pictures. The paper tests on 50,000 pictures of ImageNet, trains at 128 to 384 "
        "pixels, and goes on to fine-tune the head at the new size, which is left out here. A gain of two or three "
        "points, as the paper finds, may not be told from chance on so few pictures. Small pictures add something "
        "else: a larger test shows details that training did not, until it is as large as the file."
    )


EXPERIMENT = Experiment(
    name="resolution",
    title="The size at the test",
    question="Is the size that a network was trained at the best one to test it at?",
    claim="Training on random crops that are scaled to one size shows objects larger than a test at that size does. "
    "Convolutions know shifts but not scales, so the network does better if the test is larger, about so much that "
    "objects appear as large as in training: trained at 224 pixels, ResNet-50 is best at 288. What the head sees "
    "changes too: fewer places are pooled in a smaller map, so that more of the pooled features are zero and the "
    "others spread wider, and fine-tuning head and batch norm at the test size gains more.",
    setting=setting,
    caption="Accuracy by test size with 95 % intervals (Wilson) for each network; solid: the size it was trained at; "
    "dashed: the test size at which objects appear as large as in its training crops, on average. All sizes see the "
    "same pictures, so that differences are surer than the intervals look. Right: share of the pooled features, "
    "which the head takes, that are exactly zero; circles: training size.",
    sources=(
        Source(
            "Touvron, Vedaldi, Douze and Jégou", 2019, "Fixing the train-test resolution discrepancy", "1906.06423",
            "sections 3.1 to 3.3 and their figures",
        ),
    ),
    measure=measure,
    draw=draw,
    summarize=summarize,
    read=read,
    trained=True,
)  # fmt: skip

run = EXPERIMENT.run
