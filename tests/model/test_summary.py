import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from resnet50.model import ResNet, resnet50
from resnet50.model.summary import show, summarize
from resnet50.options import ModelOptions, ShortcutKind, Variant
from resnet50.runtime.console import console
from resnet50.runtime.errors import UserError


def test_resnet50_has_the_stages_of_the_paper() -> None:
    rows = {row.name: row for row in summarize(resnet50(), 224)}
    assert {name: row.shape for name, row in rows.items()} == {
        "stem": (64, 112, 112),
        "maxpool": (64, 56, 56),
        "layer1": (256, 56, 56),
        "layer2": (512, 28, 28),
        "layer3": (1024, 14, 14),
        "layer4": (2048, 7, 7),
        "avgpool": (2048, 1, 1),
        "fc": (1000,),
    }
    assert [row.blocks for row in rows.values()] == [0, 0, 3, 4, 6, 3, 0, 0]
    assert sum(row.parameters for row in rows.values()) == 25_557_032
    assert rows["stem"].parameters == 7 * 7 * 3 * 64 + 2 * 64
    assert rows["stem"].macs == 7 * 7 * 3 * 64 * 112 * 112


@pytest.mark.parametrize(("variant", "published"), [("v1.5", 4.09), ("v1", 3.86)])
def test_multiply_accumulates_equal_the_published_ones(variant: Variant, published: float) -> None:
    macs = sum(row.macs for row in summarize(resnet50(variant=variant), 224))
    assert round(macs / 1e9, 2) == published


@pytest.mark.parametrize(
    ("depth", "variant", "shortcuts", "size"),
    [(50, "v1.5", "B", 224), (50, "v1", "C", 97), (18, "v1.5", "A", 64), (34, "v1.5", "none", 33)],
)
def test_multiply_accumulates_equal_torchs_flop_counter(
    depth: int, variant: Variant, shortcuts: ShortcutKind, size: int
) -> None:
    network = ResNet(depth, 7, variant, shortcuts).eval()  # type: ignore[arg-type]
    rows = summarize(network, size)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.to("meta")(torch.empty(1, 3, size, size, device="meta"))
    assert 2 * sum(row.macs for row in rows) == counter.get_total_flops()


@pytest.mark.slow
def test_receptive_fields_equal_those_computed_by_hand() -> None:
    """v1, layer4: 483, also in Araujo et al. 2019, "Computing Receptive Fields of Convolutional Neural Networks"."""

    def fields(network: ResNet) -> list[int]:
        return [row.receptive_field for row in summarize(network, 224)]

    # v1.5: 7; + 2·2; + 3·2·4; + 2·4 + 3·2·8; + 2·8 + 5·2·16; + 2·16 + 2·2·32; + 6·32
    assert fields(resnet50()) == [7, 11, 35, 91, 267, 427, 619, 619]
    # v1 strides before each first 3×3: 35 + 4·2·8; + 6·2·16; + 3·2·32; + 6·32
    assert fields(resnet50(variant="v1")) == [7, 11, 35, 99, 291, 483, 675, 675]
    # 18: two 3×3 a block, the first of a layer before its stride: 11 + 4·8; + 8 + 3·16; + 16 + 3·32; + 32 + 3·64
    assert fields(ResNet(18)) == [7, 11, 43, 99, 211, 435, 627, 627]


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["v1", "v1.5"])
def test_receptive_field_is_the_extent_of_the_gradient(variant: Variant) -> None:
    """Trace one value of layer2 back to the pixels that it depends on, with positive weights."""
    network = resnet50(2, variant).double()
    for parameter in network.parameters():
        torch.nn.init.constant_(parameter, 0.01)
    network.maxpool = torch.nn.AvgPool2d(3, 2, 1)  # type: ignore[assignment]
    network.eval()
    images = torch.ones(1, 3, 256, 256, dtype=torch.float64, requires_grad=True)
    x = network.layer2(network.layer1(network.maxpool(network.relu(network.bn1(network.conv1(images))))))
    x[0, 0, 16, 16].backward()
    assert images.grad is not None
    rows = (images.grad[0, 0].abs().sum(1) > 0).nonzero()
    field = {row.name: row.receptive_field for row in summarize(resnet50(2, variant), 256)}["layer2"]
    assert rows.max() - rows.min() + 1 == field


def test_summary_does_not_change_the_network() -> None:
    network = resnet50(3).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    summarize(network, 32)
    assert network.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())


def test_table_has_every_stage_and_the_totals() -> None:
    with console.capture() as capture:
        show(ModelOptions(variant="v1", classes=5, image_size=64))
    text = capture.get()
    assert "ResNet-50 v1, shortcuts B, 64×64 pixels, 5 classes" in text
    assert "layer4" in text
    assert f"{25_557_032 - 2049 * 995:,}" in text


def test_image_too_small_and_unknown_architecture_are_refused() -> None:
    with pytest.raises(UserError, match="31"):
        summarize(resnet50(2), 31)
    with pytest.raises(UserError, match="--depth '51': expected one of 18, 34"):
        show(ModelOptions(depth=51))  # type: ignore[arg-type]
    with pytest.raises(UserError, match="--classes 0: must be at least 1"):
        show(ModelOptions(classes=0))
