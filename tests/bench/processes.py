"""Benchmark processes for tests: children that answer, print, fail, die, and start others."""

import os
import subprocess
import sys
import time
from pathlib import Path

from resnet50.bench.rounds import Workload
from resnet50.runtime.errors import UserError


def constant(value: float) -> dict[str, Workload]:
    print("not part of the protocol")  # noqa: T201
    os.write(1, b"neither is this\n")
    return {"round": lambda: value, "twice": lambda: 2 * value}


def user_error() -> dict[str, Workload]:
    raise UserError("nothing here [to be] measured")


def bug() -> dict[str, Workload]:
    return {"round": lambda: 1 / 0}


def dying() -> dict[str, Workload]:
    def die() -> float:
        os.write(2, b"the last words\n")
        os._exit(7)

    return {"round": die}


def dying_with_heirs() -> dict[str, Workload]:
    """Die in a round while a started process lives on and holds standard output."""

    def die() -> float:
        if os.fork() == 0:
            time.sleep(60)
        os._exit(7)

    return {"round": die}


def parent_of_a_sleeper(pid_file: str) -> dict[str, Workload]:
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    Path(pid_file).write_text(f"{os.getpid()} {sleeper.pid}")
    return {"round": lambda: 1.0}
