"""The noise of the gradient: at which batch size it equals the gradient itself."""

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import nn

from resnet50.model.resnet import ResNet
from resnet50.study.lab import Images, Lab
from resnet50.study.small import BATCH_SIZE, SmallTraining, make_network, small_images


def noise_scales(lab: Lab, trainings: list[SmallTraining]) -> pd.DataFrame:
    """Return the gradient noise scale before training and after it; `epoch` 0 is before, the last one after."""
    images = small_images(lab, "train")
    rows: list[tuple[int, int, str, float]] = []
    for training in trainings:
        networks = {0: make_network(lab, training.setup), lab.plan.epochs: lab.to_device(training.network())}
        for (epoch, network), draw in ((item, draw) for item in networks.items() for draw in range(lab.plan.draws)):
            lab.step(f"gradient noise, {training.setup.name}, epoch {epoch}, draw {draw}")
            value = noise_scale(*gradient_norms(lab, images, network, draw), chunk=BATCH_SIZE)
            rows.append((training.setup.seed, epoch, "noise_scale", value))
    return pd.DataFrame(rows, columns=["seed", "epoch", "quantity", "value"])


def gradient_norms(lab: Lab, images: Images, network: ResNet, draw: int) -> tuple[np.ndarray, float]:
    """Return |g|² of every batch of the training images in a drawn order, and |mean of all g|²; in fp32.

    In training mode: the batch norms take their statistics from each batch, as in a step.
    """
    preprocess = lab.small_preprocess()
    order = torch.from_numpy(np.random.default_rng([lab.seed, 0x4015E, draw]).permutation(len(images)))
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    total = [torch.zeros_like(parameter) for parameter in parameters]
    squares: list[float] = []
    network.train()
    batches = order.split(BATCH_SIZE)
    batches = [batch for batch in batches if len(batch) == BATCH_SIZE]
    for batch in batches:
        x = preprocess.normalize(images.pixels[batch].to(lab.device.torch_device))
        loss = F.cross_entropy(network(x), images.labels[batch].to(lab.device.torch_device))
        gradients = torch.autograd.grad(loss, parameters)
        squares.append(float(nn.utils.get_total_norm(gradients)) ** 2)
        torch._foreach_add_(total, gradients)  # pyright: ignore
    return np.array(squares), (float(nn.utils.get_total_norm(total)) / len(batches)) ** 2


def noise_scale(squares: np.ndarray, square_of_mean: float, chunk: int) -> float:
    """Return tr(Σ)/|G|², the batch size at which noise and gradient are equal (McCandlish et al., section 2.2).

    The N training images are the whole population: G is their mean gradient, and Σ the covariance of single ones. Of
    batches of b drawn from it without replacement, tr(Σ) = b·(|g|² − |G|²)·(N − 1)/(N − b) on average. (The paper's
    estimator takes both from a sample; with so few images its |G|² is a difference of nearly equal numbers.) `squares`
    are the |g|² of the batches, `chunk` is b.
    """
    population = chunk * len(squares)
    noise = chunk * (squares.mean() - square_of_mean) * (population - 1) / max(1, population - chunk)
    return float(noise / square_of_mean) if square_of_mean > 0 else float("inf")
