"""The time of a training step by kind of operation, against torchvision's, as an SVG.

    .venv/bin/python docs/figures/step_time.py DATASET docs/figures/step_time.svg

DATASET is a prepared dataset with a pixel store. torch's profiler gives the time of each operator without those that
it calls; the rest of a step's time is Python's and the loader's.
"""

import json
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import matplotlib as mpl
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch.profiler import ProfilerActivity, profile
from torchvision.models import resnet50

from resnet50.bench.candidate import set_up
from resnet50.training.loop import train_step
from resnet50.training.optim import train_mode
from resnet50.training.setup.data import build_network
from resnet50.training.state import start_state
from resnet50.training.training import Training

STEPS, BATCH, SIZE = 5, 32, 224
PARTS = {
    "convolutions, forward": "#0072B2",
    "convolutions, backward": "#56B4E9",
    "batch norm": "#D55E00",
    "ReLU, sums, pooling": "#E69F00",
    "casts and copies": "#009E73",
    "optimizer, gradient norm": "#CC79A7",
    "the rest, Python": "#999999",
    "data time": "#000000",
}  # Okabe & Ito


def part_of(operator):
    """Return the part of a step that an operator belongs to."""
    name = operator.removeprefix("aten::")
    if "convolution_backward" in name:
        return "convolutions, backward"
    if "conv" in name:
        return "convolutions, forward"
    if "batch_norm" in name:
        return "batch norm"
    if any(word in name for word in ("relu", "threshold", "pool")) or name in ("add", "add_", "mean", "sum"):
        return "ReLU, sums, pooling"
    if any(word in name for word in ("adam", "norm", "foreach", "addcdiv", "lerp", "sqrt")):
        return "optimizer, gradient norm"
    if any(word in name for word in ("copy", "empty", "fill", "zero", "clone", "contiguous")):
        return "casts and copies"
    return "the rest, Python"


def measure(step, data_time):
    """Return the milliseconds per step of each part: the mean of a few steps, after two for warm-up."""
    for _ in range(2):
        step()
    before = data_time()
    start = time.perf_counter()
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        for _ in range(STEPS):
            step()
    total = time.perf_counter() - start
    parts = defaultdict(float)
    for event in profiler.key_averages():
        parts[part_of(event.key)] += event.self_cpu_time_total / 1000 / STEPS
    parts["data time"] = (data_time() - before) * 1000 / STEPS
    parts["the rest, Python"] += 1000 * total / STEPS - sum(parts.values())
    return parts


def candidate(dataset):
    """Return a training step on batches of the dataset, and a function for the seconds spent waiting for batches."""
    settings = set_up(dataset, image_size=SIZE, batch_size=BATCH)
    network = build_network(settings.options, settings.dataset, None)
    state = start_state(network, settings.options, settings.device, steps_per_epoch=1000)
    train_mode(state.network)
    training = Training(state, settings.data, settings.options, settings.device)
    batches, waited = iter(settings.data.train), [0.0]

    def step():
        start = time.perf_counter()
        images, labels = next(batches)
        waited[0] += time.perf_counter() - start
        train_step(training, images, labels)

    return step, lambda: waited[0]


def baseline():
    """Return torchvision's step on one batch, eager, in fp32."""
    network = resnet50().train()
    optimizer = torch.optim.AdamW(network.parameters())
    images, labels = torch.randn(BATCH, 3, SIZE, SIZE), torch.randint(0, 1000, (BATCH,))

    def step():
        optimizer.zero_grad()
        F.cross_entropy(network(images), labels).backward()
        optimizer.step()

    return step, lambda: 0.0


def draw(sides, out):
    """Draw a bar for each side, divided into its parts."""
    mpl.rcParams["svg.hashsalt"] = "step_time"
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    axes = figure.subplots()
    for row, parts in enumerate(sides.values()):
        left = 0.0
        for part, color in PARTS.items():
            width = parts.get(part, 0.0) / 1000
            axes.barh(row, width, left=left, color=color, label=part if row == 0 else None, height=0.6)
            if width > 0.25:
                axes.text(left + width / 2, row, f"{width:.1f}", ha="center", va="center", color="white", fontsize=9)
            left += width
        axes.text(left + 0.05, row, f"{left:.2f} s, {BATCH / left:.1f} images/s", va="center", fontsize=9)
    axes.set_yticks(range(len(sides)), sides)
    axes.invert_yaxis()
    axes.set_xlabel(f"seconds of a training step of {BATCH} images of {SIZE} pixels")
    axes.set_xlim(0, 1.25 * max(sum(parts.values()) for parts in sides.values()) / 1000)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    figure.savefig(out, metadata={"Date": None})


def main(dataset, out):
    """Measure each side in a separate process, because the candidate configures its whole process."""
    sides = {}
    for name, side in (("torchvision,\neager fp32", "baseline"), ("resnet50,\nautomatic settings", "candidate")):
        child = [sys.executable, __file__, dataset, side]
        sides[name] = json.loads(subprocess.run(child, capture_output=True, text=True, check=True).stdout)
    draw(sides, out)


if __name__ == "__main__":
    if sys.argv[2] in ("candidate", "baseline"):
        print(json.dumps(measure(*(candidate(sys.argv[1]) if sys.argv[2] == "candidate" else baseline()))))
    else:
        main(sys.argv[1], Path(sys.argv[2]))
