"""Receptive fields: by hand, by the table of stages, and by what a gradient really reaches."""

import numpy as np
import pytest
import torch
from torch import nn

from resnet50.model.resnet import ResNet
from resnet50.options import Variant
from resnet50.study.fields import (
    GAUSSIAN_RATIO,
    STAGE_ENDS,
    canvas_side,
    input_gradients,
    side_holding,
    theoretical_fields,
)
from resnet50.study.norms import remove_norms


def by_hand(blocks: tuple[int, ...], variant: Variant) -> dict[str, int]:
    """Work out r = r + (k - 1)·jump along the residual branch of bottlenecks.

    The stride is on the 3×3 (v1.5), or on the 1×1 before it (v1): then the 3×3 already takes longer steps.
    """
    field, jump = 7, 2  # conv1
    fields = {"stem": field}
    field, jump = field + 2 * jump, jump * 2  # the pool
    for number, count in enumerate(blocks, 1):
        for block in range(count):
            stride = 2 if block == 0 and number > 1 else 1
            field += 2 * jump * (stride if variant == "v1" else 1)
            jump *= stride
        fields[f"layer{number}"] = field
    return fields


BY_HAND: dict[Variant, dict[str, int]] = {
    "v1.5": {"stem": 7, "layer1": 35, "layer2": 91, "layer3": 267, "layer4": 427},
    "v1": {"stem": 7, "layer1": 35, "layer2": 99, "layer3": 291, "layer4": 483},
}


@pytest.mark.parametrize("variant", ["v1.5", "v1"])
def test_theoretical_fields_are_those_worked_out_by_hand(variant: Variant) -> None:
    assert by_hand((3, 4, 6, 3), variant) == BY_HAND[variant]
    network = ResNet(50, 2, variant)
    assert theoretical_fields(network) == BY_HAND[variant]
    assert canvas_side(network) == {"v1.5": 448, "v1": 512}[variant]


def transparent(network: ResNet) -> ResNet:
    """Make every weight positive and let nothing be lost: no norms, and an average in the place of the maximum."""
    network.maxpool = nn.AvgPool2d(3, 2, 1)  # pyright: ignore[reportAttributeAccessIssue]
    remove_norms(network)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                module.weight.fill_(1 / module.weight[0].numel())
    return network.eval()


@pytest.mark.parametrize("variant", ["v1.5", "v1"])
def test_a_gradient_reaches_exactly_the_theoretical_field(variant: Variant) -> None:
    network = ResNet(50, 2, variant)
    side = canvas_side(network)
    network, middle = transparent(network), side // 2
    for stage, gradient in input_gradients(network, torch.rand(1, 3, side, side), STAGE_ENDS).items():
        reached = gradient[0].nonzero()
        reach = BY_HAND[variant][stage] // 2  # on each side of the middle
        assert reached.min(0).values.tolist() == [middle - reach] * 2, stage
        assert reached.max(0).values.tolist() == [middle + reach] * 2, stage


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
    window = np.zeros((8, 8))
    window[3:6, 3:6] = 1  # a 3×3 convolution of equal weights: 1/9 in side 1, all in side 3, a line between
    assert side_holding(window, 0.95) == pytest.approx(1 + 2 * (0.95 - 1 / 9) / (8 / 9))
    point = np.zeros((8, 8))
    point[4, 4] = 1
    assert side_holding(point, 0.95) == 1
    assert np.isnan(side_holding(np.zeros((8, 8)), 0.95))


def test_a_gaussian_has_the_ratio_of_a_gaussian() -> None:
    away = np.arange(400) - 200
    bell = np.exp(-(away**2) / (2 * 30**2))
    gaussian = np.outer(bell, bell)
    assert side_holding(gaussian, 0.5) / side_holding(gaussian, 0.95) == pytest.approx(GAUSSIAN_RATIO, abs=0.01)
