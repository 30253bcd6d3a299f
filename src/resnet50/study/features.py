"""What each stage sees: its feature maps, its receptive field, its similarity to other layers."""

from itertools import product

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from resnet50.model.hooks import block_names, record
from resnet50.model.resnet import STAGES, ResNet
from resnet50.study import fields
from resnet50.study.experiment import Experiment, Measured, rule, rules_of
from resnet50.study.features_figure import HALVES, SEEDS, WHOLE, cka_matrix, draw, field_values, mean_field
from resnet50.study.lab import Images, Lab, TrainedRun
from resnet50.study.norms import settle_norms
from resnet50.study.outcome import Outcome, agree, span
from resnet50.study.pages import load_page
from resnet50.study.runs import keep_run, named
from resnet50.study.similarity import block_grams, cka
from resnet50.study.small import Setup, make_network, train_small
from resnet50.study.tables import select, trained_networks, value_of
from resnet50.study.tiles import filter_tiles, most_varied, tile

COLUMNS = ["network", "state", "layer", "other", "part", "quantity", "value"]

CALIBRATION = 64
"""Images for an untrained network's batch-norm statistics."""


def measure(lab: Lab) -> Measured:
    tables, images = [compare_seeds(lab)], dict[str, np.ndarray]()
    for name, run in named(lab.runs).items():
        seen = lab.images("val", run.model.preprocess, lab.plan.looked_at)
        states = {"before": beginning(lab, run, seen), "after": run.network}
        lab.step(f"{name}: receptive fields")
        for state, network in states.items():
            sides, images[f"field {name} {state}"] = measure_fields(lab, run, network, seen)
            tables.append(sides.assign(network=name, state=state))
        lab.step(f"{name}: similarity of layers")
        tables.append(keep_run(lab, "features/{}", name, lambda r=run, s=states, i=seen: compare(r, s, i)))
        images[f"filters {name}"] = filter_tiles(run.network.conv1.weight)
        images |= {f"{what} {name}": maps for what, maps in feature_maps(run, seen.pixels[:1]).items()}
    return Measured(pd.concat(tables)[COLUMNS].reset_index(drop=True), images)


def beginning(lab: Lab, run: TrainedRun, seen: Images) -> ResNet:
    """Return the network before its training; if it is untrained, its batch norms have the statistics of a batch."""
    network = lab.start_of(run)
    if run.kind == "from scratch":
        settle_norms(network, [run.model.preprocess.normalize(seen.pixels[:CALIBRATION].to(lab.device.torch_device))])
    return network


def measure_fields(lab: Lab, run: TrainedRun, network: ResNet, seen: Images) -> tuple[pd.DataFrame, np.ndarray]:
    """Return the receptive fields of all stages, and the last one's mean gradient map (float32, S×S)."""
    sides = fields.theoretical_fields(network)
    rows = [("theoretical_field", stage, "-", float(side)) for stage, side in sides.items()]
    rows.append(("picture_side", "input", "-", float(run.model.preprocess.size)))
    total = np.zeros(0)
    for number, canvas in enumerate(canvases(lab, run, seen)):
        images = run.model.preprocess.normalize(canvas[None].to(lab.device.torch_device))
        gradients = fields.input_gradients(network, images, fields.STAGE_ENDS)
        maps = {stage: found[0].numpy() for stage, found in gradients.items()}
        for stage, gradient in maps.items():
            side = fields.side_holding(gradient, fields.HELD)
            rows.append(("effective_field", stage, f"canvas {number}", side))
            rows.append(("half_to_whole", stage, f"canvas {number}", fields.side_holding(gradient, 0.5) / side))
        last = maps["layer4"] / max(maps["layer4"].sum(), 1e-30)
        total = last if number == 0 else total + last
    table = pd.DataFrame(rows, columns=["quantity", "layer", "part", "value"])
    return table.assign(other="-"), (total / total.max()).astype(np.float32)


def canvases(lab: Lab, run: TrainedRun, seen: Images) -> list[Tensor]:
    """Return mosaics of validation images, large enough for the last stage's field (uint8, 3×S×S).

    Each image has the training size, so that objects have the sizes that the network knows; the one in the middle is
    complete.
    """
    size, side = run.model.preprocess.size, fields.canvas_side(run.network)
    across = -(-side // size) | 1
    offset = (across * size - side) // 2
    rng = np.random.default_rng([lab.seed, 0xF1E1D])
    found: list[Tensor] = []
    for _ in range(lab.plan.draws):
        chosen = seen.pixels[rng.integers(0, len(seen), across**2)].reshape(across, across, 3, size, size)
        mosaic = chosen.permute(2, 0, 3, 1, 4).reshape(3, across * size, across * size)
        found.append(mosaic[:, offset : offset + side, offset : offset + side])
    return found


def compare(run: TrainedRun, states: dict[str, ResNet], seen: Images) -> pd.DataFrame:
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
    seen = lab.images("val", preprocess, lab.plan.looked_at)
    networks: dict[str, list[ResNet]] = {"before": [], "after": []}
    for setup in (Setup(seed=0), Setup(seed=1)):
        untrained = make_network(lab, setup).cpu()
        settle_norms(untrained, [preprocess.normalize(seen.pixels[:CALIBRATION])])
        lab.step(f"two seeds: {setup.name}")
        networks["before"].append(untrained)
        networks["after"].append(train_small(lab, setup).network())
    tables: list[pd.DataFrame] = []
    for state, pair in networks.items():
        first, second = (block_grams(network, seen.pixels, preprocess) for network in pair)
        tables.append(cka_rows(first, second, block_names(pair[0]), "cka").assign(state=state))
    return pd.concat(tables).assign(network=SEEDS)


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
    """Return an image (uint8, 1×3×S×S) as H×W×3, and each stage's maps that vary most across it, 2×2, float32."""
    network = run.network
    with record(network, fields.STAGE_ENDS.values()) as outputs:
        network(run.model.preprocess.normalize(pixels.to(next(network.parameters()).device)))
    maps = {stage: tile(most_varied(outputs[end][0].float().cpu())) for stage, end in fields.STAGE_ENDS.items()}
    return {"picture": pixels[0].permute(1, 2, 0).contiguous().numpy()} | maps


def summarize(table: pd.DataFrame) -> pd.DataFrame:
    sides = {
        "theoretical field": ("after", "theoretical_field"),
        "effective before": ("before", "effective_field"),
        "effective after": ("after", "effective_field"),
    }
    cases = list(product(trained_networks(table), STAGES))
    summary = pd.DataFrame(cases, columns=["network", "stage"])
    for column, (state, quantity) in sides.items():
        summary[column] = [mean_field(table, kind, state, stage, quantity) for kind, stage in cases]
    return summary


HALF = 0.5
"""Share of the theoretical field's area. A uniform field would have 95% of itself in 95%."""


def area_shares(table: pd.DataFrame, stage: str) -> dict[tuple[str, str], np.ndarray]:
    """Return, by network and state, the effective field's share of the theoretical one's area: per canvas."""
    found: dict[tuple[str, str], np.ndarray] = {}
    for kind, state in product(trained_networks(table), ("before", "after")):
        effective = field_values(table, kind, state, stage, "effective_field")
        found[kind, state] = (effective / mean_field(table, kind, state, stage, "theoretical_field")) ** 2
    return found


@rule
def effective_field_is_a_fraction(table: pd.DataFrame) -> tuple[Outcome, str]:
    """Seen if the last stage's effective field is less than half of the theoretical one's area, in all networks.

    Before training and after it, on every canvas. Not seen if it is so in none; undecided where some are and some not.
    """
    shares = area_shares(table, "layer4")
    numbers = "; ".join(f"{kind}, {state} training, {100 * v.mean():.0f}%" for (kind, state), v in shares.items())
    return agree(np.concatenate(list(shares.values())) < HALF), (
        "The square that holds 95% of the gradient of a value of layer4 covers this share of its theoretical field: "
        f"{numbers} (means over {len(next(iter(shares.values())))} canvases)."
    )


@rule
def fraction_shrinks_with_depth(table: pd.DataFrame) -> tuple[Outcome, str]:
    """Seen if, with random weights, the effective share of the theoretical area is smaller in layer4 than in layer1.

    On every canvas; not seen if on none; undecided where the canvases disagree, or no network began at random weights.
    """
    if "from scratch" not in trained_networks(table):
        return "undecided", "There is no network with random weights to look at."
    early, late = (area_shares(table, stage)["from scratch", "before"] for stage in ("layer1", "layer4"))
    return agree(early - late), (
        f"With random weights the effective field covers {100 * early.mean():.0f}% of the theoretical one's area in "
        f"layer1 and {100 * late.mean():.0f}% in layer4 (means over {len(late)} canvases)."
    )


NEAR_GAUSSIAN = 0.05
"""How far from a Gaussian's the ratio of sides may lie; a uniform square's lies 0.25 above, at √(0.5/0.95) = 0.73."""


@rule
def untrained_field_is_gaussian(table: pd.DataFrame) -> tuple[Outcome, str]:
    """Seen if, with random weights, half and 95% of the gradient lie in squares whose sides are as a Gaussian's.

    For layer2 to layer4, on average over the canvases: the ratio within 0.05 of 0.47; not seen if all lie outside.
    """
    if "from scratch" not in trained_networks(table):
        return "undecided", "There is no network with random weights to look at."
    ratios = {stage: mean_field(table, "from scratch", "before", stage, "half_to_whole") for stage in STAGES[2:]}
    near = [abs(ratio - fields.GAUSSIAN_RATIO) <= NEAR_GAUSSIAN for ratio in ratios.values()]
    numbers = ", ".join(f"{ratio:.2f} in {stage}" for stage, ratio in ratios.items())
    return agree(near), (
        "With random weights, the side of the square that holds half of the gradient, over that of the one that holds "
        f"95%: {numbers}; {fields.GAUSSIAN_RATIO:.2f} for a Gaussian, 0.73 for a uniform field."
    )


@rule
def training_enlarges_the_field(table: pd.DataFrame, network: str) -> tuple[Outcome, str]:
    """Seen if the last stage's effective field is larger after training than before on every canvas.

    Not seen if it is on none; undecided if the canvases disagree. Of a fine-tuned network it says what fine-tuning
    did to published weights; the paper's claim is about training from random ones.
    """
    training = "training" if network.startswith("from scratch") else "fine-tuning"
    before, after = (field_values(table, network, s, "layer4", "effective_field") for s in ("before", "after"))
    growth = after - before
    return agree(growth), (
        f"{network.capitalize()}: the effective field of layer4 measures {before.mean():.0f} pixels across before "
        f"{training} and {after.mean():.0f} after it (change from {span(growth, '+.0f')} on "
        f"{len(growth)} canvases)."
    )


@rule
def fields_and_images(table: pd.DataFrame, network: str) -> tuple[Outcome, str]:
    """Note from which stage on the field of a value is larger than an image of the run."""
    size = value_of(table, network=network, quantity="picture_side")
    found: list[str] = []
    for quantity in ("theoretical_field", "effective_field"):
        larger = [stage for stage in STAGES if mean_field(table, network, "after", stage, quantity) >= size]
        found.append(f"from {larger[0]} on" if larger else "in no stage")
    return "note", (
        f"{network.capitalize()}: an image measures {size:.0f} pixels here. The theoretical field is at least as large "
        f"{found[0]}, the effective one {found[1]}: such a stage sees the whole image and its zero padding."
    )


MATCHED = 0.5
"""Share of blocks above which the networks correspond; chance gives one of eight."""


def matches(matrix: pd.DataFrame) -> float:
    """Return the share of blocks whose most similar block in the other network is the one at the same place."""
    return float((matrix.to_numpy().argmax(1) == np.arange(len(matrix))).mean())


def near_and_far(table: pd.DataFrame, network: str, part: str) -> tuple[float, float]:
    """Return the mean CKA of neighboring blocks, and of those half the network or more apart."""
    matrix = cka_matrix(table, network, "after", part).to_numpy()
    apart = np.abs(np.subtract.outer(np.arange(len(matrix)), np.arange(len(matrix))))
    return float(matrix[apart == 1].mean()), float(matrix[apart >= len(matrix) // 2].mean())


@rule
def neighbors_are_alike(table: pd.DataFrame) -> tuple[Outcome, str]:
    """Seen if, in all networks, neighboring blocks are more alike than distant ones by more than 0.05 in CKA.

    Distant: half the network or more apart. On each half of the images; not seen if nowhere.
    """
    clear: list[bool] = []
    numbers: list[str] = []
    for kind in trained_networks(table):
        clear += [near - far > CLEAR for near, far in (near_and_far(table, kind, part) for part in HALVES)]
        near, far = near_and_far(table, kind, WHOLE)
        numbers.append(f"{kind}: {near:.2f} between neighbors, {far:.2f} half the network or more apart")
    return agree(clear), f"Mean CKA of blocks ({'; '.join(numbers)})."


@rule
def same_blocks_in_two_seeds(table: pd.DataFrame) -> tuple[Outcome, str]:
    """Seen if most blocks of one network are most similar to the one at the same place in the other.

    More than half of them, on each half of the images; not seen if on neither.
    """
    shares = [matches(cka_matrix(table, SEEDS, "after", part)) for part in HALVES]
    matrix = cka_matrix(table, SEEDS, "after", WHOLE)
    untrained = matches(cka_matrix(table, SEEDS, "before", WHOLE))
    return agree(shares, above=MATCHED), (
        f"Of {len(matrix)} blocks, {matches(matrix) * len(matrix):.0f} have their largest CKA with their counterpart "
        f"in the network from another seed ({100 * shares[0]:.0f}% and {100 * shares[1]:.0f}% on the halves of the "
        f"images); before training {untrained * len(matrix):.0f} do."
    )


CLEAR = 0.05
"""Difference of two CKAs from which on it counts."""


@rule
def seeds_agree_less_in_late_blocks(table: pd.DataFrame) -> tuple[Outcome, str]:
    """Seen if the first quarter of the blocks is more alike across seeds than the last, by more than 0.05 in CKA.

    On each half of the images; not seen if on neither.
    """
    falls: list[float] = []
    for part in HALVES:
        same = np.diag(cka_matrix(table, SEEDS, "after", part))
        quarter = max(1, len(same) // 4)
        falls.append(float(same[:quarter].mean() - same[-quarter:].mean()))
    trained = np.diag(cka_matrix(table, SEEDS, "after", WHOLE))
    untrained = np.diag(cka_matrix(table, SEEDS, "before", WHOLE))
    return agree(falls, above=CLEAR), (
        f"CKA of the same block from two seeds: {trained[0]:.2f} for the first, {trained[-1]:.2f} for the last "
        f"({untrained[0]:.2f} and {untrained[-1]:.2f} before training: the images alone make networks similar)."
    )


@rule
def what_training_changed(table: pd.DataFrame, network: str) -> tuple[Outcome, str]:
    """Note which blocks training changed."""
    rows = select(table, network=network, quantity="cka_before_after", part=WHOLE)
    kept = rows[rows["value"] >= KEPT]["layer"].tolist()
    least = rows.sort_values("value").iloc[0]
    return "note", (
        f"{network.capitalize()}: {len(kept)} of {len(rows)} blocks keep a CKA of at least {KEPT} with "
        f"themselves before training; first block {rows['value'].iloc[0]:.2f}, last {rows['value'].iloc[-1]:.2f}, "
        f"lowest {least['value']:.2f} in {least['layer']}."
    )


KEPT = 0.9
"""CKA from which on a block counts as unchanged."""

EXPERIMENT = Experiment(load_page("features"), measure, draw, summarize, rules_of(__name__))

run = EXPERIMENT.run
