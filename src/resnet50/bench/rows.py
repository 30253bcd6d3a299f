"""The definition of a benchmark row: two sides, an optional limit, and the data that they need."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from resnet50.bench.images import IMAGENET_SIZE, make_table
from resnet50.runtime.errors import UserError

IMAGES = 480
"""Number of images for the loaders and the epoch, unless a dataset is given."""

BYTES_PER_IMAGE = 1_000_000
"""Disk space for an image of a million pixels and everything made from it, with a margin."""


class Side(NamedTuple):
    """A workload in a child process; sides with the same function and settings share the process."""

    function: str
    settings: dict[str, Any]
    workload: str = "round"


class Sides(NamedTuple):
    """The workloads that are measured for a row."""

    candidate: Side
    baseline: Side
    limit: Side | None = None


@dataclass(frozen=True)
class Scratch:
    """A temporary folder with the benchmark's data.

    Attributes:
        folder: deleted after the benchmark.
        dataset: a prepared dataset of the user to take images from; None for synthetic ones.
        full: --full.
    """

    folder: Path
    dataset: Path | None
    full: bool

    def image_table(self, count: int, size: tuple[int, int]) -> Path:
        """Return a table of synthetic images of width×height; a UserError if the disk is too small for them."""
        folder = self.folder / f"images-{size[0]}"
        if not folder.exists():
            free = shutil.disk_usage(self.folder).free
            if free < count * BYTES_PER_IMAGE:
                raise UserError(
                    f"{count:,} images need up to {count * BYTES_PER_IMAGE / 1e9:.1f} GB in {self.folder.parent}, "
                    f"where {free / 1e9:.1f} GB are free: set TMPDIR to a folder on a larger disk"
                )
            make_table(folder, count, size)
        return folder / "table.csv"

    def prepared(self) -> str:
        """Return a prepared dataset: the user's, or one of synthetic images, most of them for training."""
        if self.dataset is not None:
            return str(self.dataset)
        out = self.folder / "dataset"
        if not out.exists():
            table = str(self.image_table(IMAGES, IMAGENET_SIZE))
            command = [sys.executable, "-m", "resnet50", "prepare"]
            arguments = [*command, table, "--out", str(out), "--split", "0.9/0.05/0.05"]
            done = subprocess.run(arguments, capture_output=True, text=True, check=False)  # noqa: S603
            if done.returncode:
                raise UserError(f"resnet50 prepare failed on synthetic images: {done.stderr.strip()}")
        return str(out)


@dataclass(frozen=True)
class Row:
    """A row of the benchmark.

    Attributes:
        name: of the row.
        subject: group of the row: step, epoch, loader, inference, predict, prepare or startup.
        meaning: description of the workload.
        baseline_name: description of the baseline.
        sides: returns the workloads, after making the data that they need.
        unit: images/s (higher is better), s or MB (lower is better).
        needs: package without which the row is skipped.
        in_full_only: whether the row is measured only with --full, or by its name.
        limited_by_baseline: whether the baseline is also the limit.
    """

    name: str
    subject: str
    meaning: str
    baseline_name: str
    sides: Callable[[Scratch], Sides]
    unit: Literal["images/s", "s", "MB"] = "images/s"
    needs: str | None = None
    in_full_only: bool = False
    limited_by_baseline: bool = False
