"""Work on a table that shards, or the processes that torchrun starts, do in shares."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np

from resnet50.console import say
from resnet50.sharding import Shard, parse_shard, read_parts, write_part
from resnet50.training.processes import Processes


class Sharding(Protocol):
    """The options of a command whose work can be cut into shards."""

    @property
    def shard(self) -> str | None: ...  # noqa: D102
    @property
    def merge(self) -> int | None: ...  # noqa: D102
    @property
    def batch_size(self) -> int: ...  # noqa: D102


def in_shares(
    work: Callable[[slice], np.ndarray],
    items: int,
    folder: Path,
    digest: Callable[[], str],
    processes: Processes,
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
    share = Shard(processes.rank, processes.count).of(items, options.batch_size)
    return np.concatenate(processes.all_gather(work(share)))
