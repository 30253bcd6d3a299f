"""Folding changes how a network is computed, not what."""

import pytest
import torch
from torch import nn

from resnet50.model.fold import fold_batch_norms
from resnet50.model.resnet import ResNet
from resnet50.options import Depth, ShortcutKind, Variant


def with_random_statistics(depth: Depth, variant: Variant, shortcuts: ShortcutKind) -> ResNet:
    """Return a network whose batch norms all do something, on the scale that trained ones work at."""
    torch.manual_seed(depth)
    network = ResNet(depth, 7, variant, shortcuts).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            channels = module.num_features
            module.running_mean = torch.randn(channels) * 0.2
            module.running_var = torch.rand(channels) + 0.5
            module.weight.data = torch.rand(channels) + 0.5
            module.bias.data = torch.randn(channels) * 0.2
    return network


@pytest.mark.parametrize(
    ("depth", "variant", "shortcuts"),
    [
        (18, "v1.5", "B"),
        (18, "v1.5", "none"),
        (34, "v1.5", "A"),
        (50, "v1.5", "B"),
        (50, "v1", "B"),
        (50, "v1", "A"),
        (50, "v1.5", "C"),
        (50, "v1.5", "none"),
        (101, "v1", "B"),
    ],
)
def test_a_folded_network_gives_the_same_logits(depth: Depth, variant: Variant, shortcuts: ShortcutKind) -> None:
    network = with_random_statistics(depth, variant, shortcuts)
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected, logits = network(images), fold_batch_norms(network)(images)
    assert (expected[0] - expected[1]).abs().max() > 0.01
    assert (logits - expected).abs().max() < 1e-4 * max(1.0, expected.abs().max().item())


def test_no_batch_norm_is_left() -> None:
    folded = fold_batch_norms(with_random_statistics(50, "v1.5", "B"))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    assert all(module.bias is not None for module in folded.modules() if isinstance(module, nn.Conv2d))
    assert not any(parameter.requires_grad for parameter in folded.parameters())


def test_the_network_itself_stays_as_it_is() -> None:
    network = with_random_statistics(18, "v1.5", "B").train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    folded = fold_batch_norms(network)
    after = network.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert network.training
    assert not folded.training
    assert all(parameter.requires_grad for parameter in network.parameters())
