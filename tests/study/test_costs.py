"""Costs by stage: the published counts, bytes counted by hand, times of every stage."""

import pytest
import torch
from torch import nn

from resnet50.model.resnet import ResNet
from resnet50.runtime.device import resolve_device
from resnet50.study.costs import (
    STAGES,
    activation_bytes,
    between,
    copy_bandwidth,
    counts,
    matrix_rate,
    roofline_seconds,
    stage_seconds,
)

CPU = resolve_device("cpu", "fp32")

PUBLISHED = {
    18: (11_689_512, 1.814), 34: (21_797_672, 3.664), 50: (25_557_032, 4.089), 101: (44_549_160, 7.801),
    152: (60_192_808, 11.514),
}  # fmt: skip
"""Parameters and giga multiply-accumulates in torchvision's table of weights."""


def total(found: dict[tuple[str, str], int], quantity: str) -> int:
    return sum(value for (_, what), value in found.items() if what == quantity)


@pytest.mark.parametrize("depth", PUBLISHED)
def test_counts_are_torchvisions(depth: int) -> None:
    with torch.device("meta"):
        network = ResNet(depth, 1000)  # type: ignore[arg-type]
    found = counts(network, 224)
    parameters, macs = PUBLISHED[depth]
    assert total(found, "parameters") == parameters
    assert total(found, "macs") / 1e9 == pytest.approx(macs, abs=5e-4)
    assert set(found) == {(stage, what) for stage in STAGES for what in ("parameters", "macs")}


def test_v1_has_the_papers_count() -> None:
    with torch.device("meta"):
        network = ResNet(50, 1000, "v1")
    assert total(counts(network, 224), "macs") / 1e9 == pytest.approx(3.8, abs=0.1)


@pytest.mark.parametrize(("precision", "width"), [("fp32", 4), ("bf16", 2)])
def test_kept_bytes_are_those_counted_by_hand(precision: str, width: int) -> None:
    """The stem keeps, an image: what the convolution and the norm put out (the ReLU works in place), the pool's choice.

    Neither weights nor, under autocast, their copies; nor the image, which in bf16 is copied for the convolution.
    """
    found = activation_bytes(ResNet(18, 3), torch.randn(4, 3, 64, 64), resolve_device("cpu", precision))
    maps, pooled = 64 * 32 * 32, 64 * 16 * 16
    copied_image = 0 if precision == "fp32" else width * 3 * 64 * 64
    assert found["stem"] == 2 * width * maps + 8 * pooled + copied_image
    assert found["head"] == width * 512  # what the linear layer multiplies
    assert set(found) == set(STAGES)


def test_every_stage_is_timed_and_the_network_stays_as_it_was() -> None:
    network = ResNet(18, 3)
    seconds = stage_seconds(network, torch.randn(2, 3, 64, 64), torch.tensor([0, 1]), CPU)
    assert set(seconds) == {(stage, way) for stage in STAGES for way in ("forward", "backward")}
    assert all(seconds[stage, "forward"] > 0 for stage in STAGES)
    assert all(seconds[stage, "backward"] > 0 for stage in STAGES)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


def test_times_lie_between_marks() -> None:
    marks = [
        ("forward", "stem", 0.0), ("forward", "stem", 1.0), ("forward", "layer1", 3.0), ("forward", "", 6.0),
        ("backward", "layer1", 7.0), ("backward", "stem", 9.0), ("backward", "", 10.0),
    ]  # fmt: skip
    seconds = between(marks)
    assert seconds["stem", "forward"] == 3.0
    assert seconds["layer1", "forward"] == 3.0
    assert seconds["layer1", "backward"] == 2.0
    assert seconds["stem", "backward"] == 1.0
    assert seconds["layer2", "forward"] == 0.0


def test_a_roofline_is_the_longer_of_arithmetic_and_memory() -> None:
    network = ResNet(18, 3)
    images = torch.randn(1, 3, 64, 64)
    arithmetic = roofline_seconds(network, images, CPU, rate=1e9, bandwidth=1e30)
    macs = counts(network, 64)
    for stage in STAGES:
        assert arithmetic[stage] == pytest.approx(3 * 2 * macs[stage, "macs"] / 1e9)
    memory = roofline_seconds(network, images, CPU, rate=1e30, bandwidth=1e9)
    linear = 4 * (512 + 3) + 4 * (512 * 2 * 2 + 512)  # fc, and the pooling before it
    assert memory["head"] == pytest.approx(3 * linear / 1e9)
    assert isinstance(network.fc, nn.Linear)


def test_rates_are_measured() -> None:
    assert matrix_rate(CPU) > 1e8
    assert copy_bandwidth(CPU) > 1e8
