"""The metrics of an epoch: sums kept on the device, and the row of `metrics.csv` that they become."""

import dataclasses
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from resnet50.runtime.distributed import Distributed


@dataclass(frozen=True)
class EpochMetrics:
    """An epoch's metrics, the columns of `metrics.csv`.

    Training metrics are means over the epoch, under augmentation, while the weights change. Validation metrics are
    those of the weights that are saved.

    Attributes:
        epoch: counted from 1.
        train_loss: mean cross-entropy in nats, without label smoothing or class weights; so is `val_loss`.
        train_accuracy: share of samples whose likeliest class is their label; so is `val_accuracy`.
        objective: what is minimized: with label smoothing and class weights.
        lr: learning rate of the backbone in the last step; `head_lr` that of the head.
        grad_norm: mean L2 norm of the gradient, before clipping.
        skipped_steps: steps without a finite gradient, which changed nothing.
        images_per_second: of training, without validation.
        wait_seconds: time that training waited for the loader, of the epoch's `seconds`.
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    objective: float
    lr: float
    head_lr: float
    grad_norm: float
    skipped_steps: int
    images_per_second: float
    wait_seconds: float
    seconds: float


@dataclass(frozen=True)
class Means:
    """What accumulated sums come to: NaN where nothing was counted."""

    loss: float
    accuracy: float
    objective: float
    grad_norm: float
    images: int
    finite_steps: int


@dataclass
class MetricAccumulator:
    """Running sums, kept on the device so that no step waits for a number to come back.

    A step whose loss is not finite counts in none of them. One whose gradient is not finite counts in neither
    `grad_norm` nor `finite_steps`.
    """

    objective: Tensor
    steps: Tensor
    loss: Tensor
    correct: Tensor
    images: Tensor
    grad_norm: Tensor
    finite_steps: Tensor

    @classmethod
    def zeros(cls, device: torch.device) -> "MetricAccumulator":
        """Start at zero, in float64 where the device has it (mps does not)."""
        dtype = torch.float32 if device.type == "mps" else torch.float64
        return cls(*(torch.zeros((), dtype=dtype, device=device) for _ in dataclasses.fields(cls)))

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Add a batch or micro-batch: logits (N×classes) and labels (N)."""
        self.loss += F.cross_entropy(logits, labels, reduction="sum")
        self.correct += (logits.argmax(1) == labels).sum()
        self.images += len(labels)

    def update_step(self, step: "MetricAccumulator", norm: Tensor, finite: Tensor) -> None:
        """Add an optimizer step: its own sums and the norm of its gradient, as far as they are finite."""
        counts = torch.isfinite(step.objective)
        step.steps += 1
        for name in ("objective", "steps", "loss", "correct", "images"):
            value = getattr(step, name)
            setattr(self, name, getattr(self, name) + torch.where(counts, value, torch.zeros_like(value)))
        self.grad_norm += torch.where(finite, norm, torch.zeros_like(norm))
        self.finite_steps += finite

    def all_reduce(self, dist: Distributed) -> "MetricAccumulator":
        """Return the sums over all processes. Every process takes part in each step, so steps count once."""
        values = dist.all_reduce_sum(torch.stack(list(vars(self).values())))
        names = [field.name for field in dataclasses.fields(self)]
        shared = torch.tensor([name in ("steps", "grad_norm", "finite_steps") for name in names], device=values.device)
        return MetricAccumulator(*torch.where(shared, values / dist.world_size, values).unbind())

    def undo_all_reduce(self, dist: Distributed) -> "MetricAccumulator":
        """Return sums of which `all_reduce` makes these again: the main process has them, the others start at zero."""
        if dist.is_main:
            return self
        zero = torch.zeros_like(self.loss)
        return dataclasses.replace(self, objective=zero, loss=zero, correct=zero, images=zero)

    def compute(self) -> Means:
        """Return the means. This waits for the device."""
        images, steps = self.images.item() or math.nan, self.steps.item() or math.nan
        return Means(
            loss=self.loss.item() / images,
            accuracy=self.correct.item() / images,
            objective=self.objective.item() / steps,
            grad_norm=self.grad_norm.item() / max(self.finite_steps.item(), 1.0),
            images=round(self.images.item()),
            finite_steps=round(self.finite_steps.item()),
        )
