"""Batch-norm folding leaves the logits unchanged."""

import pytest
import torch
from torch import nn

from resnet50.model.fold import fold_batch_norms
from resnet50.options import Depth, ShortcutKind, Variant
from tests.conftest import with_random_statistics


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
def test_folded_network_gives_the_same_logits(depth: Depth, variant: Variant, shortcuts: ShortcutKind) -> None:
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


def test_network_itself_is_not_modified() -> None:
    network = with_random_statistics(18, "v1.5", "B").train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    folded = fold_batch_norms(network)
    after = network.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert network.training
    assert not folded.training
    assert all(parameter.requires_grad for parameter in network.parameters())
