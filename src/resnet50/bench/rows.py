"""What a row of the benchmark is: two sides, perhaps a limit, and what they run on."""

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
"""Photos that the loaders read and an epoch trains on, unless a dataset is given."""

BYTES_PER_IMAGE = 1_000_000
"""Room on the disk for a photo of a million pixels and everything made from it, with some to spare."""


class Side(NamedTuple):
    """A workload in a child process: sides with the same function and settings share the process."""

    function: str
    settings: dict[str, Any]
    workload: str = "round"


class Sides(NamedTuple):
    """Who is measured in a row."""

    ours: Side
    baseline: Side
    limit: Side | None = None


@dataclass(frozen=True)
class Scratch:
    """A folder that goes away with the benchmark, and what the options said.

    Attributes:
        folder: to write to.
        dataset: a prepared dataset of the user's to take photos from; None for made ones.
        full: measure more.
    """

    folder: Path
    dataset: Path | None
    full: bool

    def photos(self, count: int, size: tuple[int, int]) -> Path:
        """Return a table of made photos of width×height; a UserError when the disk can't hold them."""
        folder = self.folder / f"photos-{size[0]}"
        if not folder.exists():
            free = shutil.disk_usage(self.folder).free
            if free < count * BYTES_PER_IMAGE:
                raise UserError(
                    f"{count:,} photos need up to {count * BYTES_PER_IMAGE / 1e9:.1f} GB in {self.folder.parent}, "
                    f"where {free / 1e9:.1f} GB are free: set TMPDIR to a folder on a larger disk"
                )
            make_table(folder, count, size)
        return folder / "table.csv"

    def prepared(self) -> str:
        """Return a prepared dataset: the user's, or one of made photos, nearly all of them to train on."""
        if self.dataset is not None:
            return str(self.dataset)
        out = self.folder / "dataset"
        if not out.exists():
            table = str(self.photos(IMAGES, IMAGENET_SIZE))
            verb = [sys.executable, "-m", "resnet50", "prepare"]
            words = [*verb, table, "--out", str(out), "--split", "0.9/0.05/0.05"]
            done = subprocess.run(words, capture_output=True, text=True, check=False)  # noqa: S603
            if done.returncode:
                raise UserError(f"resnet50 prepare failed on made photos: {done.stderr.strip()}")
        return str(out)


@dataclass(frozen=True)
class Row:
    """Something that is measured.

    Attributes:
        name: of the row.
        subject: what it belongs to: step, epoch, loader, inference, prepare or startup.
        meaning: what is done, in words.
        baseline_name: what it is compared with.
        sides: returns who is measured, after making the data they need.
        unit: images/s, where more is better, or s.
        needs: a package without which it is skipped.
        in_full_only: whether it is part of --full alone.
        limited_by_baseline: whether the baseline is what ours could reach at most.
    """

    name: str
    subject: str
    meaning: str
    baseline_name: str
    sides: Callable[[Scratch], Sides]
    unit: Literal["images/s", "s"] = "images/s"
    needs: str | None = None
    in_full_only: bool = False
    limited_by_baseline: bool = False
