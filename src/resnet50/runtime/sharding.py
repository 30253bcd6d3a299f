"""Work split into shards for several machines: `--shard 2/8` does the second of eight, `--merge 8` merges all eight.

A shard is a run of whole batches, so the network sees the same batches as without shards and the result is the same,
byte by byte. A shard can be done again. Shards of other images (by name and size), weights or options are not merged.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from resnet50.runtime.atomic import atomic_write
from resnet50.runtime.errors import UserError


@dataclass(frozen=True)
class Shard:
    """One of `count` shards, counted from 0."""

    index: int
    count: int

    @property
    def name(self) -> str:
        """Name of its files."""
        return shard_name(self.index, self.count)

    def of(self, items: int, unit: int = 1) -> slice:
        """Slice the items that it covers: whole units, spread as evenly as possible."""
        units = -(-items // unit)
        start, stop = (units * number // self.count * unit for number in (self.index, self.index + 1))
        return slice(start, min(stop, items))


def shard_name(index: int, count: int) -> str:
    """Name the files of a shard; its index counts from 0, its name from 1."""
    return f"{index + 1}-of-{count}"


def parse_shard(text: str) -> Shard:
    """Parse 2/8, the second of eight; a UserError for anything else."""
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise UserError(
            f"--shard {text!r}: give the number of the shard and of all shards, as 2/8; shards count from 1"
        )
    return Shard(int(match[1]) - 1, int(match[2]))


def started_by_torchrun() -> Shard | None:
    """Return this process's shard of the work under torchrun, None without it."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    return Shard(int(os.environ["RANK"]), count) if count > 1 else None


def check_sharding(shard: str | None, merge: int | None) -> None:
    """Raise a UserError unless `--shard` and `--merge` are valid and not both given."""
    if shard is not None and merge is not None:
        raise UserError("--shard does one shard and --merge merges all: give one of the two")
    if shard is not None:
        parse_shard(shard)


def digest_of(*facts: Any) -> str:
    """Compute a SHA-256 over facts that all shards of one work share."""
    digest = hashlib.sha256()
    for fact in facts:
        content = fact if isinstance(fact, bytes) else json.dumps(fact, ensure_ascii=False, default=str).encode()
        digest.update(len(content).to_bytes(8, "little"))
        digest.update(content)
    return digest.hexdigest()


def write_shard(folder: Path, shard: Shard, rows: np.ndarray, digest: str) -> Path:
    """Write a shard's rows (N×anything) atomically."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{shard.name}.safetensors"
    with atomic_write(path) as partial:
        partial.write_bytes(save({"rows": np.ascontiguousarray(rows)}, {"digest": digest}))
    return path


def read_shards(folder: Path, count: int, digest: str) -> np.ndarray:
    """Concatenate the rows of all shards, in order.

    Raises:
        UserError: A shard is missing, damaged or of other work.
    """
    paths = [folder / f"{shard_name(index, count)}.safetensors" for index in range(count)]
    check_all_there(paths)
    shards: list[np.ndarray] = []
    for index, path in enumerate(paths):
        again = f"run the command with --shard {index + 1}/{count} again"
        try:
            with safe_open(path, framework="np") as file:
                found, rows = (file.metadata() or {}).get("digest"), file.get_tensor("rows")
        except (SafetensorError, OSError) as error:
            raise UserError(f"{path} is damaged: {again}") from error
        if found != digest:
            raise UserError(f"{path} was made from other images, weights or options: {again}")
        shards.append(rows)
    return np.concatenate(shards)


def check_all_there(shards: Sequence[Path]) -> None:
    """Raise a UserError that names the missing shards."""
    missing = [f"{index}/{len(shards)}" for index, path in enumerate(shards, start=1) if not path.exists()]
    if missing:
        raise UserError(
            f"shards {', '.join(missing)} are not in {shards[0].parent}: run the command with --shard for each"
        )


def remove_shards(folder: Path) -> None:
    """Delete the shards of work whose result is written."""
    shutil.rmtree(folder, ignore_errors=True)
