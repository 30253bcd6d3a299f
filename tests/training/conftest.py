"""A small network, a few images and one batch: what steps and epochs are tested on."""

from pathlib import Path

import numpy as np
import pytest
import torch

from resnet50.data import Augmentation, AugmentedDataset, ImageDataset, Preprocess, evaluation_loader, training_loader
from resnet50.data.loader import SequentialBatchSampler
from resnet50.model import resnet18
from resnet50.model.resnet import ResNet
from resnet50.options import TrainOptions
from resnet50.runtime.device import Device
from resnet50.training.state import TrainState, start_state
from resnet50.training.training import TrainingData
from tests.conftest import MakeImage

CPU = Device(torch.device("cpu"), "fp32", "tests")
OPTIONS = TrainOptions(
    dataset=Path("d"), out=Path("r"), lr=1e-3, head_lr=1e-2, weight_decay=0.01, batch_size=8, epochs=2, image_size=32
)
PREPROCESS = Preprocess(size=32, resize=36)


@pytest.fixture
def data(tmp_path: Path, make_image: MakeImage) -> TrainingData:
    """Return 20 images to train on and 10 to validate on, of two classes that color tells apart."""
    paths = [tmp_path / f"{number}.png" for number in range(30)]
    for number, path in enumerate(paths):
        make_image(seed=number, tint=(90, 0, 0) if number % 2 else (0, 0, 90)).save(path)
    labels = [number % 2 for number in range(30)]
    augmented = AugmentedDataset(paths[:20], labels[:20], Augmentation(preprocess=PREPROCESS), seed=0)
    train, order = training_loader(augmented, 8, 0)
    val_order = SequentialBatchSampler(10, 4)
    val = evaluation_loader(ImageDataset(paths[20:], labels[20:], PREPROCESS), 4, 0, val_order)
    return TrainingData(train, order, val, val_order, preprocess=PREPROCESS, class_weights=None)


def fresh_state(options: TrainOptions = OPTIONS, seed: int = 0) -> TrainState:
    torch.manual_seed(seed)
    return start_state(resnet18(2), options, CPU, steps_per_epoch=2)


def double_state(options: TrainOptions, network: ResNet | None = None) -> TrainState:
    """Begin in float64: norms over a few images of one pixel magnify what kernels round otherwise."""
    torch.manual_seed(0)
    network = (network or resnet18(2)).double()
    network.register_forward_pre_hook(lambda _, inputs: (inputs[0].double(),))
    return start_state(network, options, CPU, steps_per_epoch=2)


def batch(size: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.integers(0, 256, (size, 3, 32, 32), dtype=np.uint8)), torch.arange(size) % 3 % 2
