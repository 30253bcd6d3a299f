"""The effect of shortcuts on the gradients of a ResNet-50 at initialization, as an SVG with two panels.

    .venv/bin/python docs/figures/gradients.py DATASET docs/figures/gradients.svg

DATASET is a prepared dataset. Left: gradient norm of each block's weights. Right: similarity of the gradient by the
image when the image is changed slightly (Balduzzi et al. 2017, arXiv 1702.08591).
"""

import json
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import nn

from resnet50.data import ImageDataset, Preprocess
from resnet50.etl.prepared import load_prepared
from resnet50.model import resnet50
from resnet50.model.resnet import Bottleneck

SIZE, IMAGES, SEEDS = 112, 8, 5
STEPS = (0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
NETWORKS = {
    "with shortcuts (B)": {"shortcuts": "B"},
    "the same, --zero-gamma": {"shortcuts": "B", "zero_gamma": True},
    "without shortcuts": {"shortcuts": "none"},
}
COLORS, MARKERS = ("#0072B2", "#009E73", "#D55E00"), ("o", "s", "^")  # Okabe & Ito


def gradient_norms(network, images, labels):
    """Return the gradient norms of the stem and of each block's residual branch."""
    network.train()
    network.zero_grad()
    F.cross_entropy(network(images), labels).backward()
    blocks = [module for module in network.modules() if isinstance(module, Bottleneck)]
    groups = [[network.conv1, network.bn1]]
    groups += [[block.conv1, block.bn1, block.conv2, block.bn2, block.conv3, block.bn3] for block in blocks]
    weights = [[weight.grad.flatten() for module in group for weight in module.parameters()] for group in groups]
    return [torch.cat(gradients).norm().item() for gradients in weights]


def gradient_similarity(network, images, labels):
    """Return the cosine between the loss's gradient by an image and by its mixture with another image, for each step.

    Batch norm uses fixed statistics of the batch, so that images don't influence each other.
    """
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        network.train()(images)
    network.eval()

    def gradient(points):
        points = points.clone().requires_grad_()
        loss = F.cross_entropy(network(points), labels[: len(points)], reduction="sum")
        return torch.autograd.grad(loss, points)[0].flatten(1)

    start, end = images.chunk(2)
    at_start = gradient(start)
    mixed = [gradient((1 - step) * start + step * end) for step in STEPS]
    return [F.cosine_similarity(at_start, each).mean().item() for each in mixed]


def measure(folder):
    """Return both curves of every network for every seed; a seed determines weights and images."""
    dataset = load_prepared(Path(folder))
    preprocess = Preprocess().resized(SIZE)
    data = ImageDataset(dataset.manifest["path"], dataset.manifest["label_index"], preprocess)
    norms, similarity = {name: [] for name in NETWORKS}, {name: [] for name in NETWORKS}
    for seed in range(SEEDS):
        rows = np.random.default_rng(seed).choice(len(data), IMAGES, replace=False)
        images, labels = zip(*[data[row] for row in rows], strict=True)
        images, labels = preprocess.normalize(torch.stack(images)), torch.tensor(labels)
        for name, options in NETWORKS.items():
            torch.manual_seed(seed)
            network = resnet50(len(dataset.classes), **options)
            norms[name].append(gradient_norms(network, images, labels))
            similarity[name].append(gradient_similarity(network, images, labels))
    return norms, similarity


def draw(axes, x, curves):
    """Draw the mean over the seeds, with a band from minimum to maximum."""
    for (name, runs), color, marker in zip(curves.items(), COLORS, MARKERS, strict=True):
        values = np.array(runs)
        axes.fill_between(x, values.min(axis=0), values.max(axis=0), color=color, alpha=0.25, linewidth=0)
        axes.plot(x, values.mean(axis=0), color=color, marker=marker, markersize=4, linewidth=1.5, label=name)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def main(folder, out):
    """Measure and draw."""
    norms, similarity = measure(folder)
    print(json.dumps({"norms": norms, "similarity": similarity}))
    mpl.rcParams |= {"svg.hashsalt": "gradients", "font.size": 10}
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    figure.patch.set_facecolor("white")
    left, right = figure.subplots(1, 2)
    draw(left, np.arange(17), norms)
    left.set_yscale("log")
    names = [f"{layer}.{block}" for layer, blocks in enumerate((3, 4, 6, 3), 1) for block in range(blocks)]
    left.set_xticks(range(17), ["stem", *names], rotation=60)
    left.set_xlabel("layer.block, from the image to the head")
    left.set_ylabel(r"gradient norm  ‖∂L/∂W‖")
    draw(right, STEPS, similarity)
    right.set_xscale("symlog", linthresh=0.001)
    right.set_xticks([0, 0.001, 0.01, 0.1, 1], ["0", "0.1%", "1%", "10%", "100%"])
    right.set_xlabel("share of another image mixed into the image")
    right.set_ylabel("cosine with the unchanged image's  ∂L/∂x")
    figure.legend(*left.get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False)
    figure.savefig(out, metadata={"Date": None} if out.endswith(".svg") else None)


if __name__ == "__main__":
    main(*sys.argv[1:])
