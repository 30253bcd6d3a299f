"""The processes that torchrun starts to work on one run together; without torchrun, a single process."""

import os
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar, cast
from uuid import uuid4

import torch
import torch.distributed as torch_dist
from torch import Tensor, nn
from torch.distributed import PrefixStore, Store  # pyright: ignore[reportPrivateImportUsage]  # not in __all__
from torch.distributed.rendezvous import rendezvous

from resnet50.runtime.errors import UserError
from resnet50.runtime.sharding import started_by_torchrun

Result = TypeVar("Result")


@dataclass(frozen=True)
class Distributed:
    """Which of the processes this is, and the collectives between them.

    Attributes:
        rank: among all processes.
        world_size: how many there are.
        local_rank: among those on this machine.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0

    @property
    def is_main(self) -> bool:
        """Return whether this is the process that writes files and speaks: rank 0."""
        return self.rank == 0

    def all_reduce_max(self, *values: int) -> list[int]:
        """Return the maximum over all processes, for each value."""
        if self.world_size == 1:
            return list(values)
        tensor = torch.tensor(values)
        torch_dist.all_reduce(tensor, torch_dist.ReduceOp.MAX)
        return [int(value) for value in tensor]

    def all_reduce_sum(self, tensor: Tensor) -> Tensor:
        """Return the sum over all processes; the tensor stays as it is."""
        if self.world_size == 1:
            return tensor
        summed = tensor.clone()
        torch_dist.all_reduce(summed)
        return summed

    def all_gather(self, value: Any) -> list[Any]:
        """Return the values of all processes, in the order of their ranks."""
        if self.world_size == 1:
            return [value]
        values: list[Any] = [None] * self.world_size
        torch_dist.all_gather_object(values, value)
        return values

    def broadcast(self, value: Any) -> Any:
        """Return the main process's value."""
        if self.world_size == 1:
            return value
        values = [value]
        torch_dist.broadcast_object_list(values, src=0)
        return values[0]

    def broadcast_buffers(self, network: nn.Module) -> None:
        """Give every process's network the main process's buffers, in place."""
        if self.world_size > 1:
            for buffer in network.buffers():
                torch_dist.broadcast(buffer, src=0)

    def on_main(self, function: Callable[[], Result]) -> Result:
        """Run a function in the main process alone; the others wait for its result and get it."""
        return self.broadcast(function() if self.is_main else None)

    def barrier(self) -> None:
        """Wait until every process is here."""
        self.all_reduce_max(0)


SINGLE_PROCESS = Distributed()


def launched_processes() -> Distributed:
    """Return which process this is, by torchrun's environment variables."""
    shard = started_by_torchrun()
    return SINGLE_PROCESS if shard is None else Distributed(shard.index, shard.count, int(os.environ["LOCAL_RANK"]))


@contextmanager
def process_group(what_next: str = "start all of them again") -> Generator[Distributed]:
    """Join the other processes, if there are any, until the end of the block.

    Args:
        what_next: what the user can do if a process is lost.

    Raises:
        UserError: a process is gone, or does not answer.
    """
    dist = launched_processes()
    if dist.world_size == 1 or torch_dist.is_initialized():
        yield dist
        return
    # Tensors on a GPU travel by NCCL, everything else by gloo.
    backends = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    store, _, _ = next(iter(rendezvous("env://")))
    store = fresh_rendezvous_store(store, dist)
    try:
        torch_dist.init_process_group(backends, store=store, rank=dist.rank, world_size=dist.world_size)
        yield dist
    except Exception as error:
        if is_lost_process(error):
            raise UserError(
                f"process {dist.rank} of {dist.world_size} has lost touch with the others, one of which is gone "
                f"or stuck: {what_next}"
            ) from error
        raise
    finally:
        if torch_dist.is_initialized():
            torch_dist.destroy_process_group()


def fresh_rendezvous_store(store: Store, dist: Distributed) -> Store:
    """Return a part of torchrun's store in which nothing is left over from an earlier start.

    After a restart, torchrun hands over the same store again, still with the addresses of the dead processes
    (pytorch/pytorch#135712). A process that read one of these would wait forever. So each process registers under a
    name that is new in every start. The main process answers to that name with the name of a fresh part of the store,
    and waits until each process has acknowledged it.
    """
    name = uuid4().hex
    if not dist.is_main:
        store.set(f"here/{dist.rank}", name)
        part = store.get(f"welcome/{name}").decode()  # waits for it
        store.set(f"thanks/{part}/{dist.rank}", "")
        return PrefixStore(part, store)
    absent = set(range(1, dist.world_size))
    while absent:  # torchrun ends this process should one of them not start
        for rank in absent:
            if store.check([f"here/{rank}"]):
                store.set(f"welcome/{store.get(f'here/{rank}').decode()}", name)
        absent = {rank for rank in absent if not store.check([f"thanks/{name}/{rank}"])}
        time.sleep(0.02)
    return PrefixStore(name, store)


def is_lost_process(error: BaseException) -> bool:
    """Return whether an error means that another process is gone or does not answer."""
    text = str(error)
    about_others = any(word in text for word in ("gloo", "NCCL", "Connection closed by peer", "Connection reset"))
    return isinstance(error, cast(Any, torch_dist).DistError) or (isinstance(error, RuntimeError) and about_others)
