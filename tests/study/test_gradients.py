"""Signals against autograd by hand, autocorrelations against formulas, and what is read in made-up numbers."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from resnet50.model.resnet import ResNet
from resnet50.study import gradients, shattering
from resnet50.study.experiment import Measured, Observation
from resnet50.study.figures import style
from resnet50.study.gradients import COLUMNS, NETWORKS
from resnet50.study.lab import QUICK, Lab
from resnet50.study.norms import settle_norms
from resnet50.study.outcome import agree
from resnet50.study.shattering import LAGS
from resnet50.study.small import Setup, make_network


def batch(count: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, 3, 32, 32, generator=generator), torch.arange(count) % 2


def value(found: pd.DataFrame, layer: str, quantity: str) -> float:
    return float(found[(found["layer"] == layer) & (found["quantity"] == quantity)]["value"].iloc[0])


def test_signals_are_those_of_autograd() -> None:
    torch.manual_seed(1)
    network = ResNet(18, 2).train()
    x, labels = batch()
    found = gradients.error_signals(network, x, labels)
    stem = network.maxpool(network.relu(network.bn1(network.conv1(x))))
    first = network.layer1[0](stem)
    rest = network.layer4(network.layer3(network.layer2(network.layer1[1](first))))
    loss = F.cross_entropy(network.fc(rest.mean((2, 3))), labels)
    by_hand = torch.autograd.grad(loss, [stem, first, *network.layer1[0].parameters()])
    assert value(found, "maxpool", "signal_norm") == pytest.approx(float(by_hand[0].norm()), rel=1e-4)
    assert value(found, "layer1.0", "signal_norm") == pytest.approx(float(by_hand[1].norm()), rel=1e-4)
    whole = torch.cat([part.flatten() for part in by_hand[2:]]).norm()
    assert value(found, "layer1.0", "gradient_norm") == pytest.approx(float(whole), rel=1e-4)
    assert value(found, "layer1.0", "activation_variance") == pytest.approx(float(first.detach().var()), rel=1e-4)
    assert found["position"].max() == 8


def test_white_noise_has_no_autocorrelation_and_a_constant_has_all() -> None:
    generator = torch.Generator().manual_seed(0)
    white = shattering.autocorrelation(torch.randn(200, 3000, generator=generator), 10)
    assert white[0] == pytest.approx(1)
    assert np.abs(white[1:]).max() < 0.01
    constant = torch.randn(1, 30, generator=generator).expand(20, 30)
    assert shattering.autocorrelation(constant, 5) == pytest.approx(np.ones(5))


def test_brown_noise_follows_its_formula() -> None:
    steps = torch.randn(64, 50_000, generator=torch.Generator().manual_seed(0))
    found = shattering.autocorrelation(steps.cumsum(0), LAGS)
    assert found == pytest.approx(shattering.brown_autocorrelation(64, LAGS), abs=0.01)


def test_opposite_gradients_are_anticorrelated() -> None:
    signs = torch.tensor([1.0, -1.0] * 5).view(-1, 1) * torch.ones(10, 7)
    assert shattering.autocorrelation(signs, 3) == pytest.approx([1, -1, 1])


def test_a_linear_network_does_not_shatter() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 2))
    x, _ = batch(2)
    found = shattering.input_gradients(network, shattering.line(x[0], x[1], 8))
    assert torch.allclose(found, network[1].weight.detach()[:1].expand(8, -1))


def test_gradients_belong_to_each_image_alone() -> None:
    torch.manual_seed(0)
    network = ResNet(18, 2)
    x, _ = batch()
    settle_norms(network, [x])
    together = shattering.input_gradients(network, x)
    alone = torch.cat([shattering.input_gradients(network, image[None]) for image in x])
    assert torch.allclose(together, alone, atol=1e-4 * float(together.abs().max()))


def test_a_line_begins_at_one_image_and_goes_toward_the_other() -> None:
    x, _ = batch(2)
    points = shattering.line(x[0], x[1], 5)
    assert torch.equal(points[0], x[0])
    assert torch.allclose(points[-1], x[0] + shattering.REACH * (x[1] - x[0]), atol=1e-6)


def test_a_blocks_gradient_is_that_of_its_convolutions_together() -> None:
    rows = [
        (1, "layer1.0.conv1", "gradient_norm", 3.0),
        (1, "layer1.0.conv2", "gradient_norm", 4.0),
        (1, "layer1.0.bn1", "gradient_norm", 50.0),
        (1, "layer1.1.conv1", "gradient_norm", 2.0),
        (1, "layer1.0", "activation_variance", 9.0),
        (1, "fc", "gradient_norm", 9.0),
    ]
    found = gradients.block_gradients(pd.DataFrame(rows, columns=["epoch", "layer", "quantity", "value"]))
    assert found["layer"].tolist() == ["layer1.0", "layer1.1"]
    assert found["position"].tolist() == [1, 2]
    assert found["value"].tolist() == pytest.approx([5.0, 2.0])


def table(
    signal: dict[str, float] | None = None,
    near: dict[tuple[str, int], float] | None = None,
    growth: dict[str, float] | None = None,
    loss: dict[str, float] | None = None,
    spread: float = 0.0,
) -> pd.DataFrame:
    """Return a made-up table in two seeds: the signal's factor from first to last, correlations one point apart, ..."""
    signal = {"plain": 5.0, "residual": 3.0, "residual, zero γ": 1.5} | (signal or {})
    near = {("plain", 18): 0.9, ("plain", 50): 0.0, ("residual", 18): 0.98, ("residual", 50): 0.7} | (near or {})
    growth = {"residual, no norms": 1.5} | (growth or {})
    loss = {"residual": 0.6, "residual, zero γ": 0.4, "plain, no norms": np.nan} | (loss or {})
    rows: list[tuple[object, ...]] = []
    for seed in range(2):
        odd = 1 + spread * seed
        for name in NETWORKS:
            for position in (0, 8, 16):
                share = 1 - position / 16
                factor = (signal.get(name, 1.0) * odd) ** share
                rows.append((name, 50, seed, 0, "block", position, np.nan, "signal_norm", factor))
                variance = (growth.get(name, 1.0) * odd) ** position
                rows.append((name, 50, seed, 0, "block", position, np.nan, "activation_variance", variance))
                rows.append((name, 50, seed, 1, "block", position, np.nan, "trained_gradient_norm", 1.0))
            for epoch in (1, 2):
                end = loss.get(name, 0.7) * odd
                rows.append((name, 50, seed, epoch, np.nan, np.nan, np.nan, "train_loss", end))
        for (name, depth), close in (near | {("shallow", 2): 1.0}).items():
            for lag, correlation in ((0, 1.0), (1, close * (1 - spread * seed))):
                rows.append((name, depth, seed, np.nan, np.nan, np.nan, lag, "autocorrelation", correlation))
    return pd.DataFrame(rows, columns=COLUMNS)


def outcomes(readings: list[Observation]) -> dict[str, str]:
    return {reading.rule: reading.outcome for reading in readings}


def test_the_papers_findings_are_seen() -> None:
    found = outcomes(gradients.EXPERIMENT.read(table()))
    assert found.pop("what_norms_are_for") == "note"
    assert set(found.values()) == {"seen"}
    assert len(found) == 8


def test_the_contrary_is_not_seen() -> None:
    found = outcomes(
        gradients.EXPERIMENT.read(
            table(
                signal={"plain": 5000.0, "residual": 1e-5, "residual, zero γ": 1e-7},
                near={("plain", 18): 0.1, ("plain", 50): 0.5, ("residual", 50): 0.2},
                growth={"residual, no norms": 1.0},
                loss={"residual, zero γ": 0.9},
            )
        )
    )
    assert found.pop("what_norms_are_for") == "note"
    assert set(found.values()) == {"not seen"}


def test_seeds_that_disagree_decide_nothing() -> None:
    readings = table(
        signal={"plain": 9.0}, growth={"residual, no norms": 1.15}, loss={"residual, zero γ": 0.7}, spread=0.5
    )
    found = outcomes(gradients.EXPERIMENT.read(readings))
    assert found["batch_norm_keeps_plain_gradients_healthy"] == "undecided"
    assert found["shortcuts_need_norms"] == "undecided"
    assert found["zero_gamma_eases_the_start"] == "undecided"


def test_no_seed_decides_nothing() -> None:
    assert agree(np.array([], bool)) == "undecided"


def test_explosion_and_vanishing_are_told_apart() -> None:
    exploding = gradients.batch_norm_keeps_plain_gradients_healthy(table(signal={"plain": 5000.0}))
    vanishing = gradients.batch_norm_keeps_plain_gradients_healthy(table(signal={"plain": 1e-5}))
    assert "explodes" in exploding.text
    assert "5e+03" in exploding.text
    assert "vanishes" in vanishing.text


def test_a_training_that_broke_down_is_said_to() -> None:
    assert "plain network's loss is no longer a number" in gradients.what_norms_are_for(table()).text


def test_the_figure_names_its_axes() -> None:
    with style():
        figure = gradients.draw(Measured(table()))
    assert len(figure.axes) == 6
    assert all(axes.get_xlabel() and axes.get_ylabel() and axes.get_title(loc="left") for axes in figure.axes)


def test_the_summary_has_a_row_per_network() -> None:
    summary = gradients.summarize(table())
    assert summary["network"].tolist() == list(NETWORKS)
    assert summary["signal_first_over_last"].tolist()[:3] == pytest.approx([3.0, 5.0, 1.5])


def test_the_setting_says_how_much_was_done() -> None:
    assert f"{QUICK.draws} straight lines" in gradients.EXPERIMENT.setting(QUICK)


def test_trainings_are_shared_where_they_can_be() -> None:
    names = [setup.name for _, setup in gradients.trainings(QUICK)]
    assert len(set(names)) == len(names) == 2 * QUICK.seeds + 3
    assert Setup(depth=50, shortcuts="none", seed=1).name in names
    assert all(setup.epochs in (None, QUICK.epochs // 3) for _, setup in gradients.trainings(QUICK))


def test_zero_gamma_lets_the_signal_through(lab: Lab) -> None:
    network = make_network(lab, Setup(depth=18, zero_gamma=True))
    found = gradients.error_signals(network, *batch())
    before, after = (value(found, layer, "signal_norm") for layer in ("maxpool", "layer1.0"))
    assert before == pytest.approx(after, rel=1e-5)  # what ReLU stops, it has stopped in the block behind already
    with_gamma = gradients.error_signals(make_network(lab, Setup(depth=18)), *batch())
    assert value(with_gamma, "maxpool", "signal_norm") != pytest.approx(
        value(with_gamma, "layer1.0", "signal_norm"), rel=1e-2
    )


def test_shattering_is_measured_for_every_network_and_repeats(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shattering, "SHATTERING_DEPTHS", (18,))
    monkeypatch.setattr(shattering, "POINTS", 6)
    monkeypatch.setattr(shattering, "LAGS", 3)
    found = shattering.measure_shattering(lab)
    assert set(found["network"]) == {"shallow", "plain", "residual"}
    assert found["seed"].nunique() == lab.plan.seeds
    assert (found[found["lag"] == 0]["value"] - 1).abs().max() < 1e-6
    pd.testing.assert_frame_equal(found, shattering.measure_shattering(lab))


def test_an_experiment_in_miniature(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("residual", "plain", "residual, zero γ")
    small = {name: dataclasses.replace(NETWORKS[name], depth=18) for name in names}
    monkeypatch.setattr(gradients, "NETWORKS", small)
    monkeypatch.setattr(lab, "plan", dataclasses.replace(lab.plan, seeds=1, epochs=1, images=16))
    monkeypatch.setattr(gradients, "measure_shattering", lambda lab: pd.DataFrame(columns=COLUMNS))
    measured = gradients.measure(lab).table
    assert list(measured.columns) == COLUMNS
    trained = measured[measured["quantity"] == "trained_gradient_norm"]
    assert set(trained["network"]) == set(names)
    assert trained["position"].max() == 8
