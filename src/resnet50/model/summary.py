"""The network as a table: output shape, cost and receptive field of each stage."""

import copy
import math
from dataclasses import dataclass
from typing import cast

import torch
from rich.table import Table
from torch import Tensor, nn

from resnet50.model.resnet import ResNet
from resnet50.options import ModelOptions
from resnet50.runtime.console import console
from resnet50.runtime.errors import UserError


@dataclass(frozen=True)
class Stage:
    """A row of the table.

    Attributes:
        name: stem (conv1, bn1, relu), maxpool, layer1 ... layer4, avgpool or fc.
        shape: of the output for one image, channels×height×width (fc: logits).
        blocks: number of residual blocks.
        parameters: number of trainable parameters.
        macs: multiply-accumulates of convolutions and the linear layer, for one image.
        receptive_field: side in pixels of the input square that one output value can depend on, along the residual
            branch; it may be larger than the image.
    """

    name: str
    shape: tuple[int, ...]
    blocks: int
    parameters: int
    macs: int
    receptive_field: int


def summarize(network: ResNet, image_size: int = 224) -> list[Stage]:
    """Return the stages of a network for square images of a size, without a real forward pass.

    Raises:
        UserError: images of less than 32 pixels.
    """
    if image_size < 32:
        raise UserError(f"image size {image_size} is too small: the network needs at least 32 pixels")
    skeleton = copy.deepcopy(network).to("meta").eval()
    calls = record_calls(skeleton, torch.empty(1, 3, image_size, image_size, device="meta"))
    rows: list[Stage] = []
    field, jump = 1, 1  # receptive field, and distance between neighbors' centers
    for name, children in stages(skeleton).items():
        shape, macs = (), 0
        for call in (call for call in calls if call.name.partition(".")[0] in children):
            macs += call.macs
            if "downsample" not in call.name:
                shape = tuple(call.output[1:])
                field += (call.kernel - 1) * jump
                jump *= call.stride
        modules = [getattr(skeleton, child) for child in children]
        parameters = sum(parameter.numel() for module in modules for parameter in module.parameters())
        blocks = sum(len(module) for module in modules if isinstance(module, nn.Sequential))
        rows.append(Stage(name, shape, blocks, parameters, macs, field))
    return rows


def stages(network: ResNet) -> dict[str, list[str]]:
    """Return the rows of the table, with the names of the modules in each."""
    children = [name for name, _ in network.named_children()]
    stem = children[: children.index("maxpool")]
    return {"stem": stem} | {name: [name] for name in children if name not in stem}


@dataclass(frozen=True)
class ModuleCall:
    """The call of a leaf module in a forward pass."""

    name: str
    output: tuple[int, ...]
    macs: int
    kernel: int
    stride: int


def record_calls(network: nn.Module, images: Tensor) -> list[ModuleCall]:
    """Run a forward pass and return the calls of leaf modules, in order."""
    calls: list[ModuleCall] = []

    def watch(name: str, module: nn.Module) -> None:
        def record(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            kernel, stride = kernel_and_stride(module, inputs[0])
            calls.append(ModuleCall(name, tuple(output.shape), multiply_accumulates(module, output), kernel, stride))

        module.register_forward_hook(record)

    for name, module in network.named_modules():
        if not list(module.children()):
            watch(name, module)
    with torch.no_grad():
        network(images)
    return calls


def multiply_accumulates(module: nn.Module, output: Tensor) -> int:
    """Return the multiply-accumulates of a module; norms, sums and pooling are not counted, as is customary."""
    if isinstance(module, nn.Conv2d):
        return output.numel() * module.in_channels // module.groups * math.prod(module.kernel_size)
    return output.numel() * module.in_features if isinstance(module, nn.Linear) else 0


def kernel_and_stride(module: nn.Module, x: Tensor) -> tuple[int, int]:
    """Return side and stride of the window that a module slides over its input."""
    if isinstance(module, nn.Conv2d):
        return module.kernel_size[0], module.stride[0]
    if isinstance(module, nn.MaxPool2d):
        return cast(int, module.kernel_size), cast(int, module.stride)
    return (x.shape[-1], 1) if isinstance(module, nn.AdaptiveAvgPool2d) else (1, 1)


def show(options: ModelOptions) -> None:
    """Print the table of stages."""
    with torch.device("meta"):
        network = ResNet(options.depth, options.classes, options.variant, options.shortcuts)
    rows = summarize(network, options.image_size)
    parameters, macs = sum(row.parameters for row in rows), sum(row.macs for row in rows)
    table = Table(
        title=f"ResNet-{options.depth} {options.variant}, shortcuts {options.shortcuts}, "
        f"{options.image_size}×{options.image_size} pixels, {options.classes:,} classes",
        caption=f"{macs / 1e9:.2f} G multiply-accumulates (MACs) per image; the receptive field may exceed the image",
        title_justify="left",
        caption_justify="left",
        show_footer=True,
    )
    table.add_column("stage", "total")
    table.add_column("output", justify="right")
    table.add_column("blocks", str(sum(row.blocks for row in rows)), justify="right")
    table.add_column("parameters", f"{parameters:,}", justify="right")
    table.add_column("MACs", f"{macs:,}", justify="right")
    table.add_column("receptive field", justify="right")
    for row in rows:
        table.add_row(
            row.name,
            "×".join(map(str, row.shape)),
            str(row.blocks or ""),
            f"{row.parameters:,}" if row.parameters else "",
            f"{row.macs:,}" if row.macs else "",
            f"{row.receptive_field}",
        )
    console.print(table)
