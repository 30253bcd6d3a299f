"""Blocks removed and swapped, gradients along paths: against answers that are known."""

from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from resnet50.data.transforms import Preprocess
from resnet50.etl.prepared import load_prepared
from resnet50.model.hooks import block_names
from resnet50.model.resnet import ResNet
from resnet50.runtime.device import resolve_device
from resnet50.runtime.errors import UserError
from resnet50.study import ensemble
from resnet50.study.experiment import Measured
from resnet50.study.figures import style
from resnet50.study.lab import Lab, Plan
from resnet50.study.lesions import (
    Lesion,
    blocks_by_name,
    keeps_shape,
    kendall_tau,
    lesioned_logits,
    removals,
    shortcut_only,
    swappable,
    swapped,
    without,
)
from resnet50.study.paths import mean_norm, path_graph, path_shares
from resnet50.study.runs import residual_runs

PREPROCESS = Preprocess(size=32, resize=32, resize_mode="squash")
CPU = resolve_device("cpu", "fp32")


def network(depth: Any = 18, shortcuts: Any = "B", seed: int = 0) -> ResNet:
    """Return a network with random weights and running statistics that differ from 0 and 1."""
    torch.manual_seed(seed)
    made = ResNet(depth, 3, shortcuts=shortcuts)
    made(torch.randn(8, 3, 32, 32))
    return made.eval()


def pixels(n: int = 5) -> Tensor:
    """Return random images."""
    return torch.randint(0, 256, (n, 3, 32, 32), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


def logits_of(made: ResNet, lesion: Lesion) -> Tensor:
    """Return the logits with one lesion."""
    return lesioned_logits(made, [lesion], pixels(), PREPROCESS, CPU)[0]


def whole_logits(made: ResNet) -> Tensor:
    """Return the network's own."""
    with torch.no_grad():
        return made(PREPROCESS.normalize(pixels()))


@pytest.mark.parametrize("shortcuts", ["A", "B", "C"])
def test_without_lesion_the_logits_are_the_networks_own(shortcuts: str) -> None:
    made = network(shortcuts=shortcuts)
    names = block_names(made)
    assert torch.equal(logits_of(made, without(names, [])), whole_logits(made))
    swapped_with_itself = swapped(names, [("layer1.1", "layer1.1")])
    assert torch.equal(logits_of(made, swapped_with_itself), whole_logits(made))
    there_and_back = swapped(names, [("layer1.0", "layer1.1")] * 2)
    assert torch.equal(logits_of(made, there_and_back), whole_logits(made))


@pytest.mark.parametrize("block", ["layer1.1", "layer3.0"])
def test_removing_a_block_whose_residual_is_zero_changes_nothing(block: str) -> None:
    made = network()
    end = cast(nn.BatchNorm2d, made.get_submodule(f"{block}.bn2"))
    nn.init.zeros_(end.weight)
    nn.init.zeros_(end.bias)
    assert torch.equal(logits_of(made, without(block_names(made), [block])), whole_logits(made))


def test_removing_blocks_is_setting_their_residuals_to_zero() -> None:
    made, gone = network(50), ["layer1.1", "layer2.0", "layer3.4"]
    removed = logits_of(made, without(block_names(made), gone))
    assert not torch.allclose(removed, whole_logits(made))
    for block in gone:
        for values in made.get_submodule(f"{block}.bn3").parameters():
            nn.init.zeros_(values)
    torch.testing.assert_close(removed, whole_logits(made))


def test_swapping_blocks_is_swapping_their_weights() -> None:
    made = network(50)
    moved = logits_of(made, swapped(block_names(made), [("layer3.1", "layer3.4"), ("layer1.1", "layer1.2")]))
    for a, b in (("layer3.1", "layer3.4"), ("layer1.1", "layer1.2")):
        one, other = made.get_submodule(a), made.get_submodule(b)
        kept = {name: value.clone() for name, value in one.state_dict().items()}
        one.load_state_dict(other.state_dict())
        other.load_state_dict(kept)
    torch.testing.assert_close(moved, whole_logits(made))


def test_the_network_stays_as_it_was() -> None:
    made = network()
    before = {name: value.clone() for name, value in made.state_dict().items()}
    logits_of(made, without(block_names(made), ["layer2.1"]))
    graph = path_graph(made, PREPROCESS.normalize(pixels()), torch.zeros(5, dtype=torch.long))
    graph.along([0, 3])
    assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items())
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")
    assert not any(getattr(module, kind) for module in made.modules() for kind in hooks)
    assert all(values.grad is None for values in made.parameters())


def test_a_plain_block_that_changes_the_shape_cannot_be_removed() -> None:
    blocks = blocks_by_name(network(shortcuts="none"))
    with pytest.raises(ValueError, match="can't be removed"):
        shortcut_only(blocks["layer2.0"])
    x = torch.randn(2, 64, 4, 4)
    assert torch.equal(shortcut_only(blocks["layer1.1"])(x), x.relu())


def test_which_blocks_can_be_swapped() -> None:
    fifty = network(50)
    assert len(swappable(fifty)) == 1 + 3 + 10 + 1
    assert ("layer3.1", "layer3.5") in swappable(fifty)
    assert [name for name, block in blocks_by_name(fifty).items() if not keeps_shape(block)] == [
        "layer1.0", "layer2.0", "layer3.0", "layer4.0",
    ]  # fmt: skip


def test_removals_are_every_single_block_then_random_sets_up_to_all() -> None:
    names = block_names(network(50))
    lesions = removals(names, 3, np.random.default_rng(0))
    assert [lesion.removed for lesion in lesions[:16]] == [{name} for name in names]
    sizes = [len(lesion.removed) for lesion in lesions[16:]]
    assert sizes.count(2) == 3
    assert sizes[-1] == 16
    assert sizes.count(16) == 1


def test_kendall_tau_of_one_and_of_neighboring_swaps() -> None:
    names = ["layer1.0", "layer1.1", "layer1.2", "layer1.3"]
    assert kendall_tau(without(names, []), names) == pytest.approx(1)
    assert kendall_tau(swapped(names, [("layer1.1", "layer1.2")]), names) == pytest.approx(1 - 2 / 6)


def test_path_lengths_are_binomial() -> None:
    np.testing.assert_allclose(path_shares(16), stats.binom(16, 0.5).pmf(np.arange(17)))


def detached_gradient(made: ResNet, image: Tensor, labels: Tensor, through: set[int]) -> Tensor:
    """Return a path's gradient by autograd, with every side of an addition that it doesn't take detached."""
    image = image.clone().requires_grad_()
    x = made.maxpool(made.relu(made.bn1(made.conv1(image))))
    for number, block in enumerate(cast(list[Any], list(blocks_by_name(made).values()))):
        residual = block.bn2(block.conv2(torch.relu(block.bn1(block.conv1(x)))))
        shortcut = x if block.downsample is None else block.downsample(x)
        total = residual + shortcut.detach() if number in through else residual.detach() + shortcut
        x = torch.relu(total)
    loss = nn.functional.cross_entropy(made.fc(x.mean((2, 3))), labels, reduction="sum")
    return torch.autograd.grad(loss, image)[0]


@pytest.mark.parametrize("through", [set[int](), {2}, {0, 3, 4, 7}, set(range(8))])
def test_the_gradient_of_a_path_is_autograds_with_the_other_sides_detached(through: set[int]) -> None:
    made, image, labels = network(), PREPROCESS.normalize(pixels(2)), torch.tensor([0, 2])
    torch.testing.assert_close(
        path_graph(made, image, labels).along(through), detached_gradient(made, image, labels, through)
    )


def test_paths_of_all_lengths_add_up_to_the_gradient() -> None:
    made, image, labels = network(), PREPROCESS.normalize(pixels(1)), torch.tensor([1])
    graph = path_graph(made, image, labels)
    by_length = graph.by_length()
    twos = sum((graph.along(through) for through in combinations(range(8), 2)), torch.zeros_like(image))
    torch.testing.assert_close(by_length[2], twos, rtol=1e-4, atol=1e-6)
    image = image.clone().requires_grad_()
    whole = torch.autograd.grad(nn.functional.cross_entropy(made(image), labels), image)[0]
    torch.testing.assert_close(torch.stack(by_length).sum(0), whole, rtol=1e-4, atol=1e-6)


def test_the_norm_is_that_of_each_image_on_average() -> None:
    assert mean_norm(torch.tensor([[3.0, 4.0], [0.0, 1.0]]).reshape(2, 1, 1, 2)) == pytest.approx(3)


BLOCKS = [f"layer{stage}.{number}" for stage, count in ((1, 3), (2, 4), (3, 6), (4, 3)) for number in range(count)]

Accuracy = Callable[[str], float]


def made_up(
    network: str,
    single: Accuracy = lambda block: 0.88,
    removed: Callable[[int], float] = lambda k: 0.9 - 0.02 * k,
    reordered: Callable[[float], float] = lambda tau: 0.9 - (1 - tau),
    gradient: Callable[[int, int], float] = lambda k, draw: 0.01**k,
    *,
    whole: float = 0.9,
    n: int = 200,
) -> pd.DataFrame:
    """Return what a network could give: 40% of the images are of one class."""
    rows: list[tuple[Any, ...]] = [
        ("intact", "-", 0, 0, 1.0, name, value)
        for name, value in (("accuracy", whole), ("loss", 0.3), ("majority", 0.4), ("images", n), ("depth", 50))
    ]
    rows += [("removed", block, 1, i, 1.0, "accuracy", single(block)) for i, block in enumerate(BLOCKS)]
    rows += [("removed", block, 1, i, 1.0, "loss", 0.4) for i, block in enumerate(BLOCKS)]
    rows += [("removed", "layer1.1 …", k, d, 1.0, "accuracy", removed(k)) for k in (2, 4, 8, 16) for d in range(2)]
    rows += [("removed", "layer1.1 …", k, d, 1.0, "loss", 1.0) for k in (2, 4, 8, 16) for d in range(2)]
    rows += [
        ("reordered", "-", 1, d, tau, "accuracy", reordered(tau)) for d, tau in enumerate(np.linspace(0.75, 0.98, 12))
    ]
    for k, share in enumerate(path_shares(16)):
        rows += [("path", "-", k, 0, 1.0, "paths", share), ("path", "-", k, 0, 1.0, "gradient_sum", 0.1)]
        rows += [("path", "-", k, d, 1.0, "gradient", gradient(k, d)) for d in range(3 if 0 < k < 16 else 1)]
    table = pd.DataFrame(rows, columns=["part", "blocks", "k", "draw", "tau", "quantity", "value"])
    return table.assign(network=network)[ensemble.COLUMNS]


def small(network: str, accuracy: float, whole: float = 0.9) -> pd.DataFrame:
    """Return what a small network could give."""
    table = made_up(network, lambda block: accuracy, whole=whole)
    table = table[table["part"].isin(["intact", "removed"]) & (table["k"] < 2)]
    return table[~table["blocks"].str.endswith(".0")]


@pytest.mark.parametrize(
    ("accuracy", "whole", "outcome"), [(0.88, 0.9, "seen"), (0.6, 0.9, "not seen"), (0.42, 0.42, "undecided")]
)
def test_single_removal_costs_little(accuracy: float, whole: float, outcome: str) -> None:
    table = made_up("fine-tuned", lambda block: 0.5 if block.endswith(".0") else accuracy, whole=whole)
    assert ensemble.single_removal_costs_little(table, "fine-tuned").outcome == outcome


@pytest.mark.parametrize(
    ("plain", "residual", "whole", "outcome"),
    [
        (0.45, 0.88, 0.9, "seen"),
        (0.85, 0.88, 0.9, "not seen"),
        (0.45, 0.45, 0.9, "not seen"),
        (0.4, 0.4, 0.4, "undecided"),
    ],
)
def test_removal_breaks_the_plain_network(plain: float, residual: float, whole: float, outcome: str) -> None:
    table = pd.concat([small("small plain", plain, whole), small("small residual", residual)])
    assert ensemble.removal_breaks_the_plain_network(table).outcome == outcome


@pytest.mark.parametrize(
    ("removed", "outcome"),
    [
        (lambda k: 0.9 - 0.03 * k, "seen"),
        (lambda k: 0.88 if k < 8 else 0.4, "not seen"),
        (lambda k: 0.5 + 0.02 * k, "not seen"),
        (lambda k: 0.88, "undecided"),
    ],
)
def test_error_grows_gradually(removed: Callable[[int], float], outcome: str) -> None:
    assert ensemble.error_grows_gradually(made_up("fine-tuned", removed=removed), "fine-tuned").outcome == outcome


@pytest.mark.parametrize(
    ("reordered", "outcome"),
    [
        (lambda tau: 0.9 - (1 - tau), "seen"),
        (lambda tau: 0.9 + (1 - tau), "not seen"),
        (lambda tau: 0.9 - 0.1 * ((1000 * tau) % 2 < 1), "undecided"),
        (lambda tau: 0.9, "undecided"),
    ],
)
def test_error_grows_with_reordering(reordered: Callable[[float], float], outcome: str) -> None:
    table = made_up("fine-tuned", reordered=reordered)
    assert ensemble.error_grows_with_reordering(table, "fine-tuned").outcome == outcome


@pytest.mark.parametrize(
    ("single", "whole", "outcome"),
    [
        (lambda block: 0.5 if block.endswith(".0") else 0.88, 0.9, "seen"),
        (lambda block: 0.88, 0.9, "not seen"),
        (lambda block: 0.3 if block in {"layer1.0", "layer1.1"} else 0.88, 0.9, "undecided"),
        (lambda block: 0.4, 0.4, "undecided"),
    ],
)
def test_shape_changing_blocks_matter_most(single: Accuracy, whole: float, outcome: str) -> None:
    table = made_up("from scratch", single, whole=whole)
    assert ensemble.shape_changing_blocks_matter_most(table, "from scratch").outcome == outcome


@pytest.mark.parametrize(
    ("gradient", "outcome"),
    [
        (lambda k, draw: 0.5**k, "seen"),
        (lambda k, draw: 1.0, "not seen"),
        (lambda k, draw: 1.0 if k <= 8 else 0.5 * (draw == 2), "undecided"),
    ],
)
def test_gradient_comes_along_short_paths(gradient: Callable[[int, int], float], outcome: str) -> None:
    table = made_up("fine-tuned", gradient=gradient)
    assert ensemble.gradient_comes_along_short_paths(table, "fine-tuned").outcome == outcome


def test_the_gradients_share_is_number_of_paths_times_norm() -> None:
    shares = ensemble.gradient_shares(made_up("fine-tuned", gradient=lambda k, draw: 0.5**k), "fine-tuned")
    np.testing.assert_allclose(shares, stats.binom(16, 1 / 3).pmf(np.arange(17)))


def whole_table() -> pd.DataFrame:
    """Return a table with every network."""
    return pd.concat(
        [made_up("fine-tuned"), made_up("from scratch"), small("small residual", 0.8), small("small plain", 0.5)]
    )


def test_every_rule_is_read_for_every_trained_network() -> None:
    reading = ensemble.EXPERIMENT.read(whole_table())
    assert len(reading) == 1 + 6 * 2
    assert reading[-1].outcome == "note"
    assert len(ensemble.summarize(whole_table())) <= 20


def test_the_figure_names_its_axes() -> None:
    with style():
        figure = ensemble.draw(Measured(whole_table()))
    labels = " ".join(f"{axes.get_xlabel()} {axes.get_ylabel()}" for axes in figure.axes)
    for name in ("block removed", "validation accuracy", "blocks removed at random", "Kendall", "path length", "norm"):
        assert name in labels


def test_the_small_networks_are_shallower_where_the_deep_ones_learn_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    trained_depths: list[int] = []

    def keep(name: str, make: Callable[[], pd.DataFrame]) -> pd.DataFrame:
        del make
        depth = int(name.rsplit("-", 1)[1])
        trained_depths.append(depth)
        return small("", 0.5, whole=0.4 if depth == 50 and "plain" in name else 0.9)

    lab = cast(Lab, SimpleNamespace(keep=keep, step=lambda what: None))
    assert intact_accuracies(ensemble.small_networks(lab)) == [0.9, 0.9]
    assert trained_depths == [50, 50, 18, 18]
    monkeypatch.setattr(ensemble, "DEPTHS", (18, 50))
    ensemble.small_networks(lab)
    assert trained_depths == [50, 50, 18, 18, 18, 18]


def intact_accuracies(table: pd.DataFrame) -> list[float]:
    """Return the small networks' accuracies."""
    return [ensemble.intact(table, name, "accuracy") for name in ensemble.SMALL]


def test_a_run_without_shortcuts_is_refused() -> None:
    plain = SimpleNamespace(network=network(shortcuts="none"), folder="run", kind="from scratch")
    with pytest.raises(UserError, match="with shortcuts"):
        residual_runs(cast(Lab, SimpleNamespace(runs=[plain])))


def test_two_runs_of_a_kind_are_told_apart() -> None:
    runs = [SimpleNamespace(network=network(), folder="run", kind="fine-tuned") for _ in range(2)]
    assert list(residual_runs(cast(Lab, SimpleNamespace(runs=runs)))) == [
        "fine-tuned", "fine-tuned, the other",
    ]  # fmt: skip


def test_from_end_to_end(prepared: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ensemble, "DEPTHS", (18,))
    monkeypatch.setattr(ensemble, "PATH_DRAWS", 1)
    out = tmp_path / "study"
    out.mkdir()
    plan = Plan(images=32, epochs=1, seeds=1, looked_at=8, draws=1)
    lab = Lab(out, load_prepared(prepared), (trained,), plan, CPU, 0)
    result = ensemble.EXPERIMENT.conduct(lab)
    assert set(result.table["network"]) == {"from scratch", *ensemble.SMALL}
    assert np.isfinite(result.table["value"]).all()
    assert (out / "ensemble.svg").is_file()
    again = ensemble.measure(lab).table.reset_index(drop=True)
    pd.testing.assert_frame_equal(again, result.table, check_dtype=False)
