"""Batch norms: settled on images, or removed."""

import pytest
import torch
from torch import nn

from resnet50.model.resnet import ResNet
from resnet50.study.norms import remove_norms, settle_norms


def test_norms_settle_on_the_batch_and_keep_their_momentum() -> None:
    network, x = ResNet(18, 2), torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    settle_norms(network, [x])
    assert not network.training
    assert network.bn1.momentum == 0.1
    assert torch.allclose(network.bn1.running_mean, network.conv1(x).mean((0, 2, 3)), atol=1e-5)


def test_settled_norms_normalize() -> None:
    torch.manual_seed(0)
    network, images = ResNet(18, 3), torch.randn(8, 3, 32, 32)
    settle_norms(network, [torch.randn(8, 3, 32, 32)])
    settle_norms(network, [images])  # what they had before doesn't count
    with torch.no_grad():
        out = network.bn1(network.conv1(images))
    assert not network.training
    torch.testing.assert_close(out.mean((0, 2, 3)), torch.zeros(64), atol=1e-3, rtol=0)
    torch.testing.assert_close(out.var((0, 2, 3)), torch.ones(64), atol=1e-2, rtol=0)
    assert out.var().item() == pytest.approx(1, abs=0.05)


def test_several_batches_count_alike() -> None:
    network, batches = ResNet(18, 2), torch.randn(3, 4, 3, 32, 32)
    settle_norms(network, batches)
    means = torch.stack([network.conv1(batch).mean((0, 2, 3)) for batch in batches])
    assert torch.allclose(network.bn1.running_mean, means.mean(0), atol=1e-5)


def test_a_network_without_norms_has_none() -> None:
    network = ResNet(50, 2)
    remove_norms(network)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
