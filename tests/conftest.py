"""Images, datasets and runs that tests make on the spot."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run side by side, a core each

import shutil
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from filelock import FileLock
from PIL import Image
from torch import nn

import resnet50
from resnet50.model import resnet
from resnet50.model.resnet import ResNet
from resnet50.options import Depth, ShortcutKind, Variant

torch.set_num_threads(1)
torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL = (
    0.2  # a loader waits as long for each process that it ends: 5 seconds
)

MakeImage = Callable[..., Image.Image]


def draw_image(width: int = 60, height: int = 48, seed: int = 0, tint: tuple[int, int, int] = (0, 0, 0)) -> Image.Image:
    """Return a smooth color image with some texture, different for every seed."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 200, (5, 6, 3), dtype=np.uint8)).resize((width, height))
    pixels = np.asarray(coarse).astype(int) + rng.integers(-10, 10, (height, width, 3)) + np.array(tint)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


@pytest.fixture
def make_image() -> MakeImage:
    """Return a maker of smooth color images with some texture, different for every seed."""
    return draw_image


NARROW = (8, 16, 32, 64)
"""Widths of a network, an eighth of the published: a step takes a tenth of the time."""

NARROW_TESTS = (
    *("api", "docs", "evaluation", "inference", "runtime", "training", "test_cli"),
    *("faults/test_kill", "faults/test_processes", "model/test_file", "model/test_fold", "model/test_hooks"),
    *("study/test_degradation", "study/test_dynamics", "study/test_ensemble", "study/test_fields"),
    *("study/test_gradients", "study/test_increments", "study/test_lab", "study/test_landscape"),
    *("study/test_resolution", "study/test_run", "study/test_similarity", "study/test_small"),
)
"""Where networks are narrow: where it makes no difference what they are, as long as they learn."""


@pytest.fixture(autouse=True)
def narrow(request: pytest.FixtureRequest) -> Iterator[bool]:
    """Return whether networks of this test are narrow; those of processes that it starts are not."""
    is_narrow = request.path.relative_to(Path(__file__).parent).as_posix().startswith(NARROW_TESTS)
    with pytest.MonkeyPatch.context() as patch:  # of its own: a test may undo what `monkeypatch` has done
        if is_narrow:
            patch.setattr(resnet, "WIDTHS", NARROW)
        yield is_narrow
    torch.set_num_threads(1)  # a training takes every core, and two that do so wait for each other


NARROW_COMMAND = [
    *(sys.executable, "-c"),
    f"from resnet50.model import resnet; resnet.WIDTHS = {NARROW}; from resnet50.cli import main; main()",
]
"""The command `resnet50` in a process of its own, with narrow networks."""

TINY = {
    "depth": 18,
    "weights": "none",
    "image_size": 32,
    "device": "cpu",
    "precision": "fp32",
    "workers": 0,
    "threads": 1,
}
"""Options of a training run that takes a second or two."""


def make_once(path: Path, make: Callable[[Path], object]) -> Path:
    """Make a file or folder, unless another of pytest-xdist's processes has: it is the same for all, and read-only."""
    path.parent.mkdir(exist_ok=True)
    with FileLock(f"{path}.lock"):
        if not path.exists():
            make(path)
    return path


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of what is made once for all tests; a test that writes takes a copy."""
    base = tmp_path_factory.getbasetemp()
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"


@pytest.fixture(scope="session")
def shared_competition(shared: Path) -> Path:
    """Return a folder with train.csv (image_id, label) and images/: 60 images, bluish cats and reddish dogs."""
    return make_once(shared / "competition", write_competition)


def write_competition(folder: Path) -> None:
    (folder / "images").mkdir(parents=True)
    rows: list[tuple[str, str]] = []
    for number in range(60):
        label = ("cat", "dog")[number % 2]
        tint = (0, 0, 80) if label == "cat" else (80, 0, 0)
        draw_image(seed=number, tint=tint).save(folder / "images" / f"{number:03d}.jpg", quality=90)
        rows.append((f"{number:03d}", label))
    pd.DataFrame(rows, columns=["image_id", "label"]).to_csv(folder / "train.csv", index=False)


@pytest.fixture(scope="session")
def shared_dataset(shared: Path, shared_competition: Path) -> Path:
    """Return the shared competition as a prepared dataset."""
    return make_once(shared / "dataset", partial(resnet50.prepare, shared_competition / "train.csv"))


@pytest.fixture
def shared_run(shared: Path, shared_dataset: Path, narrow: bool) -> Path:
    """Return a run that has learned to tell the shared competition's cats and dogs by their color."""
    train = partial(resnet50.train, shared_dataset, epochs=3, batch_size=8, **TINY)
    return make_once(shared / ("narrow-run" if narrow else "run"), train)


@pytest.fixture
def competition(shared_competition: Path, tmp_path: Path) -> Path:
    """Return a copy of the shared competition."""
    return Path(shutil.copytree(shared_competition, tmp_path / "competition"))


@pytest.fixture
def prepared(shared_dataset: Path, competition: Path, tmp_path: Path) -> Path:
    """Return a copy of the shared dataset, whose images are those of the test's own competition."""
    folder = Path(shutil.copytree(shared_dataset, tmp_path / "dataset"))
    here, shared = str(competition), str(shared_dataset.parent / "competition")
    description = folder / "dataset.yaml"
    description.write_text(description.read_text().replace(shared, here))
    manifest = pd.read_parquet(folder / "manifest.parquet")
    manifest["path"] = manifest["path"].str.replace(shared, here, regex=False)
    manifest.to_parquet(folder / "manifest.parquet", index=False)
    return folder


@pytest.fixture
def trained(shared_run: Path, prepared: Path, tmp_path: Path) -> Path:
    """Return a copy of the shared run, on the test's own dataset."""
    return copy_run(shared_run, prepared, tmp_path / "run")


def copy_run(run: Path, dataset: Path, folder: Path) -> Path:
    """Copy a run on the shared dataset, as if it had been trained on a copy of that."""
    shutil.copytree(run, folder)
    config = folder / "config.yaml"
    values = yaml.safe_load(config.read_text()) | {"dataset": str(dataset), "out": str(folder)}
    config.write_text(yaml.safe_dump(values, sort_keys=False))
    return folder


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
