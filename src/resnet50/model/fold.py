"""Batch norms folded into the convolutions before them: the same function of an image with fewer passes over memory."""

import copy
from typing import cast

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from resnet50.model.resnet import ResNet


def fold_batch_norms(network: ResNet) -> ResNet:
    """Return a copy for inference whose convolutions do the work of the batch norms that follow them.

    A batch norm in evaluation mode is an affine map of each channel, and so is the end of a convolution (Jacob et al.
    2017, arXiv 1712.05877, section 3.2). Every `bn` is left as an `nn.Identity`, so names and `forward` stay as they
    are; logits in fp32 differ by rounding only.

    Args:
        network: any depth, variant and shortcuts; stays as it is.

    Returns:
        A network in evaluation mode on the same device, without gradients, with a bias in every convolution.
    """
    folded = copy.deepcopy(network).eval()
    for module in folded.modules():
        for convolution, norm in adjacent(module):
            fused = fuse_conv_bn_eval(
                cast(nn.Conv2d, module.get_submodule(convolution)), cast(nn.BatchNorm2d, module.get_submodule(norm))
            )
            setattr(module, convolution, fused)
            setattr(module, norm, nn.Identity())
    return folded.requires_grad_(False)


def adjacent(module: nn.Module) -> list[tuple[str, str]]:
    """Return the names of a module's own convolutions, each with that of the batch norm which takes its output.

    Both are declared in the order they are applied: stem and blocks as `conv1`, `bn1` and so on, a projection as a
    sequence of the two.
    """
    names = [name for name, child in module.named_children() if isinstance(child, nn.Conv2d | nn.BatchNorm2d)]
    return list(zip(names[::2], names[1::2], strict=True))
