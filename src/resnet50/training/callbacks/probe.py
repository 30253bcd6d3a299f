"""`--observe`: what goes on inside the network while it trains.

A few steps of every epoch are probed in detail, through hooks. Of every step the losses of its samples are kept, which
the step computes anyway. Nothing waits for the device before the epoch is over, and the training stays the same.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnet50.model.hooks import block_names, record, record_branches
from resnet50.model.resnet import NoShortcut, ResNet
from resnet50.runtime.atomic import atomic_write
from resnet50.runtime.errors import UserError
from resnet50.training.callbacks.callback import Callback
from resnet50.training.metrics import EpochMetrics
from resnet50.training.training import Training

PROBED_FOLDER = "observed"
"""Folder of a run for what the probe recorded."""

PROBED_STEPS = 8
"""Steps of an epoch to probe in detail: enough for a mean, few enough to cost next to nothing."""

STEPS_PER_PROBE = 20
"""Steps of a run for each that is probed: a probe may cost half a step, which then is 2.5% of them."""

TINY = 1e-12
"""Keeps a ratio finite whose denominator is zero."""


def probe_steps(steps_per_epoch: int) -> int:
    """Return how many steps of an epoch a run probes: at least one, and few enough to cost next to nothing."""
    return max(1, min(PROBED_STEPS, steps_per_epoch // STEPS_PER_PROBE))


@dataclass(frozen=True)
class Outputs:
    """Sums over a block's outputs: number of values, sum, sum of squares, and the maximum of each channel."""

    count: int
    total: Tensor
    squares: Tensor
    largest: Tensor

    def __add__(self, other: "Outputs") -> "Outputs":
        """Combine two micro-batches."""
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


@dataclass(frozen=True)
class ProbeOutput:
    """Where a probe writes: a folder, and the image ids of the training split's rows."""

    folder: Path
    image_ids: pd.Series


class TrainingProbe(Callback):
    """Records what goes on inside the network, epoch by epoch: see `layers` and `samples`."""

    def __init__(
        self,
        network: ResNet,
        rows: int,
        steps_per_epoch: int,
        device: torch.device,
        probed_steps: int = PROBED_STEPS,
        output: ProbeOutput | None = None,
    ) -> None:
        """Begin before the first step.

        Args:
            network: the one that is trained, on its device.
            rows: of the training split.
            steps_per_epoch: optimizer steps in an epoch.
            device: of the network.
            probed_steps: steps of an epoch to probe in detail.
            output: where to write everything after each epoch.
        """
        self.network, self.device, self.output = network, device, output
        self.blocks = block_names(network)
        self.has_shortcuts = not any(isinstance(module, NoShortcut) for module in network.modules())
        count = min(probed_steps, steps_per_epoch)
        self.probed = set(np.linspace(0, steps_per_epoch, count, endpoint=False).astype(int))
        self.loss = torch.empty(rows, device=device)
        self.correct = torch.empty(rows, device=device)
        self.finished: list[pd.DataFrame] = []
        self.finished_samples: list[pd.DataFrame] = []
        self.rows: list[int] = []
        self.step = -1
        self.seen: dict[tuple[str, str], list[Tensor]] = {}
        self.outputs: dict[str, list[Outputs]] = {}
        self.branches: dict[str, list[Tensor]] = {}
        self.weights: dict[str, Tensor] = {}
        self.statistics: dict[tuple[str, str], Tensor] = {}
        self.hooks = ExitStack()

    @property
    def probing(self) -> bool:
        """Return whether this step is probed in detail."""
        return self.step in self.probed

    def on_epoch_start(self, training: Training) -> None:
        """Forget the epoch before."""
        del training
        self.seen = {}
        self.loss.fill_(torch.nan)
        self.correct.fill_(torch.nan)
        self.statistics = running_statistics(self.network)

    def on_step_start(self, training: Training) -> None:
        """Take the rows of the batch, and attach hooks if this step is probed."""
        order = training.data.order
        self.step = training.state.step - training.state.epoch * len(order)
        self.rows = [sample.row for sample in order.batch(self.step)]
        self.outputs, self.branches = {}, {}
        self.hooks.close()
        if self.probing:
            self.block_outputs = self.hooks.enter_context(record(self.network, self.blocks, output_facts))
            shortcuts = self.blocks if self.has_shortcuts else ()
            self.block_branches = self.hooks.enter_context(record_branches(self.network, branch_facts, shortcuts))

    def on_forward_end(self, training: Training, logits: Tensor, labels: Tensor) -> None:
        """Keep the loss of each sample of a micro-batch, and what the hooks recorded."""
        del training
        rows, self.rows = torch.tensor(self.rows[: len(labels)]), self.rows[len(labels) :]
        rows = rows.to(self.device, non_blocking=True)
        self.loss[rows] = F.cross_entropy(logits, labels, reduction="none")
        self.correct[rows] = (logits.argmax(1) == labels).float()
        if self.probing:
            for block in self.blocks:
                self.outputs.setdefault(block, []).append(self.block_outputs[block])
            for block, facts in self.block_branches.items():
                self.branches.setdefault(block, []).append(facts)

    def on_backward_end(self, training: Training) -> None:
        """Measure blocks and gradients over the whole batch; keep the weights that the step is about to change."""
        del training
        self.hooks.close()
        if not self.probing:
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

    def on_step_end(self, training: Training) -> None:
        """Measure how far the step went."""
        del training
        if not self.probing:
            return
        for name, before in self.weights.items():
            after = self.network.get_submodule(name).weight
            assert isinstance(after, Tensor)
            self.add(name, "update_ratio", (after.detach() - before).norm() / (before.norm() + TINY))
        self.weights = {}
        if not self.finished:  # the network before its first step is worth keeping by itself
            self.finished.append(self.table(epoch=0))

    def on_epoch_end(self, training: Training, metrics: EpochMetrics, best: bool) -> None:
        """Bring the epoch's numbers from the device, and write them."""
        del training, best
        now = running_statistics(self.network)
        for (layer, quantity), before in self.statistics.items():
            self.add(layer, f"{quantity}_drift", (now[layer, quantity] - before).norm() / (before.norm() + TINY))
        self.finished.append(self.table(metrics.epoch))
        loss, correct = self.loss.cpu().numpy(), self.correct.cpu().numpy()
        samples = pd.DataFrame({"epoch": metrics.epoch, "row": np.arange(len(loss)), "loss": loss, "correct": correct})
        self.finished_samples.append(samples)
        if self.output is not None:
            write_probed(self, self.output)

    def add(self, layer: str, quantity: str, value: Tensor) -> None:
        """Add a probed step's value, a scalar on the device."""
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
        """Return what was recorded of the current epoch, and before the first step, as tensors and plain values."""
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
        """Take back what `state_dict` returned; the folder has what `write_probed` wrote of completed epochs.

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
        """Return what was recorded since the epoch began: means over its probed steps."""
        keys = list(self.seen)
        means = (
            torch.stack([torch.stack(values).mean() for values in self.seen.values()]).cpu().tolist() if keys else []
        )
        layers, quantities = [layer for layer, _ in keys], [quantity for _, quantity in keys]
        return pd.DataFrame({"epoch": epoch, "layer": layers, "quantity": quantities, "value": means})

    def layers(self) -> pd.DataFrame:
        """Return what was recorded of the layers: columns epoch (0: before the first step), layer, quantity, value.

        Values are means over the epoch's probed steps. Quantities: gradient_norm (L2, of the layer's weight, over the
        whole batch, before clipping); update_ratio (norm of a step's change of the weight over the norm of the weight);
        residual_ratio (‖F(x)‖/‖x‖ of a block, mean over the images, x as it comes through the shortcut) and
        residual_cosine (of the angle between them); activation_variance (of a block's output over batch, channels and
        positions); dead_channels (share of a block's output channels that are zero everywhere); running_mean_drift and
        running_var_drift (relative change of a norm's statistics over the epoch).
        """
        return concatenated(self.finished, ["epoch", "layer", "quantity", "value"])

    def samples(self) -> pd.DataFrame:
        """Return what was recorded of the samples: columns epoch, row (of the training split), loss (nats), correct.

        Both as the step saw them: under augmentation, while the weights change. NaN where an epoch left a row out.
        """
        return concatenated(self.finished_samples, ["epoch", "row", "loss", "correct"])


def concatenated(tables: list[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    """Return tables below each other; an empty one with these columns if there are none."""
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)


@torch.no_grad()
def output_facts(x: Tensor, y: Tensor) -> Outputs:
    """Summarize a block's output, N×C×H×W, in as few passes as possible: reading it is what costs."""
    del x
    total, norm = y.sum(dtype=torch.float32), torch.linalg.vector_norm(y, dtype=torch.float32)
    return Outputs(y.numel(), total, norm.square(), y.amax((0, 2, 3)))


@torch.no_grad()
def branch_facts(shortcut: Tensor, residual: Tensor) -> Tensor:
    """Compare both sides of a block's addition, N×C×H×W each: return ratio and cosine of each image, 2×N."""
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
    """Return copies of the running means and variances of all batch norms that are not frozen."""
    return {
        (name, quantity): getattr(module, quantity).clone()
        for name, module in network.named_modules()
        if isinstance(module, nn.BatchNorm2d) and module.weight.requires_grad
        for quantity in ("running_mean", "running_var")
    }


def write_probed(probe: TrainingProbe, output: ProbeOutput) -> None:
    """Write `layers.csv` and `samples.parquet`, each atomically."""
    output.folder.mkdir(exist_ok=True)
    samples = probe.samples()
    samples["image_id"] = output.image_ids.to_numpy()[samples["row"]]
    with atomic_write(output.folder / "layers.csv") as partial:
        probe.layers().to_csv(partial, index=False)
    with atomic_write(output.folder / "samples.parquet") as partial:
        samples.to_parquet(partial, index=False)


def number(text: str) -> float:
    """Read a cell to the last bit; an empty one is NaN."""
    return float(text or "nan")
