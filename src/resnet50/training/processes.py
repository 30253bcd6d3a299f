"""The processes that work on one run together, as torchrun starts them; a process alone without it."""

import os
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast
from uuid import uuid4

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import PrefixStore, Store  # pyright: ignore[reportPrivateImportUsage]  # not in __all__
from torch.distributed.rendezvous import rendezvous

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
    backends = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    store, _, _ = next(iter(rendezvous("env://")))
    store = store_of_this_start(store, processes)
    try:
        dist.init_process_group(backends, store=store, rank=processes.rank, world_size=processes.count)
        yield processes
    except Exception as error:
        if is_lost_process(error):
            raise UserError(
                f"process {processes.rank} of {processes.count} has lost touch with the others, one of which is gone "
                f"or stuck: {what_next}"
            ) from error
        raise
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def store_of_this_start(store: Store, processes: Processes) -> Store:
    """Return a part of torchrun's store in which nothing is left over from an earlier start.

    After a restart torchrun hands over the same store again, with the addresses of the dead processes in it
    (pytorch/pytorch#135712): who reads those first waits in vain. So each process says that it is here by a name that
    only this start has; the first answers to that name with the name of the part; and is thanked, so that it knows.
    """
    name = uuid4().hex
    if not processes.first:
        store.set(f"here/{processes.rank}", name)
        part = store.get(f"welcome/{name}").decode()  # waits for it
        store.set(f"thanks/{part}/{processes.rank}", "")
        return PrefixStore(part, store)
    absent = set(range(1, processes.count))
    while absent:  # torchrun ends this process should one of them not start
        for rank in absent:
            if store.check([f"here/{rank}"]):
                store.set(f"welcome/{store.get(f'here/{rank}').decode()}", name)
        absent = {rank for rank in absent if not store.check([f"thanks/{name}/{rank}"])}
        time.sleep(0.02)
    return PrefixStore(name, store)


def is_lost_process(error: BaseException) -> bool:
    """Return whether an error means that another process is gone, or does not answer."""
    text = str(error)
    about_others = any(word in text for word in ("gloo", "NCCL", "Connection closed by peer", "Connection reset"))
    return isinstance(error, cast(Any, dist).DistError) or (isinstance(error, RuntimeError) and about_others)
