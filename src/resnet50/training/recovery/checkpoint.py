"""Checkpoints: all that a run needs to go on to the same bits, in files that say by their name if they are whole.

`checkpoints/000017-1f2e3d4c5b6a7988.safetensors` is the 17th; the digits behind it begin the SHA-256 of the file, as
in the names of published weights. A file is written beside its place, flushed, and renamed: one that was cut short is
never taken for a checkpoint, and one that was damaged later is passed over for the one before it.
"""

import hashlib
import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from torch import Tensor

from resnet50.runtime.atomic import atomic_write, remove
from resnet50.runtime.console import warn
from resnet50.runtime.errors import UserError

FORMAT = "resnet50-checkpoint-1"
NAME = re.compile(r"(\d{6,})-([0-9a-f]{16})\.safetensors")
LARGEST_SHARE = 0.01
"""Of a run's time that checkpoints may take: the next one waits until the last has cost less than that."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on the disk: its number in the run, its file, and the first digits of the SHA-256 it must have."""

    number: int
    path: Path
    digest: str


class Checkpoints:
    """The checkpoints of a run: written in the background, the newest few kept."""

    def __init__(self, folder: Path, minutes: float, keep: int) -> None:
        """Go on in a folder that may hold some.

        Args:
            folder: is made when the first is written.
            minutes: between two checkpoints within an epoch.
            keep: how many stay.
        """
        self.folder, self.seconds, self.keep = folder, 60 * minutes, keep
        self.number = max((found.number for found in list_checkpoints(folder)), default=0)
        self.written = time.perf_counter()
        self.cost = 0.0
        self.buffers: dict[str, Tensor] = {}
        self.writer: Thread | None = None
        self.failure: BaseException | None = None

    def due(self, *, epoch_end: bool) -> bool:
        """Return whether it is time for the next: at an epoch's end, and every so many minutes within one.

        Not before the last is written, and has paid for itself: checkpoints take less than a hundredth of the time.
        """
        since = time.perf_counter() - self.written
        busy = self.writer is not None and self.writer.is_alive()
        return not busy and since >= max(0.0 if epoch_end else self.seconds, self.cost / LARGEST_SHARE)

    def save(self, content: dict[str, Any], *, wait: bool = False) -> None:
        """Take a copy of tensors and plain values, and write it in the background; with `wait`, until it is written.

        Raises:
            UserError: this one, or the one before it, could not be written.
        """
        start = time.perf_counter()
        self.finish()
        tensors: dict[str, Tensor] = {}
        plain = take_apart(content, "", tensors)
        for name, tensor in tensors.items():  # copied where an earlier checkpoint lay, in the layout that they have
            if name not in self.buffers or self.buffers[name].shape != tensor.shape:
                self.buffers[name] = torch.empty_like(tensor, device="cpu")
            self.buffers[name].copy_(tensor)
        self.number += 1
        copies = {name: self.buffers[name] for name in tensors}
        self.cost = time.perf_counter() - start
        self.writer = Thread(target=self.write, args=(self.number, plain, copies), name="checkpoint", daemon=True)
        self.writer.start()
        self.written = time.perf_counter()
        if wait:
            self.finish()

    def finish(self) -> None:
        """Wait until what is being written is written; a UserError if it could not be."""
        if self.writer is not None:
            self.writer.join()
            self.writer = None
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure

    def wait_quietly(self) -> None:
        """Wait until what is being written is written, when there is worse to tell than that it couldn't be."""
        if self.writer is not None:
            self.writer.join()

    def write(self, number: int, plain: Any, tensors: dict[str, Tensor]) -> None:
        """Write one file, in a thread of its own, and remove the oldest."""
        start = time.thread_time()
        try:
            contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
            content = save(contiguous, {"format": FORMAT, "content": json.dumps(plain)})
            self.folder.mkdir(parents=True, exist_ok=True)
            digest = hashlib.sha256(content).hexdigest()[:16]
            with atomic_write(self.folder / f"{number:06d}-{digest}.safetensors") as partial:
                partial.write_bytes(content)
            for old in list_checkpoints(self.folder)[self.keep :]:
                remove(old.path)
        except BaseException as error:  # told by the thread that trains, the next time it comes by
            self.failure = error
        self.cost += time.thread_time() - start


def list_checkpoints(folder: Path) -> list[Checkpoint]:
    """Return the checkpoints in a folder, the newest first. Whether they are intact shows when they are read."""
    names = [NAME.fullmatch(path.name) for path in folder.iterdir()] if folder.is_dir() else []
    found = [Checkpoint(int(name[1]), folder / name[0], name[2]) for name in names if name]
    return sorted(found, key=lambda checkpoint: -checkpoint.number)


def read_checkpoint(checkpoint: Checkpoint) -> dict[str, Any] | None:
    """Read a checkpoint, tensors on the CPU; None if it is damaged."""
    try:
        content = checkpoint.path.read_bytes()
        if hashlib.sha256(content).hexdigest()[:16] != checkpoint.digest:
            return None
        tensors = load(content)
        with safe_open(checkpoint.path, framework="pt") as file:
            metadata = cast(dict[str, str], file.metadata() or {})
        if metadata.get("format") != FORMAT:
            return None
        found = put_together(json.loads(metadata["content"]), tensors)
        return cast(dict[str, Any], found) if isinstance(found, dict) else None
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, RuntimeError):  # the last: nested too deep
        return None


def intact_checkpoints(folder: Path) -> Iterator[dict[str, Any]]:
    """Read the checkpoints in a folder, the newest first, passing over the damaged ones with a warning."""
    for checkpoint in list_checkpoints(folder):
        content = read_checkpoint(checkpoint)
        if content is None:
            warn(f"{checkpoint.path} is damaged: the checkpoint before it is taken")
        else:
            yield content


def newest_checkpoint(folder: Path) -> dict[str, Any]:
    """Return the newest intact checkpoint; a UserError if there is none."""
    for content in intact_checkpoints(folder):
        return content
    raise UserError(f"there is no intact checkpoint in {folder}: the run can only be started again, with --overwrite")


def take_apart(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """Return nested dictionaries and lists as JSON can hold them; put each tensor into `tensors` and its name here."""
    if isinstance(value, Tensor):
        tensors[name] = value.detach()
        return {"tensor": name}
    if isinstance(value, dict):  # as pairs: an optimizer's state has numbers for keys
        items = cast(dict[Any, Any], value).items()
        return {"pairs": [[key, take_apart(item, f"{name}/{key}", tensors)] for key, item in items]}
    if isinstance(value, (list, tuple)):
        return [take_apart(item, f"{name}/{number}", tensors) for number, item in enumerate(cast(list[Any], value))]
    return value


def put_together(value: Any, tensors: dict[str, Tensor]) -> Any:
    """Undo `take_apart`; tuples have become lists."""
    if isinstance(value, list):
        return [put_together(item, tensors) for item in cast(list[Any], value)]
    if isinstance(value, dict):
        inside = cast(dict[str, Any], value)
        if "tensor" in inside:
            return tensors[inside["tensor"]]
        return {key: put_together(item, tensors) for key, item in inside["pairs"]}
    return value
