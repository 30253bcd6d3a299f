"""Pictures and datasets that tests make on the spot."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run side by side, a core each

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

import resnet50
from resnet50.model.resnet import ResNet
from resnet50.options import Depth, ShortcutKind, Variant

torch.set_num_threads(1)

MakeImage = Callable[..., Image.Image]


@pytest.fixture
def make_image() -> MakeImage:
    """Return a maker of smooth color pictures with some texture, different for every seed."""

    def make(width: int = 60, height: int = 48, seed: int = 0, tint: tuple[int, int, int] = (0, 0, 0)) -> Image.Image:
        rng = np.random.default_rng(seed)
        coarse = Image.fromarray(rng.integers(0, 200, (5, 6, 3), dtype=np.uint8)).resize((width, height))
        pixels = np.asarray(coarse).astype(int) + rng.integers(-10, 10, (height, width, 3)) + np.array(tint)
        return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))

    return make


@pytest.fixture
def competition(tmp_path: Path, make_image: MakeImage) -> Path:
    """Return a folder with train.csv (image_id, label) and images/: 60 pictures, bluish cats and reddish dogs."""
    folder = tmp_path / "competition"
    (folder / "images").mkdir(parents=True)
    rows: list[tuple[str, str]] = []
    for number in range(60):
        label = ("cat", "dog")[number % 2]
        tint = (0, 0, 80) if label == "cat" else (80, 0, 0)
        make_image(seed=number, tint=tint).save(folder / "images" / f"{number:03d}.jpg", quality=90)
        rows.append((f"{number:03d}", label))
    pd.DataFrame(rows, columns=["image_id", "label"]).to_csv(folder / "train.csv", index=False)
    return folder


TINY = {"depth": 18, "weights": "none", "image_size": 32, "device": "cpu", "precision": "fp32", "workers": 0}
"""Options of a training run that takes a second or two."""


@pytest.fixture
def prepared(competition: Path, tmp_path: Path) -> Path:
    """Return the competition as a prepared dataset."""
    resnet50.prepare(competition / "train.csv", tmp_path / "dataset")
    return tmp_path / "dataset"


@pytest.fixture
def trained(prepared: Path, tmp_path: Path) -> Path:
    """Return a run that has learned to tell the competition's cats and dogs by their color."""
    return resnet50.train(prepared, tmp_path / "run", epochs=3, batch_size=8, threads=1, **TINY)


def with_random_statistics(depth: Depth, variant: Variant, shortcuts: ShortcutKind) -> ResNet:
    """Return a network whose batch norms all do something, on the scale that trained ones work at."""
    torch.manual_seed(depth)
    network = ResNet(depth, 7, variant, shortcuts).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            channels = module.num_features
            module.running_mean = torch.randn(channels) * 0.2
            module.running_var = torch.rand(channels) + 0.5
            module.weight.data = torch.rand(channels) + 0.5
            module.bias.data = torch.randn(channels) * 0.2
    return network
