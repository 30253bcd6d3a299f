"""How similar are two layers? Centered kernel alignment (CKA) of their features for the same images.

Kornblith et al. 2019 (arXiv 1905.00414): two layers are similar if they find the same images similar, in whatever
direction of their feature space. With the unbiased estimator of Song et al. 2012 (JMLR 13, section 3), summed over
minibatches as in Nguyen et al. 2021 (arXiv 2010.15327, section 3.1): the plain estimate tends to 1 where there are
fewer images than features, as here.
"""

import numpy as np
import torch
from torch import Tensor

from resnet50.data.transforms import Preprocess
from resnet50.model.hooks import block_names, record
from resnet50.model.resnet import ResNet

MINIBATCH = 32
"""Images compared with each other at a time; the estimator's expectation doesn't depend on it."""

SMALLEST_MINIBATCH = 4
"""The unbiased estimator needs four different images."""


def gram(x: Tensor, y: Tensor) -> Tensor:
    """Keep the linear Gram matrix K = YYᵀ of a layer's output (n×…), float64 n×n, for `hooks.record`.

    Features are centered first: that changes no HSIC but saves digits.
    """
    del x
    flat = y.flatten(1).float()
    flat = flat - flat.mean(0)
    return (flat @ flat.T).double().cpu()


@torch.no_grad()
def block_grams(network: ResNet, pixels: Tensor, preprocess: Preprocess) -> list[Tensor]:
    """Return the Gram matrices of all blocks' outputs, flattened: for each minibatch, blocks×n×n.

    Pixels are uint8. An incomplete last minibatch is dropped; fewer than eight images raise ValueError.
    """
    size = min(MINIBATCH, len(pixels) // 2)
    if size < SMALLEST_MINIBATCH:
        raise ValueError(f"{len(pixels)} images are too few for two minibatches of {SMALLEST_MINIBATCH}")
    device = next(network.parameters()).device
    found: list[Tensor] = []
    for part in pixels[: len(pixels) // size * size].split(size):
        with record(network, block_names(network), gram) as grams:
            network(preprocess.normalize(part.to(device)))
        found.append(torch.stack(list(grams.values())))
    return found


def unbiased_hsic(first: Tensor, second: Tensor) -> Tensor:
    """Return the unbiased estimates of HSIC between all pairs of two stacks of Gram matrices, A×n×n and B×n×n: A×B.

    HSIC₁(K, L) = (tr KL + 1ᵀK1·1ᵀL1 / ((n-1)(n-2)) - 2·1ᵀKL1 / (n-2)) / (n(n-3)) with K and L of zero diagonals (Song
    et al. 2012, equation 5).
    """
    n = first.shape[-1]
    first, second = (stack * (1 - torch.eye(n, dtype=stack.dtype)) for stack in (first, second))
    traces = first.flatten(1) @ second.flatten(1).T
    sums = first.sum((1, 2))[:, None] * second.sum((1, 2))[None, :]
    crossed = first.sum(2) @ second.sum(2).T
    return (traces + sums / ((n - 1) * (n - 2)) - 2 * crossed / (n - 2)) / (n * (n - 3))


def cka(first: list[Tensor], second: list[Tensor]) -> np.ndarray:
    """Return the CKA between all pairs of layers of two networks (A×B) from their minibatches' Gram matrices.

    ΣHSIC₁(K, L) / √(ΣHSIC₁(K, K) · ΣHSIC₁(L, L)), sums over minibatches (Nguyen et al. 2021, equation 2). 1: the same
    up to rotation and scale; about 0: nothing in common. An estimate may lie a little below 0 or above 1. A layer with
    the same output for every image has nothing in common with any other: 0.
    """
    between = torch.stack([unbiased_hsic(a, b) for a, b in zip(first, second, strict=True)]).sum(0)
    own, other = (
        torch.stack([unbiased_hsic(stack, stack).diagonal() for stack in stacks]).sum(0) for stacks in (first, second)
    )
    scale = (own.clamp(min=0)[:, None] * other.clamp(min=0)[None, :]).sqrt()
    return torch.where(scale > 0, between / scale, 0.0).numpy()
