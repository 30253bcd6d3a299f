import copy

import pytest
import timm
import torch
import torchvision
from torch import nn

from resnet50.model import ResNet, resnet18, resnet34, resnet50, resnet101, resnet152
from resnet50.model.resnet import BasicBlock, Bottleneck
from resnet50.options import Depth, ShortcutKind, Variant
from resnet50.runtime.errors import UserError


def train_step(network: nn.Module, images: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Return logits and every gradient of a cross-entropy."""
    logits = network(images)
    nn.functional.cross_entropy(logits, torch.arange(len(images)) % logits.shape[1]).backward()
    return logits.detach(), {name: p.grad for name, p in network.named_parameters() if p.grad is not None}


def shake_norms(network: nn.Module) -> None:
    """Perturb the weights and statistics of norms away from 1 and 0, so that an error in them shows."""
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight.data, module.running_var, module.bias.data, module.running_mean):
                assert tensor is not None
                tensor.add_(torch.rand(tensor.shape, generator=generator) * 0.2)


def assert_same_network(network: ResNet, reference: nn.Module, size: int, batch: int) -> None:
    """Same weights and images must give the same logits, gradients and running statistics, bit for bit."""
    shake_norms(reference)
    network.load_state_dict(reference.state_dict(), strict=True)
    images = torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(1))
    for training in (False, True):
        results = [train_step(each.train(training), images) for each in (network, reference)]
        (logits, gradients), (expected_logits, expected_gradients) = results
        assert torch.equal(logits, expected_logits)
        assert gradients.keys() == expected_gradients.keys()
        assert all(torch.equal(gradients[name], expected_gradients[name]) for name in expected_gradients)
    assert all(torch.equal(tensor, network.state_dict()[name]) for name, tensor in reference.state_dict().items())


@pytest.mark.parametrize(
    ("depth", "size", "batch"),
    [(18, 64, 4), (50, 97, 2), *(pytest.param(depth, 64, 2, marks=pytest.mark.slow) for depth in (34, 101))],
)
def test_logits_and_gradients_equal_torchvisions_bit_for_bit(depth: Depth, size: int, batch: int) -> None:
    torch.manual_seed(0)
    reference = torchvision.models.get_model(f"resnet{depth}", weights=None, num_classes=10)
    assert_same_network(ResNet(depth, 10), reference, size, batch)


@pytest.mark.parametrize("make", [resnet18, resnet34, resnet50, resnet101, resnet152])
def test_state_dict_has_torchvisions_names_and_shapes(make: type[ResNet]) -> None:
    with torch.device("meta"):
        network, reference = make(), torchvision.models.get_model(make.__name__, weights=None)
    shapes = [{name: tensor.shape for name, tensor in net.state_dict().items()} for net in (network, reference)]
    assert list(shapes[0].items()) == list(shapes[1].items())


def test_resnet50_has_25_557_032_parameters() -> None:
    assert sum(parameter.numel() for parameter in resnet50().parameters()) == 25_557_032


@pytest.mark.slow
def test_v1_strides_on_the_first_convolution() -> None:
    """Compare with torchvision's network after moving its strides: it has no v1."""
    torch.manual_seed(0)
    reference = torchvision.models.resnet50(weights=None, num_classes=10)
    for layer in (reference.layer2, reference.layer3, reference.layer4):
        layer[0].conv1.stride, layer[0].conv2.stride = (2, 2), (1, 1)
    assert_same_network(resnet50(10, variant="v1"), reference, 65, 2)


def test_v15_agrees_with_timm() -> None:
    torch.manual_seed(0)
    reference = timm.create_model("resnet50", num_classes=10).eval()
    network = resnet50(10).eval()
    network.load_state_dict(reference.state_dict(), strict=True)
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(network(images), reference(images), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("variant", ["v1", "v1.5"])
@pytest.mark.parametrize("shortcuts", ["A", "B", "C", "none"])
@pytest.mark.parametrize("depth", [18, pytest.param(50, marks=pytest.mark.slow)])
def test_every_network_takes_any_size_from_32_pixels(depth: Depth, variant: Variant, shortcuts: ShortcutKind) -> None:
    with torch.device("meta"):
        network = ResNet(depth, 7, variant, shortcuts).eval()
        for height, width in ((32, 32), (33, 47), (63, 65), (224, 224), (101, 320)):
            assert network(torch.empty(2, 3, height, width)).shape == (2, 7)
            assert network.features(torch.empty(2, 3, height, width)).shape == (2, 512 if depth == 18 else 2048)


def projections(network: ResNet) -> int:
    return sum(isinstance(block.downsample, nn.Sequential) for block in blocks(network))


def blocks(network: ResNet) -> list[BasicBlock | Bottleneck]:
    return [module for module in network.modules() if isinstance(module, BasicBlock | Bottleneck)]


@pytest.mark.parametrize(
    ("depth", "shortcuts", "count"),
    [(50, "A", 0), (50, "B", 4), (50, "C", 16), (50, "none", 0), (18, "A", 0), (18, "B", 3), (18, "C", 8)],
)
def test_shortcut_options_project_as_in_the_paper(depth: Depth, shortcuts: ShortcutKind, count: int) -> None:
    with torch.device("meta"):
        network = ResNet(depth, shortcuts=shortcuts)
    assert projections(network) == count


def test_shortcut_options_have_the_expected_parameters() -> None:
    def parameters(shortcuts: ShortcutKind) -> int:
        with torch.device("meta"):
            return sum(p.numel() for p in resnet50(shortcuts=shortcuts).parameters())

    shapes = [(64, 256), (256, 512), (512, 1024), (1024, 2048)]
    b_only = sum(i * o + 2 * o for i, o in shapes)
    c_only = sum(n * (o * o + 2 * o) for n, (_, o) in zip((2, 3, 5, 2), shapes, strict=True))
    assert parameters("A") == parameters("none") == 25_557_032 - b_only
    assert parameters("C") == 25_557_032 + c_only


def test_option_a_subsamples_and_pads_with_zeros() -> None:
    block = resnet18(2, shortcuts="A").layer2[0].eval()
    nn.init.zeros_(block.bn2.weight)
    x = torch.rand(1, 64, 9, 9)
    with torch.no_grad():
        y = block(x)
    assert torch.equal(y[:, :64], x[:, :, ::2, ::2])
    assert torch.equal(y[:, 64:], torch.zeros(1, 64, 5, 5))


def test_plain_network_has_no_shortcut() -> None:
    block = resnet50(2, shortcuts="none").layer1[1].eval()
    nn.init.zeros_(block.bn3.weight)
    with torch.no_grad():
        assert not block(torch.rand(1, 256, 8, 8)).any()


@pytest.mark.parametrize("depth", [18, 50])
def test_zero_gamma_reduces_every_block_to_its_shortcut(depth: Depth) -> None:
    network = ResNet(depth, 2, zero_gamma=True).train()
    for block in blocks(network):
        channels = block.conv1.in_channels
        x = torch.randn(2, channels, 8, 8)
        with torch.no_grad():
            shortcut = x if block.downsample is None else copy.deepcopy(block.downsample)(x)
            assert torch.equal(block(x), shortcut.relu())


def test_blocks_are_not_the_identity_without_zero_gamma() -> None:
    x = torch.rand(2, 256, 8, 8)
    with torch.no_grad():
        assert not torch.allclose(resnet50(2).layer1[1](x), x)


@pytest.mark.parametrize("depth", [18, pytest.param(50, marks=pytest.mark.slow)])
@pytest.mark.parametrize("shortcuts", ["A", "B", "C", "none"])
def test_values_seen_by_hooks_are_not_overwritten(depth: Depth, shortcuts: ShortcutKind) -> None:
    network = ResNet(depth, 2, shortcuts=shortcuts).train()
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []

    def keep(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        seen.append((output, output.detach().clone()))

    def keep_input(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        seen.append((inputs[0], inputs[0].detach().clone()))

    for block in blocks(network):
        last_norm, last_relu = (block.bn3, block.relu3) if isinstance(block, Bottleneck) else (block.bn2, block.relu2)
        last_norm.register_forward_hook(keep)
        last_relu.register_forward_pre_hook(keep_input)
        block.register_forward_hook(keep)
        if block.downsample is not None:
            block.downsample.register_forward_hook(keep)
    network(torch.randn(2, 3, 32, 32)).sum().backward()
    assert len(seen) >= 3 * len(blocks(network))
    assert all(torch.equal(tensor.detach(), before) for tensor, before in seen)


def test_every_relu_is_a_separate_module() -> None:
    network = resnet50(2)
    relus = [module for module in network.modules() if isinstance(module, nn.ReLU)]
    assert len(relus) == 1 + 3 * 16
    calls: list[nn.Module] = []
    for relu in relus:
        relu.register_forward_hook(lambda module, inputs, output: calls.append(module))
    with torch.no_grad():
        network.eval()(torch.randn(1, 3, 32, 32))
    assert len(calls) == len(set(calls)) == len(relus)


def test_convolutions_have_he_initialization() -> None:
    torch.manual_seed(0)
    weight = resnet50(2).layer3[0].conv2.weight
    assert weight.mean().abs() < 1e-3
    assert weight.std().item() == pytest.approx((2 / (256 * 9)) ** 0.5, rel=0.02)


def test_same_seed_gives_the_same_network() -> None:
    first, second = (torch.manual_seed(3) and resnet18(2).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_stages_name_their_modules() -> None:
    network = resnet18(2)
    assert network.stage("stem") == [network.conv1, network.bn1]
    assert network.stage("layer4") == [network.layer4]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"depth": 51}, "depth 51"),
        ({"variant": "v2"}, "variant 'v2'"),
        ({"shortcuts": "D"}, "shortcuts 'D'"),
        ({"num_classes": 0}, "at least one class, not 0"),
        ({"num_classes": -3}, "at least one class, not -3"),
    ],
)
def test_unknown_architecture_is_refused(arguments: dict[str, object], named: str) -> None:
    with pytest.raises(UserError, match=named):
        ResNet(**arguments)  # type: ignore[arg-type]
