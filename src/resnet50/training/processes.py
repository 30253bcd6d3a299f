"""The processes that work on one run together, as torchrun starts them; a process alone without it."""

import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor

from resnet50.errors import UserError
from resnet50.sharding import started_by_torchrun


@dataclass(frozen=True)
class Processes:
    """How many there are, and which of them this is: `rank` among all, `local_rank` on this machine."""

    rank: int = 0
    count: int = 1
    local_rank: int = 0

    @property
    def first(self) -> bool:
        """Return whether this is the one that writes."""
        return self.rank == 0

    def all_reduce_max(self, *values: int) -> list[int]:
        """Return the highest that any process gives, for each value."""
        if self.count == 1:
            return list(values)
        tensor = torch.tensor(values)
        dist.all_reduce(tensor, dist.ReduceOp.MAX)
        return [int(value) for value in tensor]

    def all_reduce_sum(self, tensor: Tensor) -> Tensor:
        """Return the sum of every process's tensor."""
        if self.count == 1:
            return tensor
        summed = tensor.clone()
        dist.all_reduce(summed)
        return summed

    def broadcast(self, value: Any) -> Any:
        """Return what the first process gives."""
        if self.count == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values, src=0)
        return values[0]

    def all_gather(self, value: Any) -> list[Any]:
        """Return what every process gives, in the order of their ranks."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        dist.all_gather_object(values, value)
        return values


ALONE = Processes()


def processes_here() -> Processes:
    """Return which of how many this is, as torchrun tells it in the environment."""
    shard = started_by_torchrun()
    return ALONE if shard is None else Processes(shard.index, shard.count, int(os.environ["LOCAL_RANK"]))


@contextmanager
def joined(what_next: str = "start all of them again") -> Generator[Processes]:
    """Join the other processes, if there are any, until the end of the block.

    Raises:
        UserError: one of them is gone, or does not answer; `what_next` is what can be done then.
    """
    processes = processes_here()
    if processes.count == 1 or dist.is_initialized():
        yield processes
        return
    # Numbers on a GPU travel by NCCL, what processes have to tell each other by gloo.
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield processes
    except Exception as error:
        if is_lost_process(error):
            raise UserError(
                f"process {processes.rank} of {processes.count} has lost touch with the others, one of which is gone "
                f"or stuck: {what_next}"
            ) from error
        raise
    finally:
        dist.destroy_process_group()


def is_lost_process(error: BaseException) -> bool:
    """Return whether an error means that another process is gone, or does not answer."""
    text = str(error)
    about_others = any(word in text for word in ("gloo", "NCCL", "Connection closed by peer", "Connection reset"))
    return isinstance(error, cast(Any, dist).DistError) or (isinstance(error, RuntimeError) and about_others)
