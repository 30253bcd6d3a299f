"""The gradient along single paths through a residual network, and the number of paths by length."""

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from math import comb

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnet50.model.hooks import block_names, record, residual_end
from resnet50.model.resnet import ResNet
from resnet50.study.lesions import blocks_by_name


@dataclass(frozen=True, eq=False)
class Section:
    """One block's part of the backward pass, detached from the other blocks."""

    x: Tensor  # the block's input, a leaf of the graph
    residual: Tensor  # F(x)
    shortcut: Tensor  # x, or its projection
    positive: Tensor  # where the block's last ReLU passes the gradient

    def through_residual(self, gradient: Tensor) -> Tensor:
        """Return the gradient at x, given that at the block's output, through F alone."""
        return torch.autograd.grad(self.residual, self.x, gradient * self.positive, retain_graph=True)[0]

    def through_shortcut(self, gradient: Tensor) -> Tensor:
        gradient = gradient * self.positive
        if self.shortcut is self.x:
            return gradient
        return torch.autograd.grad(self.shortcut, self.x, gradient, retain_graph=True)[0]


@dataclass(frozen=True, eq=False)
class PathGraph:
    """A forward pass whose gradient can be propagated along single paths (Veit et al., section 5)."""

    image: Tensor  # normalized pixels, N×3×S×S
    stem: Tensor  # input of the first block
    sections: tuple[Section, ...]  # the blocks, first to last
    end: Tensor  # gradient of each image's loss at the last block's output

    def at_image(self, gradient: Tensor) -> Tensor:
        """Return the gradient at the image, N×3×S×S, given that at the first block's input."""
        return torch.autograd.grad(self.stem, self.image, gradient, retain_graph=True)[0]

    def along(self, residual: Iterable[int]) -> Tensor:
        """Return the gradient at the image along the path through these blocks' residuals and the others' shortcuts."""
        through, gradient = set(residual), self.end
        for number in reversed(range(len(self.sections))):
            section = self.sections[number]
            gradient = section.through_residual(gradient) if number in through else section.through_shortcut(gradient)
        return self.at_image(gradient)

    def by_length(self) -> list[Tensor]:
        """Return the gradient at the image summed over all paths of each length 0 … n.

        The backward pass is linear: before a block, paths of length k are those of length k by its shortcut and those
        of length k − 1 by its residual. So n(n + 1)/2 steps sum all 2ⁿ paths; the sum over k is the whole gradient.
        """
        sums: list[Tensor] = [self.end]
        for section in reversed(self.sections):
            past = [section.through_shortcut(gradient) for gradient in sums]
            over = [section.through_residual(gradient) for gradient in sums]
            middle = [a + b for a, b in zip(past[1:], over[:-1], strict=True)]
            sums = [past[0], *middle, over[-1]]
        return [self.at_image(gradient) for gradient in sums]


def path_graph(network: ResNet, images: Tensor, labels: Tensor) -> PathGraph:
    """Run a network (with shortcuts, in evaluation mode) and keep each block's graph for the backward pass."""
    names, images = block_names(network), images.detach().requires_grad_()

    def cut(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor]:
        del module
        return (inputs[0].detach().requires_grad_(),)

    projections = [
        f"{name}.downsample" for name, block in blocks_by_name(network).items() if block.downsample is not None
    ]
    with (
        torch.enable_grad(),
        ExitStack() as stack,
        record(network, ["maxpool"]) as stem,
        record(network, names, lambda x, y: (x, y)) as ends,
        record(network, [residual_end(network, name) for name in names]) as residuals,
        record(network, projections) as projected,
    ):
        for name in names:
            stack.callback(network.get_submodule(name).register_forward_pre_hook(cut).remove)
        loss = F.cross_entropy(network(images), labels, reduction="sum")
        end = torch.autograd.grad(loss, ends[names[-1]][1])[0]
    sections = tuple(
        Section(
            ends[name][0],
            residuals[residual_end(network, name)],
            projected.get(f"{name}.downsample", ends[name][0]),
            ends[name][1].detach() > 0,
        )
        for name in names
    )
    return PathGraph(images, stem["maxpool"], sections, end)


def path_shares(n: int) -> np.ndarray:
    """Return the share of the 2ⁿ paths by length 0 … n: a binomial distribution (Veit et al., section 5)."""
    return np.array([comb(n, k) / 2**n for k in range(n + 1)])


def mean_norm(gradient: Tensor) -> float:
    return float(gradient.flatten(1).norm(dim=1).mean())
