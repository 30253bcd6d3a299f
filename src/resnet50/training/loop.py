"""The training loop, from top to bottom: a run is epochs, an epoch is steps and a validation, a step is a batch."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from typing import Protocol, TypeVar

import torch
import torch.distributed as torch_dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from resnet50.data.loader import EpochBatchSampler, Loader, SequentialBatchSampler
from resnet50.data.transforms import Preprocess
from resnet50.etl.decode import UnreadableImageError
from resnet50.model.forward import Forward, forward_batches, forward_images, to_device
from resnet50.options.config import TrainOptions
from resnet50.runtime.console import Advance, duration, progress, warn
from resnet50.runtime.device import Device
from resnet50.runtime.distributed import Distributed
from resnet50.runtime.errors import UserError
from resnet50.training.callbacks.probe import TrainingProbe
from resnet50.training.optim import set_learning_rate, train_mode, update_average
from resnet50.training.recovery.guards import (
    Diverged,
    check_divergence,
    double_accumulation,
    is_out_of_memory,
    skip_sample,
    sync_skipped,
)
from resnet50.training.state import MetricAccumulator, TrainState
from resnet50.training.timer import SLOW_LOADING, EpochTimer, loading_advice


@dataclass(frozen=True)
class EpochMetrics:
    """An epoch's numbers, the columns of `metrics.csv`.

    `train_loss` and `val_loss` are the plain cross-entropy in nats, without label smoothing or class weights, so that
    they can be compared; `objective` is what is minimized, with both. Training figures are means over the epoch, under
    augmentation, while the weights change; validation figures are those of the weights that are saved. `skipped_steps`
    had no finite gradient and changed nothing. `wait_seconds` of the epoch's `seconds` went by while training waited
    for the loader.
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
class TrainingData:
    """The two sides of the table that training reads, as batches of uint8 images and labels.

    `forward` is how the network takes them; `compiled`, the same compiled, is for training steps only. `paths` are
    those of the rows of both splits, where they come from files.
    """

    train: Loader
    order: EpochBatchSampler
    val: Loader
    val_order: SequentialBatchSampler
    preprocess: Preprocess
    class_weights: Tensor | None
    forward: Forward = forward_images
    compiled: Forward | None = None
    paths: Mapping[str, Iterable[str]] = field(default_factory=dict[str, Iterable[str]])

    @property
    def train_images(self) -> int:
        """Return how many images an epoch trains on."""
        return min(self.order.rows, len(self.order) * self.order.batch_size)


@dataclass(frozen=True)
class Training:
    """A training: what learns, from what, how, on what machine, and who looks on."""

    state: TrainState
    data: TrainingData
    options: TrainOptions
    device: Device
    observer: TrainingProbe | None = None


class AtEpochEnd(Protocol):
    """What happens with an epoch's numbers: `best` says whether its validation loss is the lowest so far."""

    def __call__(self, state: TrainState, metrics: EpochMetrics, *, best: bool) -> None: ...  # noqa: D102


BetweenSteps = Callable[[TrainState], None]
"""What happens after every step, and every batch of a validation: a checkpoint, or the end of it by a `Stopped`."""


def nothing(state: TrainState) -> None:
    """Let nothing happen between steps."""


def fit(training: Training, report: AtEpochEnd, between_steps: BetweenSteps = nothing) -> str:
    """Train until the epochs are done or patience is out, from wherever the state is.

    Returns:
        Why it ended: "finished" or "early stopping".

    Raises:
        Diverged: the loss or the gradient is no longer a number.
    """
    state, data, options = training.state, training.data, training.options
    while state.epoch < options.epochs and not out_of_patience(state, options):
        name = f"epoch {state.epoch + 1}/{options.epochs}"
        if state.epoch:
            name += f", {duration((options.epochs - state.epoch) * state.seconds / state.epoch)} left in all"
        with progress(name, data.train_images + data.val_order.rows, "images") as advance:
            clock = EpochTimer(state)
            train_epoch(training, advance, between_steps, clock)
            sums = state.sums.of_all(training.device.dist)
            train_images = sums.images.item()  # the epoch's first wait for the device
            train_seconds = clock.tick()
            val_loss, val_accuracy = validate(training, advance, between_steps)
            clock.tick()
        state.epoch += 1
        if training.observer is not None:
            training.observer.end_epoch(state.epoch)
        sync_skipped(state, data.paths, options.skip_bad, training.device.dist)
        metrics = epoch_metrics(state, sums, val_loss, val_accuracy, train_images / train_seconds)
        best = state.take_validation_loss(val_loss)
        state.end_epoch(asdict(metrics))
        report(state, metrics, best=best)
        share = metrics.wait_seconds / metrics.seconds
        if share > SLOW_LOADING and state.epoch == min(2, options.epochs):  # the first starts the loader up
            warn(f"{share:.0%} of the epoch went by waiting for photos: {loading_advice(vars(options))}")
        if not all(map(math.isfinite, (metrics.objective, val_loss))):
            raise Diverged(f"the loss is no longer a number in epoch {state.epoch}: start again with a lower --lr")
    return "early stopping" if out_of_patience(state, options) else "finished"


def out_of_patience(state: TrainState, options: TrainOptions) -> bool:
    """Return whether validation has not got better for too long."""
    return options.early_stopping is not None and state.epochs_since_best >= options.early_stopping


def train_epoch(training: Training, advance: Advance, between_steps: BetweenSteps, clock: EpochTimer) -> None:
    """Take the steps of an epoch that are still to be taken."""
    state, order, observer = training.state, training.data.order, training.observer
    train_mode(state.network)
    order.epoch = state.epoch
    if state.step == state.epoch * len(order):
        state.sums = MetricAccumulator.zeros(training.device.torch_device)
        if observer is not None:
            observer.start_epoch()
    for images, labels in clock.waiting(remaining_batches(training)):
        train_step(training, images, labels)
        advance(len(labels))
        clock.tick()
        between_steps(state)
        check_divergence(state)


def remaining_batches(training: Training) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the batches of the epoch from the next step's on, without images that can't be read, as far as allowed."""
    state, data = training.state, training.data
    while True:
        data.order.first = state.step - state.epoch * len(data.order)
        data.order.skipped_samples = state.skipped_samples["train"]
        if training.observer is not None:
            training.observer.follow(data.order)
        try:
            yield from data.train
        except UnreadableImageError as error:
            skip_sample(state, "train", data.paths["train"], error, training.options.skip_bad)
        else:
            return


def train_step(training: Training, images: Tensor, labels: Tensor) -> None:
    """Take one optimizer step on a batch of images (N×3×H×W, as `data.forward` takes them) and labels (N).

    One whose gradient is not finite changes neither weights, nor statistics of batch norm, nor the optimizer's memory,
    and is counted.
    """
    state, options, observer = training.state, training.options, training.observer
    set_learning_rate(state.optimizer, state.schedule.factor(state.step) / 2**state.rollbacks)
    if observer is not None:
        observer.start_step()
    if training.device.dist.world_size > 1 and len(labels) < state.parts:  # the others wait for this one's share
        raise UserError("too many images of a process's share of a batch have gone bad: raise --batch-size")
    if not len(labels):  # every image of it left out
        if len(state.skipped_samples["train"]) >= training.data.train_images:
            raise UserError("every image of the training split has gone bad since the dataset was prepared")
        state.step += 1
        return
    statistics = [buffer.clone() for buffer in state.network.buffers()]
    sums = compute_gradient(training, images, labels, statistics)
    state.scaler.unscale_(state.optimizer)
    if observer is not None:
        observer.before_update()
    gradients = [p.grad for p in state.network.parameters() if p.grad is not None]
    norm = get_total_norm(gradients)
    finite = torch.isfinite(norm)
    if options.clip_grad is not None:
        clip_grads_with_norm_(state.network.parameters(), options.clip_grad, norm)
    add_step(state, sums, norm, finite)
    step_if_finite(state, finite)
    for buffer, before in zip(state.network.buffers(), statistics, strict=True):
        buffer.copy_(torch.where(finite, buffer, before))
    if observer is not None:
        observer.after_update()
    state.optimizer.zero_grad()
    state.step += 1
    if state.average is not None and options.ema is not None:
        update_average(state.average, state.network, options.ema, state.step)


def compute_gradient(
    training: Training, images: Tensor, labels: Tensor, statistics: Sequence[Tensor]
) -> MetricAccumulator:
    """Compute the gradient of a batch's loss, in more and more parts as long as memory runs out; return its sums.

    `statistics` are the network's buffers as they were before.
    """
    state, device = training.state, training.device.torch_device
    while True:
        parts = min(state.parts, len(labels))
        try:
            return forward_backward(training, images, labels, parts)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        state.optimizer.zero_grad()
        for buffer, before in zip(state.network.buffers(), statistics, strict=True):
            buffer.copy_(before)
        if device.type == "cuda":
            torch.cuda.empty_cache()
        if training.observer is not None:
            training.observer.restart_step()
        if training.device.dist.world_size > 1:  # the others are waiting for this gradient
            raise UserError(f"out of memory: go on with `--resume {training.options.out} --accumulate {2 * parts}`")
        double_accumulation(state, parts, len(labels))


def forward_backward(training: Training, images: Tensor, labels: Tensor, parts: int) -> MetricAccumulator:
    """Add up the gradients of a batch's parts.

    The loss is the weighted sum over the batch divided by its total weight, into however many parts the batch is cut.
    """
    state, data, device, observer = training.state, training.data, training.device, training.observer
    total_weight = batch_weight(training, labels)
    forward = data.compiled or data.forward
    if observer is not None and observer.looking:
        forward = data.forward  # taps and compiled code don't go together
    class_weights = None if data.class_weights is None else data.class_weights.to(device.torch_device)
    sums = MetricAccumulator.zeros(device.torch_device)
    cut = list(zip(images.tensor_split(parts), labels.tensor_split(parts), strict=True))
    for number, (part, part_labels) in enumerate(cut, start=1):
        part_labels = part_labels.to(device.torch_device, non_blocking=True)  # noqa: PLW2901
        with nullcontext() if number == parts else no_sync(state.replica):
            with device.autocast(), nullcontext() if observer is None else observer.forward():
                logits = forward(state.replica, to_device(part, device), data.preprocess).float()
            loss = F.cross_entropy(
                logits, part_labels, class_weights, label_smoothing=training.options.label_smoothing, reduction="sum"
            )
            loss = loss / total_weight
            state.scaler.scale(loss * device.dist.world_size).backward()  # of which the processes take the mean
        sums.objective += loss.detach()
        add_to_sums(sums, logits.detach(), part_labels)
        if observer is not None:
            observer.after_forward(logits.detach(), part_labels)
    return sums


def add_step(state: TrainState, step: MetricAccumulator, norm: Tensor, finite: Tensor) -> None:
    """Add a step's sums and gradient norm to the epoch's, as far as they are numbers. Nothing waits for the device."""
    number = torch.isfinite(step.objective)
    step.steps += 1
    for name in ("objective", "steps", "loss", "correct", "images"):
        value = getattr(step, name)
        setattr(state.sums, name, getattr(state.sums, name) + torch.where(number, value, torch.zeros_like(value)))
    state.sums.grad_norm += torch.where(finite, norm, torch.zeros_like(norm))
    state.sums.norms += finite
    state.bad_steps = torch.where(finite, 0, state.bad_steps + 1)


def step_if_finite(state: TrainState, finite: Tensor) -> None:
    """Let the optimizer step, unless the gradient is not finite."""
    if state.scaler.is_enabled():  # the scaler does the same by itself
        state.scaler.step(state.optimizer)
        state.scaler.update()
    elif all(group["fused"] for group in state.optimizer.param_groups):
        # Fused kernels look at this on the device, as the scaler has them do.
        state.optimizer.found_inf = (~finite).float()  # pyright: ignore[reportAttributeAccessIssue]
        state.optimizer.step()
    elif finite:
        state.optimizer.step()


def batch_weight(training: Training, labels: Tensor) -> float:
    """Return the total weight of a batch, all processes' shares of it: the sum of its labels' class weights.

    Computed on the CPU, so that nothing waits for a GPU; processes only tell each other what they can't know.
    """
    data, dist = training.data, training.device.dist
    if data.class_weights is not None:
        return dist.all_reduce_sum(data.class_weights[labels.cpu()].sum()).item()
    if dist.world_size == 1:
        return len(labels)
    if training.options.skip_bad or training.state.skipped_samples["train"]:  # some shares may lack an image
        return dist.all_reduce_sum(torch.tensor(float(len(labels)))).item()
    return min(data.order.batch_size, data.order.rows)


def no_sync(replica: nn.Module) -> AbstractContextManager[None]:
    """Add up gradients in this process only: the last part of a batch sends them to the others.

    What decides is whether the forward pass is inside (DistributedDataParallel.no_sync).
    """
    return replica.no_sync() if isinstance(replica, DistributedDataParallel) else nullcontext()


def add_to_sums(sums: MetricAccumulator, logits: Tensor, labels: Tensor) -> None:
    """Add a batch, or a part of one."""
    sums.loss += F.cross_entropy(logits, labels, reduction="sum")
    sums.correct += (logits.argmax(1) == labels).sum()
    sums.images += len(labels)


def validate(training: Training, advance: Advance, between_batches: BetweenSteps = nothing) -> tuple[float, float]:
    """Return mean cross-entropy (nats) and accuracy over the validation split, every image counted once.

    Each process validates its share, all of them with the first's statistics of batch norm.
    """
    state, device = training.state, training.device
    network = state.network_to_keep
    broadcast_buffers(network, device.dist)

    def add_up() -> MetricAccumulator:
        sums = MetricAccumulator.zeros(device.torch_device)
        data = training.data
        for logits, labels in forward_batches(network, data.val, data.preprocess, device, data.forward):
            add_to_sums(sums, logits, labels.to(device.torch_device))
            advance(len(labels))
            if device.dist.world_size == 1:  # several have their own shares, and can't agree on anything in between
                between_batches(state)
        return sums

    sums = skipping_unreadable(training, add_up).of_all(device.dist)
    images = sums.images.item()
    if not images:
        raise UserError("every image of the validation split has gone bad since the dataset was prepared")
    return sums.loss.item() / images, sums.correct.item() / images


Result = TypeVar("Result")


def skipping_unreadable(training: Training, work: Callable[[], Result]) -> Result:
    """Do work that reads the validation split, anew without each image that can't be read, as far as allowed."""
    state, data = training.state, training.data
    while True:
        data.val_order.skipped_samples = state.skipped_samples["val"]
        try:
            return work()
        except UnreadableImageError as error:
            skip_sample(state, "val", data.paths["val"], error, training.options.skip_bad)


def broadcast_buffers(network: nn.Module, dist: Distributed) -> None:
    """Give the network of every process the buffers of the first's: those that replicas train with."""
    if dist.world_size > 1:
        for buffer in network.buffers():
            torch_dist.broadcast(buffer, src=0)


def epoch_metrics(
    state: TrainState, sums: MetricAccumulator, val_loss: float, val_accuracy: float, images_per_second: float
) -> EpochMetrics:
    """Turn an epoch's sums into its row of `metrics.csv`."""
    images = sums.images.item() or math.nan  # not one that gave a number
    rates = {group["name"]: group["lr"] for group in state.optimizer.param_groups}
    return EpochMetrics(
        epoch=state.epoch,
        train_loss=sums.loss.item() / images,
        train_accuracy=sums.correct.item() / images,
        val_loss=val_loss,
        val_accuracy=val_accuracy,
        objective=sums.objective.item() / (sums.steps.item() or math.nan),
        lr=rates.get("backbone", 0.0),
        head_lr=rates["head"],
        grad_norm=sums.grad_norm.item() / max(sums.norms.item(), 1.0),
        skipped_steps=state.schedule.steps_per_epoch - round(sums.norms.item()),
        images_per_second=images_per_second,
        wait_seconds=state.epoch_waited,
        seconds=state.epoch_seconds,
    )
