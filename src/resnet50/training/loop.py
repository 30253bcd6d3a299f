"""The training loop, from top to bottom: a run is epochs, an epoch is steps and a validation, a step is a batch."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from resnet50.config import TrainOptions
from resnet50.console import Advance, duration, progress, warn
from resnet50.data.loader import EpochBatches, Loader
from resnet50.data.transforms import Preprocess
from resnet50.errors import UserError
from resnet50.model.resnet import ResNet
from resnet50.training.machine import Machine
from resnet50.training.observe import Observer
from resnet50.training.optim import set_learning_rate, train_mode, update_average
from resnet50.training.state import MetricSums, TrainState
from resnet50.training.waiting import WAITING_SHARE, Waiting, faster_loading

Forward = Callable[[ResNet, Tensor, Preprocess], Tensor]
"""Maps a network and a batch on its device to logits."""


def forward_images(network: ResNet, images: Tensor, preprocess: Preprocess) -> Tensor:
    """Map uint8 images, N×3×H×W, to logits."""
    return network(preprocess.normalize(images))


@dataclass(frozen=True)
class EpochMetrics:
    """An epoch's numbers, the columns of `metrics.csv`.

    `train_loss` and `val_loss` are the plain cross-entropy in nats, without label smoothing or class weights, so that
    they can be compared; `objective` is what is minimised, with both. Training figures are means over the epoch, under
    augmentation, while the weights change; validation figures are those of the weights that are saved. `wait_seconds`
    of the epoch's `seconds` went by while training waited for the loader.
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
    images_per_second: float
    wait_seconds: float
    seconds: float


@dataclass(frozen=True)
class TrainingData:
    """The two sides of the table that training reads, as batches of uint8 images and labels.

    `forward` is how the network takes them; `compiled`, the same compiled, is for training steps only.
    """

    train: Loader
    order: EpochBatches
    val: Loader
    val_images: int
    preprocess: Preprocess
    class_weights: Tensor | None
    forward: Forward = forward_images
    compiled: Forward | None = None

    @property
    def train_images(self) -> int:
        """Return how many images an epoch trains on."""
        return min(self.order.rows, len(self.order) * self.order.batch_size)


class AtEpochEnd(Protocol):
    """What happens with an epoch's numbers: `best` says whether its validation loss is the lowest so far."""

    def __call__(self, state: TrainState, metrics: EpochMetrics, *, best: bool) -> None: ...  # noqa: D102


def fit(
    state: TrainState,
    data: TrainingData,
    options: TrainOptions,
    machine: Machine,
    report: AtEpochEnd,
    observer: Observer | None = None,
) -> str:
    """Train until the epochs are done or patience is out; an observer looks on.

    Returns:
        Why it stopped: "finished" or "early stopping".

    Raises:
        UserError: the loss is no longer a number.
    """
    seconds = 0.0
    while state.epoch < options.epochs:
        name = f"epoch {state.epoch + 1}/{options.epochs}"
        if seconds:
            name += f", {duration((options.epochs - state.epoch) * seconds)} left in all"
        with progress(name, data.train_images + data.val_images, "images") as advance:
            start = time.perf_counter()
            waited = train_epoch(state, data, options, machine, advance, observer)
            train_images = state.sums.images.item()  # the epoch's first wait for the device
            train_seconds = time.perf_counter() - start
            val_loss, val_accuracy = validate(state.network_to_keep, data, machine, advance)
        seconds = time.perf_counter() - start
        state.epoch += 1
        if observer is not None:
            observer.end_epoch(state.epoch)
        metrics = epoch_metrics(state, val_loss, val_accuracy, train_images / train_seconds, waited, seconds)
        best = state.observe(val_loss)
        report(state, metrics, best=best)
        if waited > WAITING_SHARE * seconds and state.epoch == min(2, options.epochs):  # the first starts the loader up
            warn(f"{waited / seconds:.0%} of the epoch went by waiting for photos: {faster_loading(vars(options))}")
        if not all(map(torch.isfinite, map(torch.tensor, (metrics.objective, val_loss)))):
            raise UserError(f"the loss is no longer a number in epoch {state.epoch}: start again with a lower --lr")
        if options.early_stopping is not None and state.epochs_since_best >= options.early_stopping:
            return "early stopping"
    return "finished"


def train_epoch(
    state: TrainState,
    data: TrainingData,
    options: TrainOptions,
    machine: Machine,
    advance: Advance,
    observer: Observer | None = None,
) -> float:
    """Take every step of one epoch; return the seconds spent waiting for batches."""
    train_mode(state.network)
    state.sums = MetricSums.zeros(machine.device)
    data.order.epoch = state.epoch
    if observer is not None:
        observer.start_epoch(data.order)
    waiting = Waiting()
    for images, labels in waiting.on(data.train):
        train_step(state, images, labels, data, options, machine, observer)
        advance(len(labels))
    return waiting.seconds


def train_step(
    state: TrainState,
    images: Tensor,
    labels: Tensor,
    data: TrainingData,
    options: TrainOptions,
    machine: Machine,
    observer: Observer | None = None,
) -> None:
    """Take one optimiser step on a batch of images (N×3×H×W, as `data.forward` takes them) and labels (N).

    The loss is the weighted sum over the batch divided by its total weight, into however many parts the batch is cut.
    """
    set_learning_rate(state.optimizer, state.schedule.factor(state.step))
    total_weight = batch_weight(labels, data.class_weights)
    forward = data.compiled or data.forward
    if observer is not None:
        observer.start_step()
        forward = data.forward if observer.looking else forward  # taps and compiled code don't go together
    for part, part_labels in zip(images.chunk(options.accumulate), labels.chunk(options.accumulate), strict=True):
        part_labels = part_labels.to(machine.device, non_blocking=True)  # noqa: PLW2901
        with machine.autocast(), nullcontext() if observer is None else observer.forward():
            logits = forward(state.network, to_device(part, machine), data.preprocess).float()
        loss = F.cross_entropy(
            logits, part_labels, data.class_weights, label_smoothing=options.label_smoothing, reduction="sum"
        )
        loss = loss / total_weight
        state.scaler.scale(loss).backward()
        add_to_sums(state.sums, loss.detach(), logits.detach(), part_labels)
        if observer is not None:
            observer.after_forward(logits.detach(), part_labels)
    state.scaler.unscale_(state.optimizer)
    if observer is not None:
        observer.before_update()
    gradients = [p.grad for p in state.network.parameters() if p.grad is not None]
    norm = get_total_norm(gradients)
    if options.clip_grad is not None:
        clip_grads_with_norm_(state.network.parameters(), options.clip_grad, norm)
    add_norm(state.sums, norm, skip_infinite=state.scaler.is_enabled())
    state.scaler.step(state.optimizer)
    state.scaler.update()
    if observer is not None:
        observer.after_update()
    state.optimizer.zero_grad()
    state.step += 1
    if state.average is not None and options.ema is not None:
        update_average(state.average, state.network, options.ema, state.step)


def to_device(images: Tensor, machine: Machine) -> Tensor:
    """Move images to the device, channels last: the layout that convolutions like."""
    return images.to(machine.device, non_blocking=True, memory_format=torch.channels_last)


def batch_weight(labels: Tensor, class_weights: Tensor | None) -> Tensor | int:
    """Return the total weight of a batch: the sum of its labels' class weights."""
    return len(labels) if class_weights is None else class_weights[labels.to(class_weights.device)].sum()


def add_to_sums(sums: MetricSums, objective: Tensor, logits: Tensor, labels: Tensor) -> None:
    """Add a part of a batch; `objective` is its share of the batch's mean."""
    sums.objective += objective
    sums.loss += F.cross_entropy(logits, labels, reduction="sum")
    sums.correct += (logits.argmax(1) == labels).sum()
    sums.images += len(labels)


def add_norm(sums: MetricSums, norm: Tensor, *, skip_infinite: bool) -> None:
    """Add a step's gradient norm; under an fp16 scaler a step with an infinite one is skipped, here too."""
    counts = torch.isfinite(norm) if skip_infinite else torch.ones_like(norm, dtype=torch.bool)
    sums.grad_norm += torch.where(counts, norm, torch.zeros_like(norm))
    sums.norms += counts


def validate(network: ResNet, data: TrainingData, machine: Machine, advance: Advance) -> tuple[float, float]:
    """Return mean cross-entropy (nats) and accuracy over the validation split, every image counted once."""
    sums = MetricSums.zeros(machine.device)
    for logits, labels in forward_batches(network, data.val, data.preprocess, machine, data.forward):
        add_to_sums(sums, torch.zeros_like(sums.objective), logits, labels.to(machine.device))
        advance(len(labels))
    images = sums.images.item()
    return sums.loss.item() / images, sums.correct.item() / images


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
    state: TrainState,
    val_loss: float,
    val_accuracy: float,
    images_per_second: float,
    wait_seconds: float,
    seconds: float,
) -> EpochMetrics:
    """Turn an epoch's sums into its row of `metrics.csv`."""
    sums = state.sums
    images = sums.images.item()
    rates = {group["name"]: group["lr"] for group in state.optimizer.param_groups}
    return EpochMetrics(
        epoch=state.epoch,
        train_loss=sums.loss.item() / images,
        train_accuracy=sums.correct.item() / images,
        val_loss=val_loss,
        val_accuracy=val_accuracy,
        objective=sums.objective.item() / state.schedule.steps_per_epoch,
        lr=rates.get("backbone", 0.0),
        head_lr=rates["head"],
        grad_norm=sums.grad_norm.item() / max(sums.norms.item(), 1.0),
        images_per_second=images_per_second,
        wait_seconds=wait_seconds,
        seconds=seconds,
    )


def measure_epoch(state: TrainState, data: TrainingData, options: TrainOptions, machine: Machine) -> float:
    """Estimate the seconds of an epoch from a few steps and validation batches. The state is spoilt by it."""
    train_mode(state.network)
    step = median_seconds(iter(data.train), lambda batch: train_step(state, *batch, data, options, machine), machine)
    forward = median_seconds(
        iter(data.val),
        lambda batch: sum(1 for _ in forward_batches(state.network, [batch], data.preprocess, machine, data.forward)),
        machine,
    )
    return step * len(data.order) + forward * len(data.val)


def median_seconds(
    batches: Iterator[tuple[Tensor, Tensor]], work: Callable[[tuple[Tensor, Tensor]], object], machine: Machine
) -> float:
    """Return the median time of getting and working on up to five batches, after two to warm up."""
    times: list[float] = []
    start = time.perf_counter()
    for _, batch in zip(range(7), batches, strict=False):
        work(batch)
        if machine.device.type == "cuda":
            torch.cuda.synchronize(machine.device)
        times.append(time.perf_counter() - start)
        start = time.perf_counter()
    measured = sorted(times[2:] or times[-1:])
    return measured[len(measured) // 2]
