"""Curvature against whole Hessians, directions and surfaces against their definitions, readings of made-up numbers."""

import copy
import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnet50.model.resnet import ResNet
from resnet50.study import curvature, landscape, surface
from resnet50.study.experiment import Measured, Observation
from resnet50.study.figures import style
from resnet50.study.lab import QUICK, Lab
from resnet50.study.landscape import COLUMNS, NETWORKS


def tiny() -> tuple[nn.Module, Tensor, Tensor]:
    """Return a network of 58 weights with a norm, images 3×4×4 and labels."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 1, 3, bias=False), nn.BatchNorm2d(1), nn.Tanh(), nn.Flatten(), nn.Linear(4, 3), nn.Linear(3, 3)
    ).double()
    return network, torch.randn(12, 3, 4, 4).double(), torch.arange(12) % 3


def whole_spectrum(network: nn.Module, x: Tensor, labels: Tensor) -> np.ndarray:
    """Return all eigenvalues of the Hessian of the mean cross-entropy."""
    names = [name for name, _ in network.named_parameters()]
    shapes = [parameter.shape for parameter in network.parameters()]

    def loss(vector: Tensor) -> Tensor:
        parts = vector.split([shape.numel() for shape in shapes])
        weights = {name: part.view(shape) for name, part, shape in zip(names, parts, shapes, strict=True)}
        return F.cross_entropy(torch.func.functional_call(network, weights, (x,)), labels)

    vector = torch.cat([parameter.detach().flatten() for parameter in network.parameters()])
    return torch.linalg.eigvalsh(torch.autograd.functional.hessian(loss, vector)).numpy()


def test_curvature_is_the_end_of_the_whole_spectrum(monkeypatch: pytest.MonkeyPatch) -> None:
    network, x, labels = tiny()
    values = whole_spectrum(copy.deepcopy(network).train(), x, labels)
    found = curvature.curvature(network, x, labels, 0)
    assert found.largest == pytest.approx(values[-1], rel=curvature.TOLERANCE)
    monkeypatch.setattr(curvature, "TOLERANCE", 1e-9)
    monkeypatch.setattr(curvature, "LANCZOS_STEPS", 60)
    exact = curvature.curvature(network, x, labels, 0)
    assert exact.largest == pytest.approx(values[-1], rel=1e-6)
    assert exact.smallest == pytest.approx(values[0], rel=1e-3, abs=1e-6)


def test_curvature_of_a_known_matrix_and_its_error_bound() -> None:
    eigenvalues = torch.tensor([-3.0, 0.5, 1.0, 2.0, 9.0, 10.0], dtype=torch.double)
    basis = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.double))[0]
    matrix = basis @ torch.diag(eigenvalues) @ basis.T
    found = curvature.lanczos(lambda vector: matrix @ vector, torch.ones(6, dtype=torch.double))
    assert abs(found.largest - 10) <= found.error * abs(found.largest) + 1e-9


def test_a_flat_function_has_no_curvature() -> None:
    found = curvature.lanczos(torch.zeros_like, torch.ones(5))
    assert found.largest == found.smallest == 0


def test_looking_at_curvature_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curvature, "LANCZOS_STEPS", 2)
    torch.manual_seed(0)
    network = ResNet(18, 2).eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    curvature.curvature(network, torch.randn(4, 3, 32, 32), torch.arange(4) % 2, 0)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert not network.training
    assert all(parameter.grad is None for parameter in network.parameters())


def test_directions_are_as_long_as_the_weights_filter_by_filter() -> None:
    torch.manual_seed(0)
    network = ResNet(18, 2)
    direction = surface.filter_normalized_direction(network, torch.Generator().manual_seed(0))
    for part, (name, weight) in zip(direction, network.named_parameters(), strict=True):
        if weight.ndim > 1:
            norms = (part.flatten(1).norm(dim=1), weight.detach().flatten(1).norm(dim=1))
            assert torch.allclose(*norms, rtol=1e-4), name
        else:
            assert not part.any(), name


def test_a_filter_of_zeros_stays_where_it_is() -> None:
    network = nn.Conv2d(3, 2, 3, bias=False)
    nn.init.zeros_(network.weight)
    assert not surface.filter_normalized_direction(network, torch.Generator())[0].any()


def test_the_surfaces_center_is_the_loss_and_the_weights_come_back_bit_for_bit() -> None:
    network, x, labels = tiny()
    network.eval()
    before = [parameter.detach().clone() for parameter in network.parameters()]
    generator = torch.Generator().manual_seed(0)
    directions = [surface.filter_normalized_direction(network, generator) for _ in range(2)]
    loss = surface.mean_loss(network, x, labels)
    assert loss == pytest.approx(float(F.cross_entropy(network(x), labels).detach()))
    values = surface.along(
        network, directions, [(0.0, 0.0), (0.3, -0.7)], lambda: surface.mean_loss(network, x, labels, 5)
    )
    assert values[0] == pytest.approx(loss, rel=1e-12)
    assert all(torch.equal(parameter, old) for parameter, old in zip(network.parameters(), before, strict=True))
    with torch.no_grad():
        for parameter, first, second in zip(network.parameters(), *directions, strict=True):
            parameter.add_(0.3 * first - 0.7 * second)
    assert values[1] == pytest.approx(surface.mean_loss(network, x, labels), rel=1e-9)


def test_the_weights_come_back_even_when_the_loss_fails() -> None:
    network, _, _ = tiny()
    before = copy.deepcopy(network.state_dict())
    direction = surface.filter_normalized_direction(network, torch.Generator().manual_seed(0))

    def fail() -> float:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        surface.along(network, [direction], [(0.5,)], fail)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_gradient_descent_leaves_a_quadratic_above_the_edge_and_stays_below_it(momentum: float) -> None:
    def end(share: float) -> float:
        sharpness = share * landscape.largest_stable_sharpness(0.1, momentum)
        weight = nn.Parameter(torch.ones((), dtype=torch.double))
        optimizer = torch.optim.SGD([weight], lr=0.1, momentum=momentum, nesterov=momentum > 0)
        for _ in range(600):
            optimizer.zero_grad()
            (0.5 * sharpness * weight**2).backward()
            optimizer.step()
        return abs(float(weight.detach()))

    assert end(0.98) < 0.1
    assert end(1.02) > 10


def test_how_far_a_parabola_stays_below_a_level() -> None:
    steps = np.linspace(-1, 1, 201)
    broken = np.where(steps > 0.3, np.nan, 1)
    losses = np.stack([1 + (steps / 0.5) ** 2, 1 + (steps / 0.25) ** 2, 1 + 0.1 * steps, broken])
    found = landscape.reach(steps, losses, 2.0)
    assert found[:3] == pytest.approx([0.5, 0.25, 1.0], abs=1e-3)
    assert found[3] == pytest.approx(0.3, abs=0.02)


def test_a_network_that_knows_nothing_has_nothing_to_forget() -> None:
    assert landscape.reach(np.linspace(-1, 1, 5), np.ones((1, 5)), 0.7).tolist() == [0.0]


def test_distances_are_those_of_the_made_up_parabolas() -> None:
    numbers = table(0.2, 0.6, ripple={"plain": 0.0})
    assert landscape.doubling_distances(numbers, "residual")[0] == pytest.approx(0.6, abs=0.01)
    level = (0.65 / 0.3 - 1) ** 0.5
    assert landscape.forgetting_distances(numbers, "plain")[0] == pytest.approx(0.2 * level, abs=0.01)


def test_convex_profiles_never_bend_down() -> None:
    steps = np.linspace(-1, 1, 21)
    found = landscape.bending_down(np.stack([1 + steps**2, np.ones(21), 3 - steps**2, 2 + np.sin(3 * np.pi * steps)]))
    assert found[:3].tolist() == [0, 0, 1]
    assert 0.3 < found[3] < 0.7


def table(
    plain_width: float = 0.2,
    residual_width: float = 0.6,
    ripple: dict[str, float] | None = None,
    sharpness: dict[str, tuple[float, float, float]] | None = None,
    center: float = 0.3,
) -> pd.DataFrame:
    """Return made-up surfaces (parabolas that double at a width, with ripples) and courses of sharpness."""
    ripple = {"plain": 0.5, "residual": 0.0} | (ripple or {})
    sharpness = {"plain": (900.0, 100.0, 300.0), "residual": (50.0, 60.0, 200.0)} | (sharpness or {})
    rows: list[tuple[object, ...]] = []
    steps = np.linspace(-1, 1, 41)
    for name, width in (("plain", plain_width), ("residual", residual_width)):
        for x in steps[::10]:
            for y in steps[::10]:
                rows.append(
                    (name, 34, 0, np.nan, np.nan, x, y, "surface_loss", center * (1 + (x**2 + y**2) / width**2))
                )
        for draw in range(4):
            for number, x in enumerate(steps):
                bump = ripple[name] * (number % 2)
                loss = center * (1 + (x / width / (1 + 0.05 * draw)) ** 2 + bump)
                rows.append((name, 34, 0, np.nan, draw, x, np.nan, "profile_loss", loss))
        rows.append((name, 34, 0, np.nan, np.nan, np.nan, np.nan, "label_entropy", 0.65))
        for epoch, value in enumerate(sharpness[name]):
            rows.append((name, 18, 0, epoch, np.nan, np.nan, np.nan, "sharpness", value))
        rows.append((name, 18, 0, np.nan, np.nan, np.nan, np.nan, "stability_edge", 680.0))
    return pd.DataFrame(rows, columns=COLUMNS)


def outcomes(readings: list[Observation]) -> dict[str, str]:
    return {reading.rule: reading.outcome for reading in readings}


def test_the_papers_findings_are_seen() -> None:
    found = outcomes(landscape.EXPERIMENT.read(table()))
    assert found.pop("both_have_learned") == "note"
    assert set(found.values()) == {"seen"}


def test_the_contrary_is_not_seen() -> None:
    courses = {"plain": (900.0, 1500.0, 800.0), "residual": (50.0, 1300.0, 900.0)}
    contrary = table(0.6, 0.2, ripple={"plain": 0.0, "residual": 0.5}, sharpness=courses)
    found = outcomes(landscape.EXPERIMENT.read(contrary))
    assert found.pop("both_have_learned") == "note"
    assert set(found.values()) == {"not seen"}


def test_what_is_alike_or_divided_decides_nothing() -> None:
    courses = {"plain": (900.0, 1500.0, 800.0), "residual": (50.0, 60.0, 90.0)}
    same = table(0.4, 0.4, ripple={"plain": 0.0, "residual": 0.0}, sharpness=courses)
    found = outcomes(landscape.EXPERIMENT.read(same))
    assert found.pop("both_have_learned") == "note"
    assert set(found.values()) == {"undecided"}


def test_networks_that_know_nothing_are_said_to() -> None:
    assert "Hardly anything learned" in landscape.both_have_learned(table(center=0.64)).text
    assert landscape.both_have_learned(table()).text.startswith("Both networks have learned")


def test_the_figure_names_its_axes_and_bears_a_loss_that_is_no_number() -> None:
    broken = table()
    broken.loc[(broken["quantity"] == "surface_loss") & (broken["x"] == 1), "value"] = np.nan
    with style():
        figure = landscape.draw(Measured(broken))
    assert all(axes.get_xlabel() or axes.get_ylabel() for axes in figure.axes)
    assert len(figure.axes) == 5


def test_the_summary_has_a_row_per_network() -> None:
    assert landscape.summarize(table())["network"].tolist() == list(NETWORKS)


def test_the_setting_says_how_much_was_done() -> None:
    assert f"{QUICK.grid}×{QUICK.grid} points" in landscape.EXPERIMENT.setting(QUICK)


def test_an_experiment_in_miniature(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landscape, "SURFACE_DEPTH", 18)
    monkeypatch.setattr(curvature, "LANCZOS_STEPS", 2)
    monkeypatch.setattr(landscape, "SHARPNESS_EPOCHS", 2)
    monkeypatch.setattr(lab, "plan", dataclasses.replace(lab.plan, epochs=1, images=8, looked_at=6, draws=1))
    measured = landscape.measure(lab)
    table = measured.table
    assert list(table.columns) == COLUMNS
    counts = table.groupby(["network", "quantity"]).size()
    for name in NETWORKS:
        assert counts[name, "surface_loss"] == 9
        assert counts[name, "profile_loss"] == 5
        assert counts[name, "sharpness"] == 2
    centers = table[(table["x"] == 0) & ((table["y"] == 0) | table["y"].isna())]
    assert len(centers) == 4
    assert len(centers.drop_duplicates(["network", "value"])) == 2
    assert {reading.rule for reading in landscape.EXPERIMENT.read(table)}
