"""Batch-norm folding for inference: the same function with fewer passes over memory."""

import copy
from typing import cast

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from resnet50.model.resnet import ResNet


def fold_batch_norms(network: ResNet) -> ResNet:
    """Return a copy for inference with each batch norm folded into the convolution before it.

    A batch norm in evaluation mode is an affine map of each channel, which the convolution before it can absorb (Jacob
    et al. 2017, arXiv 1712.05877, section 3.2). Every `bn` becomes an `nn.Identity`, so names and `forward` are
    unchanged; logits in fp32 differ by rounding only.

    Args:
        network: any depth, variant and shortcuts; it is not modified.

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
    """Return pairs of names: a module's own convolutions, each with the batch norm that follows it.

    Both are declared in the order in which they are applied: `conv1`, `bn1` and so on in the stem and in blocks; a
    projection is a sequence of the two.
    """
    names = [name for name, child in module.named_children() if isinstance(child, nn.Conv2d | nn.BatchNorm2d)]
    return list(zip(names[::2], names[1::2], strict=True))
