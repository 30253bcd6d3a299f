"""How many processor cores there are to work with."""

import contextlib
import os


def available_cores() -> int:
    """Return how many cores this process may use: affinity and container limits, not what the machine has.

    The processes that torchrun has started on this machine share them.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):
        quota, period = open("/sys/fs/cgroup/cpu.max", encoding="ascii").read().split()  # noqa: PTH123, SIM115
        cores = min(cores, max(1, round(int(quota) / int(period))))
    return max(1, cores // processes_on_this_machine())


def processes_on_this_machine() -> int:
    """Return how many processes torchrun has started here to work together."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
