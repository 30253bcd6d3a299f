"""Draw ResNet-50 from the model itself, as SVG: every block with its convolutions, shapes and shortcuts.

.venv/bin/python docs/figures/architecture.py docs/figures/architecture.svg
"""

import sys

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from resnet50.model import resnet50
from resnet50.model.resnet import Bottleneck
from resnet50.model.summary import summarize

INK, LINE, CONV, PROJECTION, IDENTITY = "#222222", "#888888", "#56B4E9", "#E69F00", "#009E73"


def box(axes, x, y, width, height, text, color, size=7.5):
    """Draw a rounded box with centered text."""
    style = "round,pad=0,rounding_size=0.06"
    axes.add_patch(FancyBboxPatch((x, y), width, height, boxstyle=style, facecolor=color, edgecolor="none"))
    axes.text(x + width / 2, y + height / 2, text, ha="center", va="center", fontsize=size, color=INK)


def arrow(axes, start, end, color=LINE):
    patch = FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=8, color=color, lw=1.3, shrinkA=0, shrinkB=0)
    axes.add_patch(patch)


def convolution(conv):
    """Describe a convolution: kernel, channels, stride."""
    stride = f", stride {conv.stride[0]}" if conv.stride[0] > 1 else ""
    return f"{conv.kernel_size[0]}×{conv.kernel_size[0]}, {conv.out_channels}{stride}"


def draw_layer(axes, x, name, layer, shape):
    """Draw a layer as a column: its first block, and the second with its number of repetitions."""
    axes.text(x + 0.95, 6.75, name, ha="center", fontsize=10, fontweight="bold", color=INK)
    axes.text(x + 0.95, 6.45, shape, ha="center", fontsize=8, color=INK)
    for top, block, times in ((6.0, layer[0], 1), (3.0, layer[1], len(layer) - 1)):
        assert isinstance(block, Bottleneck)
        for row, conv in enumerate((block.conv1, block.conv2, block.conv3)):
            box(axes, x + 0.1, top - 0.5 - 0.62 * row, 1.25, 0.42, convolution(conv), CONV)
            if row:
                arrow(axes, (x + 0.72, top - 0.5 - 0.62 * row + 0.62), (x + 0.72, top - 0.5 - 0.62 * row + 0.42))
        box(axes, x + 0.52, top - 2.22, 0.4, 0.3, "+", "#dddddd", 9)
        arrow(axes, (x + 0.72, top - 1.74), (x + 0.72, top - 1.92))
        color = IDENTITY if block.downsample is None else PROJECTION
        axes.plot([x + 0.72, x + 1.52, x + 1.52], [top + 0.1, top + 0.1, top - 2.07], color=color, lw=1.5)
        arrow(axes, (x + 1.53, top - 2.07), (x + 0.92, top - 2.07), color)
        arrow(axes, (x + 0.72, top + 0.3), (x + 0.72, top - 0.08))
        kind = "identity" if block.downsample is None else convolution(block.downsample[0])
        axes.text(x + 1.68, top - 1.0, kind, rotation=-90, ha="center", va="center", fontsize=7, color=INK)
        axes.text(x + 0.02, top - 1.0, f"{times}×", ha="right", va="center", fontsize=10, color=INK)


def main(out):
    """Write the figure."""
    mpl.rcParams["svg.hashsalt"] = "architecture"
    network = resnet50()
    stages = {stage.name: stage for stage in summarize(network, 224)}
    figure = Figure(figsize=(13, 5.2))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(-0.1, 13.4), ylim=(0.3, 7.3))
    axes.axis("off")
    shape = {name: "×".join(map(str, stage.shape)) for name, stage in stages.items()}
    axes.text(0.75, 6.75, "stem", ha="center", fontsize=10, fontweight="bold", color=INK)
    axes.text(0.75, 6.45, shape["maxpool"], ha="center", fontsize=8, color=INK)
    for y, text in ((5.4, "image\n3×224×224"), (4.5, convolution(network.conv1)), (3.6, "max pool 3×3, stride 2")):
        box(axes, 0.0, y, 1.5, 0.55, text, CONV if y == 4.5 else "#dddddd")
    arrow(axes, (0.75, 5.4), (0.75, 5.05))
    arrow(axes, (0.75, 4.5), (0.75, 4.15))
    for column in range(4):
        name = f"layer{column + 1}"
        draw_layer(axes, 2.2 + 2.35 * column, name, getattr(network, name), shape[name])
    axes.text(12.45, 6.75, "head", ha="center", fontsize=10, fontweight="bold", color=INK)
    axes.text(12.45, 6.45, shape["fc"], ha="center", fontsize=8, color=INK)
    for y, text in (
        (5.0, "global average\npool, 2048"),
        (3.9, f"linear\n2048 → {network.fc.out_features}"),
        (2.8, "logits"),
    ):
        box(axes, 11.75, y, 1.4, 0.7, text, "#dddddd" if y != 3.9 else CONV)
    arrow(axes, (12.45, 5.0), (12.45, 4.6))
    arrow(axes, (12.45, 3.9), (12.45, 3.5))
    legend = (
        "every convolution is followed by batch norm, and by ReLU unless it is a block's last; ReLU again after each +"
    )
    axes.text(0.0, 0.42, legend, fontsize=8, color=INK)
    for x, color, text in ((8.6, IDENTITY, "identity shortcut"), (10.6, PROJECTION, "projection shortcut")):
        axes.plot([x, x + 0.4], [0.47, 0.47], color=color, lw=2)
        axes.text(x + 0.5, 0.42, text, fontsize=8, color=INK)
    figure.patch.set_facecolor("white")
    figure.savefig(out, metadata={"Date": None} if out.endswith(".svg") else None)


if __name__ == "__main__":
    main(sys.argv[1])
