"""`--observe`: cheap facts from inside the network while it trains.

A few steps of every epoch are looked at in detail, through taps; of every step the losses of its samples are kept,
which the step computes anyway. Nothing waits for the device before the epoch is over, and the training stays the same.
"""

from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnet50.data.dataset import Sample
from resnet50.model.hooks import block_names, record, record_branches
from resnet50.model.resnet import NoShortcut, ResNet
from resnet50.runtime.atomic import atomic_write
from resnet50.runtime.errors import UserError

PROBED_FOLDER = "observed"
"""Folder of a run with what was seen."""

LOOKS = 8
"""Steps of an epoch that are looked at in detail: enough for a mean, few enough to cost next to nothing."""

STEPS_PER_LOOK = 20
"""Steps of a run that share one look: it may cost half a step, which then is 2.5 % of them."""

TINY = 1e-12
"""Keeps a ratio finite whose denominator is zero."""


def probe_steps(steps_per_epoch: int) -> int:
    """Return how many steps of an epoch a run looks at: at least one, and few enough to cost next to nothing."""
    return max(1, min(LOOKS, steps_per_epoch // STEPS_PER_LOOK))


@dataclass(frozen=True)
class Outputs:
    """Of a block's outputs: how many values, their sum, their sum of squares, and the largest of each channel."""

    count: int
    total: Tensor
    squares: Tensor
    largest: Tensor

    def __add__(self, other: "Outputs") -> "Outputs":
        """Take two parts of a batch together."""
        return Outputs(
            self.count + other.count,
            self.total + other.total,
            self.squares + other.squares,
            torch.maximum(self.largest, other.largest),
        )

    def variance(self) -> Tensor:
        """Return the variance over images, channels and positions."""
        return (self.squares / self.count - (self.total / self.count).square()).clamp_min(0)

    def dead(self) -> Tensor:
        """Return the share of channels that are zero everywhere."""
        return (self.largest <= 0).float().mean()


class TrainingProbe:
    """What was seen of a network, by epoch: see `layers` and `samples`."""

    def __init__(
        self, network: ResNet, rows: int, steps_per_epoch: int, device: torch.device, looks: int = LOOKS
    ) -> None:
        """Begin before the first step.

        Args:
            network: the one that is trained, on its device.
            rows: of the training split.
            steps_per_epoch: optimizer steps in an epoch.
            device: of the network.
            looks: steps of an epoch to look at in detail.
        """
        self.network, self.device = network, device
        self.blocks = block_names(network)
        self.has_shortcuts = not any(isinstance(module, NoShortcut) for module in network.modules())
        self.looked_at = set(np.linspace(0, steps_per_epoch, min(looks, steps_per_epoch), endpoint=False).astype(int))
        self.loss = torch.empty(rows, device=device)
        self.correct = torch.empty(rows, device=device)
        self.finished: list[pd.DataFrame] = []
        self.finished_samples: list[pd.DataFrame] = []
        self.batches: Iterator[list[Sample]] = iter(())
        self.batch: list[int] = []
        self.rows: list[int] = []
        self.step = -1
        self.seen: dict[tuple[str, str], list[Tensor]] = {}
        self.outputs: dict[str, list[Outputs]] = {}
        self.branches: dict[str, list[Tensor]] = {}
        self.weights: dict[str, Tensor] = {}
        self.statistics: dict[tuple[str, str], Tensor] = {}

    def start_epoch(self) -> None:
        """Begin an epoch."""
        self.step, self.seen = -1, {}
        self.loss.fill_(torch.nan)
        self.correct.fill_(torch.nan)
        self.statistics = running_statistics(self.network)

    def follow(self, batches: Iterable[list[Sample]]) -> None:
        """Take the samples of the batches that come from here on."""
        self.batches = iter(batches)

    def start_step(self) -> None:
        """Begin a step."""
        self.step += 1
        self.batch = self.rows = [sample.row for sample in next(self.batches)]

    def restart_step(self) -> None:
        """Forget what was seen of a step whose forward pass was broken off."""
        self.rows, self.outputs, self.branches = self.batch, {}, {}

    @property
    def looking(self) -> bool:
        """Return whether this step is looked at in detail."""
        return self.step in self.looked_at

    @contextmanager
    def forward(self) -> Generator[None]:
        """Look at the blocks during a forward pass, if this step is looked at."""
        if not self.looking:
            yield
            return
        with (
            record(self.network, self.blocks, output_facts) as outputs,
            record_branches(self.network, branch_facts, self.blocks if self.has_shortcuts else ()) as branches,
        ):
            yield
        for block in self.blocks:
            self.outputs.setdefault(block, []).append(outputs[block])
        for block, facts in branches.items():
            self.branches.setdefault(block, []).append(facts)

    def after_forward(self, logits: Tensor, labels: Tensor) -> None:
        """Take the logits (N×classes) and labels (N) of the next N samples of the step."""
        rows, self.rows = torch.tensor(self.rows[: len(labels)]), self.rows[len(labels) :]
        rows = rows.to(self.device, non_blocking=True)
        self.loss[rows] = F.cross_entropy(logits, labels, reduction="none")
        self.correct[rows] = (logits.argmax(1) == labels).float()

    def before_update(self) -> None:
        """Look at the blocks and gradients of the whole batch; keep the weights that the step is about to change."""
        if not self.looking:
            return
        for block, (first, *others) in self.outputs.items():
            whole = sum(others, start=first)
            self.add(block, "activation_variance", whole.variance())
            self.add(block, "dead_channels", whole.dead())
        for block, parts in self.branches.items():
            ratio, cosine = torch.cat(parts, dim=1).mean(dim=1)
            self.add(block, "residual_ratio", ratio)
            self.add(block, "residual_cosine", cosine)
        self.outputs, self.branches = {}, {}
        layers = {name: weight for name, weight in layer_weights(self.network) if weight.grad is not None}
        gradients = [weight.grad for weight in layers.values() if weight.grad is not None]
        for name, norm in zip(layers, torch._foreach_norm(gradients), strict=True):  # pyright: ignore
            self.add(name, "gradient_norm", norm)
        self.weights = {name: weight.detach().clone() for name, weight in layers.items() if weight.ndim > 1}

    def after_update(self) -> None:
        """Look at how far the step went."""
        if not self.looking:
            return
        for name, before in self.weights.items():
            after = self.network.get_submodule(name).weight
            assert isinstance(after, Tensor)
            self.add(name, "update_ratio", (after.detach() - before).norm() / (before.norm() + TINY))
        self.weights = {}
        if not self.finished:  # the look at the network before its first step is worth keeping by itself
            self.finished.append(self.table(epoch=0))

    def add(self, layer: str, quantity: str, value: Tensor) -> None:
        """Add a look's value, a scalar on the device."""
        self.seen.setdefault((layer, quantity), []).append(value.detach().float())

    def end_epoch(self, epoch: int) -> None:
        """Finish an epoch, counted from 1: here the numbers come from the device."""
        now = running_statistics(self.network)
        for (layer, quantity), before in self.statistics.items():
            self.add(layer, f"{quantity}_drift", (now[layer, quantity] - before).norm() / (before.norm() + TINY))
        self.finished.append(self.table(epoch))
        loss, correct = self.loss.cpu().numpy(), self.correct.cpu().numpy()
        samples = pd.DataFrame({"epoch": epoch, "row": np.arange(len(loss)), "loss": loss, "correct": correct})
        self.finished_samples.append(samples)

    def state_dict(self) -> dict[str, Any]:
        """Return what was seen since the last epoch ended, and before the first step, as tensors and plain values."""
        return {
            "epochs": len(self.finished_samples),
            "start": [table.to_dict("list") for table in self.finished[:1]],
            "loss": self.loss,
            "correct": self.correct,
            "step": self.step,
            "seen": [[layer, quantity, values] for (layer, quantity), values in self.seen.items()],
            "statistics": [[layer, quantity, value] for (layer, quantity), value in self.statistics.items()],
        }

    def load_state_dict(self, saved: dict[str, Any], folder: Path) -> None:
        """Take back what `state_dict` returned; what was seen in whole epochs, `write_probed` has put in the folder.

        Raises:
            UserError: it isn't there.
        """
        try:
            layers = pd.read_csv(folder / "layers.csv", converters={"value": number}) if saved["epochs"] else None
            samples = pd.read_parquet(folder / "samples.parquet") if saved["epochs"] else None
        except (OSError, ValueError) as error:
            raise UserError(
                f"what was observed so far is missing from {folder} ({error}): start the run again"
            ) from error
        self.finished = [pd.DataFrame(start) for start in saved["start"]]
        self.finished_samples = []
        for epoch in range(1, saved["epochs"] + 1):
            assert layers is not None and samples is not None  # there are epochs
            self.finished.append(layers[layers["epoch"] == epoch])
            columns = ["epoch", "row", "loss", "correct"]
            self.finished_samples.append(samples.loc[samples["epoch"] == epoch, columns])
        self.loss.copy_(saved["loss"])
        self.correct.copy_(saved["correct"])
        self.step = saved["step"]
        self.seen = {
            (layer, quantity): [value.to(self.device) for value in values] for layer, quantity, values in saved["seen"]
        }
        self.statistics = {(layer, quantity): value.to(self.device) for layer, quantity, value in saved["statistics"]}

    def table(self, epoch: int) -> pd.DataFrame:
        """Return what was seen since the epoch began: the mean of its looks."""
        keys = list(self.seen)
        means = (
            torch.stack([torch.stack(values).mean() for values in self.seen.values()]).cpu().tolist() if keys else []
        )
        layers, quantities = [layer for layer, _ in keys], [quantity for _, quantity in keys]
        return pd.DataFrame({"epoch": epoch, "layer": layers, "quantity": quantities, "value": means})

    def layers(self) -> pd.DataFrame:
        """Return what was seen of the layers: columns epoch (0: before the first step), layer, quantity, value.

        Values are means over the epoch's looks. Quantities: gradient_norm (L2, of the layer's weight, over the whole
        batch, before clipping); update_ratio (norm of a step's change of the weight over the norm of the weight);
        residual_ratio (‖F(x)‖/‖x‖ of a block, mean over the images, x as it comes through the shortcut) and
        residual_cosine (of the angle between them); activation_variance (of a block's output over batch, channels and
        positions); dead_channels (share of a block's output channels that are zero everywhere); running_mean_drift and
        running_var_drift (relative change of a norm's statistics over the epoch).
        """
        return concatenated(self.finished, ["epoch", "layer", "quantity", "value"])

    def samples(self) -> pd.DataFrame:
        """Return what was seen of the samples: columns epoch, row (of the training split), loss (nats), correct.

        Both as the step saw them: under augmentation, while the weights change; missing where an epoch left a row out.
        """
        return concatenated(self.finished_samples, ["epoch", "row", "loss", "correct"])


def concatenated(tables: list[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    """Return tables below each other; an empty one with these columns if there are none."""
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)


@torch.no_grad()
def output_facts(x: Tensor, y: Tensor) -> Outputs:
    """Look at a block's output, N×C×H×W, in as few passes over it as there are facts: it costs what it reads."""
    del x
    total, norm = y.sum(dtype=torch.float32), torch.linalg.vector_norm(y, dtype=torch.float32)
    return Outputs(y.numel(), total, norm.square(), y.amax((0, 2, 3)))


@torch.no_grad()
def branch_facts(shortcut: Tensor, residual: Tensor) -> Tensor:
    """Look at both sides of a block's addition, N×C×H×W each: return their ratios and cosines by image, 2×N."""
    # Channels last in memory, as they are: no copy.
    x, change = (side.permute(0, 2, 3, 1).flatten(1) for side in (shortcut, residual))
    size, step = (torch.linalg.vector_norm(side, dim=1, dtype=torch.float32) for side in (x, change))
    cosine = (change * x).sum(dim=1, dtype=torch.float32) / (step * size + TINY)
    return torch.stack([step / (size + TINY), cosine])


def layer_weights(network: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Yield the name and weight of every layer that has one."""
    for name, module in network.named_modules():
        weight = getattr(module, "weight", None)
        if isinstance(weight, nn.Parameter):
            yield name, weight


def running_statistics(network: nn.Module) -> dict[tuple[str, str], Tensor]:
    """Return copies of the running means and variances of all norms that still learn."""
    return {
        (name, quantity): getattr(module, quantity).clone()
        for name, module in network.named_modules()
        if isinstance(module, nn.BatchNorm2d) and module.weight.requires_grad
        for quantity in ("running_mean", "running_var")
    }


def write_probed(observer: TrainingProbe, image_ids: pd.Series, folder: Path) -> None:
    """Write `layers.csv` and `samples.parquet`, each whole or not at all.

    Args:
        observer: after an epoch.
        image_ids: of the training split's rows.
        folder: is made if it isn't there.
    """
    folder.mkdir(exist_ok=True)
    samples = observer.samples()
    samples["image_id"] = image_ids.to_numpy()[samples["row"]]
    with atomic_write(folder / "layers.csv") as partial:
        observer.layers().to_csv(partial, index=False)
    with atomic_write(folder / "samples.parquet") as partial:
        samples.to_parquet(partial, index=False)


def number(text: str) -> float:
    """Read a cell to the last bit; an empty one is no number."""
    return float(text or "nan")
