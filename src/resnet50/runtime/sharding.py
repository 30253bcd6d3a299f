"""Work cut into shards for several machines: `--shard 2/8` does the second of eight, `--merge 8` puts them together.

A shard is a run of whole batches, so that a network sees the same batches as without: the result is the same, byte by
byte. A shard can be done again; what belongs to other images (by name and size), weights or options is not merged.
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
        """Return what its files are called."""
        return shard_name(self.index, self.count)

    def of(self, items: int, unit: int = 1) -> slice:
        """Return which of the items it has: whole units, as evenly as they go."""
        units = -(-items // unit)
        first, behind = (units * number // self.count * unit for number in (self.index, self.index + 1))
        return slice(first, min(behind, items))


def shard_name(index: int, count: int) -> str:
    """Return what the files of a shard, counted from 0, are called."""
    return f"{index + 1}-of-{count}"


def parse_shard(text: str) -> Shard:
    """Read 2/8: the second of eight."""
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise UserError(f"--shard {text!r}: give which of how many, as 2/8, counted from 1")
    return Shard(int(match[1]) - 1, int(match[2]))


def started_by_torchrun() -> Shard | None:
    """Return the shard of this process among those that torchrun has started; None without it."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    return Shard(int(os.environ["RANK"]), count) if count > 1 else None


def check_sharding(shard: str | None, merge: int | None) -> None:
    """Raise a UserError unless the two options make sense together."""
    if shard is not None and merge is not None:
        raise UserError("--shard does a part and --merge puts the parts together: give one of them")
    if shard is not None:
        parse_shard(shard)


def digest_of(*facts: Any) -> str:
    """Return a SHA-256 over what all shards of the same work have in common."""
    digest = hashlib.sha256()
    for fact in facts:
        content = fact if isinstance(fact, bytes) else json.dumps(fact, ensure_ascii=False, default=str).encode()
        digest.update(len(content).to_bytes(8, "little"))
        digest.update(content)
    return digest.hexdigest()


def write_part(folder: Path, shard: Shard, rows: np.ndarray, digest: str) -> Path:
    """Write a shard's rows (N×anything), whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{shard.name}.safetensors"
    with atomic_write(path) as partial:
        partial.write_bytes(save({"rows": np.ascontiguousarray(rows)}, {"digest": digest}))
    return path


def read_parts(folder: Path, count: int, digest: str) -> np.ndarray:
    """Put the rows of all shards together, in order.

    Raises:
        UserError: one is missing, damaged, or of other work.
    """
    paths = [folder / f"{shard_name(index, count)}.safetensors" for index in range(count)]
    check_all_there(paths)
    parts: list[np.ndarray] = []
    for index, path in enumerate(paths):
        again = f"run the command with --shard {index + 1}/{count} again"
        try:
            with safe_open(path, framework="np") as file:
                found, rows = (file.metadata() or {}).get("digest"), file.get_tensor("rows")
        except (SafetensorError, OSError) as error:
            raise UserError(f"{path} is damaged: {again}") from error
        if found != digest:
            raise UserError(f"{path} was made from other images, weights or options: {again}")
        parts.append(rows)
    return np.concatenate(parts)


def check_all_there(shards: Sequence[Path]) -> None:
    """Raise a UserError that names the shards that are missing."""
    missing = [f"{index}/{len(shards)}" for index, path in enumerate(shards, start=1) if not path.exists()]
    if missing:
        raise UserError(
            f"shards {', '.join(missing)} are not in {shards[0].parent}: run the command with --shard for each"
        )


def remove_parts(folder: Path) -> None:
    """Remove the shards of a work whose result is written."""
    shutil.rmtree(folder, ignore_errors=True)
