"""Taps show what the network computes, and leave nothing behind."""

import copy
from contextlib import suppress

import pytest
import torch
from torch import Tensor, nn

from resnet50.model.hooks import block_names, output_with_gradient, record, record_branches, residual_end
from resnet50.model.resnet import ResNet

IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def network() -> ResNet:
    torch.manual_seed(0)
    return ResNet(50, 5).eval()


def test_what_is_recorded_is_what_the_module_put_out(network: ResNet) -> None:
    with torch.no_grad(), record(network, ["layer4", "layer1", "avgpool"]) as taps:
        logits = network(IMAGES)
    assert list(taps) == ["layer1", "layer4", "avgpool"]  # in the order they ran
    torch.testing.assert_close(network.fc(taps["avgpool"].flatten(1)), logits)
    torch.testing.assert_close(network.avgpool(taps["layer4"]), taps["avgpool"])


def test_nothing_stays_behind_and_nothing_changes(network: ResNet) -> None:
    before = network(IMAGES)
    weights = copy.deepcopy(network.state_dict())
    with suppress(KeyError), record(network, ["layer1.0"]), record_branches(network, sizes):
        assert torch.equal(network(IMAGES), before)
        raise KeyError("whatever happens inside")
    assert not any(module._forward_hooks for module in network.modules())
    assert all(torch.equal(tensor, weights[name]) for name, tensor in network.state_dict().items())


def test_a_name_that_is_no_module_is_refused(network: ResNet) -> None:
    with pytest.raises(AttributeError, match="layer9"), record(network, ["layer9"]):
        pass


def test_only_the_last_pass_is_kept(network: ResNet) -> None:
    with torch.no_grad(), record(network, ["fc"]) as taps:
        network(IMAGES)
        last = network(2 * IMAGES)
    assert torch.equal(taps["fc"], last)


def test_gradients_are_those_of_autograd(network: ResNet) -> None:
    with record(network, ["layer3"], output_with_gradient) as taps:
        loss = network(IMAGES).square().sum()
    loss.backward()
    features = taps["layer3"].detach().requires_grad_()
    network.fc(torch.flatten(network.avgpool(network.layer4(features)), 1)).square().sum().backward()
    assert features.grad is not None
    torch.testing.assert_close(taps["layer3"].grad, features.grad)


def test_blocks_are_named_in_order(network: ResNet) -> None:
    names = block_names(network)
    assert len(names) == 16
    assert (names[0], names[-1]) == ("layer1.0", "layer4.2")
    assert residual_end(network, "layer1.0") == "layer1.0.bn3"
    assert residual_end(ResNet(18, 5), "layer1.0") == "layer1.0.bn2"


def sizes(shortcut: Tensor, residual: Tensor) -> tuple[torch.Size, torch.Size]:
    return shortcut.shape, residual.shape


@pytest.mark.parametrize("shortcuts", ["A", "B", "C"])
@pytest.mark.parametrize("depth", [18, 50])
def test_the_branches_of_a_block_add_up_to_what_it_puts_out(depth: int, shortcuts: str) -> None:
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


def test_chosen_blocks_only(network: ResNet) -> None:
    with torch.no_grad(), record_branches(network, sizes, ["layer2.0"]) as taps:
        network(IMAGES)
    assert taps == {"layer2.0": (torch.Size([2, 512, 8, 8]), torch.Size([2, 512, 8, 8]))}
