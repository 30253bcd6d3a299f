"""Batch norms: the statistics of an untrained network, and a network without any."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


@torch.no_grad()
def settle_norms(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Set the batch norms' running statistics to the mean over batches and switch to evaluation mode.

    With the initial statistics, mean 0 and variance 1, every block would double the variance, and its branch would
    weigh more than in any trained network. Batches are normalized images, N×3×H×W. Weights and momenta stay.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a cumulative average
    network.train()
    for batch in batches:
        network(batch)
    network.eval()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def remove_norms(network: nn.Module) -> None:
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                setattr(parent, name, nn.Identity())
