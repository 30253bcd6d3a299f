"""Networks with blocks removed or reordered: the network's own blocks in another order, the network unchanged."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from scipy import stats
from torch import Tensor, nn

from resnet50.data.transforms import Preprocess
from resnet50.model.hooks import block_names, record
from resnet50.model.resnet import BasicBlock, Bottleneck, NoShortcut, ResNet
from resnet50.runtime.device import Device
from resnet50.study.lab import Images, Lab

BATCH_SIZE = 32

SWAPS = (1, 2, 4, 8, 16)
"""Numbers of successive swaps of two blocks."""

Step = Callable[[Tensor], Tensor]


def blocks_by_name(network: ResNet) -> dict[str, BasicBlock | Bottleneck]:
    return {name: cast(BasicBlock | Bottleneck, network.get_submodule(name)) for name in block_names(network)}


def keeps_shape(block: nn.Module) -> bool:
    """Return whether a block's output has its input's shape, so that the block can be removed."""
    convolutions = [child for child in block.children() if isinstance(child, nn.Conv2d)]
    same = convolutions[0].in_channels == convolutions[-1].out_channels
    return same and all(convolution.stride == (1, 1) for convolution in convolutions)


@dataclass(frozen=True)
class Lesion:
    """A network with blocks reordered or removed."""

    order: tuple[str, ...]  # the block at each position
    removed: frozenset[str] = frozenset()  # blocks whose residual branch is off

    def start(self, blocks: Sequence[str]) -> int:
        """Return the first position that differs from the intact network; the number of blocks if none does."""
        differs = (block != whole or block in self.removed for block, whole in zip(self.order, blocks, strict=True))
        return next((position for position, different in enumerate(differs) if different), len(blocks))


def without(blocks: Sequence[str], removed: Iterable[str]) -> Lesion:
    return Lesion(tuple(blocks), frozenset(removed))


def shortcut_only(block: BasicBlock | Bottleneck) -> Step:
    """Return a block with its residual branch off: relu(x), x projected where the block changes the shape.

    A plain network's block becomes the identity; ValueError if it changes the shape, for nothing can replace it.
    """
    shortcut = block.downsample
    if isinstance(shortcut, NoShortcut):
        if not keeps_shape(block):
            raise ValueError("a block without shortcut that changes the shape can't be removed")
        shortcut = None
    return lambda x: F.relu(x if shortcut is None else shortcut(x))


def steps(network: ResNet, lesion: Lesion) -> list[Step]:
    blocks = blocks_by_name(network)
    return [shortcut_only(blocks[name]) if name in lesion.removed else blocks[name] for name in lesion.order]


@torch.no_grad()
def lesioned_logits(
    network: ResNet, lesions: Sequence[Lesion], pixels: Tensor, preprocess: Preprocess, device: Device
) -> list[Tensor]:
    """Return every lesion's logits (float32, N×classes, on the CPU) for uint8 pixels; the network is not changed.

    The intact network runs once; a lesion continues from the feature map before its first different block.
    """
    names = block_names(network)
    changed = [(lesion.start(names), steps(network, lesion)) for lesion in lesions]
    logits: list[list[Tensor]] = [[] for _ in lesions]
    for part in pixels.split(BATCH_SIZE):
        with device.autocast(), record(network, names, lambda x, _: x) as inputs:
            whole = network(preprocess.normalize(part.to(device.torch_device)))
        with device.autocast():
            for (start, what), kept in zip(changed, logits, strict=True):
                if start == len(names):
                    kept.append(whole.float().cpu())
                    continue
                x = inputs[names[start]]
                for step in what[start:]:
                    x = step(x)
                kept.append(network.fc(torch.flatten(network.avgpool(x), 1)).float().cpu())
    return [torch.cat(parts) for parts in logits]


def removals(names: Sequence[str], draws: int, rng: np.random.Generator) -> list[Lesion]:
    """Return the network without each single block, then without random sets of 2, 3 … all blocks."""
    n = len(names)
    counts = sorted({2, 3, *np.linspace(1, n, 9).round().astype(int)[1:].tolist()})
    random = [
        without(names, [names[i] for i in cast(list[int], rng.choice(n, k, replace=False).tolist())])
        for k in counts
        for _ in range(draws if k < n else 1)
    ]
    return [without(names, [name]) for name in names] + random


def swapped(order: Sequence[str], pairs: Sequence[tuple[str, str]]) -> Lesion:
    """Return the network with pairs of blocks swapped, one pair after the other."""
    new = list(order)
    for a, b in pairs:
        i, j = new.index(a), new.index(b)
        new[i], new[j] = new[j], new[i]
    return Lesion(tuple(new))


def swappable(network: ResNet) -> list[tuple[str, str]]:
    """Return the pairs of blocks of one stage whose shapes agree."""
    same = [name for name, block in blocks_by_name(network).items() if keeps_shape(block)]
    return [(a, b) for a in same for b in same if a < b and a.split(".")[0] == b.split(".")[0]]


def reorderings(network: ResNet, draws: int, rng: np.random.Generator) -> list[tuple[int, Lesion]]:
    """Return networks after random swaps, each with the number of swaps."""
    pairs, names = swappable(network), block_names(network)
    if not pairs:
        return []
    return [
        (k, swapped(names, [pairs[i] for i in rng.integers(len(pairs), size=k)])) for k in SWAPS for _ in range(draws)
    ]


def kendall_tau(lesion: Lesion, names: Sequence[str]) -> float:
    """Return the rank correlation with the trained order; 1: the same (Veit et al., section 4.3)."""
    return float(cast(Any, stats.kendalltau(range(len(names)), [names.index(name) for name in lesion.order]))[0])


def lesion_rows(
    lab: Lab, network: ResNet, preprocess: Preprocess, images: Images, lesions: Sequence[tuple[str, int, Lesion]]
) -> pd.DataFrame:
    """Return accuracy and loss of lesions (part, k, lesion): a row each of every quantity."""
    names = block_names(network)
    logits = lesioned_logits(network, [lesion for *_, lesion in lesions], images.pixels, preprocess, lab.device)
    rows: list[tuple[object, ...]] = []
    for draw, ((part, k, lesion), some) in enumerate(zip(lesions, logits, strict=True)):
        removed = " ".join(name for name in names if name in lesion.removed) or "-"
        about = (part, removed, k, draw, kendall_tau(lesion, names))
        rows += [(*about, quantity, value) for quantity, value in metrics(some, images.labels).items()]
    counts = torch.bincount(images.labels)
    facts = {"majority": float(counts.max() / counts.sum()), "images": len(images)}
    rows += [("intact", "-", 0, 0, 1.0, quantity, value) for quantity, value in facts.items()]
    return pd.DataFrame(rows, columns=["part", "blocks", "k", "draw", "tau", "quantity", "value"])


def metrics(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """Return accuracy and mean cross-entropy in nats."""
    correct = (logits.argmax(1) == labels).float().mean()
    return {"accuracy": float(correct), "loss": float(F.cross_entropy(logits, labels))}
