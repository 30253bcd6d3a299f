"""Receptive fields: by hand, by the table of stages, and by what a gradient really reaches."""

import numpy as np
import pytest
import torch
from torch import nn

from resnet50.model.resnet import ResNet
from resnet50.model.taps import block_names
from resnet50.study.fields import (
    GAUSSIAN_RATIO,
    STAGE_ENDS,
    calibrate,
    canvas_side,
    input_gradients,
    side_holding,
    theoretical_fields,
)


def by_hand(blocks: tuple[int, ...]) -> dict[str, int]:
    """Work out r = r + (k - 1)·jump along the residual branch of bottlenecks (v1.5: the stride is on the 3×3)."""
    field, jump = 7, 2  # conv1
    fields = {"stem": field}
    field, jump = field + 2 * jump, jump * 2  # the pool
    for number, count in enumerate(blocks, 1):
        for block in range(count):
            field += 2 * jump
            jump *= 2 if block == 0 and number > 1 else 1
        fields[f"layer{number}"] = field
    return fields


def test_theoretical_fields_are_those_worked_out_by_hand() -> None:
    expected = by_hand((3, 4, 6, 3))
    assert expected == {"stem": 7, "layer1": 35, "layer2": 91, "layer3": 267, "layer4": 427}
    assert theoretical_fields(ResNet(50, 2)) == expected
    assert canvas_side(ResNet(50, 2)) >= 428


def test_a_gradient_reaches_exactly_the_theoretical_field() -> None:
    """With positive weights and an average for the maximum nothing is lost; norms are left out, as if they were 1."""
    network = ResNet(18, 2)
    fields, side = theoretical_fields(network), canvas_side(network)
    network.maxpool = nn.AvgPool2d(3, 2, 1)  # pyright: ignore[reportAttributeAccessIssue]
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                setattr(parent, name, nn.Identity())
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                module.weight.fill_(1 / module.weight[0].numel())
    ends = {"stem": "relu", "layer1": "layer1", "layer2": "layer2"}
    for stage, gradient in input_gradients(network.eval(), torch.rand(1, 3, side, side), ends).items():
        assert int((gradient[0].sum(1) > 0).sum()) == fields[stage]


def test_the_field_of_one_convolution_is_its_window() -> None:
    class One(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 2, 3, padding=1, bias=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv(x)

    network = One()
    gradient = input_gradients(network, torch.rand(1, 3, 8, 8), {"conv": "conv"})["conv"][0]
    expected = torch.zeros(8, 8)
    expected[3:6, 3:6] = network.conv.weight.detach().sum(0).abs().sum(0)
    torch.testing.assert_close(gradient, expected)


def test_squares_hold_what_they_are_asked_to() -> None:
    even = np.ones((64, 64))
    assert side_holding(even, 1.0) == pytest.approx(65, abs=1)
    point = np.zeros((8, 8))
    point[4, 4] = 1
    assert side_holding(point, 0.95) == 1
    assert np.isnan(side_holding(np.zeros((8, 8)), 0.95))


def test_a_gaussian_has_the_ratio_of_a_gaussian() -> None:
    away = np.arange(400) - 200
    bell = np.exp(-(away**2) / (2 * 30**2))
    gaussian = np.outer(bell, bell)
    assert side_holding(gaussian, 0.5) / side_holding(gaussian, 0.95) == pytest.approx(GAUSSIAN_RATIO, abs=0.01)


def test_calibrated_norms_give_unit_variance() -> None:
    torch.manual_seed(0)
    network, images = ResNet(18, 2), torch.randn(8, 3, 64, 64)
    calibrate(network, images)
    assert not network.training
    with torch.no_grad():
        normed = network.bn1(network.conv1(images))
    assert normed.var().item() == pytest.approx(1, abs=0.05)
    assert set(STAGE_ENDS) == {"stem", "layer1", "layer2", "layer3", "layer4"}
    assert block_names(network)
