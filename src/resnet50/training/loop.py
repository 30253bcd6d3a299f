"""The training loop, from top to bottom: a run is epochs, an epoch is steps and a validation, a step is a batch."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol, TypeVar

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from resnet50.config import TrainOptions
from resnet50.console import Advance, duration, progress, warn
from resnet50.data.loader import EpochBatches, Loader, OrderedRows
from resnet50.data.transforms import Preprocess
from resnet50.errors import UserError
from resnet50.etl.decode import UnreadableImageError
from resnet50.model.resnet import ResNet
from resnet50.training.machine import Machine
from resnet50.training.observe import Observer
from resnet50.training.optim import set_learning_rate, train_mode, update_average
from resnet50.training.processes import Processes
from resnet50.training.state import MetricSums, TrainState
from resnet50.training.trouble import (
    Diverged,
    cut_batch,
    is_out_of_memory,
    leave_out,
    look_for_divergence,
    share_left_out,
)
from resnet50.training.waiting import WAITING_SHARE, EpochClock, faster_loading

Forward = Callable[[Any, Tensor, Preprocess], Tensor]
"""Maps a network, or its replica among others, and a batch on its device to logits."""


def forward_images(network: nn.Module, images: Tensor, preprocess: Preprocess) -> Tensor:
    """Map uint8 images, N×3×H×W, to logits."""
    return network(preprocess.normalize(images))


@dataclass(frozen=True)
class EpochMetrics:
    """An epoch's numbers, the columns of `metrics.csv`.

    `train_loss` and `val_loss` are the plain cross-entropy in nats, without label smoothing or class weights, so that
    they can be compared; `objective` is what is minimised, with both. Training figures are means over the epoch, under
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
    order: EpochBatches
    val: Loader
    val_order: OrderedRows
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
    machine: Machine
    observer: Observer | None = None


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
            clock = EpochClock(state)
            train_epoch(training, advance, between_steps, clock)
            sums = state.sums.of_all(training.machine.processes)
            train_images = sums.images.item()  # the epoch's first wait for the device
            train_seconds = clock.tick()
            val_loss, val_accuracy = validate(training, advance, between_steps)
            clock.tick()
        state.epoch += 1
        if training.observer is not None:
            training.observer.end_epoch(state.epoch)
        share_left_out(state, data.paths, options.skip_bad, training.machine.processes)
        metrics = epoch_metrics(state, sums, val_loss, val_accuracy, train_images / train_seconds)
        best = state.take_validation_loss(val_loss)
        state.end_epoch(asdict(metrics))
        report(state, metrics, best=best)
        share = metrics.wait_seconds / metrics.seconds
        if share > WAITING_SHARE and state.epoch == min(2, options.epochs):  # the first starts the loader up
            warn(f"{share:.0%} of the epoch went by waiting for photos: {faster_loading(vars(options))}")
        if not all(map(math.isfinite, (metrics.objective, val_loss))):
            raise Diverged(f"the loss is no longer a number in epoch {state.epoch}: start again with a lower --lr")
    return "early stopping" if out_of_patience(state, options) else "finished"


def out_of_patience(state: TrainState, options: TrainOptions) -> bool:
    """Return whether validation has not got better for too long."""
    return options.early_stopping is not None and state.epochs_since_best >= options.early_stopping


def train_epoch(training: Training, advance: Advance, between_steps: BetweenSteps, clock: EpochClock) -> None:
    """Take the steps of an epoch that are still to be taken."""
    state, order, observer = training.state, training.data.order, training.observer
    train_mode(state.network)
    order.epoch = state.epoch
    if state.step == state.epoch * len(order):
        state.sums = MetricSums.zeros(training.machine.device)
        if observer is not None:
            observer.start_epoch()
    for images, labels in clock.waiting(remaining_batches(training)):
        train_step(training, images, labels)
        advance(len(labels))
        clock.tick()
        between_steps(state)
        look_for_divergence(state)


def remaining_batches(training: Training) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the batches of the epoch from the next step's on, without images that can't be read, as far as allowed."""
    state, data = training.state, training.data
    while True:
        data.order.first = state.step - state.epoch * len(data.order)
        data.order.left_out = state.left_out["train"]
        if training.observer is not None:
            training.observer.follow(data.order)
        try:
            yield from data.train
        except UnreadableImageError as error:
            leave_out(state, "train", data.paths["train"], error, training.options.skip_bad)
        else:
            return


def train_step(training: Training, images: Tensor, labels: Tensor) -> None:
    """Take one optimiser step on a batch of images (N×3×H×W, as `data.forward` takes them) and labels (N).

    One whose gradient is not finite changes neither weights, nor statistics of batch norm, nor the optimiser's memory,
    and is counted.
    """
    state, options, observer = training.state, training.options, training.observer
    set_learning_rate(state.optimizer, state.schedule.factor(state.step) / 2**state.setbacks)
    if observer is not None:
        observer.start_step()
    if training.machine.processes.count > 1 and len(labels) < state.parts:  # the others wait for this one's share
        raise UserError("too many images of a process's share of a batch have gone bad: raise --batch-size")
    if not len(labels):  # every image of it left out
        if len(state.left_out["train"]) >= training.data.train_images:
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


def compute_gradient(training: Training, images: Tensor, labels: Tensor, statistics: Sequence[Tensor]) -> MetricSums:
    """Compute the gradient of a batch's loss, in more and more parts as long as memory runs out; return its sums.

    `statistics` are the network's buffers as they were before.
    """
    state, device = training.state, training.machine.device
    while True:
        parts = min(state.parts, len(labels))
        try:
            return add_up_gradients(training, images, labels, parts)
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
        if training.machine.processes.count > 1:  # the others are waiting for this gradient
            raise UserError(f"out of memory: go on with `--resume {training.options.out} --accumulate {2 * parts}`")
        cut_batch(state, parts, len(labels))


def add_up_gradients(training: Training, images: Tensor, labels: Tensor, parts: int) -> MetricSums:
    """Add up the gradients of a batch's parts.

    The loss is the weighted sum over the batch divided by its total weight, into however many parts the batch is cut.
    """
    state, data, machine, observer = training.state, training.data, training.machine, training.observer
    total_weight = batch_weight(training, labels)
    forward = data.compiled or data.forward
    if observer is not None and observer.looking:
        forward = data.forward  # taps and compiled code don't go together
    class_weights = None if data.class_weights is None else data.class_weights.to(machine.device)
    sums = MetricSums.zeros(machine.device)
    cut = list(zip(images.tensor_split(parts), labels.tensor_split(parts), strict=True))
    for number, (part, part_labels) in enumerate(cut, start=1):
        part_labels = part_labels.to(machine.device, non_blocking=True)  # noqa: PLW2901
        with nullcontext() if number == parts else gradients_stay_here(state.replica):
            with machine.autocast(), nullcontext() if observer is None else observer.forward():
                logits = forward(state.replica, to_device(part, machine), data.preprocess).float()
            loss = F.cross_entropy(
                logits, part_labels, class_weights, label_smoothing=training.options.label_smoothing, reduction="sum"
            )
            loss = loss / total_weight
            state.scaler.scale(loss * machine.processes.count).backward()  # of which the processes take the mean
        sums.objective += loss.detach()
        add_to_sums(sums, logits.detach(), part_labels)
        if observer is not None:
            observer.after_forward(logits.detach(), part_labels)
    return sums


def add_step(state: TrainState, step: MetricSums, norm: Tensor, finite: Tensor) -> None:
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
    """Let the optimiser step, unless the gradient is not finite."""
    if state.scaler.is_enabled():  # the scaler does the same by itself
        state.scaler.step(state.optimizer)
        state.scaler.update()
    elif all(group["fused"] for group in state.optimizer.param_groups):
        # Fused kernels look at this on the device, as the scaler has them do.
        state.optimizer.found_inf = (~finite).float()  # pyright: ignore[reportAttributeAccessIssue]
        state.optimizer.step()
    elif finite:
        state.optimizer.step()


def to_device(images: Tensor, machine: Machine) -> Tensor:
    """Move images to the device, channels last: the layout that convolutions like."""
    return images.to(machine.device, non_blocking=True, memory_format=torch.channels_last)


def batch_weight(training: Training, labels: Tensor) -> float:
    """Return the total weight of a batch, all processes' shares of it: the sum of its labels' class weights.

    Computed on the CPU, so that nothing waits for a GPU; processes only tell each other what they can't know.
    """
    data, processes = training.data, training.machine.processes
    if data.class_weights is not None:
        return processes.all_reduce_sum(data.class_weights[labels.cpu()].sum()).item()
    if processes.count == 1:
        return len(labels)
    if training.options.skip_bad or training.state.left_out["train"]:  # some shares may lack an image
        return processes.all_reduce_sum(torch.tensor(float(len(labels)))).item()
    return min(data.order.batch_size, data.order.rows)


def gradients_stay_here(replica: nn.Module) -> AbstractContextManager[None]:
    """Add up gradients in this process only: the last part of a batch sends them to the others.

    What decides is whether the forward pass is inside (DistributedDataParallel.no_sync).
    """
    return replica.no_sync() if isinstance(replica, DistributedDataParallel) else nullcontext()


def add_to_sums(sums: MetricSums, logits: Tensor, labels: Tensor) -> None:
    """Add a batch, or a part of one."""
    sums.loss += F.cross_entropy(logits, labels, reduction="sum")
    sums.correct += (logits.argmax(1) == labels).sum()
    sums.images += len(labels)


def validate(training: Training, advance: Advance, between_batches: BetweenSteps = nothing) -> tuple[float, float]:
    """Return mean cross-entropy (nats) and accuracy over the validation split, every image counted once.

    Each process validates its share, all of them with the first's statistics of batch norm.
    """
    state, machine = training.state, training.machine
    network = state.network_to_keep
    same_buffers(network, machine.processes)

    def add_up() -> MetricSums:
        sums = MetricSums.zeros(machine.device)
        data = training.data
        for logits, labels in forward_batches(network, data.val, data.preprocess, machine, data.forward):
            add_to_sums(sums, logits, labels.to(machine.device))
            advance(len(labels))
            if machine.processes.count == 1:  # several have their own shares, and can't agree on anything in between
                between_batches(state)
        return sums

    sums = skipping_unreadable(training, add_up).of_all(machine.processes)
    images = sums.images.item()
    if not images:
        raise UserError("every image of the validation split has gone bad since the dataset was prepared")
    return sums.loss.item() / images, sums.correct.item() / images


Result = TypeVar("Result")


def skipping_unreadable(training: Training, work: Callable[[], Result]) -> Result:
    """Do work that reads the validation split, anew without each image that can't be read, as far as allowed."""
    state, data = training.state, training.data
    while True:
        data.val_order.left_out = state.left_out["val"]
        try:
            return work()
        except UnreadableImageError as error:
            leave_out(state, "val", data.paths["val"], error, training.options.skip_bad)


def same_buffers(network: nn.Module, processes: Processes) -> None:
    """Give the network of every process the buffers of the first's: those that replicas train with."""
    if processes.count > 1:
        for buffer in network.buffers():
            dist.broadcast(buffer, src=0)


@torch.no_grad()
def forward_batches(
    network: ResNet,
    batches: Iterable[tuple[Tensor, Tensor]],
    preprocess: Preprocess,
    machine: Machine,
    forward: Forward = forward_images,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (float32 logits N×classes on the device, labels N as they came) for every batch, in order."""
    network.eval()
    for images, labels in batches:
        with machine.autocast():
            logits = forward(network, to_device(images, machine), preprocess)
        yield logits.float(), labels


def epoch_metrics(
    state: TrainState, sums: MetricSums, val_loss: float, val_accuracy: float, images_per_second: float
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
