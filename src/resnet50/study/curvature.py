"""The sharpest and the flattest curvature of the loss: the ends of the Hessian's spectrum."""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

LANCZOS_STEPS = 20
"""At most so many Hessian-vector products for one sharpness."""

TOLERANCE = 0.05
"""Relative error of the sharpness from which it is exact enough: what it is compared with differs by factors."""


@dataclass(frozen=True)
class Curvature:
    """The ends of a Hessian's spectrum."""

    largest: float  # eigenvalue, the sharpness
    smallest: float  # eigenvalue; the more negative, the less convex
    error: float  # bound of the largest one's, relative to it


def curvature(network: nn.Module, x: Tensor, labels: Tensor, seed: int) -> Curvature:
    """Return the ends of the spectrum of the Hessian of the mean cross-entropy over one batch, in all parameters.

    Lanczos' method (1950, J. Res. Nat. Bur. Stand. 45, 255–282), as in Cohen et al. 2021: power iteration that doesn't
    forget the vectors on its way, so it needs fewer of them and finds both ends. Hessian-vector products are the
    gradient of (gradient · v) (Pearlmutter 1994). The batch is taken as in training: norms use its statistics.
    The network is not changed. The seed draws the first vector.
    """
    network = copy.deepcopy(network).train()
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    gradients = torch.autograd.grad(F.cross_entropy(network(x), labels), parameters, create_graph=True)
    gradient = torch.cat([part.flatten() for part in gradients])

    def product_with(vector: Tensor) -> Tensor:
        parts = torch.autograd.grad(gradient, parameters, vector, retain_graph=True, materialize_grads=True)
        return torch.cat([part.flatten() for part in parts])

    first = torch.randn(len(gradient), generator=torch.Generator().manual_seed(seed)).to(gradient)
    return lanczos(product_with, first)


def lanczos(product_with: Callable[[Tensor], Tensor], first: Tensor) -> Curvature:
    """Return the ends of the spectrum of a symmetric matrix known by its products, starting from a vector."""
    vectors = [first / first.norm()]
    diagonal: list[float] = []
    beside: list[float] = []
    while True:
        image = product_with(vectors[-1])
        diagonal.append(float(image @ vectors[-1]))
        for vector in vectors:  # against all: rounding would bring the first ones back
            image = image - (image @ vector) * vector
        beside.append(float(image.norm()))
        values, states = np.linalg.eigh(np.diag(diagonal) + np.diag(beside[:-1], 1) + np.diag(beside[:-1], -1))
        error = beside[-1] * abs(states[-1, -1]) / max(abs(values[-1]), 1e-12)
        exhausted = len(vectors) == len(first) or beside[-1] <= 1e-6 * max(map(abs, values))
        if error <= TOLERANCE or exhausted or len(vectors) == LANCZOS_STEPS:
            return Curvature(float(values[-1]), float(values[0]), float(error))
        vectors.append(image / beside[-1])
