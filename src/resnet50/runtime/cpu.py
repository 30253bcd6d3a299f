"""CPU cores: how many this process may use."""

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
