"""Train at one size, test at another: random crops magnify objects, so that larger tests match their size better."""

from itertools import permutations

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
from resnet50.study.experiment import Experiment, Measured, rule, rules_of
from resnet50.study.figures import GRAY, GREEN, new_figure, style_of
from resnet50.study.intervals import SIGNIFICANT, beats
from resnet50.study.lab import Images, Lab, TrainedRun
from resnet50.study.outcome import Outcome, decide
from resnet50.study.pages import load_page
from resnet50.study.runs import keep_run, named
from resnet50.study.tables import means_by, networks, select, value_of

FACTORS = (0.5, 0.75, 1.25, 1.5, 1.75, 2.0)
"""Test sizes as multiples of the training size, before rounding: dense where crops of usual scales predict."""

CROP_IMAGES, CROP_DRAWS = 1000, 20
"""Training images, and crops of each, for the mean magnification: its standard error is then below half a percent."""

COLUMNS = ["network", "size", "other", "quantity", "value"]


def sizes_to_test(training_size: int) -> list[int]:
    """Return the sizes to test at, in pixels, ascending: the training size, and multiples of 32 around it.

    Multiples of 32, because the network halves its maps five times: other sizes leave incomplete borders.
    """
    return sorted({training_size, *(max(32, round_size(factor * training_size)) for factor in FACTORS)})


def magnification(preprocess: Preprocess, width: int, height: int) -> float:
    """Return how many input pixels a pixel of the image becomes in a test, along a side.

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
    """Return the magnification in training, which scales random crops to the input: mean over `draws` crops.

    Touvron et al. 2019, section 3.1. A crop keeps `smallest` of the image's area or more.
    """
    boxes = [crop_box(rng, height, width, smallest) for _ in range(draws)]
    return float(np.mean([preprocess.size / (rows * columns) ** 0.5 for _, _, rows, columns in boxes]))


def mean_magnification(
    shapes: np.ndarray, preprocess: Preprocess, smallest: float | None, rng: np.random.Generator
) -> float:
    """Return how much larger objects appear in training than in a test at the same size.

    Shapes are widths and heights of images, N×2; without crops (`smallest` is None) it is 1. Raises UserError if there
    is no image.
    """
    if not len(shapes):
        raise UserError("the mean magnification needs training images, and there are none")
    if smallest is None:
        return 1.0
    ratios = [
        crop_magnification(preprocess, width, height, smallest, rng) / magnification(preprocess, width, height)
        for width, height in shapes.tolist()
    ]
    return float(np.mean(ratios))


def magnification_of(lab: Lab, run: TrainedRun) -> float:
    """Return `mean_magnification` on a run's training images."""
    rows = lab.dataset.split("train").sort_values("sha256", kind="stable").head(CROP_IMAGES)
    smallest = None if run.options.augment == "none" else run.options.crop_scale
    preprocess = run.model.preprocess.resized(run.options.side)
    rng = np.random.default_rng([lab.seed, 0x517E])
    return mean_magnification(rows[["width", "height"]].to_numpy(), preprocess, smallest, rng)


def logits_and_features(lab: Lab, network: ResNet, images: Images, preprocess: Preprocess) -> tuple[Tensor, Tensor]:
    """Return logits, N×classes, and the head's input, N×features, of the same pass: float32 on the CPU."""
    features: list[Tensor] = []

    def keep(_: torch.nn.Module, inputs: tuple[Tensor, ...]) -> None:
        features.append(inputs[0].float().cpu())

    hook = network.fc.register_forward_pre_hook(keep)
    try:
        logits = lab.logits(network, images.pixels, preprocess, batch_size=32)
    finally:
        hook.remove()
    return logits, torch.cat(features)


def paired_change(values: np.ndarray, base: np.ndarray) -> tuple[float, float]:
    """Return the mean difference of two measurements of the same images and its standard error."""
    differences = values - base
    if len(differences) < 2:
        return float(differences.mean()), float("inf")
    return float(differences.mean()), float(differences.std(ddof=1) / len(differences) ** 0.5)


def measure_run(lab: Lab, run: TrainedRun, name: str) -> pd.DataFrame:
    """Return a run's metrics by test size, paired counts by pairs of sizes (`size`, `other`), and the prediction."""
    training_size, found = run.options.side, dict[tuple[int, int], dict[str, float]]()
    correct, zeros = dict[int, np.ndarray](), dict[int, np.ndarray]()
    for size in sizes_to_test(training_size):
        lab.step(f"{name}: test at {size} pixels")
        preprocess = run.model.preprocess.resized(size)
        images = lab.images("val", preprocess, lab.plan.looked_at)
        logits, features = logits_and_features(lab, run.network, images, preprocess)
        correct[size] = (logits.argmax(1) == images.labels).numpy()
        zeros[size] = (features == 0).float().mean(1).numpy()
        counts = torch.bincount(images.labels)
        found[size, 0] = {
            "accuracy": float(correct[size].mean()),
            "loss": float(F.cross_entropy(logits, images.labels)),
            "images": float(len(images)),
            "majority": float(counts.max() / counts.sum()),
            "feature_mean": float(features.mean()),
            "zeros": float(zeros[size].mean()),
        }
    for size, other in permutations(correct, 2):
        change, error = paired_change(zeros[size], zeros[other])
        only_here = float((correct[size] & ~correct[other]).sum())
        found[size, other] = {"only_here": only_here, "zeros_change": change, "zeros_change_error": error}
    rows = [(*pair, quantity, value) for pair, values in found.items() for quantity, value in values.items()]
    ratio = magnification_of(lab, run)
    about = {"training_size": training_size, "magnification": ratio, "predicted_size": ratio * training_size}
    rows += [(training_size, 0, quantity, value) for quantity, value in about.items()]
    return pd.DataFrame(rows, columns=COLUMNS[1:])


def measure(lab: Lab) -> Measured:
    tables = [
        keep_run(lab, "resolution/{}", name, lambda r=run, n=name: measure_run(lab, r, n))
        for name, run in named(lab.runs).items()
    ]
    if not tables:
        raise UserError("there is no trained network to test: pass a run")
    return Measured(pd.concat(tables)[COLUMNS])


def by_size(table: pd.DataFrame, network: str, quantity: str) -> pd.Series:
    return means_by(table, "size", network=network, quantity=quantity, other=0).sort_index()


def of_run(table: pd.DataFrame, network: str, quantity: str) -> float:
    return value_of(table, network=network, quantity=quantity)


def mcnemar(only_here: int, only_there: int) -> float:
    """Return the p value of McNemar's exact test (two-sided) from the images that only one of two sizes gets right."""
    disagreeing = only_here + only_there
    return float(stats.binomtest(only_here, disagreeing, 0.5).pvalue) if disagreeing else 1.0


def draw(measured: Measured) -> Figure:
    table = measured.table
    names = networks(table)
    figure, axes = new_figure(1, len(names) + 1, 3.4)
    *panels, last = axes[0]
    for panel, name in zip(panels, names, strict=True):
        if panel is not panels[0]:
            panel.sharey(panels[0])
        draw_accuracy(panel, table, name)
        zeros, trained_at = by_size(table, name, "zeros"), of_run(table, name, "training_size")
        style_of(name).plot(last, zeros.index, 100 * zeros, label=name)
        last.plot(
            [trained_at], [100 * zeros[trained_at]], marker="o", markersize=10, fillstyle="none", color=GRAY,
            linestyle="none", label="training size" if name == names[-1] else None,
        )  # fmt: skip
    panels[0].set_ylabel("validation accuracy")
    last.set_ylim(0, 140 * max(0.01, select(table, quantity="zeros")["value"].max()))  # the legend needs room
    last.set_yticks([tick for tick in last.get_yticks() if tick <= 100])
    name_sizes(last, sorted({int(size) for size in table["size"]}))
    last.set(xlabel="test size (pixels)", ylabel="pooled features that are zero (%)", title="what the head sees")
    last.legend()
    lines = {label: line for panel in panels for line, label in zip(*panel.get_legend_handles_labels(), strict=True)}
    figure.legend(list(lines.values()), list(lines), loc="outside upper left", ncols=len(lines))
    return figure


NEAR = 0.1
"""The majority line is drawn if it lies at most this far below the data; farther, it would flatten them."""


def name_sizes(axes: Axes, sizes: list[int]) -> None:
    """Mark the tested sizes on the horizontal axis; many of them rotated, so that they don't overlap."""
    axes.set_xticks(sizes, [str(size) for size in sizes], rotation=90 if len(sizes) > 6 else 0)


def draw_accuracy(axes: Axes, table: pd.DataFrame, name: str) -> None:
    color, _, marker = style_of(name)
    accuracy, images = by_size(table, name, "accuracy"), round(of_run(table, name, "images"))
    ends = np.array([wilson(round(share * images), images) for share in accuracy])
    majority = of_run(table, name, "majority")
    if majority > ends.min() - NEAR:
        axes.axhline(majority, color=GRAY, linewidth=1, linestyle=":", label="always one class")
    trained_at, predicted = (of_run(table, name, quantity) for quantity in ("training_size", "predicted_size"))
    axes.axvline(trained_at, color=GRAY, linewidth=5, alpha=0.35, label="training size")
    axes.axvline(predicted, color=GREEN, linewidth=1.4, linestyle="--", label="objects as large as in training")
    reach = np.abs(ends.T - accuracy.to_numpy())
    axes.errorbar(accuracy.index, accuracy, yerr=reach, color=color, marker=marker, capsize=3, elinewidth=1)
    name_sizes(axes, [int(size) for size in accuracy.index.to_numpy()])
    axes.set(xlabel="test size (pixels)", title=f"{name}, {images} images")


def summarize(table: pd.DataFrame) -> pd.DataFrame:
    wanted = ["accuracy", "loss", "zeros", "feature_mean"]
    rows = select(table, other=0, quantity=wanted)
    means = rows.pivot_table("value", ["network", "size"], "quantity", sort=False).reset_index()
    return means.sort_values(["network", "size"])[["network", "size", *wanted]]


def highest(accuracy: pd.Series) -> int:
    return int(accuracy.index[int(accuracy.to_numpy(float).argmax())])


def only_one_right(table: pd.DataFrame, network: str, size: int, other: int) -> tuple[int, int]:
    """Return how many images are right only at one of two sizes, and only at the other."""
    rows = select(table, network=network, quantity="only_here")
    return round(value_of(rows, size=size, other=other)), round(value_of(rows, size=other, other=size))


def p_value(table: pd.DataFrame, network: str, size: int, other: int) -> float:
    """Return the p value of the difference between two test sizes on the same images."""
    return mcnemar(*only_one_right(table, network, size, other))


def compared(table: pd.DataFrame, network: str, size: int, other: int) -> str:
    accuracy = by_size(table, network, "accuracy")
    here, there = only_one_right(table, network, size, other)
    return (
        f"{percent(accuracy[size])} at {size} pixels, {percent(accuracy[other])} at {other} "
        f"({here} images right only at {size}, {there} only at {other}, "
        f"McNemar p = {number(mcnemar(here, there))}, n = {of_run(table, network, 'images'):.0f})"
    )


def possible_gain(table: pd.DataFrame, network: str, size: int, other: int) -> float:
    """Return the upper end of the 95% interval of how much higher the accuracy is at `size` than at `other`.

    Wald's interval for paired shares: the variance of b - c is b + c - (b - c)²/n.
    """
    n = of_run(table, network, "images")
    here, there = only_one_right(table, network, size, other)
    error = max(0.0, here + there - (here - there) ** 2 / n) ** 0.5
    return (here - there + 1.96 * error) / n


def too_little_learned(table: pd.DataFrame, network: str) -> tuple[Outcome, str] | None:
    """Return an answer for a network that at no size clearly beats always answering the most frequent class."""
    best, images = float(by_size(table, network, "accuracy").max()), round(of_run(table, network, "images"))
    majority = of_run(table, network, "majority")
    if beats(best, majority, images):
        return None
    return "undecided", (
        f"At no size is the {network} network ({percent(best)} correct at best, n = {images}) clearly better than "
        f"always answering the most frequent class ({percent(majority)}): its accuracy can't tell sizes apart."
    )


@rule
def a_larger_test_size_is_better(table: pd.DataFrame, network: str) -> tuple[Outcome, str]:
    """Seen if the best larger size beats the training size beyond chance (McNemar's test).

    The best of several sizes is tested, so p has to be below SIGNIFICANT divided by the number of larger sizes. Not
    seen if no larger size has a higher accuracy; undecided if one has, but chance may have done it, or if the network
    has learned too little.
    """
    if answer := too_little_learned(table, network):
        return answer
    accuracy, trained_at = by_size(table, network, "accuracy"), round(of_run(table, network, "training_size"))
    larger = accuracy[accuracy.index > trained_at]
    size = highest(larger)
    numbers = compared(table, network, size, trained_at)
    if larger.max() <= accuracy[trained_at]:
        room = points(max(0.0, possible_gain(table, network, size, trained_at)))
        return "not seen", (
            f"No size above that of training is better for the {network} network. The best of them: {numbers}. "
            f"Chance leaves room for a gain of up to {room}."
        )
    if p_value(table, network, size, trained_at) < SIGNIFICANT / len(larger):
        return "seen", f"The {network} network is better at a size that it was not trained at: {numbers}."
    return "undecided", f"The {network} network may be better above its training size, or by chance: {numbers}."


@rule
def predicted_by_magnification(table: pd.DataFrame, network: str) -> tuple[Outcome, str]:
    """Seen if the tested size nearest to the predicted one beats the training size, and no size beats it.

    Nearest in ratio; beats: a higher accuracy, McNemar p below SIGNIFICANT, divided by the number of other sizes where
    all of them are tried. Not seen if some size beats it; undecided if none does, but it does not beat the training
    size either, or is the training size itself, or if the network has learned too little.
    """
    if answer := too_little_learned(table, network):
        return answer
    accuracy, trained_at = by_size(table, network, "accuracy"), round(of_run(table, network, "training_size"))
    predicted, ratio = of_run(table, network, "predicted_size"), of_run(table, network, "magnification")
    size = int(accuracy.index[int(np.abs(np.log(accuracy.index.to_numpy(float) / predicted)).argmin())])
    best, others = highest(accuracy), len(accuracy) - 1
    start = (
        f"In the training crops of the {network} network objects appear {ratio:.2f} times as large as in a test at "
        f"{trained_at} pixels, and as large as in a test at {predicted:.0f}"
    )
    if accuracy[best] > accuracy[size] and p_value(table, network, best, size) < SIGNIFICANT / others:
        numbers = compared(table, network, best, size)
        return "not seen", f"{start}. Yet another size is better than the nearest tested one: {numbers}."
    if size == trained_at:
        return "undecided", f"{start}. The nearest tested size is that of training: there is nothing to tell apart."
    numbers = compared(table, network, size, trained_at)
    if accuracy[size] > accuracy[trained_at] and p_value(table, network, size, trained_at) < SIGNIFICANT:
        return "seen", f"{start}. It is at its best near there: {numbers}."
    return "undecided", (
        f"{start}. Near there it is neither clearly better than at its training size nor worse than elsewhere: "
        f"{numbers}."
    )


ERRORS = 2.0
"""Standard errors from which a mean difference counts as more than chance."""


@rule
def features_change_with_size(table: pd.DataFrame, network: str) -> tuple[Outcome, str]:
    """Seen if more features are zero at the smallest size than at the largest, by more than ERRORS standard errors.

    The mean is over differences of the same images. Not seen if it is the other way by as much, or if no feature is
    zero; undecided in between.
    """
    zeros, means = by_size(table, network, "zeros"), by_size(table, network, "feature_mean")
    small, large = int(zeros.index[0]), int(zeros.index[-1])
    pair = select(table, network=network, size=small, other=large)
    change, error = value_of(pair, quantity="zeros_change"), value_of(pair, quantity="zeros_change_error")
    trained_at = round(of_run(table, network, "training_size"))
    outcome = decide(seen=change > ERRORS * error, not_seen=change < -ERRORS * error or zeros.max() == 0)
    start = {
        "seen": f"The head of the {network} network sees other features at other sizes",
        "not seen": f"The features of the {network} network don't get sparser at small sizes",
        "undecided": f"The images of the {network} network disagree",
    }[outcome]
    return outcome, (
        f"{start}: {percent(zeros[small])} of its pooled features are zero at {small} pixels (maps of "
        f"{-(-small // 32)}² positions), {percent(zeros[trained_at])} at its training size of {trained_at}, "
        f"{percent(zeros[large])} at {large} ({-(-large // 32)}² positions). Their mean is {number(means[small])}, "
        f"{number(means[trained_at])} and {number(means[large])} (n = {of_run(table, network, 'images'):.0f})."
    )


EXPERIMENT = Experiment(
    load_page("resolution"), measure, draw, summarize, rules_of(__name__),
    details=lambda plan: {"crops": CROP_DRAWS, "crop_images": CROP_IMAGES},
)  # fmt: skip

run = EXPERIMENT.run
