"""Receptive fields: how much of an image one value of a feature map depends on, in theory and in effect.

The theoretical field is a sum over layers (`model.summary`); the effective one is measured by the gradient: Luo et al.
2016, "Understanding the Effective Receptive Field in Deep Convolutional Neural Networks" (arXiv 1701.04128).
"""

import numpy as np
import torch
from torch import Tensor, nn

from resnet50.model.hooks import record
from resnet50.model.resnet import STAGES, ResNet
from resnet50.model.summary import summarize

STRIDE = 32
"""Of the whole network: the distance in pixels between neighbors of the last feature map."""

STAGE_ENDS = {"stem": "relu"} | {stage: stage for stage in STAGES[1:]}
"""The module whose output is a stage's."""

HELD = 0.95
"""Share of the gradient that the effective field holds."""

GAUSSIAN_RATIO = 0.470
"""Side of the square that holds half of a round Gaussian over that of the one that holds 95%: 1.052 σ / 2.236 σ.

A square's share is the product of two intervals' shares: √0.5 and √0.95.
"""


def theoretical_fields(network: ResNet) -> dict[str, int]:
    """Return the theoretical field of every stage along the residual branch: side in pixels.

    Every layer adds (kernel - 1) times the product of the strides before it: r_l = r_(l-1) + (k_l - 1)·∏ s_i.
    """
    return {stage.name: stage.receptive_field for stage in summarize(network) if stage.name in STAGES}


def canvas_side(network: ResNet) -> int:
    """Return the side, in pixels, of an image that contains the last stage's central field."""
    return 2 * STRIDE * -(-(theoretical_fields(network)["layer4"] + 1) // (2 * STRIDE))


def input_gradients(network: nn.Module, images: Tensor, ends: dict[str, str]) -> dict[str, Tensor]:
    """Return how strongly each pixel moves a layer's central position: |∂ Σ_c y_c(center) / ∂x| summed over colors.

    The outputs of the modules that `ends` names are differentiated: N×S×S by name, on the CPU.
    """
    images = images.detach().requires_grad_()
    with record(network, ends.values()) as outputs:
        network(images)
    found: dict[str, Tensor] = {}
    for name, end in ends.items():
        middle = outputs[end].shape[-1] // 2
        (gradient,) = torch.autograd.grad(outputs[end][:, :, middle, middle].sum(), images, retain_graph=True)
        found[name] = gradient.abs().sum(1).cpu()
    return found


def side_holding(gradient: np.ndarray, share: float) -> float:
    """Return the side (pixels) of the square around the middle, [S/2, S/2], that holds a share of a map's sum.

    The map is S×S with S even. Interpolated between the odd sides that whole pixels allow; NaN for a map of zeros.
    """
    if not gradient.sum():
        return float("nan")
    away = np.abs(np.arange(len(gradient)) - len(gradient) // 2)
    rings = np.maximum(away[:, None], away[None, :])
    held = np.cumsum(np.bincount(rings.ravel(), weights=gradient.ravel().astype(np.float64)))
    return float(np.interp(share, held / held[-1], 2 * np.arange(len(held)) + 1))
