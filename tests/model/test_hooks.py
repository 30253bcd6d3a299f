"""Hooks record what the network computes, and are removed afterwards."""

import copy
from contextlib import suppress

import pytest
import torch
from torch import Tensor, nn

from resnet50.model.hooks import block_names, output_with_gradient, record, record_branches, residual_end
from resnet50.model.resnet import ResNet
from tests.conftest import NARROW

IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def network() -> ResNet:
    torch.manual_seed(0)
    return ResNet(50, 5).eval()


def test_recorded_values_are_the_modules_outputs(network: ResNet) -> None:
    with torch.no_grad(), record(network, ["layer4", "layer1", "avgpool"]) as recorded:
        logits = network(IMAGES)
    assert list(recorded) == ["layer1", "layer4", "avgpool"]  # in forward order
    torch.testing.assert_close(network.fc(recorded["avgpool"].flatten(1)), logits)
    torch.testing.assert_close(network.avgpool(recorded["layer4"]), recorded["avgpool"])


def test_hooks_are_removed_and_the_network_is_unchanged(network: ResNet) -> None:
    before = network(IMAGES)
    weights = copy.deepcopy(network.state_dict())
    with suppress(KeyError), record(network, ["layer1.0"]), record_branches(network, sizes):
        assert torch.equal(network(IMAGES), before)
        raise KeyError("an error inside the context")
    assert not any(module._forward_hooks for module in network.modules())
    assert all(torch.equal(tensor, weights[name]) for name, tensor in network.state_dict().items())


def test_unknown_module_is_refused(network: ResNet) -> None:
    with pytest.raises(AttributeError, match="layer9"), record(network, ["layer9"]):
        pass


def test_last_forward_pass_is_recorded(network: ResNet) -> None:
    with torch.no_grad(), record(network, ["fc"]) as recorded:
        network(IMAGES)
        last = network(2 * IMAGES)
    assert torch.equal(recorded["fc"], last)


def test_recorded_gradients_equal_autograds(network: ResNet) -> None:
    with record(network, ["layer3"], output_with_gradient) as recorded:
        loss = network(IMAGES).square().sum()
    loss.backward()
    features = recorded["layer3"].detach().requires_grad_()
    network.fc(torch.flatten(network.avgpool(network.layer4(features)), 1)).square().sum().backward()
    assert features.grad is not None
    torch.testing.assert_close(recorded["layer3"].grad, features.grad)


def test_blocks_are_named_in_forward_order(network: ResNet) -> None:
    names = block_names(network)
    assert len(names) == 16
    assert (names[0], names[-1]) == ("layer1.0", "layer4.2")
    assert residual_end(network, "layer1.0") == "layer1.0.bn3"
    assert residual_end(ResNet(18, 5), "layer1.0") == "layer1.0.bn2"


def sizes(shortcut: Tensor, residual: Tensor) -> tuple[torch.Size, torch.Size]:
    return shortcut.shape, residual.shape


@pytest.mark.parametrize("shortcuts", ["A", "B", "C"])
@pytest.mark.parametrize("depth", [18, 50])
def test_branches_of_a_block_add_up_to_its_output(depth: int, shortcuts: str) -> None:
    torch.manual_seed(0)
    network = ResNet(depth, 5, shortcuts=shortcuts).eval()  # type: ignore[arg-type]
    names = block_names(network)
    with (
        torch.no_grad(),
        record(network, names) as blocks,
        record_branches(network, lambda shortcut, residual: shortcut + residual) as sums,
    ):
        network(IMAGES)
    assert list(sums) == names
    for name in names:
        torch.testing.assert_close(nn.functional.relu(sums[name]), blocks[name])


def test_only_the_chosen_blocks_are_recorded(network: ResNet) -> None:
    with torch.no_grad(), record_branches(network, sizes, ["layer2.0"]) as recorded:
        network(IMAGES)
    assert recorded == {"layer2.0": (torch.Size([2, 4 * NARROW[1], 8, 8]),) * 2}
