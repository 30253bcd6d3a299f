"""Checkpoints: everything that a run needs to continue to the same bits, in files whose names prove them intact.

`checkpoints/000017-1f2e3d4c5b6a7988.safetensors` is the 17th. The digits behind the number begin the SHA-256 of the
file, as in the names of published weights. A file is written under another name, flushed, and renamed: one that was
cut short is never taken for a checkpoint, and one that was damaged later is passed over for the one before it.
"""

import hashlib
import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from torch import Tensor

from resnet50.runtime.atomic import atomic_write, remove
from resnet50.runtime.console import warn
from resnet50.runtime.errors import UserError

FORMAT, EARLIER_FORMAT = "resnet50-checkpoint-2", "resnet50-checkpoint-1"
NAME = re.compile(r"(\d{6,})-([0-9a-f]{16})\.safetensors")
LARGEST_SHARE = 0.01
"""Share of a run's time that checkpoints may take: the next one waits until the last has cost less."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on the disk: its number in the run, its file, and the first digits of its SHA-256."""

    number: int
    path: Path
    digest: str


class Checkpoints:
    """The checkpoints of a run: written in the background, the newest few kept.

    Leaving the context waits for what is being written.
    """

    def __init__(self, folder: Path, minutes: float, keep: int) -> None:
        """Continue in a folder that may hold some.

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

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.writer is not None:  # whatever ends the run is worse than a checkpoint that could not be written
            self.writer.join()

    def due(self, *, epoch_end: bool) -> bool:
        """Return whether it is time for the next: at an epoch's end, and every so many minutes within one.

        Not before the last one is written, and has cost less than `LARGEST_SHARE` of the time since.
        """
        since = time.perf_counter() - self.written
        busy = self.writer is not None and self.writer.is_alive()
        return not busy and since >= max(0.0 if epoch_end else self.seconds, self.cost / LARGEST_SHARE)

    def save(self, content: dict[str, Any], *, wait: bool = False) -> None:
        """Copy tensors and plain values, and write them in the background; with `wait`, wait until they are written.

        Raises:
            UserError: this one, or the one before it, could not be written.
        """
        start = time.perf_counter()
        self.finish()
        tensors: dict[str, Tensor] = {}
        plain = flatten(content, "", tensors)
        for name, tensor in tensors.items():  # into an earlier copy's memory, in their own layout
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
        """Wait for the checkpoint that is being written; a UserError if it could not be."""
        if self.writer is not None:
            self.writer.join()
            self.writer = None
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure

    def write(self, number: int, plain: Any, tensors: dict[str, Tensor]) -> None:
        """Write one file, in the background thread, and remove the oldest."""
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
        except BaseException as error:  # raised in the training thread, at the next checkpoint
            self.failure = error
        self.cost += time.thread_time() - start


def list_checkpoints(folder: Path) -> list[Checkpoint]:
    """Return the checkpoints in a folder, the newest first; they may be damaged."""
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
        if metadata.get("format") == EARLIER_FORMAT:
            raise UserError(
                f"{checkpoint.path} was written by an earlier version of resnet50: finish the run with that version, "
                "or start it again with --overwrite"
            )
        if metadata.get("format") != FORMAT:
            return None
        found = unflatten(json.loads(metadata["content"]), tensors)
        return cast(dict[str, Any], found) if isinstance(found, dict) else None
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, RuntimeError):  # the last: nested too deep
        return None


def intact_checkpoints(folder: Path) -> Iterator[dict[str, Any]]:
    """Read the checkpoints in a folder, the newest first, passing over the damaged ones with a warning."""
    for checkpoint in list_checkpoints(folder):
        content = read_checkpoint(checkpoint)
        if content is None:
            warn(f"{checkpoint.path} is damaged: trying the checkpoint before it")
        else:
            yield content


def newest_checkpoint(folder: Path) -> dict[str, Any]:
    """Return the newest intact checkpoint; a UserError if there is none."""
    for content in intact_checkpoints(folder):
        return content
    raise UserError(f"there is no intact checkpoint in {folder}: start the run again, with --overwrite")


def flatten(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """Return nested dictionaries and lists as JSON can hold them; tensors go to `tensors` and leave a name."""
    if isinstance(value, Tensor):
        tensors[name] = value.detach()
        return {"tensor": name}
    if isinstance(value, dict):  # as pairs: an optimizer's state has integer keys
        items = cast(dict[Any, Any], value).items()
        return {"pairs": [[key, flatten(item, f"{name}/{key}", tensors)] for key, item in items]}
    if isinstance(value, (list, tuple)):
        return [flatten(item, f"{name}/{number}", tensors) for number, item in enumerate(cast(list[Any], value))]
    return value


def unflatten(value: Any, tensors: dict[str, Tensor]) -> Any:
    """Undo `flatten`; tuples have become lists."""
    if isinstance(value, list):
        return [unflatten(item, tensors) for item in cast(list[Any], value)]
    if isinstance(value, dict):
        inside = cast(dict[str, Any], value)
        if "tensor" in inside:
            return tensors[inside["tensor"]]
        return {key: unflatten(item, tensors) for key, item in inside["pairs"]}
    return value
