"""CPU cores: how many this process may use, and how its threads wait for each other."""

import contextlib
import os


def available_cores() -> int:
    """Return how many cores this process may use, by CPU affinity and container limits.

    Processes that torchrun started on the same machine share them equally.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):
        quota, period = open("/sys/fs/cgroup/cpu.max", encoding="ascii").read().split()  # noqa: PTH123, SIM115
        cores = min(cores, max(1, round(int(quota) / int(period))))
    return max(1, cores // processes_on_this_machine())


def processes_on_this_machine() -> int:
    """Return how many processes torchrun started on this machine (`LOCAL_WORLD_SIZE`); 1 without torchrun."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


SPIN_COUNT = "1000"
"""Rounds in which a thread looks for work before it sleeps: some ten microseconds, as long as most pauses in a step."""

OPENMP_SPIN_COUNT = "300000"
"""GNU OpenMP's own: some milliseconds."""


def limit_spinning() -> None:
    """Let threads that wait for others give up their core soon; call it before torch is imported.

    A training step has thousands of short parallel loops. Between them the threads of GNU OpenMP, which torch uses on
    Linux, keep their cores busy for milliseconds. Beside another program, they so keep away the very thread that they
    wait for.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)
