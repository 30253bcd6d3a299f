"""The processes that load batches: starting them, waiting for them, and going on with fewer where they fail."""

import atexit
import multiprocessing.process
import os
import signal
import sys
import time
from collections.abc import Callable, Generator, Iterator, Sequence, Sized
from contextlib import contextmanager, nullcontext
from itertools import islice
from multiprocessing.process import BaseProcess
from threading import Thread, current_thread, main_thread
from typing import Any, cast
from weakref import WeakSet

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler, get_worker_info

from resnet50.runtime.console import warn
from resnet50.runtime.errors import UserError

POLL = 1.0
"""Seconds between two looks, while a batch is not there, whether the processes live and training is to stop."""

EXTERNAL_SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGBUS) if sys.platform != "win32" else ()
"""What the system sends for lack of memory (SIGKILL) and of shared memory (SIGBUS), or a user. A process that dies of
anything else would take this one with it if this one did its work."""


STARTED = WeakSet[BaseProcess]()
"""All processes that load batches, or did."""


@atexit.register
def end_processes() -> None:
    """End processes that still wait for a disk: Python would wait for them at its own end."""
    for process in list(STARTED):
        if process.is_alive():
            process.kill()


class LoaderFailure(Exception):  # noqa: N818  # not an error while fewer processes can go on
    """The processes can't go on; the message says why and what can be changed."""


class NoSharedMemoryError(UserError):
    """A process that loads batches has no shared memory to hand one over in."""


class FromBatch(Sampler[Any]):
    """The batches of a sampler from number `first` on."""

    def __init__(self, sampler: Sampler[Any]) -> None:
        self.sampler, self.first = sampler, 0

    def __len__(self) -> int:
        """Return the number of batches of a whole pass."""
        return len(cast(Sized, self.sampler))

    def __iter__(self) -> Iterator[Any]:
        return islice(self.sampler, self.first, None)


class Batches(DataLoader[tuple[Tensor, Tensor]]):
    """A `DataLoader` whose processes may fail: fewer, in the end none, go on behind the batch that was yielded last.

    The batches are the same: a sample does not depend on who loads it. The processes survive a SIGTERM to all processes
    of a job, see `start_worker`.

    Attributes:
        on_wait: called every second while a batch is not there yet; what they raise ends the pass.
    """

    def __init__(
        self,
        dataset: Any,
        batches: Sampler[Any],
        workers: int,
        collate: Callable[[Any], tuple[Tensor, Tensor]],
        *,
        assembled: bool,
        on_wait: Sequence[Callable[[], object]] = (),
    ) -> None:
        """Load the samples of each batch.

        Args:
            dataset: maps a sample to an image and its label, or all samples of a batch to a batch.
            batches: yields the samples of one batch after another.
            workers: processes; 0: this one.
            collate: assembles a batch, or passes on one that is assembled already.
            assembled: whether the dataset returns whole batches.
            on_wait: see above.
        """
        self.from_batch = FromBatch(batches)
        super().__init__(
            dataset,
            batch_size=None if assembled else 1,  # 1: not used with a sampler of batches
            sampler=self.from_batch if assembled else None,
            batch_sampler=None if assembled else self.from_batch,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=torch.cuda.is_available(),
            worker_init_fn=start_worker,
            collate_fn=SharedBatch(collate),
        )
        self.on_wait = on_wait

    def __iter__(self) -> Any:
        """Yield the batches of one pass."""
        done = 0
        try:
            while True:
                self.from_batch.first = done
                try:
                    for batch in self.remaining():
                        done += 1
                        yield batch
                except LoaderFailure as failure:
                    self.use_fewer(failure)
                else:
                    return
        except GeneratorExit:  # the rest is not wanted; the processes wait for the next pass
            raise
        except BaseException:
            self.abandon()
            raise
        finally:
            self.from_batch.first = 0

    def abandon(self) -> None:
        """End the processes at once: one that waits for a disk would keep this one from ending, too."""
        iterator: Any = self._iterator
        self._iterator = None
        processes: list[BaseProcess] = getattr(iterator, "_workers", [])
        for process in processes:
            process.kill()
        for process in processes:
            process.join(POLL)
            if process.is_alive():  # not even SIGKILL ends a process that the kernel keeps waiting
                multiprocessing.process._children.discard(process)  # pyright: ignore

    def use_fewer(self, failure: LoaderFailure) -> None:
        """Let half as many processes go on, and say so."""
        self._iterator = None  # which ends those that are left
        self.num_workers //= 2
        how = f"with --workers {self.num_workers}" if self.num_workers else "in this process, as with --workers 0"
        warn(f"{failure}; loading goes on {how}")

    def remaining(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches that are left of a pass, as long as the processes can."""
        batches: Any = self.started()
        while True:
            try:
                batch = next(batches)
            except StopIteration:
                return
            except NoSharedMemoryError as error:
                raise LoaderFailure(str(error)) from error
            except (RuntimeError, OSError, EOFError) as error:
                raise failure_behind(error, batches) or error from error.__cause__
            else:
                yield batch

    def started(self) -> Any:
        """Start a pass; its processes, and what threads libraries start in them, have SIGTERM blocked."""
        if not self.num_workers:
            return super().__iter__()
        first = self._iterator is None
        try:
            if first:
                check_queues(self.num_workers + 1)
            with unchanged_signals() if first else nullcontext():  # a wait for the last pass can be ended
                batches: Any = super().__iter__()
        except OSError as error:
            reason = error.strerror or error
            raise LoaderFailure(
                f"no processes could be started to load images ({reason}): a full /dev/shm or a limit on processes or "
                "open files may be the cause; --workers 0 needs none"
            ) from error
        except RuntimeError as error:
            raise failure_behind(error, self._iterator) or error from error.__cause__
        if first:
            STARTED.update(batches._workers)
            batches._timeout, batches._get_data = POLL, self.patient(batches._get_data)
        return batches

    def patient(self, get: Callable[[], Any]) -> Callable[[], Any]:
        """Return a function that waits for what the processes send, however long it takes, and calls `on_wait`."""

        def wait() -> Any:
            while True:
                try:
                    return get()
                except RuntimeError as error:
                    if "DataLoader timed out" not in str(error):
                        raise
                    for action in self.on_wait:
                        action()

        return wait


class SharedBatch:
    """Assembles a batch; in a process of a loader in shared memory, where the other process finds it.

    The queue between them would do so too, but in a thread of its own, whose errors nobody hears of: the batch would
    never come.
    """

    def __init__(self, collate: Callable[[Any], tuple[Tensor, Tensor]]) -> None:
        self.collate = collate

    def __call__(self, samples: Any) -> tuple[Tensor, Tensor]:
        """Return the batch of some samples."""
        if get_worker_info() is None:
            return self.collate(samples)
        try:
            batch = self.collate(samples)
            for value in cast(Sequence[object], batch):
                if isinstance(value, Tensor):
                    value.share_memory_()
        except RuntimeError as error:
            if "shared memory" not in str(error):
                raise
            reason = str(error).splitlines()[0].rpartition(": ")[2]
            raise NoSharedMemoryError(
                f"no shared memory to load images with ({reason}): give a container more (docker run --shm-size), or "
                "use fewer --workers or a smaller --batch-size"
            ) from error
        return batch


@contextmanager
def unchanged_signals() -> Generator[None]:
    """Block SIGTERM in the processes and threads that are started here, and keep the handler of SIGCHLD.

    torch installs one that raises wherever the program is when a process of a loader has died. `next` raises, too.
    """
    if sys.platform == "win32":
        yield
        return
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM} if sys.platform == "linux" else set())
    handler = signal.getsignal(signal.SIGCHLD)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if handler is not None and current_thread() is main_thread():
            signal.signal(signal.SIGCHLD, handler)


def check_queues(count: int) -> None:
    """Raise an OSError unless so many queues can be made: DataLoader prints a traceback if it can't make its own."""
    queues = [torch.multiprocessing.get_context().Queue() for _ in range(count)]
    del queues


def failure_behind(error: Exception, batches: Any) -> Exception | None:
    """Return what an error of a loader's iterator means if its processes can't go on; None for any other error."""
    text = str(error)
    if text.startswith("Caught "):  # by a process, in the dataset
        return None
    if "Too many open files" in text:
        return LoaderFailure("too many open files to load images with: raise `ulimit -n`, or use fewer --workers")
    if "can't start new thread" in text:
        return LoaderFailure("no processes could be started to load images (too many threads)")
    if isinstance(error, RuntimeError) and "DataLoader worker (pid" not in text:
        return None
    codes = exit_codes(getattr(batches, "_workers", []))
    crashed = [code for code in codes if -code not in EXTERNAL_SIGNALS]
    if crashed:
        return UserError(
            f"a process that loads images crashed ({death(crashed[0])}), probably in the decoder of a damaged image: "
            "`resnet50 check` names images that have changed since they were prepared"
        )
    how = death(codes[0]) if codes else "killed"
    return LoaderFailure(
        f"a process that loads images has ended ({how}), as when the system runs out of memory: use fewer --workers or "
        "a smaller --batch-size"
    )


def exit_codes(processes: Sequence[BaseProcess]) -> list[int]:
    """Return the exit codes of the processes that have failed: one that has just gone silent is about to end."""
    deadline = time.monotonic() + POLL
    while not (codes := [process.exitcode for process in processes if process.exitcode]):
        if time.monotonic() > deadline:
            break
        time.sleep(POLL / 20)
    return codes


def death(code: int) -> str:
    """Name the signal that ended a process, or its exit code."""
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def start_worker(worker: int) -> None:
    """Keep a worker process to one core, and leave signals to its parent."""
    del worker
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":  # elsewhere nobody sends SIGTERM to all processes of a job
        Thread(target=end_with_parent, args=(os.getppid(),), daemon=True).start()


def end_with_parent(parent: int) -> None:
    """End this process at a SIGTERM from its parent, and at no other.

    Clusters, torchrun and `kill` send SIGTERM to every process of a job. Without its workers, training could neither
    finish its step nor write a checkpoint.
    """
    assert sys.platform == "linux"
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent == os.getppid():
        pass
    os._exit(0)
