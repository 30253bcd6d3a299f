"""The results of a long prediction, kept in parts until all are there: what makes it resumable and mergeable.

A part is a safetensors file of consecutive rows, named after the first of them and the one behind the last. It holds
the text of its rows as they will stand in the table, and that of its rows in the table of errors.
"""

import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from resnet50.runtime.atomic import atomic_write, cannot_write
from resnet50.runtime.errors import UserError


class Part(NamedTuple):
    """What is known of a part without reading it."""

    rows: slice
    unreadable: int


@dataclass(frozen=True)
class PartFolder:
    """The parts of one work.

    Attributes:
        folder: where they are; need not exist.
        digest: identifies the work: model, image files, and all that changes the results.
    """

    folder: Path
    digest: str

    def create(self) -> None:
        """Make the folder; a UserError if it can't be written to."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(self.folder, error) from error

    def remove(self) -> None:
        """Remove all parts."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def path(self, rows: slice) -> Path:
        return self.folder / f"{rows.start:09d}-{rows.stop:09d}.safetensors"

    def write(self, rows: slice, table: bytes, errors: bytes, unreadable: int) -> None:
        """Write a part, completely or not at all."""
        content = {"table": np.frombuffer(table, np.uint8), "errors": np.frombuffer(errors, np.uint8)}
        with atomic_write(self.path(rows)) as partial:
            partial.write_bytes(save(content, {"digest": self.digest, "unreadable": str(unreadable)}))

    def done(self) -> list[Part]:
        """Return the parts that are there, in order.

        Raises:
            UserError: one is damaged, or of other work.
        """
        return [self.part(path) for path in parts_in(self.folder)]

    def part(self, path: Path) -> Part:
        """Return what a part says of itself."""
        try:
            with safe_open(path, framework="np") as file:
                metadata = file.metadata() or {}
        except (SafetensorError, OSError) as error:
            raise UserError(f"{path} is damaged: delete it, and its images are classified again") from error
        if metadata.get("digest") != self.digest:
            raise UserError(
                f"{self.folder} was made from other images, another model or other options: give those again, or add "
                "--overwrite to start afresh"
            )
        return Part(rows_of(path), int(metadata["unreadable"]))

    def read(self, rows: slice) -> tuple[bytes, bytes]:
        """Return the text of a part, and that of its errors."""
        with safe_open(self.path(rows), framework="np") as file:
            return bytes(file.get_tensor("table")), bytes(file.get_tensor("errors"))

    def content(self, rows: slice) -> bytes | None:
        """Return a part's file, None if it is not here."""
        path = self.path(rows)
        return path.read_bytes() if path.is_file() else None

    def put(self, rows: slice, content: bytes) -> None:
        """Write what `content` returned on another machine."""
        with atomic_write(self.path(rows)) as partial:
            partial.write_bytes(content)

    def remove_rows(self, rows: slice) -> None:
        """Remove the parts that hold some of these rows."""
        for path in parts_in(self.folder):
            there = rows_of(path)
            if there.start < rows.stop and rows.start < there.stop:
                path.unlink()


def parts_in(folder: Path) -> list[Path]:
    """Return the files of parts, in the order of their rows."""
    return sorted(folder.glob("*-*.safetensors"))


def rows_of(path: Path) -> slice:
    """Return the rows of a part, by the name of its file."""
    match = re.fullmatch(r"(\d+)-(\d+)", path.stem)
    if match is None:
        raise UserError(f"{path} is not a part of predictions: move it away")
    return slice(int(match[1]), int(match[2]))


def gaps(done: Sequence[Part], within: slice) -> list[slice]:
    """Return the rows of a slice that no part holds."""
    missing: list[slice] = []
    start = within.start
    for part in done:
        stop = min(part.rows.start, within.stop)
        if stop > start:
            missing.append(slice(start, stop))
        start = max(start, part.rows.stop)
    return [*missing, slice(start, within.stop)] if start < within.stop else missing


def pieces(rows: Sequence[slice], size: int) -> Iterator[slice]:
    """Cut slices into pieces of at most `size` rows."""
    for part in rows:
        for start in range(part.start, part.stop, size):
            yield slice(start, min(start + size, part.stop))
