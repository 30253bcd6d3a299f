"""F(x) beside x: against blocks, gradients and features whose answers are known."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from resnet50.etl.prepared import load_prepared
from resnet50.model.hooks import block_names
from resnet50.model.resnet import ResNet
from resnet50.runtime.device import resolve_device
from resnet50.study import increments
from resnet50.study.experiment import Measured
from resnet50.study.figures import style
from resnet50.study.lab import Lab, Plan, TrainedRun
from resnet50.study.norms import settle_norms


def network(shortcuts: Any = "B") -> ResNet:
    """Return a small network whose norms have seen images."""
    torch.manual_seed(0)
    made = ResNet(18, 3, shortcuts=shortcuts)
    settle_norms(made, [torch.randn(8, 3, 32, 32)])
    return made


def test_a_residual_of_c_times_x_has_ratio_c_and_cosine_one() -> None:
    x = torch.randn(4, 3, 2, 2)
    found = increments.ratio_and_cosine(x, 0.25 * x)
    torch.testing.assert_close(found, torch.tensor([[0.25, 1.0]] * 4))
    torch.testing.assert_close(increments.ratio_and_cosine(x, -2 * x)[:, 1], -torch.ones(4))


def test_an_orthogonal_residual_has_cosine_zero() -> None:
    x, y = torch.tensor([1.0, 0.0]).reshape(1, 2, 1, 1), torch.tensor([0.0, 3.0]).reshape(1, 2, 1, 1)
    torch.testing.assert_close(increments.ratio_and_cosine(x, y), torch.tensor([[3.0, 0.0]]))


def test_a_block_of_the_network_that_adds_a_constant_share_of_its_input() -> None:
    made = network()
    block = cast(Any, made.layer1[1])
    for conv in (block.conv1, block.conv2):  # the identity, as a 3×3 convolution
        nn.init.dirac_(conv.weight)
    for norm, scale in ((block.bn1, 1.0), (block.bn2, 0.5)):
        nn.init.constant_(norm.weight, scale)
        norm.running_mean.zero_()
        norm.running_var.fill_(1 - norm.eps)
    found = increments.probe_blocks(made, torch.randn(2, 3, 32, 32), torch.tensor([0, 1]))
    torch.testing.assert_close(found["layer1.1"][:, :2], torch.tensor([[0.5, 1.0]] * 2), rtol=1e-4, atol=1e-4)


def by_hand(made: ResNet, image: Tensor, label: Tensor, block: str) -> float:
    """Return cos(F(x), −∂L/∂x) of one block by running the network in two halves."""
    names = block_names(made)
    x = made.maxpool(made.relu(made.bn1(made.conv1(image))))
    for name in names[: names.index(block)]:
        x = made.get_submodule(name)(x)
    x = x.detach().requires_grad_()
    the: Any = made.get_submodule(block)
    residual = the.bn2(the.conv2(torch.relu(the.bn1(the.conv1(x)))))
    at = x if the.downsample is None else the.downsample(x)
    y = torch.relu(residual + at)
    for name in names[names.index(block) + 1 :]:
        y = made.get_submodule(name)(y)
    loss = nn.functional.cross_entropy(made.fc(y.mean((2, 3))), label)
    gradient = torch.autograd.grad(loss, at)[0]
    a, b = residual.flatten(), -gradient.flatten()
    return float((a @ b / (a.norm() * b.norm())).detach())


@pytest.mark.parametrize("block", ["layer1.0", "layer2.0", "layer3.1", "layer4.1"])
def test_the_alignment_with_the_negative_gradient_is_that_by_hand(block: str) -> None:
    made, images, labels = network(), torch.randn(3, 3, 32, 32), torch.tensor([0, 1, 2])
    found = increments.probe_blocks(made, images, labels)[block][:, 2]
    expected = [by_hand(made, images[i : i + 1], labels[i : i + 1], block) for i in range(3)]
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


def test_probing_changes_nothing_and_needs_no_trainable_weights() -> None:
    made = network().requires_grad_(requires_grad=False)
    before = {name: value.clone() for name, value in made.state_dict().items()}
    with torch.no_grad():
        increments.probe_blocks(made, torch.randn(2, 3, 32, 32), torch.tensor([0, 1]))
    assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items())
    assert not any(module._forward_hooks for module in made.modules())


def test_identity_blocks_by_kind_of_shortcut() -> None:
    assert increments.identity_blocks(network()) == ["layer1.0", "layer1.1", "layer2.1", "layer3.1", "layer4.1"]
    assert increments.identity_blocks(network("C")) == []


def test_a_read_out_is_right_on_separable_features_and_chance_on_noise() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 4
    noise = rng.normal(size=(200, 20))
    separable = noise.copy()
    separable[np.arange(200), labels] += 12
    assert increments.readout_accuracy(separable[:100], labels[:100], separable[100:], labels[100:]) == 1
    assert increments.readout_accuracy(noise[:100], labels[:100], noise[100:], labels[100:]) < 0.45


BLOCKS = [f"layer{stage}.{number}" for stage, count in ((1, 3), (2, 4), (3, 6), (4, 3)) for number in range(count)]

Value = Callable[[int], float]


def made_up(
    later: dict[str, float] | None = None,
    readout: Value = lambda i: 0.5 + 0.02 * i,
    descent: tuple[float, float, float] = (0.02, 0.01, 0.03),
    name: str = "fine-tuned",
    *,
    epochs: bool = False,
) -> pd.DataFrame:
    """Return what a network could give; `later`: ratios of the later blocks by stage."""
    ratios = dict.fromkeys(("layer1", "layer2", "layer3", "layer4"), 0.4) | (later or {})
    ends = ("descent", "descent_low", "descent_high")
    rows: list[tuple[str, float, str, str, float]] = []
    for state in ("before", "after"):
        rows.append((state, np.nan, "stem", "readout", readout(0)))
        rows += [(state, np.nan, increments.ALL_IDENTITY, *pair) for pair in zip(ends, descent, strict=True)]
        for i, block in enumerate(BLOCKS, 1):
            ratio = 0.9 if block.endswith(".0") else ratios[block[:6]]
            values = {"residual_ratio": ratio, "residual_cosine": -0.1, "readout": readout(i)}
            values |= {
                f"{key}_{end}": values[key] for key in ("residual_ratio", "residual_cosine") for end in ("low", "high")
            }
            rows += [(state, np.nan, block, *pair) for pair in (values | dict(zip(ends, descent, strict=True))).items()]
    rows += [("after", np.nan, "-", "majority", 0.4), ("after", np.nan, "-", "images", 200)]
    if epochs:
        rows += [("during", e, block, "residual_ratio", 0.5 + 0.1 * e) for e in range(3) for block in BLOCKS]
    table = pd.DataFrame(rows, columns=["state", "epoch", "block", "quantity", "value"])
    return table.assign(network=name)[increments.COLUMNS]


@pytest.mark.parametrize(
    ("later", "outcome"),
    [
        ({}, "seen"),
        ({"layer4": 1.4}, "undecided"),
        ({"layer4": 1.4, "layer3": 0.95}, "not seen"),
    ],
)
def test_later_blocks_correct_little(later: dict[str, float], outcome: str) -> None:
    assert increments.later_blocks_correct_little(made_up(later), "fine-tuned").outcome == outcome


@pytest.mark.parametrize(
    ("readout", "outcome"),
    [
        (lambda i: 0.5 + 0.02 * i, "seen"),
        (lambda i: 0.5 + 0.001 * i, "undecided"),
        (lambda i: 0.5 + 0.001 * (i % 3), "undecided"),
        (lambda i: 0.7 - 0.01 * i, "not seen"),
        (lambda i: 0.7, "not seen"),
    ],
)
def test_readout_improves_with_depth(readout: Value, outcome: str) -> None:
    assert increments.readout_improves_with_depth(made_up(readout=readout), "fine-tuned").outcome == outcome


@pytest.mark.parametrize(
    ("descent", "outcome"),
    [((0.02, 0.01, 0.03), "seen"), ((0.02, -0.01, 0.05), "undecided"), ((-0.02, -0.03, -0.01), "not seen")],
)
def test_blocks_move_down_the_gradient(descent: tuple[float, float, float], outcome: str) -> None:
    assert increments.blocks_move_down_the_gradient(made_up(descent=descent), "fine-tuned").outcome == outcome


def test_the_note_tells_of_the_epochs_or_that_nobody_looked() -> None:
    unknown = increments.training_changes_the_ratio(made_up(), "fine-tuned")
    assert unknown.outcome == "note"
    assert "not observed" in unknown.text
    known = increments.training_changes_the_ratio(made_up(epochs=True), "fine-tuned")
    assert "0.5 before the first step, 0.7 at its largest (epoch 2), 0.7 at the end" in known.text


@pytest.mark.parametrize("epochs", [False, True])
def test_the_figure_names_its_axes(epochs: bool) -> None:
    table = pd.concat([made_up(epochs=epochs), made_up(name="from scratch", epochs=epochs)])
    with style():
        figure = increments.draw(Measured(table))
    labels = " ".join(f"{axes.get_xlabel()} {axes.get_ylabel()}" for axes in figure.axes)
    for name in ("block (stage.number)", "‖F(x)‖ / ‖x‖", "cosine", "validation accuracy", "∂L/∂x", "epoch"):
        assert name in labels
    assert len(increments.EXPERIMENT.read(table)) == 4 * 2
    assert len(increments.summarize(table)) == 2 * 8


def test_observed_layers_are_read_and_may_be_missing(tmp_path: Path) -> None:
    run = cast(TrainedRun, SimpleNamespace(folder=tmp_path))
    assert increments.observed(run).empty
    (tmp_path / "observed").mkdir()
    (tmp_path / increments.LAYERS).write_text(
        "epoch,layer,quantity,value\n0,layer1.0,residual_ratio,0.5\n0,conv1,gradient_norm,2\n", encoding="utf-8"
    )
    assert increments.observed(run).to_dict("records") == [
        {"epoch": 0, "block": "layer1.0", "quantity": "residual_ratio", "value": 0.5, "state": "during"}
    ]


def test_from_end_to_end(prepared: Path, trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "study"
    out.mkdir()
    plan = Plan(images=16, looked_at=8)
    lab = Lab(out, load_prepared(prepared), (trained,), plan, resolve_device("cpu", "fp32"), 0)
    result = increments.EXPERIMENT.conduct(lab)
    assert set(result.table["state"]) == {"before", "after"}
    assert np.isfinite(result.table["value"]).all()
    assert result.reading[0].rule == "later_blocks_correct_little"
    again = increments.measure(lab).table.reset_index(drop=True)
    pd.testing.assert_frame_equal(again, result.table, check_dtype=False)
