"""The loss around a network's weights, along random directions."""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def filter_normalized_direction(network: nn.Module, generator: torch.Generator) -> list[Tensor]:
    """Draw a random direction in the space of weights: a tensor like every parameter, in their order.

    Normal noise, each filter (each row, for a linear layer) scaled to the norm of the weights' own filter; zero for
    norms and biases (Li et al. 2018, arXiv 1712.09913, section 4).
    """
    direction: list[Tensor] = []
    for parameter in network.parameters():
        weight = parameter.detach()
        if weight.ndim <= 1:
            direction.append(torch.zeros_like(weight))
            continue
        noise = torch.randn(weight.shape, generator=generator).to(weight)
        norms = [tensor.flatten(1).norm(dim=1).view(-1, *[1] * (weight.ndim - 1)) for tensor in (weight, noise)]
        direction.append(noise * (norms[0] / norms[1]))
    return direction


@contextmanager
def moved(network: nn.Module, directions: Sequence[Sequence[Tensor]]) -> Generator[Callable[[Sequence[float]], None]]:
    """Yield a function that puts the weights at θ + Σ step·direction; θ is back, bit for bit, when the context ends."""
    parameters = list(network.parameters())
    center = [parameter.detach().clone() for parameter in parameters]

    @torch.no_grad()
    def move(steps: Sequence[float]) -> None:
        for number_, (parameter, weight) in enumerate(zip(parameters, center, strict=True)):
            parameter.copy_(weight)
            for step, direction in zip(steps, directions, strict=True):
                parameter.add_(direction[number_], alpha=step)

    try:
        yield move
    finally:
        with torch.no_grad():
            for parameter, weight in zip(parameters, center, strict=True):
                parameter.copy_(weight)


@torch.no_grad()
def mean_loss(network: nn.Module, x: Tensor, labels: Tensor, batch_size: int = 64) -> float:
    """Return the mean cross-entropy in nats (x: normalized images N×3×H×W, labels: N), the network as it stands."""
    parts = zip(x.split(batch_size), labels.split(batch_size), strict=True)
    return sum(float(F.cross_entropy(network(images), part, reduction="sum")) for images, part in parts) / len(x)


def along(
    network: nn.Module,
    directions: Sequence[Sequence[Tensor]],
    points: Sequence[tuple[float, ...]],
    loss: Callable[[], float],
) -> list[float]:
    """Return the loss at θ + Σ step·direction for every point, a step per direction."""
    values: list[float] = []
    with moved(network, directions) as move:
        for point in points:
            move(point)
            values.append(loss())
    return values
