"""The residual network, from one block to the whole, in the order of the forward pass.

He et al. 2015, "Deep Residual Learning for Image Recognition" (arXiv 1512.03385). Attribute names are torchvision's,
so that every public checkpoint loads with `strict=True`, and the same weights give bit-identical logits.
"""

from typing import get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnet50.options import Depth, ShortcutKind, Variant
from resnet50.runtime.errors import UserError


class BasicBlock(nn.Module):
    """The block of ResNet-18 and -34: 3×3 → 3×3, added to its input (section 4.1, figure 5 left)."""

    expansion = 1

    def __init__(
        self, in_channels: int, channels: int, stride: int, shortcut: nn.Module | None, variant: Variant
    ) -> None:
        super().__init__()
        del variant  # there is only one place for the stride
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = shortcut
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Map N×C×H×W to N×channels×H/stride×W/stride."""
        residual = self.relu1(self.bn1(self.conv1(x)))
        residual = self.bn2(self.conv2(residual))
        return self.relu2(add_shortcut(residual, x, self.downsample))


class Bottleneck(nn.Module):
    """The block of ResNet-50 and deeper: 1×1 → 3×3 → 1×1, added to its input (section 4.1, figure 5 right).

    A block that halves the feature map does so in its 3×3 convolution (v1.5), or, as in the paper, in its first 1×1
    (v1), which is cheaper but discards three of four inputs.
    """

    expansion = 4

    def __init__(
        self, in_channels: int, channels: int, stride: int, shortcut: nn.Module | None, variant: Variant
    ) -> None:
        super().__init__()
        stride1, stride2 = (stride, 1) if variant == "v1" else (1, stride)
        self.conv1 = nn.Conv2d(in_channels, channels, 1, stride1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride2, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu2 = nn.ReLU(inplace=True)
        self.conv3 = nn.Conv2d(channels, channels * self.expansion, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels * self.expansion)
        self.downsample = shortcut
        self.relu3 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Map N×C×H×W to N×4·channels×H/stride×W/stride."""
        residual = self.relu1(self.bn1(self.conv1(x)))
        residual = self.relu2(self.bn2(self.conv2(residual)))
        residual = self.bn3(self.conv3(residual))
        return self.relu3(add_shortcut(residual, x, self.downsample))


def add_shortcut(residual: Tensor, x: Tensor, shortcut: nn.Module | None) -> Tensor:
    """Return F(x) + x. Not in place: hooks may still read F(x) and the sum later."""
    if isinstance(shortcut, NoShortcut):
        return residual
    return residual + (x if shortcut is None else shortcut(x))


class ZeroPadShortcut(nn.Module):
    """Option A: subsample the feature map and pad the new channels with zeros. No parameters (section 3.3)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.stride, self.new_channels = stride, out_channels - in_channels

    def forward(self, x: Tensor) -> Tensor:
        """Map N×C×H×W to N×(C + new)×H/stride×W/stride."""
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.new_channels))


class NoShortcut(nn.Module):
    """Marks a block of the plain network: nothing is added to the residual branch."""


def make_shortcut(kind: ShortcutKind, in_channels: int, out_channels: int, stride: int) -> nn.Module | None:
    """Return a block's shortcut by the paper's options (section 3.3, table 3); None is the identity.

    A: zero-padding where shapes differ. B: 1×1 projection where shapes differ. C: projection everywhere.
    """
    same_shape = stride == 1 and in_channels == out_channels
    if kind == "none":
        return NoShortcut()
    if same_shape and kind != "C":
        return None
    if kind == "A":
        return ZeroPadShortcut(in_channels, out_channels, stride)
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 1, stride, bias=False),
        nn.BatchNorm2d(out_channels),
    )


BLOCKS: dict[Depth, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, int, int, int]]] = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
    152: (Bottleneck, (3, 8, 36, 3)),
}
"""Block type and number of blocks per layer (table 1)."""

WIDTHS = (64, 128, 256, 512)
"""Channels inside the blocks of each layer; the stem has the first's (table 1)."""

STAGES = ("stem", "layer1", "layer2", "layer3", "layer4")
"""Everything between image and head, in forward order."""


class ResNet(nn.Module):
    """A residual network for images: stem, four layers of blocks, global average pooling, linear head."""

    def __init__(
        self,
        depth: Depth = 50,
        num_classes: int = 1000,
        variant: Variant = "v1.5",
        shortcuts: ShortcutKind = "B",
        *,
        zero_gamma: bool = False,
    ) -> None:
        """Build the network with He initialization.

        Args:
            depth: 18, 34, 50, 101 or 152.
            num_classes: number of logits.
            variant: position of a bottleneck's stride, see `Bottleneck`.
            shortcuts: the paper's option A, B or C; "none" gives the plain network.
            zero_gamma: initialize every block as the identity, by a zero weight in its last norm (Goyal et al. 2017,
                arXiv 1706.02677, section 5.1).

        Raises:
            UserError: an argument has none of these values.
        """
        super().__init__()
        check_architecture(depth, num_classes, variant, shortcuts)
        block, (n1, n2, n3, n4) = BLOCKS[depth]
        c1, c2, c3, c4 = WIDTHS
        self.depth: Depth = depth
        self.variant: Variant = variant
        self.shortcuts: ShortcutKind = shortcuts
        self.conv1 = nn.Conv2d(3, c1, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(c1)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)

        def layer(in_channels: int, channels: int, blocks: int, stride: int) -> nn.Sequential:
            out_channels = channels * block.expansion
            inputs = [in_channels] + [out_channels] * (blocks - 1)
            strides = [stride] + [1] * (blocks - 1)
            return nn.Sequential(
                *(
                    block(c, channels, s, make_shortcut(shortcuts, c, out_channels, s), variant)
                    for c, s in zip(inputs, strides, strict=True)
                )
            )

        self.layer1 = layer(c1, c1, n1, stride=1)
        self.layer2 = layer(c1 * block.expansion, c2, n2, stride=2)
        self.layer3 = layer(c2 * block.expansion, c3, n3, stride=2)
        self.layer4 = layer(c3 * block.expansion, c4, n4, stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(c4 * block.expansion, num_classes)
        initialize(self, zero_gamma=zero_gamma)

    def forward(self, x: Tensor) -> Tensor:
        """Map normalized images, N×3×H×W with sides of at least 32 pixels, to logits, N×num_classes."""
        return self.fc(self.features(x))

    def features(self, x: Tensor) -> Tensor:
        """Map normalized images, N×3×H×W, to the head's input: pooled features, N×2048 (N×512 for depths 18 and 34)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return torch.flatten(self.avgpool(x), 1)

    def stage(self, name: str) -> list[nn.Module]:
        """Return the modules of the stage `name`, one of `STAGES`."""
        return [self.conv1, self.bn1] if name == "stem" else [self.get_submodule(name)]


def check_architecture(depth: int, num_classes: int, variant: str, shortcuts: str) -> None:
    for what, value, allowed in (
        ("depth", depth, get_args(Depth)),
        ("variant", variant, get_args(Variant)),
        ("shortcuts", shortcuts, get_args(ShortcutKind)),
    ):
        if value not in allowed:
            raise UserError(f"{what} {value!r} is none of {', '.join(map(str, allowed))}")
    if num_classes < 1:
        raise UserError(f"a network needs at least one class, not {num_classes}")


def initialize(model: nn.Module, *, zero_gamma: bool = False) -> None:
    """Initialize convolutions as He et al. 2015 (arXiv 1502.01852, normal, fan-out), norms with weight 1 and bias 0."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
    if zero_gamma:
        for module in model.modules():
            if isinstance(module, Bottleneck):
                nn.init.zeros_(module.bn3.weight)
            elif isinstance(module, BasicBlock):
                nn.init.zeros_(module.bn2.weight)


def resnet18(num_classes: int = 1000, *, shortcuts: ShortcutKind = "B", zero_gamma: bool = False) -> ResNet:
    """Build ResNet-18; `num_classes`, `shortcuts` and `zero_gamma` as for `ResNet`."""
    return ResNet(18, num_classes, shortcuts=shortcuts, zero_gamma=zero_gamma)


def resnet34(num_classes: int = 1000, *, shortcuts: ShortcutKind = "B", zero_gamma: bool = False) -> ResNet:
    """Build ResNet-34; `num_classes`, `shortcuts` and `zero_gamma` as for `ResNet`."""
    return ResNet(34, num_classes, shortcuts=shortcuts, zero_gamma=zero_gamma)


def resnet50(
    num_classes: int = 1000, variant: Variant = "v1.5", shortcuts: ShortcutKind = "B", *, zero_gamma: bool = False
) -> ResNet:
    """Build ResNet-50; `num_classes`, `variant`, `shortcuts` and `zero_gamma` as for `ResNet`."""
    return ResNet(50, num_classes, variant, shortcuts, zero_gamma=zero_gamma)


def resnet101(
    num_classes: int = 1000, variant: Variant = "v1.5", shortcuts: ShortcutKind = "B", *, zero_gamma: bool = False
) -> ResNet:
    """Build ResNet-101; `num_classes`, `variant`, `shortcuts` and `zero_gamma` as for `ResNet`."""
    return ResNet(101, num_classes, variant, shortcuts, zero_gamma=zero_gamma)


def resnet152(
    num_classes: int = 1000, variant: Variant = "v1.5", shortcuts: ShortcutKind = "B", *, zero_gamma: bool = False
) -> ResNet:
    """Build ResNet-152; `num_classes`, `variant`, `shortcuts` and `zero_gamma` as for `ResNet`."""
    return ResNet(152, num_classes, variant, shortcuts, zero_gamma=zero_gamma)
