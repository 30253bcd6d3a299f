"""The events of the training loop, and what a callback is."""

from typing import TYPE_CHECKING, Literal

from torch import Tensor

from resnet50.training.metrics import EpochMetrics

if TYPE_CHECKING:
    from resnet50.training.training import Training

Event = Literal[
    "on_epoch_start",
    "on_step_start",
    "on_forward_end",
    "on_backward_end",
    "on_step_end",
    "on_validation_step_end",
    "on_wait",
    "on_epoch_end",
    "on_stop",
]


class Callback:
    """Acts on events of the training loop. Each method does nothing unless a callback overrides it."""

    def on_epoch_start(self, training: "Training") -> None:
        """Before the first step of an epoch; not when an epoch is resumed in its middle."""

    def on_step_start(self, training: "Training") -> None:
        """Before the forward pass of a step; again if the step starts over with smaller micro-batches."""

    def on_forward_end(self, training: "Training", logits: Tensor, labels: Tensor) -> None:
        """After the forward pass of a micro-batch: logits (N×classes) and labels (N)."""

    def on_backward_end(self, training: "Training") -> None:
        """When the gradient of the whole batch is there, neither scaled nor clipped."""

    def on_step_end(self, training: "Training") -> None:
        """After the optimizer step."""

    def on_validation_step_end(self, training: "Training") -> None:
        """After each batch of the validation split."""

    def on_wait(self, training: "Training") -> None:
        """Every second while the next batch of either split is not there yet."""

    def on_epoch_end(self, training: "Training", metrics: EpochMetrics, best: bool) -> None:
        """After the validation; `best` if its loss is the lowest so far."""

    def on_stop(self, training: "Training") -> None:
        """Before training stops because it was asked to."""
