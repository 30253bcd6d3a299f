"""Work on a table that shards, or the processes that torchrun starts, do in shares."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np

from resnet50.runtime.console import say
from resnet50.runtime.distributed import Distributed
from resnet50.runtime.sharding import Shard, parse_shard, read_parts, write_part


class Sharding(Protocol):
    """The options of a command whose work can be cut into shards."""

    @property
    def shard(self) -> str | None: ...
    @property
    def merge(self) -> int | None: ...
    @property
    def batch_size(self) -> int: ...


def run_sharded(
    work: Callable[[slice], np.ndarray],
    items: int,
    folder: Path,
    digest: Callable[[], str],
    dist: Distributed,
    options: Sharding,
) -> np.ndarray | None:
    """Return a row for each item: worked out here, in the shares of all processes, or merged from shards.

    Args:
        work: returns the rows of some of the items.
        items: how many there are.
        folder: of the shards.
        digest: works out that of what all shards have in common; asked only where there are shards.
        processes: each does its share of it.
        options: whether this is about a shard.

    Returns:
        None after a shard, whose rows are in the folder for a merge.
    """
    if options.merge is not None:
        return read_parts(folder, options.merge, digest())
    if options.shard is not None:
        shard = parse_shard(options.shard)
        path = write_part(folder, shard, work(shard.of(items, options.batch_size)), digest())
        say(f"shard {options.shard} in {path}; when all are there, --merge {shard.count} puts them together")
        return None
    share = Shard(dist.rank, dist.world_size).of(items, options.batch_size)
    return np.concatenate(dist.all_gather(work(share)))
