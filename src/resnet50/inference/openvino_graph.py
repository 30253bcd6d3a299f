"""The network as an OpenVINO graph, from uint8 images to logits.

It is built node by node from our own modules, of which there are few kinds. OpenVINO's converter from PyTorch gives
the same graph, but takes seconds to trace the network where this takes 50 ms, and reports every use (see
`import_openvino`).
"""

import sys
from importlib import import_module
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from resnet50.data.transforms import Preprocess
from resnet50.model.resnet import STAGES, BasicBlock, Bottleneck, NoShortcut, ResNet, ZeroPadShortcut
from resnet50.runtime.errors import UserError

TELEMETRY = "openvino_telemetry"


def import_openvino() -> Any:
    """Import OpenVINO with its telemetry disabled.

    `import openvino` also imports its model converter, which reports the import and every later conversion to Google
    Analytics unless the user has opted out, and writes an identifier to ~/intel. If the telemetry package cannot be
    imported, the converter does without it for the life of the process. So it is hidden during the import.

    Raises:
        UserError: OpenVINO is not installed.
    """
    hidden = sys.modules.get(TELEMETRY)
    sys.modules[TELEMETRY] = cast(Any, None)  # makes `import` raise ImportError
    try:
        return import_module("openvino")
    except ImportError as error:
        raise UserError(
            f"the openvino engine needs a package that can't be imported ({error}): pip install 'resnet50[openvino]', "
            "or use --engine torch"
        ) from error
    finally:
        del sys.modules[TELEMETRY]
        if hidden is not None:
            sys.modules[TELEMETRY] = hidden


def build_graph(network: ResNet, preprocess: Preprocess) -> Any:
    """Build an `openvino.Model` that maps uint8 images, N×3×size×size for any N, to float32 logits, N×classes.

    Args:
        network: On the CPU, with its batch norms folded.
        preprocess: Gives image size and normalization.
    """
    openvino = import_openvino()
    ops = import_module("openvino.opset13")
    images = ops.parameter([-1, 3, preprocess.size, preprocess.size], np.uint8, "images")
    x = ops.relu(convolution(ops, normalized(ops, images, preprocess), network.conv1))
    pool = network.maxpool
    x = ops.max_pool(x, *([side, side] for side in window(pool))).output(0)  # the second output holds the indices
    for stage in STAGES[1:]:
        for block in cast(nn.Sequential, network.stage(stage)[0]):
            x = residual_block(ops, x, cast(BasicBlock | Bottleneck, block))
    features = ops.reduce_mean(x, np.array([2, 3]))
    weight, bias = constant(ops, network.fc.weight), constant(ops, network.fc.bias)
    logits = ops.add(ops.matmul(features, weight, transpose_a=False, transpose_b=True), bias)
    return openvino.Model([logits], [images], "resnet50")


def window(pool: nn.MaxPool2d) -> tuple[int, int, int, int, int]:
    """Return stride, dilation, padding before and after, and size of a pooling window, in OpenVINO's order."""
    stride, dilation, padding, side = pool.stride, pool.dilation, pool.padding, pool.kernel_size
    return cast(tuple[int, int, int, int, int], (stride, dilation, padding, padding, side))


def normalized(ops: Any, images: Any, preprocess: Preprocess) -> Any:
    """Add `Preprocess.normalize`, which is linear, from its values at black and at white for each channel."""
    black, white = (preprocess.normalize(torch.full((1, 3, 1, 1), gray, dtype=torch.uint8)) for gray in (0, 255))
    slope = constant(ops, (white - black) / 255)
    return ops.add(ops.multiply(ops.convert(images, np.float32), slope), constant(ops, black))


def residual_block(ops: Any, x: Any, block: BasicBlock | Bottleneck) -> Any:
    """Add a block: convolutions with ReLUs between them, the shortcut, a ReLU."""
    first, *others = [block.conv1, block.conv2, *([block.conv3] if isinstance(block, Bottleneck) else [])]
    residual = convolution(ops, x, first)
    for module in others:
        residual = convolution(ops, ops.relu(residual), module)
    shortcut = block.downsample
    if isinstance(shortcut, NoShortcut):
        return ops.relu(residual)
    if isinstance(shortcut, ZeroPadShortcut):
        x = zero_padded(ops, x, shortcut)
    elif shortcut is not None:
        x = convolution(ops, x, cast(nn.Conv2d, cast(nn.Sequential, shortcut)[0]))
    return ops.relu(ops.add(residual, x))


def convolution(ops: Any, x: Any, module: nn.Conv2d) -> Any:
    """Add a convolution and its bias."""
    assert module.bias is not None  # its batch norm is folded into it
    padding = list(cast(tuple[int, int], module.padding))
    y = ops.convolution(x, constant(ops, module.weight), list(module.stride), padding, padding, list(module.dilation))
    return ops.add(y, constant(ops, module.bias.view(1, -1, 1, 1)))


def zero_padded(ops: Any, x: Any, shortcut: ZeroPadShortcut) -> Any:
    """Add the shortcut without parameters: every `stride`-th row and column, then channels of zeros."""
    end, step = np.iinfo(np.int64).max, shortcut.stride
    x = ops.slice(x, np.array([0, 0]), np.array([end, end]), np.array([step, step]), np.array([2, 3]))
    return ops.pad(x, np.array([0, 0, 0, 0]), np.array([0, shortcut.new_channels, 0, 0]), "constant", np.float32(0))


def constant(ops: Any, tensor: Tensor) -> Any:
    """Add a tensor's values to the graph."""
    return ops.constant(tensor.detach().float().contiguous().numpy())
