"""Shattered gradients: how similar input gradients are along a line between two images (Balduzzi et al. 2017)."""

from collections.abc import Iterator
from itertools import product

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnet50.options import Depth
from resnet50.study.lab import Lab
from resnet50.study.norms import settle_norms
from resnet50.study.small import BATCH_SIZE, Setup, make_network, small_images

SHATTERING_DEPTHS: tuple[Depth, ...] = (18, 50)

POINTS = 64
"""Points on a line from one image toward another."""

REACH = 1 / 16
"""Length of the line as a share of the way to the other image: over the whole way both deep networks are white noise
from one point to the next."""

LAGS = 16
"""Distances at which gradients are compared, 0 to 15 points apart, as in Balduzzi et al.'s figure 2."""

SHALLOW_UNITS = 200
"""Units of the network with one hidden layer, as in Balduzzi et al.'s figure 1a."""


def line(first: Tensor, last: Tensor, points: int) -> Tensor:
    """Return `points` images (P×3×H×W), evenly spaced from one image (3×H×W) `REACH` of the way to another."""
    share = torch.linspace(0, REACH, points, device=first.device).view(-1, 1, 1, 1)
    return (1 - share) * first + share * last


def input_gradients(network: nn.Module, x: Tensor) -> Tensor:
    """Return the gradient of the first logit with respect to every image (N×3×H×W) by itself: N×3HW, on the CPU.

    The network has to treat images one by one: batch norms in evaluation mode.
    """
    x = x.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(network(x)[:, 0].sum(), x)
    return gradient.flatten(1).cpu()


def autocorrelation(gradients: Tensor, lags: int) -> np.ndarray:
    """Return the mean cosine of gradients (P×D, in the order of the line) that lie 0, 1, … lags−1 points apart.

    0 for white noise in expectation, 1 for a constant. Not centerd: what all gradients on the line have in common is
    not shattered.
    """
    unit = F.normalize(gradients.double(), dim=1)
    return np.array([(unit[: len(unit) - lag] * unit[lag:]).sum(1).mean().item() for lag in range(lags)])


def brown_autocorrelation(points: int, lags: int) -> np.ndarray:
    """Return the same of brown noise: B(t), a sum of t white steps, has correlation √(t/(t+k)) with B(t+k)."""
    return np.array([np.sqrt((t := np.arange(1, points - lag + 1)) / (t + lag)).mean() for lag in range(lags)])


def shallow_network(inputs: int, classes: int, seed: int) -> nn.Module:
    """Build a network with one hidden layer, He initialization: N×3×H×W with 3HW = inputs, to logits."""
    torch.manual_seed(seed)
    hidden, head = nn.Linear(inputs, SHALLOW_UNITS), nn.Linear(SHALLOW_UNITS, classes)
    nn.init.kaiming_normal_(hidden.weight, nonlinearity="relu")
    return nn.Sequential(nn.Flatten(), hidden, nn.ReLU(), head)


def shattering_networks(lab: Lab, x: Tensor, seed: int) -> Iterator[tuple[str, int, nn.Module]]:
    """Yield (name, depth, network in evaluation mode) at its initial weights; x: images for the norms' statistics."""
    yield "shallow", 2, shallow_network(x[0].numel(), len(lab.dataset.classes), lab.seed + seed).to(x.device)
    for depth, name in product(SHATTERING_DEPTHS, ("plain", "residual")):
        network = make_network(lab, Setup(depth=depth, shortcuts="none" if name == "plain" else "B", seed=seed))
        settle_norms(network, [x])
        yield name, depth, network


def measure_shattering(lab: Lab) -> pd.DataFrame:
    """Return autocorrelations of input gradients along lines between images, by network, depth, seed and lag."""
    pixels = small_images(lab, "train").pixels
    x = lab.small_preprocess().normalize(pixels[: 2 * BATCH_SIZE].to(lab.device.torch_device))
    rows: list[pd.DataFrame] = []
    for seed in range(lab.plan.seeds):
        rng = np.random.default_rng([lab.seed, seed, 0x5A77])
        pairs = [rng.choice(len(x), 2, replace=False) for _ in range(lab.plan.draws)]
        for name, depth, network in shattering_networks(lab, x, seed):
            found = [
                autocorrelation(input_gradients(network, line(x[first], x[last], POINTS)), LAGS)
                for first, last in pairs
            ]
            part = pd.DataFrame({"lag": range(LAGS), "value": np.mean(found, axis=0)})
            rows.append(part.assign(network=name, depth=depth, seed=seed, quantity="autocorrelation"))
    return pd.concat(rows)
