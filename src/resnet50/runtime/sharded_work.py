"""Work on the rows of a table, split into shards or among the processes that torchrun started."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np

from resnet50.runtime.console import say
from resnet50.runtime.distributed import Distributed
from resnet50.runtime.sharding import Shard, parse_shard, read_shards, write_shard


class ShardOptions(Protocol):
    """Options of a command whose work can be split into shards."""

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
    options: ShardOptions,
) -> np.ndarray | None:
    """Compute a row per item: all here, split among the processes, or merged from shards.

    Args:
        work: Computes the rows of a slice of the items.
        items: Number of items.
        folder: Where shards are kept until they are merged.
        digest: Identifies the work that all shards belong to; called only if there are shards.
        dist: The processes; each computes its slice, and gets the rows of all.
        options: Which shard to compute, or how many to merge; slices are whole batches.

    Returns:
        The rows, or None after a shard, whose rows are then in `folder`.
    """
    if options.merge is not None:
        return read_shards(folder, options.merge, digest())
    if options.shard is not None:
        shard = parse_shard(options.shard)
        path = write_shard(folder, shard, work(shard.of(items, options.batch_size)), digest())
        say(f"shard {options.shard} in {path}; once all are there, --merge {shard.count} puts them together")
        return None
    rows = work(Shard(dist.rank, dist.world_size).of(items, options.batch_size))
    return np.concatenate(dist.all_gather(rows))
