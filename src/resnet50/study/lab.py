"""What an experiment works with: images, networks, the plan that sets its sizes, and a place for unfinished work."""

import dataclasses
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import pandas as pd
import torch
import yaml
from torch import Tensor

from resnet50.data.dataset import ImageDataset
from resnet50.data.transforms import Preprocess
from resnet50.etl.prepared import PreparedDataset, load_prepared
from resnet50.model.file import Model, load_model
from resnet50.model.resnet import ResNet
from resnet50.model.weights import load_pretrained
from resnet50.options import TrainOptions, from_values, read_yaml
from resnet50.runtime.atomic import atomic_write
from resnet50.runtime.console import duration, say, warn
from resnet50.runtime.cpu import available_cores
from resnet50.runtime.device import Device, resolve_device, tune_allocator
from resnet50.runtime.errors import UserError
from resnet50.runtime.provenance import versions
from resnet50.training.run import train
from resnet50.training.setup.data import build_network

Effort = Literal["quick", "full"]

Kind = Literal["fine-tuned", "from scratch"]
"""Where a trained network's weights began: at published ones, or at random."""

DESCRIPTION = "study.yaml"


@dataclass(frozen=True)
class Plan:
    """How much is done: the same experiments, in minutes or in hours."""

    size: int = 32  # pixels of the experiments' own small trainings
    images: int = 320  # their training images, and at most as many validation images
    epochs: int = 12  # of each small training
    seeds: int = 3  # repetitions of each, with other initial weights and another order
    run_size: int = 96  # pixels of the fine-tuned run, where no run is given
    scratch_size: int = 64  # pixels of the run trained from scratch
    run_budget: str = "1m50s"  # training time of each of these two
    looked_at: int = 192  # validation images that trained networks are probed with
    draws: int = 4  # random repetitions where something is drawn: blocks to remove, directions, paths
    grid: int = 13  # points along each side of a surface


QUICK = Plan()
SLOW = Plan(images=256, epochs=10, seeds=2, run_size=64, scratch_size=48, looked_at=128, draws=3, grid=11)
FULL = Plan(
    size=64, images=4096, epochs=30, seeds=5, run_size=224, scratch_size=128, run_budget="2h", looked_at=2000, draws=20,
    grid=41,
)  # fmt: skip


def plan_for(effort: Effort, device: Device) -> Plan:
    """Return the plan of an effort; quick is smaller on a CPU that computes in fp32."""
    if effort == "full":
        return FULL
    return SLOW if device.precision == "fp32" and device.torch_device.type == "cpu" else QUICK


@dataclass(frozen=True, eq=False)
class Images:
    """Images of a split, in memory."""

    pixels: Tensor  # uint8, N×3×S×S, channels last in memory
    labels: Tensor  # class indices, N
    ids: list[str]  # the table's image ids, N
    rows: np.ndarray  # positions in the split's table, N

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class TrainedRun:
    """A trained network to probe."""

    kind: Kind
    folder: Path
    model: Model  # its network is on the lab's device, in evaluation mode
    options: TrainOptions

    @property
    def network(self) -> ResNet:
        return self.model.network


class Lab:
    """A study's folder, dataset, plan and device."""

    def __init__(
        self, folder: Path, dataset: PreparedDataset, given: tuple[Path, ...], plan: Plan, device: Device, seed: int
    ) -> None:
        """Take a folder that exists; where no run is given, runs are trained once an experiment asks for them."""
        self.folder, self.dataset, self.given = folder, dataset, given
        self.plan, self.device, self.seed = plan, device, seed
        self.opened = time.perf_counter()

    @property
    def parts(self) -> Path:
        """Return where finished parts of unfinished experiments are kept."""
        return self.folder / "parts"

    def step(self, what: str) -> None:
        """Print the current step and the time since the study was opened."""
        say(f"  {duration(time.perf_counter() - self.opened):>10}  {what}")

    def keep(self, name: str, make: Callable[[], pd.DataFrame]) -> pd.DataFrame:
        """Return a part of an experiment's table: read from disk if it was made before an interruption, else made now.

        Its name is unique among the parts: "ensemble/fine-tuned-lesions".
        """
        path = self.parts / f"{name}.csv"
        if not path.is_file():
            write_table(make(), path)
        return read_table(path)

    def images(self, split: str, preprocess: Preprocess, count: int | None = None) -> Images:
        """Return the first `count` images of a split, or all, as the network takes them.

        They are ordered by their files' hashes: as good as a random order, and always the same.
        """
        rows = self.dataset.split(split).reset_index(drop=True)
        chosen = rows.sort_values("sha256", kind="stable").head(count or len(rows))
        dataset = ImageDataset(chosen["path"], chosen["label_index"], preprocess)
        pixels = torch.stack([dataset[row][0] for row in range(len(dataset))])
        return Images(
            pixels.contiguous(memory_format=torch.channels_last),
            torch.from_numpy(chosen["label_index"].to_numpy(np.int64, copy=True)),
            chosen["image_id"].tolist(),
            chosen.index.to_numpy(),
        )

    def small_preprocess(self, size: int | None = None) -> Preprocess:
        """Return the small trainings' preprocessing: the whole image, squashed to a square."""
        size = size or self.plan.size
        return Preprocess(size=size, resize=size, resize_mode="squash", bit_depth=self.dataset.bit_depth)

    @torch.no_grad()
    def logits(self, network: ResNet, pixels: Tensor, preprocess: Preprocess, batch_size: int = 64) -> Tensor:
        """Return a network's logits (float32, N×classes, on the CPU) for uint8 pixels, in its current mode."""
        parts: list[Tensor] = []
        for part in pixels.split(batch_size):
            with self.device.autocast():
                parts.append(network(preprocess.normalize(part.to(self.device.torch_device))).float().cpu())
        return torch.cat(parts)

    def to_device(self, network: ResNet) -> ResNet:
        return network.to(self.device.torch_device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    @cached_property
    def runs(self) -> list[TrainedRun]:
        """Return the trained networks to probe: those given, or one fine-tuned and one trained from scratch here."""
        folders = list(self.given)
        if not folders:
            folders = [folder for kind in ("fine-tuned", "from scratch") if (folder := self.train_run(kind))]
        return [self.open_run(folder) for folder in folders]

    def open_run(self, folder: Path) -> TrainedRun:
        """Load a run folder; raises UserError if its classes are not the dataset's."""
        model = load_model(folder)
        if model.classes != self.dataset.classes:
            raise UserError(f"{folder} was trained on other classes than those of {self.dataset.folder}")
        options = from_values(TrainOptions, read_yaml(folder / "config.yaml", TrainOptions))
        kind: Kind = "from scratch" if options.weights == "none" else "fine-tuned"
        self.to_device(model.network)
        return TrainedRun(kind, folder, model, options)

    def start_of(self, run: TrainedRun) -> ResNet:
        """Return a run's network as it was before its first step, in evaluation mode."""
        pretrained = load_pretrained(run.options.weights, run.options.depth)
        return self.to_device(build_network(run.options, self.dataset, pretrained)).eval()

    def train_run(self, kind: Kind) -> Path | None:
        """Train a run within the plan's budget, unless it exists; None where pretrained weights are unavailable."""
        folder = self.folder / "runs" / kind.replace(" ", "-")
        if (folder / "run.json").is_file() and '"stopped": "finished"' in (folder / "run.json").read_text("utf-8"):
            return folder
        scratch = kind == "from scratch"
        options = from_values(
            TrainOptions,
            {
                "dataset": self.dataset.folder,
                "out": folder,
                "weights": "none" if scratch else "imagenet",
                "image_size": self.plan.scratch_size if scratch else self.plan.run_size,
                "resize_mode": "squash",
                "budget": self.plan.run_budget,
                "device": str(self.device.torch_device),
                "precision": self.device.precision,
                "seed": self.seed,
                "observe": True,
                "overwrite": True,
            },
        )
        say(f"training a network to probe, {kind}")
        try:
            return train(options)
        except UserError as error:
            if scratch or "weights" not in str(error):
                raise
            warn(f"{error}; continuing without a fine-tuned network")
            return None


def open_lab(
    source: Path,
    out: Path,
    beside: Path | None = None,
    effort: Effort = "quick",
    seed: int = 0,
    device: str = "auto",
    precision: str = "auto",
    *,
    overwrite: bool = False,
) -> Lab:
    """Open a study's folder: create it, or continue it.

    Raises:
        UserError: no such dataset or run, or a folder with another study or something else in it.
    """
    is_run = (source / "config.yaml").is_file()
    given = tuple(path for path in (source if is_run else None, beside) if path is not None)
    dataset = load_prepared(Path(read_yaml(source / "config.yaml", TrainOptions)["dataset"]) if is_run else source)
    chosen = resolve_device(device, precision)
    plan = plan_for(effort, chosen)
    about: dict[str, Any] = {
        "dataset": {"name": dataset.name, "fingerprint": dataset.fingerprint},
        "runs": [str(path.absolute()) for path in given],
        "effort": effort,
        "seed": seed,
        "precision": chosen.precision,
        "device": str(chosen.torch_device),
        "plan": dataclasses.asdict(plan),
        "versions": versions(),
    }
    claim_folder(out, about, overwrite=overwrite)
    tune_allocator()
    torch.set_num_threads(available_cores())
    return Lab(out, dataset, given, plan, chosen, seed)


def claim_folder(out: Path, about: dict[str, Any], *, overwrite: bool) -> None:
    """Create the study's folder, or accept one that holds the same study."""
    described = out / DESCRIPTION
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file: give a folder for the study")
    if described.is_file():
        before = cast(dict[str, Any], yaml.safe_load(described.read_text(encoding="utf-8")))
        differing = [name for name, value in about.items() if name != "versions" and before.get(name) != value]
        if not differing:
            return
        if not overwrite:
            raise UserError(
                f"{out} holds a study with another {' and '.join(differing)}: choose another --out, or add --overwrite"
            )
        shutil.rmtree(out)
    elif out.is_dir() and any(out.iterdir()):
        raise UserError(f"{out} holds something that is not a study: choose another --out")
    out.mkdir(parents=True, exist_ok=True)
    described.write_text(yaml.safe_dump(about, sort_keys=False, allow_unicode=True), encoding="utf-8")


def write_table(table: pd.DataFrame, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as partial:
        table.to_csv(partial, index=False)


def read_table(path: Path) -> pd.DataFrame:
    """Read what `write_table` wrote; only empty cells are missing values, so the shortcuts "none" stay a word."""
    return pd.read_csv(path, keep_default_na=False, na_values=[""])
