"""What goes wrong in training, and how it goes on: a loss that is no number, too little memory, an image gone bad."""

from collections.abc import Iterable, Mapping, Sequence

import torch

from resnet50.etl.decode import UnreadableImageError, one_line
from resnet50.runtime.console import warn
from resnet50.runtime.distributed import Distributed
from resnet50.runtime.errors import UserError
from resnet50.training.state import TrainState

MAX_BAD_STEPS = 16
"""Steps in a row without a finite gradient that are no accident any more. The fp16 scaler's search takes fewer."""

CHECK_EVERY = 20
"""Steps until their number is looked at, which makes a GPU wait."""

MAX_ROLLBACKS = 2
"""Times that training goes back and tries again with half the learning rate."""


class Diverged(UserError):  # noqa: N818  # a state of training more than a fault of the program
    """The loss or the gradient is no longer a number."""


def check_divergence(state: TrainState) -> None:
    """Raise a Diverged if the last steps have had no finite gradient, every few steps."""
    if state.step % CHECK_EVERY == 0 and state.bad_steps.item() >= MAX_BAD_STEPS:
        raise Diverged(f"{int(state.bad_steps.item())} steps in a row had no finite gradient: lower --lr")


def note(state: TrainState, event: str) -> None:
    """Write down what happened, and say it."""
    state.events.append(event)
    warn(event)


def is_out_of_memory(error: RuntimeError) -> bool:
    """Return whether an error means that a device, or the machine, has no memory left."""
    text = str(error)
    said = ("out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")
    return isinstance(error, torch.OutOfMemoryError) or any(words in text for words in said)


def double_accumulation(state: TrainState, parts: int, batch_size: int) -> None:
    """Cut batches into twice as many parts from now on: a step does the same with half the memory.

    Only batch norm notices: its statistics are those of smaller parts.

    Raises:
        UserError: a part is a single image already.
    """
    if parts >= batch_size:
        raise UserError("out of memory with a single image at a time: lower --image-size or --depth")
    state.parts = min(2 * parts, batch_size)
    size = -(-batch_size // state.parts)
    note(
        state,
        f"out of memory in step {state.step + 1}: from here on a batch of {batch_size} is cut into {state.parts} parts "
        f"of up to {size}; a step stays the same, but batch norm sees {size} images at a time",
    )


def skip_sample(state: TrainState, split: str, paths: Iterable[str], error: UnreadableImageError, most: int) -> None:
    """Go on without an image that can't be read any more, if so many may be missing.

    Args:
        state: keeps which.
        split: train or val.
        paths: of the split's rows, in their order.
        error: names the file.
        most: images that may be left out, of both splits together.

    Raises:
        UserError: one too many; the message names it.
    """
    text = str(error)
    row = next((row for row, path in enumerate(paths) if text.startswith(f"{one_line(path)}: ")), None)
    if row is None or row in state.skipped_samples[split]:
        raise error
    count = sum(map(len, state.skipped_samples.values()))
    if count >= most:
        gone = f"{count + 1} images have" if most else "an image has"
        more = f", more than --skip-bad {most}" if most else ""
        raise UserError(
            f"{gone} gone bad since the dataset was prepared{more}: {text}; --skip-bad N goes on without up to N"
        ) from error
    state.skipped_samples[split].append(row)
    note(state, f"left out of {split}, {count + 1} of up to {most}: {text}")


def sync_skipped(state: TrainState, paths: Mapping[str, Iterable[str]], most: int, dist: Distributed) -> None:
    """Let every process leave out what any of them does; together they may leave out no more than one alone.

    Raises:
        UserError: it was more.
    """
    if dist.world_size == 1 or not most:
        return
    own, state.skipped_samples = state.skipped_samples, merge_skipped(dist.all_gather(state.skipped_samples))
    for split, rows in state.skipped_samples.items():
        names = list(paths[split]) if set(rows) - set(own[split]) else []
        for row in sorted(set(rows) - set(own[split])):
            note(state, f"left out of {split} by another process: {one_line(names[row])}")
    count = sum(map(len, state.skipped_samples.values()))
    if count > most:
        raise UserError(
            f"{count} images have gone bad since the dataset was prepared, more than --skip-bad {most}: see above"
        )


def merge_skipped(shares: Sequence[dict[str, list[int]]]) -> dict[str, list[int]]:
    """Return the rows that any process goes on without."""
    return {split: sorted({row for share in shares for row in share[split]}) for split in shares[0]}
