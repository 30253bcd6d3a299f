"""What keeps a training going: steps without a finite gradient are undone, batches that don't fit are cut smaller."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from resnet50.runtime.console import warn
from resnet50.runtime.errors import UserError
from resnet50.training.metrics import EpochMetrics, MetricAccumulator
from resnet50.training.state import TrainState
from resnet50.training.training import Training

MAX_BAD_STEPS = 16
"""Consecutive steps without a finite gradient that count as divergence. The fp16 scaler's search takes fewer."""

CHECK_EVERY = 20
"""Steps between two looks at their number, which make a GPU wait."""

ForwardBackward = Callable[[Training, Tensor, Tensor, int], MetricAccumulator]


class Diverged(UserError):  # noqa: N818  # a state of training more than a fault of the program
    """The loss or the gradient is no longer finite."""


def check_gradients(state: TrainState) -> None:
    """Raise Diverged if the last steps had no finite gradient; look only every few steps."""
    if state.step % CHECK_EVERY == 0 and state.bad_steps.item() >= MAX_BAD_STEPS:
        raise Diverged(f"{int(state.bad_steps.item())} steps in a row had no finite gradient: lower --lr")


def check_epoch(metrics: EpochMetrics) -> None:
    """Raise Diverged if an epoch's loss, in training or validation, is not finite."""
    if not math.isfinite(metrics.objective) or not math.isfinite(metrics.val_loss):
        raise Diverged(f"the loss is no longer a number in epoch {metrics.epoch}: start again with a lower --lr")


def step_if_finite(state: TrainState, norm: Tensor, buffers: Sequence[Tensor]) -> Tensor:
    """Let the optimizer step, or undo the whole step if the norm of its gradient is not finite.

    Nothing waits for the device.

    Args:
        state: with gradients.
        norm: of the gradient.
        buffers: the network's, as they were before the step.

    Returns:
        Whether it is finite, on the device.
    """
    finite = torch.isfinite(norm)
    state.bad_steps = torch.where(finite, 0, state.bad_steps + 1)
    if state.scaler.is_enabled():  # the scaler skips such steps itself
        state.scaler.step(state.optimizer)
        state.scaler.update()
    elif all(group["fused"] for group in state.optimizer.param_groups):
        # Fused kernels read this on the device, where the scaler puts it too.
        state.optimizer.found_inf = (~finite).float()  # pyright: ignore[reportAttributeAccessIssue]
        state.optimizer.step()
    elif finite:
        state.optimizer.step()
    for buffer, before in zip(state.network.buffers(), buffers, strict=True):
        buffer.copy_(torch.where(finite, buffer, before))
    return finite


def batch_is_usable(training: Training, labels: Tensor) -> bool:
    """Return whether a batch has samples left.

    Raises:
        UserError: among several processes, this one's shard has too few for a step in which all of them take part.
    """
    if training.device.dist.world_size > 1 and len(labels) < training.state.accumulation_steps:
        raise UserError("too many images of one process's shard of a batch have gone bad: raise --batch-size")
    return len(labels) > 0


def retry_out_of_memory(
    forward_backward: ForwardBackward, training: Training, images: Tensor, labels: Tensor, buffers: Sequence[Tensor]
) -> MetricAccumulator:
    """Compute a batch's gradient, in smaller and smaller micro-batches as long as memory runs out.

    Args:
        forward_backward: accumulates the gradient in a number of micro-batches and returns the step's sums.
        training: gives their number, and keeps what proved to fit.
        images: N×3×H×W.
        labels: N.
        buffers: the network's, as they were before the step.

    Raises:
        UserError: a single image does not fit, or several processes work together: the others wait for this gradient.
    """
    state = training.state
    while True:
        steps = min(state.accumulation_steps, len(labels))
        try:
            return forward_backward(training, images, labels, steps)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        if training.device.dist.world_size > 1:
            raise UserError(f"out of memory: continue with `--resume {training.options.out} --accumulate {2 * steps}`")
        undo_backward(training, buffers)
        double_accumulation(state, steps, len(labels))
        training.emit("on_step_start")


def undo_backward(training: Training, buffers: Sequence[Tensor]) -> None:
    """Drop gradients, and put the network's buffers back."""
    training.state.optimizer.zero_grad()
    for buffer, before in zip(training.state.network.buffers(), buffers, strict=True):
        buffer.copy_(before)
    if training.device.torch_device.type == "cuda":
        torch.cuda.empty_cache()


def is_out_of_memory(error: RuntimeError) -> bool:
    """Return whether an error means that a device, or the machine, has no memory left."""
    text = str(error)
    messages = ("out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")
    return isinstance(error, torch.OutOfMemoryError) or any(message in text for message in messages)


def double_accumulation(state: TrainState, steps: int, batch_size: int) -> None:
    """Cut batches into twice as many micro-batches from now on, for the same step in half the memory.

    Only batch norm notices: its statistics are those of smaller micro-batches.

    Raises:
        UserError: a micro-batch is a single image already.
    """
    if steps >= batch_size:
        raise UserError("out of memory with a single image at a time: lower --image-size or --depth")
    state.accumulation_steps = min(2 * steps, batch_size)
    size = -(-batch_size // state.accumulation_steps)
    record_event(
        state,
        f"out of memory in step {state.step + 1}: from here on a batch of {batch_size} is cut into "
        f"{state.accumulation_steps} micro-batches of up to {size} images; the step stays the same, but batch norm "
        f"sees {size} images at a time",
    )


def record_event(state: TrainState, event: str) -> None:
    """Warn of something that happened, and keep it for `run.json`."""
    state.events.append(event)
    warn(event)
