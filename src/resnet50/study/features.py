"""What does each stage see? Its feature maps, its receptive field, and what it has in common with other layers."""

from itertools import product
from typing import cast

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Rectangle
from torch import Tensor

from resnet50.model.hooks import block_names, record
from resnet50.model.resnet import STAGES, ResNet
from resnet50.study.experiment import Experiment, Measured, Observation, Outcome, Source
from resnet50.study.fields import (
    GAUSSIAN_RATIO,
    HELD,
    STAGE_ENDS,
    calibrate,
    canvas_side,
    input_gradients,
    side_holding,
    theoretical_fields,
)
from resnet50.study.figures import GRAY, GREEN, KIND_COLORS, PURPLE, WIDTH, band
from resnet50.study.lab import Lab, Pictures, Plan, TrainedRun
from resnet50.study.similarity import block_grams, cka
from resnet50.study.small import Setup, make_network, train_small

COLUMNS = ["network", "state", "layer", "other", "part", "quantity", "value"]

SEEDS = "two seeds"
"""What the pair of small networks is called in the table."""

MAPS = 4
"""Feature maps that are shown of a stage."""

CALIBRATION = 64
"""Pictures that give an untrained network's norms their statistics."""

MARKERS = {"fine-tuned": "o", "from scratch": "s"}

WHOLE, HALVES = "all", ("first half", "second half")
"""Parts of the pictures that a CKA is worked out on: the halves say how far chance reaches."""


def measure(lab: Lab) -> Measured:
    """Look at every run before and after training, and at two small networks of different seeds."""
    tables, pictures = [compare_seeds(lab)], dict[str, np.ndarray]()
    for name, run in named(lab.runs).items():
        seen = lab.pictures("val", run.model.preprocess, lab.plan.looked_at)
        states = {"before": beginning(lab, run, seen), "after": run.network}
        lab.step(f"{name}: receptive fields")
        for state, network in states.items():
            fields, picture = measure_fields(lab, run, network, seen)
            tables.append(fields.assign(network=name, state=state))
            pictures[f"field {name} {state}"] = picture
        lab.step(f"{name}: similarity of layers")
        kept = f"features/{name.replace(' ', '-').replace(',', '')}"
        table = lab.keep(kept, lambda run=run, states=states, seen=seen: compare(run, states, seen))
        tables.append(table.assign(network=name))
        pictures[f"filters {name}"] = filter_tiles(run.network.conv1.weight)
        pictures |= {f"{what} {name}": maps for what, maps in feature_maps(run, seen.pixels[:1]).items()}
    return Measured(pd.concat(tables)[COLUMNS].reset_index(drop=True), pictures)


def named(runs: list[TrainedRun]) -> dict[str, TrainedRun]:
    """Return runs by their kind; a second one of the same kind is the other."""
    found: dict[str, TrainedRun] = {}
    for run in runs:
        found[run.kind if run.kind not in found else f"{run.kind}, the other"] = run
    return found


def beginning(lab: Lab, run: TrainedRun, seen: Pictures) -> ResNet:
    """Return the network as training found it, its norms' statistics those of a batch where there were none."""
    network = lab.start_of(run)
    if run.kind == "from scratch":
        calibrate(network, run.model.preprocess.normalize(seen.pixels[:CALIBRATION].to(lab.device.torch_device)))
    return network


def measure_fields(lab: Lab, run: TrainedRun, network: ResNet, seen: Pictures) -> tuple[pd.DataFrame, np.ndarray]:
    """Return the receptive fields of all stages, and the last one's mean gradient map (float32, S×S)."""
    rows = [("theoretical_field", stage, "-", float(side)) for stage, side in theoretical_fields(network).items()]
    rows.append(("picture_side", "input", "-", float(run.model.preprocess.size)))
    total = np.zeros(0)
    for number, canvas in enumerate(canvases(lab, run, seen)):
        images = run.model.preprocess.normalize(canvas[None].to(lab.device.torch_device))
        maps = {stage: found[0].numpy() for stage, found in input_gradients(network, images, STAGE_ENDS).items()}
        for stage, gradient in maps.items():
            side = side_holding(gradient, HELD)
            rows.append(("effective_field", stage, f"canvas {number}", side))
            rows.append(("half_to_whole", stage, f"canvas {number}", side_holding(gradient, 0.5) / side))
        last = maps["layer4"] / max(maps["layer4"].sum(), 1e-30)
        total = last if number == 0 else total + last
    table = pd.DataFrame(rows, columns=["quantity", "layer", "part", "value"])
    return table.assign(other="-"), (total / total.max()).astype(np.float32)


def canvases(lab: Lab, run: TrainedRun, seen: Pictures) -> list[Tensor]:
    """Return pictures large enough for the last stage's field (uint8, 3×S×S): validation pictures side by side.

    Each has the size that the network was trained at, so that things are as large as it knows them; the one in the
    middle is whole.
    """
    size, side = run.model.preprocess.size, canvas_side(run.network)
    across = -(-side // size) | 1
    offset = (across * size - side) // 2
    rng = np.random.default_rng([lab.seed, 0xF1E1D])
    found: list[Tensor] = []
    for _ in range(lab.plan.draws):
        chosen = seen.pixels[rng.integers(0, len(seen), across**2)].reshape(across, across, 3, size, size)
        mosaic = chosen.permute(2, 0, 3, 1, 4).reshape(3, across * size, across * size)
        found.append(mosaic[:, offset : offset + side, offset : offset + side])
    return found


def compare(run: TrainedRun, states: dict[str, ResNet], seen: Pictures) -> pd.DataFrame:
    """Return the CKA between all blocks after training, and of every block before with itself after."""
    grams = {state: block_grams(network, seen.pixels, run.model.preprocess) for state, network in states.items()}
    names = block_names(run.network)
    within = cka_rows(grams["after"], grams["after"], names, "cka").assign(state="after")
    moved = cka_rows(grams["before"], grams["after"], names, "cka_before_after")
    moved = moved[moved["layer"] == moved["other"]].assign(state="both")
    return pd.concat([within, moved])


def compare_seeds(lab: Lab) -> pd.DataFrame:
    """Return the CKA between all blocks of two small networks from different seeds, before training and after."""
    preprocess = lab.small_preprocess()
    seen = lab.pictures("val", preprocess, lab.plan.looked_at)
    setups = [Setup(seed=seed) for seed in (0, 1)]
    names, rows = block_names(make_network(lab, setups[0])), list[pd.DataFrame]()
    for state in ("before", "after"):
        grams: list[list[Tensor]] = []
        for setup in setups:
            if state == "after":
                lab.step(f"two seeds: {setup.name}")
                network = train_small(lab, setup).network()
            else:
                network = make_network(lab, setup).cpu()
                calibrate(network, preprocess.normalize(seen.pixels[:CALIBRATION]))
            grams.append(block_grams(network, seen.pixels, preprocess))
        rows.append(cka_rows(grams[0], grams[1], names, "cka").assign(state=state))
    return pd.concat(rows).assign(network=SEEDS)


def cka_rows(first: list[Tensor], second: list[Tensor], names: list[str], quantity: str) -> pd.DataFrame:
    """Return the CKA of all pairs of blocks, on all minibatches and on each half of them, a row each."""
    tables: list[pd.DataFrame] = []
    for part, take in ((WHOLE, slice(None)), (HALVES[0], slice(0, None, 2)), (HALVES[1], slice(1, None, 2))):
        values = cka(first[take], second[take])
        pairs = pd.DataFrame(list(product(names, names)), columns=["layer", "other"])
        tables.append(pairs.assign(part=part, quantity=quantity, value=values.ravel()))
    return pd.concat(tables)


@torch.no_grad()
def feature_maps(run: TrainedRun, pixels: Tensor) -> dict[str, np.ndarray]:
    """Return a picture (uint8, 1×3×S×S) as H×W×3, and of each stage the maps that vary most across it, 2×2, float32."""
    network = run.network
    with record(network, STAGE_ENDS.values()) as outputs:
        network(run.model.preprocess.normalize(pixels.to(next(network.parameters()).device)))
    maps = {stage: tile(most_varied(outputs[end][0].float().cpu())) for stage, end in STAGE_ENDS.items()}
    return {"picture": pixels[0].permute(1, 2, 0).contiguous().numpy()} | maps


def most_varied(maps: Tensor) -> np.ndarray:
    """Return the `MAPS` of C×H×W whose standard deviation over positions is largest, each scaled to 0–1."""
    spread = maps.flatten(1).std(1, correction=0)
    chosen = maps[spread.argsort(descending=True, stable=True)[:MAPS]].numpy()
    low, high = chosen.min((1, 2), keepdims=True), chosen.max((1, 2), keepdims=True)
    return (chosen - low) / np.maximum(high - low, 1e-12)


def tile(images: np.ndarray) -> np.ndarray:
    """Lay n images (n×H×W or n×H×W×3, n a square number) in a square, NaN lines between them; float32."""
    across = round(len(images) ** 0.5)
    line = max(1, images.shape[1] // 16)
    padded = np.pad(
        images.astype(np.float32),
        [(0, 0), (0, line), (0, line)] + [(0, 0)] * (images.ndim - 3),
        constant_values=np.nan,
    )
    rows = [np.concatenate(list(padded[row * across : (row + 1) * across]), axis=1) for row in range(across)]
    return np.concatenate(rows)[:-line, :-line]


def filter_tiles(weight: Tensor) -> np.ndarray:
    """Return the 64 first filters (64×3×7×7) as one picture with white lines, each filter stretched to its range."""
    filters = weight.detach().float().cpu().permute(0, 2, 3, 1).numpy()
    low, high = filters.min((1, 2, 3), keepdims=True), filters.max((1, 2, 3), keepdims=True)
    picture = tile((filters - low) / np.maximum(high - low, 1e-12))
    return (np.nan_to_num(picture, nan=1.0) * 255).round().astype(np.uint8)


def draw(measured: Measured) -> Figure:
    """Draw a picture's way, the first filters and fields, the last stage's fields as maps, and the similarities."""
    figure = Figure(figsize=(WIDTH, 10.2), layout="constrained")
    parts = figure.subfigures(4, 1, height_ratios=(1.75, 2.9, 2.55, 3.0), squeeze=False)
    top, middle, fields, below = cast(list[SubFigure], list(parts[:, 0]))
    kinds = kinds_of(measured.table)
    draw_way(top, measured.pictures, kinds[0])
    draw_filters_and_sizes(middle, measured, kinds)
    draw_field_maps(fields, measured, kinds)
    draw_similarity(below, measured.table, kinds)
    return figure


def draw_way(part: SubFigure, pictures: dict[str, np.ndarray], kind: str) -> None:
    """Draw a picture and what each stage of one network makes of it."""
    part.suptitle(f"A picture's way through the network ({kind}): four maps of each stage", fontsize=9.5)
    names = ("picture", *STAGES)
    for axes, name in zip(panels(part, len(names)), names, strict=True):
        image = pictures[f"{name} {kind}"]
        axes.imshow(image, interpolation="nearest")
        across = f"{image.shape[1]}×{image.shape[0]}" if name == "picture" else f"{map_side(image)}×{map_side(image)}"
        show_as_picture(axes, f"{name}, {across}")


def map_side(image: np.ndarray) -> int:
    """Return the side of one of the four maps that `tile` laid in a square."""
    return next(side for side in range(1, len(image)) if 2 * side + max(1, side // 16) == len(image))


def draw_filters_and_sizes(part: SubFigure, measured: Measured, kinds: list[str]) -> None:
    """Draw the first filters of every run, and the fields' sizes by stage."""
    *tiles, sizes = panels(part, len(kinds) + 1, [1.0] * len(kinds) + [1.45])
    for axes, kind in zip(tiles, kinds, strict=True):
        axes.imshow(measured.pictures[f"filters {kind}"], interpolation="nearest")
        show_as_picture(axes, f"first filters, {kind}")
    for kind in kinds:
        rows = measured.table[measured.table["network"] == kind]
        color, marker = KIND_COLORS.get(kind, GREEN), MARKERS.get(kind, "^")
        at_most = rows[(rows["quantity"] == "theoretical_field") & (rows["state"] == "after")]
        sizes.plot(*by_stage(at_most), color=color, linestyle=":", marker="_", label=f"{kind}: theoretical")
        for state, dashes in (("before", (0, (4, 1.5))), ("after", "-")):
            found = rows[(rows["quantity"] == "effective_field") & (rows["state"] == state)]
            found = found.assign(stage=found["layer"].map(STAGES.index))
            band(sizes, found, "stage", f"{kind}: effective, {state}", color, dashes, marker)
    sizes.set_yscale("log", base=2)
    sizes.set_yticks([8, 16, 32, 64, 128, 256, 512], ["8", "16", "32", "64", "128", "256", "512"])
    sizes.set_xticks(range(len(STAGES)), STAGES)
    sizes.set_ylabel("side of the receptive field (pixels)")
    sizes.legend(fontsize=7.5, loc="upper left", handlelength=2.6)
    sizes.set_ylim(5, 2500)
    sizes.set_title("what one value depends on")


def by_stage(rows: pd.DataFrame) -> tuple[list[int], list[float]]:
    """Return stages by number, and the values."""
    return [STAGES.index(str(stage)) for stage in rows["layer"]], rows["value"].tolist()


def draw_field_maps(part: SubFigure, measured: Measured, kinds: list[str]) -> None:
    """Draw the gradient maps of the last stage's central position, before and after training."""
    part.suptitle(
        "Where a value of layer4 looks (square root of the gradient; dashed: theoretical field, solid: 95 %)",
        fontsize=9.5,
    )
    cases = list(product(kinds, ("before", "after")))
    for axes, (kind, state) in zip(panels(part, len(cases)), cases, strict=True):
        picture = measured.pictures[f"field {kind} {state}"]
        axes.imshow(np.sqrt(picture), cmap="magma", interpolation="antialiased")
        center = len(picture) / 2
        for quantity, dashes in (("theoretical_field", (0, (3, 2))), ("effective_field", "-")):
            side = mean_field(measured.table, kind, state, "layer4", quantity)
            corner = (center - side / 2, center - side / 2)
            axes.add_patch(
                Rectangle(corner, side, side, fill=False, edgecolor="white", linestyle=dashes, linewidth=1.2)
            )
        show_as_picture(axes, f"{kind}, {state}", "" if len(picture) == 0 else f"{len(picture)} pixels across")


def draw_similarity(part: SubFigure, table: pd.DataFrame, kinds: list[str]) -> None:
    """Draw the CKA within networks, between two seeds, and between before and after."""
    places = panels(part, len(kinds) + 2, [1.0] * (len(kinds) + 1) + [1.1])
    image = None
    for axes, network in zip(places, [*kinds, SEEDS], strict=False):
        matrix = cka_matrix(table, network, "after", WHOLE)
        image = axes.imshow(matrix, vmin=0, vmax=1, origin="lower")
        axes.grid(visible=False)
        names = [str(name).removeprefix("layer") for name in matrix.index]
        starts = [number for number, name in enumerate(names) if name.endswith(".0")]
        axes.set_xticks(starts, [names[number] for number in starts])
        axes.set_yticks(starts, [names[number] for number in starts])
        axes.set_title("two seeds, 18 layers" if network == SEEDS else f"within {network}", fontsize=8.5)
        axes.set_xlabel("block, seed 1" if network == SEEDS else "block")
        axes.set_ylabel("block, seed 0" if network == SEEDS else "block")
    if image is not None:
        bar = part.colorbar(image, ax=places[:-1], location="bottom", shrink=0.4, aspect=30, pad=0.02)
        bar.set_label("CKA (linear, unbiased)")
    draw_lines(places[-1], table, kinds)


def draw_lines(axes: Axes, table: pd.DataFrame, kinds: list[str]) -> None:
    """Draw every block's likeness to itself before training, and to itself from another seed."""
    lines = [
        (kind, "both", "cka_before_after", f"{kind}: before, after", KIND_COLORS.get(kind, GREEN), "-")
        for kind in kinds
    ]
    lines += [
        (SEEDS, "before", "cka", "two seeds: untrained", GRAY, (0, (1, 1))),
        (SEEDS, "after", "cka", "two seeds: trained", PURPLE, (0, (4, 1.5))),
    ]
    for network, state, quantity, label, color, dashes in lines:
        rows = table[(table["network"] == network) & (table["state"] == state) & (table["quantity"] == quantity)]
        rows = rows[rows["layer"] == rows["other"]]
        whole, *halves = (rows[rows["part"] == part]["value"].to_numpy(float) for part in (WHOLE, *HALVES))
        depth = np.linspace(0, 1, len(whole))
        axes.plot(depth, whole, color=color, linestyle=dashes, marker=MARKERS.get(network, "^"), label=label)
        axes.fill_between(depth, np.minimum(*halves), np.maximum(*halves), color=color, alpha=0.15, linewidth=0)
    axes.set_xlabel("depth (first block 0, last 1)")
    axes.set_ylabel("CKA of the same block")
    axes.set_ylim(-0.1, 1.75)
    axes.set_yticks(np.linspace(0, 1, 6))
    axes.legend(fontsize=7.5, loc="upper left", handlelength=2.6)


def panels(part: SubFigure, count: int, widths: list[float] | None = None) -> list[Axes]:
    """Return panels beside each other."""
    axes = part.subplots(1, count, squeeze=False, gridspec_kw={"width_ratios": widths or [1.0] * count})
    return cast(list[Axes], list(axes[0]))


def show_as_picture(axes: Axes, title: str, below: str = "") -> None:
    """Take the ticks and lines from a panel that shows a picture."""
    axes.set_title(title, fontsize=8.5)
    axes.set_xlabel(below, fontsize=8)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)


def cka_matrix(table: pd.DataFrame, network: str, state: str, part: str) -> pd.DataFrame:
    """Return a CKA of all pairs of blocks, in the order an image passes them."""
    rows = table[(table["network"] == network) & (table["state"] == state) & (table["quantity"] == "cka")]
    rows = rows[rows["part"] == part]
    names = list(dict.fromkeys(rows["layer"]))
    return rows.pivot_table("value", "layer", "other").loc[names, names]


def mean_field(table: pd.DataFrame, network: str, state: str, stage: str, quantity: str) -> float:
    """Return a stage's field, the mean over the canvases; NaN where there is none."""
    return float(field_values(table, network, state, stage, quantity).mean())


def field_values(table: pd.DataFrame, network: str, state: str, stage: str, quantity: str) -> np.ndarray:
    """Return a quantity of a stage's field, a value per canvas."""
    rows = table[(table["network"] == network) & (table["state"] == state) & (table["layer"] == stage)]
    return rows[rows["quantity"] == quantity].sort_values("part")["value"].to_numpy(float)


def kinds_of(table: pd.DataFrame) -> list[str]:
    """Return which trained runs the table has, by the names of `named`."""
    return [str(name) for name in dict.fromkeys(table["network"]) if name != SEEDS]


def summarize(table: pd.DataFrame) -> pd.DataFrame:
    """Return the fields in pixels by network and stage: theoretical, effective before and after training."""
    rows: list[dict[str, object]] = []
    for kind, stage in product(kinds_of(table), STAGES):
        rows.append(
            {
                "network": kind,
                "stage": stage,
                "theoretical field": mean_field(table, kind, "after", stage, "theoretical_field"),
                "effective before": mean_field(table, kind, "before", stage, "effective_field"),
                "effective after": mean_field(table, kind, "after", stage, "effective_field"),
            }
        )
    return pd.DataFrame(rows)


HALF = 0.5
"""Share of the theoretical field's area. A field that counted everywhere alike would have 95 % of itself in 95 %."""


def area_shares(table: pd.DataFrame, stage: str) -> dict[tuple[str, str], np.ndarray]:
    """Return, by network and state, which share of the theoretical field's area the effective one is: per canvas."""
    found: dict[tuple[str, str], np.ndarray] = {}
    for kind, state in product(kinds_of(table), ("before", "after")):
        effective = field_values(table, kind, state, stage, "effective_field")
        found[kind, state] = (effective / mean_field(table, kind, state, stage, "theoretical_field")) ** 2
    return found


def effective_field_is_a_fraction(table: pd.DataFrame) -> Observation:
    """Seen if the last stage's effective field is less than half of the theoretical one's area, in all networks.

    Before training and after it, on every canvas. Not seen if it is so in none; undecided where some are and some not.
    """
    shares = area_shares(table, "layer4")
    small = np.concatenate(list(shares.values())) < HALF
    outcome: Outcome = "seen" if small.all() else "undecided" if small.any() else "not seen"
    numbers = "; ".join(f"{kind}, {state} training, {100 * v.mean():.0f} %" for (kind, state), v in shares.items())
    count = len(next(iter(shares.values())))
    return Observation(
        "effective_field_is_a_fraction",
        outcome,
        "The square that holds 95 % of what moves a value of layer4 covers, of the area that the value can depend on: "
        f"{numbers} (means over {count} canvases).",
    )


def fraction_shrinks_with_depth(table: pd.DataFrame) -> Observation:
    """Seen if, with random weights, the effective share of the theoretical area is smaller in layer4 than in layer1.

    On every canvas; not seen if on none; undecided where the canvases disagree, or no network began at random weights.
    """
    rule = "fraction_shrinks_with_depth"
    if "from scratch" not in kinds_of(table):
        return Observation(rule, "undecided", "There is no network with random weights to look at.")
    early, late = (area_shares(table, stage)["from scratch", "before"] for stage in ("layer1", "layer4"))
    fall = early - late
    outcome: Outcome = "seen" if fall.min() > 0 else "not seen" if fall.max() <= 0 else "undecided"
    return Observation(
        rule,
        outcome,
        f"With random weights the effective field covers {100 * early.mean():.0f} % of the theoretical one's area in "
        f"layer1 and {100 * late.mean():.0f} % in layer4 (means over {len(fall)} canvases).",
    )


NEAR_GAUSSIAN = 0.05
"""How far from a Gaussian's the ratio of sides may lie; a uniform square's lies 0.25 above, at √(0.5/0.95) = 0.73."""


def untrained_field_is_gaussian(table: pd.DataFrame) -> Observation:
    """Seen if, with random weights, half and 95 % of the gradient lie in squares whose sides are as a Gaussian's.

    For layer2 to layer4, on average over the canvases: the ratio within 0.05 of 0.47; not seen if all lie outside.
    """
    rule = "untrained_field_is_gaussian"
    if "from scratch" not in kinds_of(table):
        return Observation(rule, "undecided", "There is no network with random weights to look at.")
    ratios = {stage: mean_field(table, "from scratch", "before", stage, "half_to_whole") for stage in STAGES[2:]}
    near = [abs(ratio - GAUSSIAN_RATIO) <= NEAR_GAUSSIAN for ratio in ratios.values()]
    outcome: Outcome = "seen" if all(near) else "undecided" if any(near) else "not seen"
    numbers = ", ".join(f"{ratio:.2f} in {stage}" for stage, ratio in ratios.items())
    return Observation(
        rule,
        outcome,
        "The square that holds half of the gradient, as a part of the side of the one that holds 95 %, with random "
        f"weights: {numbers}; {GAUSSIAN_RATIO:.2f} for a Gaussian, 0.73 if all pixels counted alike.",
    )


def training_enlarges_the_field(table: pd.DataFrame, kind: str) -> Observation:
    """Seen if the last stage's effective field is larger after training than before on every canvas.

    Not seen if it is on none; undecided if the canvases disagree. Of a fine-tuned network it says what fine-tuning
    did to published weights; the paper's claim is about training from random ones.
    """
    training = "training" if kind.startswith("from scratch") else "fine-tuning"
    before = field_values(table, kind, "before", "layer4", "effective_field")
    after = field_values(table, kind, "after", "layer4", "effective_field")
    growth = after - before
    outcome: Outcome = "seen" if growth.min() > 0 else "not seen" if growth.max() <= 0 else "undecided"
    return Observation(
        "training_enlarges_the_field",
        outcome,
        f"{kind.capitalize()}: the effective field of layer4 measures {before.mean():.0f} pixels across before "
        f"{training} and {after.mean():.0f} after it (change from {growth.min():+.0f} to {growth.max():+.0f} on "
        f"{len(growth)} canvases).",
    )


def fields_and_pictures(table: pd.DataFrame, kind: str) -> Observation:
    """Say from which stage on a value really looks at more than a whole picture of the run."""
    size = float(table[(table["network"] == kind) & (table["quantity"] == "picture_side")]["value"].iloc[0])
    found: list[str] = []
    for quantity in ("theoretical_field", "effective_field"):
        larger = [stage for stage in STAGES if mean_field(table, kind, "after", stage, quantity) >= size]
        found.append(f"from {larger[0]} on" if larger else "in no stage")
    return Observation(
        "fields_and_pictures",
        "note",
        f"{kind.capitalize()}: a picture measures {size:.0f} pixels here. The theoretical field is at least as large "
        f"{found[0]}, the effective one {found[1]}: such a stage sees the whole picture and the zeros around it.",
    )


MATCHED = 0.5
"""Share of blocks from which on they count as recognized; by chance one of eight would be."""


def matches(matrix: pd.DataFrame) -> float:
    """Return the share of blocks whose most similar block in the other network is the one at the same place."""
    return float((matrix.to_numpy().argmax(1) == np.arange(len(matrix))).mean())


def same_blocks_in_two_seeds(table: pd.DataFrame) -> Observation:
    """Seen if most blocks of one network are most similar to the one at the same place in the other.

    More than half of them, on each half of the pictures; not seen if on neither.
    """
    shares = [matches(cka_matrix(table, SEEDS, "after", part)) for part in HALVES]
    outcome: Outcome = "seen" if min(shares) > MATCHED else "not seen" if max(shares) <= MATCHED else "undecided"
    matrix = cka_matrix(table, SEEDS, "after", WHOLE)
    untrained = matches(cka_matrix(table, SEEDS, "before", WHOLE))
    return Observation(
        "same_blocks_in_two_seeds",
        outcome,
        f"Of {len(matrix)} blocks, {matches(matrix) * len(matrix):.0f} find their counterpart in the network from "
        f"another seed by the largest CKA ({100 * shares[0]:.0f} % and {100 * shares[1]:.0f} % on the halves of the "
        f"pictures); before training {untrained * len(matrix):.0f} do.",
    )


CLEAR = 0.05
"""Difference of two CKAs from which on it counts."""


def seeds_agree_less_in_late_blocks(table: pd.DataFrame) -> Observation:
    """Seen if the first quarter of the blocks is more alike across seeds than the last, by more than 0.05 in CKA.

    On each half of the pictures; not seen if on neither.
    """
    falls: list[float] = []
    for part in HALVES:
        same = np.diag(cka_matrix(table, SEEDS, "after", part))
        quarter = max(1, len(same) // 4)
        falls.append(float(same[:quarter].mean() - same[-quarter:].mean()))
    outcome: Outcome = "seen" if min(falls) > CLEAR else "not seen" if max(falls) <= CLEAR else "undecided"
    trained = np.diag(cka_matrix(table, SEEDS, "after", WHOLE))
    untrained = np.diag(cka_matrix(table, SEEDS, "before", WHOLE))
    return Observation(
        "seeds_agree_less_in_late_blocks",
        outcome,
        f"CKA of the same block from two seeds: {trained[0]:.2f} for the first, {trained[-1]:.2f} for the last "
        f"({untrained[0]:.2f} and {untrained[-1]:.2f} before training: the pictures alone make networks alike).",
    )


def neighbors_are_alike(table: pd.DataFrame) -> Observation:
    """Seen if, in all networks, neighboring blocks are more alike than distant ones by more than 0.05 in CKA.

    Distant: half the network or more apart. On each half of the pictures; not seen if nowhere.
    """
    clear: list[bool] = []
    numbers: list[str] = []
    for kind in kinds_of(table):
        clear += [near - far > CLEAR for near, far in (near_and_far(table, kind, part) for part in HALVES)]
        near, far = near_and_far(table, kind, WHOLE)
        numbers.append(f"{kind}: {near:.2f} between neighbors, {far:.2f} half the network or more apart")
    outcome: Outcome = "seen" if all(clear) else "undecided" if any(clear) else "not seen"
    return Observation("neighbors_are_alike", outcome, f"Mean CKA of blocks ({'; '.join(numbers)}).")


def near_and_far(table: pd.DataFrame, network: str, part: str) -> tuple[float, float]:
    """Return the mean CKA of neighboring blocks, and of those half the network or more apart."""
    matrix = cka_matrix(table, network, "after", part).to_numpy()
    apart = np.abs(np.subtract.outer(np.arange(len(matrix)), np.arange(len(matrix))))
    return float(matrix[apart == 1].mean()), float(matrix[apart >= len(matrix) // 2].mean())


def what_training_changed(table: pd.DataFrame, kind: str) -> Observation:
    """Say which blocks training left as they were, and which not."""
    rows = table[(table["network"] == kind) & (table["quantity"] == "cka_before_after") & (table["part"] == WHOLE)]
    kept = rows[rows["value"] >= KEPT]["layer"].tolist()
    least = rows.sort_values("value").iloc[0]
    return Observation(
        "what_training_changed",
        "note",
        f"{kind.capitalize()}: {len(kept)} of {len(rows)} blocks keep a CKA of at least {KEPT} with what they were "
        f"before training; first block {rows['value'].iloc[0]:.2f}, last {rows['value'].iloc[-1]:.2f}, lowest "
        f"{least['value']:.2f} in {least['layer']}.",
    )


KEPT = 0.9
"""CKA from which on a block counts as having stayed the same."""


def read(table: pd.DataFrame) -> list[Observation]:
    """Read the numbers."""
    kinds = kinds_of(table)
    return [
        effective_field_is_a_fraction(table),
        fraction_shrinks_with_depth(table),
        untrained_field_is_gaussian(table),
        *(training_enlarges_the_field(table, kind) for kind in kinds),
        *(fields_and_pictures(table, kind) for kind in kinds),
        neighbors_are_alike(table),
        same_blocks_in_two_seeds(table),
        seeds_agree_less_in_late_blocks(table),
        *(what_training_changed(table, kind) for kind in kinds),
    ]


def setting(plan: Plan) -> str:
    """Say what is done here."""
    return (
        f"Gradients are averaged over {plan.draws} canvases: validation pictures laid side by side at the size that "
        "the run was trained at, until the whole theoretical field has room; the edges between them are no part of any "
        f"photo. Layers are compared on {plan.looked_at} validation pictures, their whole feature maps flattened. That "
        "is far fewer pictures than features: plain CKA would lie near 1 everywhere, so the unbiased estimator is "
        "used, and each half of the pictures shows how far chance reaches. The two seeds are ResNet-18 after "
        f"{plan.epochs} epochs on {plan.images} pictures of {plan.size} pixels; Kornblith et al. trained ten networks "
        "to the end. Luo et al. trained from scratch until the networks were good: the short training here may change "
        "a field less, or otherwise."
    )


EXPERIMENT = Experiment(
    name="features",
    title="What each stage sees",
    question="How much of a picture does a stage see, and what do its features have in common with others?",
    claim="A value of a late feature map can depend on hundreds of pixels, but pixels in the middle reach it by many "
    "more paths than those at the edge. With random weights its gradient is a Gaussian that covers only a fraction of "
    "the theoretical field, a fraction that falls with depth as 1/√n, and shortcuts make it smaller. Training enlarges "
    "it (Luo et al.). Centerd kernel alignment finds, for a layer, the layer that corresponds to it in a network from "
    "another random beginning; early layers agree across beginnings, late ones less, and neighboring layers are much "
    "alike (Kornblith et al.).",
    setting=setting,
    caption="Top: a validation picture and, of each stage, the four feature maps whose values vary most across it. "
    "Second row: the first filters, each stretched to its own range; the side of the square that holds 95 % of the "
    "gradient (bands: smallest to largest canvas) and of the theoretical field. Third row: that gradient for layer4. "
    "Below: CKA between the outputs of all blocks after training (dark: nothing in common), and of every block with "
    "itself before training or in a network from another seed (lines: all pictures; bands: the two halves).",
    sources=(
        Source(
            "Luo, Li, Urtasun and Zemel", 2016,
            "Understanding the Effective Receptive Field in Deep Convolutional Neural Networks", "1701.04128",
            "sections 2 and 3",
        ),
        Source(
            "Kornblith, Norouzi, Lee and Hinton", 2019, "Similarity of Neural Network Representations Revisited",
            "1905.00414", "sections 3 and 6",
        ),
        Source(
            "Nguyen, Raghu and Kornblith", 2021, "Do Wide and Deep Networks Learn the Same Things?", "2010.15327",
            "section 3.1: the estimator",
        ),
    ),
    measure=measure,
    draw=draw,
    summarize=summarize,
    read=read,
    trained=True,
)  # fmt: skip

run = EXPERIMENT.run
