"""The training loop, from top to bottom: a run is epochs, an epoch is steps and a validation, a step is a batch.

What surrounds it stands elsewhere: `callbacks` record, probe, write checkpoints and stop; `recovery.guards` deals with
gradients that are not finite and with too little memory; the loaders skip samples that can't be read.
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from resnet50.model.forward import forward_batches, to_device
from resnet50.runtime.console import Advance, duration, progress
from resnet50.runtime.errors import UserError
from resnet50.training.metrics import EpochMetrics, Means, MetricAccumulator
from resnet50.training.optim import set_learning_rate, train_mode
from resnet50.training.recovery.guards import (
    batch_is_usable,
    check_epoch,
    check_gradients,
    retry_out_of_memory,
    step_if_finite,
)
from resnet50.training.state import TrainState
from resnet50.training.timer import EpochTimer
from resnet50.training.training import Training


def fit(training: Training) -> str:
    """Train from wherever the state is until the epochs are done or patience is out.

    Returns:
        Why it ended: "finished" or "early stopping".

    Raises:
        Diverged: the loss or the gradient is no longer finite.
    """
    state, options = training.state, training.options
    while state.epoch < state.schedule.epochs and not state.out_of_patience(options.early_stopping):
        metrics = run_epoch(training)
        best = state.end_epoch(metrics.val_loss, asdict(metrics))
        training.emit("on_epoch_end", metrics, best)
        check_epoch(metrics)
    return "early stopping" if state.out_of_patience(options.early_stopping) else "finished"


def run_epoch(training: Training) -> EpochMetrics:
    """Train on every batch that is left of an epoch, validate, and return the epoch's metrics."""
    state, data, dist = training.state, training.data, training.device.dist
    timer = EpochTimer(state)
    with progress(epoch_title(training), data.order.epoch_samples + data.val_order.rows, "images") as advance:
        train_epoch(training, advance, timer)
        train = state.metrics.all_reduce(dist).compute()  # the epoch's first wait for the device
        images_per_second = train.images / timer.tick()
        val = validate(training, advance)
        timer.tick()
    data.skipped.sync_skipped(dist)
    return epoch_metrics(state, train, val, images_per_second)


def train_epoch(training: Training, advance: Advance, timer: EpochTimer) -> None:
    """Take the steps of an epoch that are still to be taken."""
    state, data = training.state, training.data
    train_mode(state.network)
    data.order.epoch, data.order.first = state.epoch, state.step - state.epoch * len(data.order)
    if data.order.first == 0:
        state.metrics = MetricAccumulator.zeros(training.device.torch_device)
        training.emit("on_epoch_start")
    for images, labels in timer.data_time(data.train):
        if batch_is_usable(training, labels):
            train_step(training, images, labels)
        else:
            state.step += 1
        advance(len(labels))
        timer.tick()
        training.emit("on_step_end")
        check_gradients(state)
        if state.step >= state.schedule.total_steps:  # in the middle of the last epoch
            break


def train_step(training: Training, images: Tensor, labels: Tensor) -> None:
    """Take one optimizer step on images (N×3×H×W, as the forward pass takes them) and labels (N)."""
    state, options = training.state, training.options
    set_learning_rate(state.optimizer, state.learning_rate_factor())
    training.emit("on_step_start")
    buffers = [buffer.clone() for buffer in state.network.buffers()]
    metrics = retry_out_of_memory(forward_backward, training, images, labels, buffers)
    state.scaler.unscale_(state.optimizer)
    training.emit("on_backward_end")
    norm = clip_gradients(state.network, options.clip_grad)
    finite = step_if_finite(state, norm, buffers)
    state.metrics.update_step(metrics, norm, finite)
    state.optimizer.zero_grad()
    state.step += 1
    state.update_average(options.ema)


def forward_backward(training: Training, images: Tensor, labels: Tensor, steps: int) -> MetricAccumulator:
    """Accumulate the gradient of a batch in so many micro-batches.

    The loss is the weighted sum over the batch divided by its total weight, however the batch is cut.
    """
    state, data, device = training.state, training.data, training.device
    total_weight = batch_weight(training, labels)
    class_weights = None if data.class_weights is None else data.class_weights.to(device.torch_device)
    forward, metrics = data.train_forward(state.network), MetricAccumulator.zeros(device.torch_device)
    micro_batches = zip(images.tensor_split(steps), labels.tensor_split(steps), strict=True)
    for number, (x, y) in enumerate(micro_batches, start=1):
        y = y.to(device.torch_device, non_blocking=True)  # noqa: PLW2901
        with nullcontext() if number == steps else no_sync(state.replica):
            with device.autocast():
                logits = forward(state.replica, to_device(x, device), data.preprocess).float()
            smoothing = training.options.label_smoothing
            loss = F.cross_entropy(logits, y, class_weights, label_smoothing=smoothing, reduction="sum") / total_weight
            state.scaler.scale(loss * device.dist.world_size).backward()  # DDP divides by the world size
        metrics.objective += loss.detach()
        metrics.update(logits.detach(), y)
        training.emit("on_forward_end", logits.detach(), y)
    return metrics


def batch_weight(training: Training, labels: Tensor) -> float:
    """Return the total weight of a batch over all processes: the sum of its labels' class weights.

    It is computed on the CPU, so that nothing waits for a GPU. Processes only communicate what they can't know.
    """
    data, dist = training.data, training.device.dist
    if data.class_weights is not None:
        return dist.all_reduce_sum(data.class_weights[labels.cpu()].sum()).item()
    if dist.world_size == 1:
        return len(labels)
    if data.skipped.limit:  # a shard of the batch may lack a sample
        return dist.all_reduce_sum(torch.tensor(float(len(labels)))).item()
    return min(data.order.batch_size, data.order.rows)


def no_sync(replica: nn.Module) -> AbstractContextManager[None]:
    """Accumulate gradients in this process only, until the last micro-batch of a batch."""
    return replica.no_sync() if isinstance(replica, DistributedDataParallel) else nullcontext()


def clip_gradients(network: nn.Module, max_norm: float | None) -> Tensor:
    """Clip the gradient to `max_norm`, if there is one; return its L2 norm before that."""
    norm = get_total_norm([p.grad for p in network.parameters() if p.grad is not None])
    if max_norm is not None:
        clip_grads_with_norm_(network.parameters(), max_norm, norm)
    return norm


def validate(training: Training, advance: Advance) -> Means:
    """Measure the validation split, every sample once. Each process takes its shard, with rank 0's batch norm."""
    state, data, device = training.state, training.data, training.device
    network, metrics = state.eval_network, MetricAccumulator.zeros(device.torch_device)
    device.dist.broadcast_buffers(network)
    for logits, labels in forward_batches(network, data.val, data.preprocess, device, data.forward):
        metrics.update(logits, labels.to(device.torch_device))
        advance(len(labels))
        training.emit("on_validation_step_end")
    means = metrics.all_reduce(device.dist).compute()
    if not means.images:
        raise UserError("every image of the validation split has gone bad since the dataset was prepared")
    return means


def epoch_title(training: Training) -> str:
    """Return what the progress bar says: the epoch, and the time left in all from the second epoch on."""
    state, schedule = training.state, training.state.schedule
    seconds = (schedule.total_steps - state.step) * state.seconds / max(1, state.step)
    left = f", {duration(seconds)} left in all" if state.epoch else ""
    return f"epoch {state.epoch + 1}/{schedule.epochs}{left}"


def epoch_metrics(state: TrainState, train: Means, val: Means, images_per_second: float) -> EpochMetrics:
    """Assemble an epoch's row of `metrics.csv`."""
    rates = {group["name"]: group["lr"] for group in state.optimizer.param_groups}
    return EpochMetrics(
        epoch=state.epoch + 1,
        train_loss=train.loss,
        train_accuracy=train.accuracy,
        val_loss=val.loss,
        val_accuracy=val.accuracy,
        objective=train.objective,
        lr=rates.get("backbone", 0.0),
        head_lr=rates["head"],
        grad_norm=train.grad_norm,
        skipped_steps=state.step - state.epoch * state.schedule.steps_per_epoch - train.finite_steps,
        images_per_second=images_per_second,
        wait_seconds=state.epoch_waited,
        seconds=state.epoch_seconds,
    )
