"""A training: what learns, from what, how, on what device, and the callbacks that act on its events."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from torch import Tensor

from resnet50.data.loader import EpochBatchSampler, Loader, SequentialBatchSampler
from resnet50.data.skipping import SkippedSamples
from resnet50.data.transforms import Preprocess
from resnet50.model.forward import Forward, forward_images
from resnet50.model.hooks import has_forward_hooks
from resnet50.model.resnet import ResNet
from resnet50.options import TrainOptions
from resnet50.runtime.device import Device
from resnet50.training.callbacks.callback import Callback, Event
from resnet50.training.optim import format_plan
from resnet50.training.state import TrainState


@dataclass(frozen=True)
class TrainingData:
    """The training and validation splits, as batches of uint8 images and labels.

    Attributes:
        train: batches of the training split, in the order of `order`.
        val: batches of the validation split, in the order of `val_order`.
        preprocess: of the validation split, and of everything after training.
        class_weights: a weight for each class; None if all weigh 1.
        forward: maps the network and a batch to logits.
        compiled: the same, compiled, for training steps only.
        skipped: the samples of both splits that training goes on without.
        on_wait: called every second while a loader has no batch.
    """

    train: Loader
    order: EpochBatchSampler
    val: Loader
    val_order: SequentialBatchSampler
    preprocess: Preprocess
    class_weights: Tensor | None
    forward: Forward = forward_images
    compiled: Forward | None = None
    skipped: SkippedSamples = field(default_factory=SkippedSamples)
    on_wait: list[Callable[[], object]] = field(default_factory=list[Callable[[], object]])

    def train_forward(self, network: ResNet) -> Forward:
        """Return the forward pass of a training step: compiled code passes over hooks, so with hooks the eager one."""
        return self.forward if self.compiled is None or has_forward_hooks(network) else self.compiled


@dataclass(frozen=True)
class Training:
    """A training in progress. Callbacks are called in their order."""

    state: TrainState
    data: TrainingData
    options: TrainOptions
    device: Device
    callbacks: tuple[Callback, ...] = ()

    def planned_options(self) -> TrainOptions:
        """Return the options with the plan of now in place of the budget that it comes from."""
        if self.state.budget is None:
            return self.options
        schedule = self.state.schedule
        return replace(self.options, plan=format_plan(schedule), epochs=schedule.epochs)

    def emit(self, event: Event, *details: object) -> None:
        """Tell every callback of an event."""
        for callback in self.callbacks:
            getattr(callback, event)(self, *details)
