"""Trainings and evaluations in several processes on this machine, as torchrun starts them."""

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from resnet50.model import resnet

COMMAND = Path(__file__).with_name("command.py")

FROZEN_NORMS = f"""\
import runpy
from resnet50.training import loop
loop.train_mode = lambda network: network.eval()
runpy.run_path({str(COMMAND)!r}, run_name="__main__")
"""
"""Runs `resnet50` with norms in evaluation mode: on a CPU, without SyncBN, each process norms its own share."""

COUNTING_MESSAGES = """\
import sys
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from resnet50.cli import run
from resnet50.training import state

replicate, sent = state.replicate, [0]

def counting(*arguments):
    replica = replicate(*arguments)
    def hook(group, bucket):
        sent[0] += 1
        return allreduce_hook(group, bucket)
    replica.register_comm_hook(None, hook)
    return replica

state.replicate = counting
code = run(sys.argv[1:])
print("sent", sent[0])
sys.exit(code)
"""
"""Runs `resnet50` and says how often gradients were sent to the other processes."""


def torchrun(
    world_size: int, arguments: list[str], *, flags: tuple[str, ...] = ("--standalone",), script: Path | None = None
) -> list[str]:
    """Return the command that runs `resnet50`, or a script instead of it, in so many processes."""
    launcher = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={world_size}"]
    return [*launcher, *flags, str(script or COMMAND), *arguments]


def meeting(machines: int) -> tuple[str, ...]:
    """Return the flags with which the launchers of several machines find each other: here, all on this one."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return (
        f"--nnodes={machines}",
        "--rdzv-backend=c10d",
        f"--rdzv-endpoint=127.0.0.1:{port}",
        "--local-addr=127.0.0.1",
    )


def frozen_norms(folder: Path) -> Path:
    """Write the script that runs `resnet50` with frozen norms."""
    path = folder / "frozen_norms.py"
    path.write_text(FROZEN_NORMS)
    return path


def counting_messages(folder: Path) -> Path:
    """Write the script that runs `resnet50` and counts messages."""
    path = folder / "counting_messages.py"
    path.write_text(COUNTING_MESSAGES)
    return path


def environment() -> dict[str, str]:
    """Return the environment of processes that share two cores, with networks as wide as this process's."""
    widths = " ".join(map(str, resnet.WIDTHS))
    return os.environ | {"OMP_NUM_THREADS": "1", "TORCH_CPP_LOG_LEVEL": "ERROR", "WIDTHS": widths}


def run(command: list[str], seconds: float = 300) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end and return what it said."""
    return subprocess.run(
        command, capture_output=True, text=True, timeout=seconds, env=environment(), check=False, start_new_session=True
    )


@contextmanager
def started(command: list[str], log: Path) -> Generator["subprocess.Popen[str]"]:
    """Start a command, with what it says in a file; a launcher still there at the end of the block ends its workers."""
    with log.open("w") as said:
        process = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT, text=True, env=environment())
    try:
        yield process
    finally:
        process.terminate()
        process.wait(timeout=60)


def workers(launcher: int, count: int, seconds: float = 120) -> dict[int, int]:
    """Return the process ids of a launcher's workers by their rank, once all are there."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found: dict[int, int] = {}
        for child in Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split():
            try:
                rank = re.search(rb"\0RANK=(\d+)", b"\0" + Path(f"/proc/{child}/environ").read_bytes())
            except OSError:
                continue
            if rank:
                found[int(rank[1])] = int(child)
        if len(found) == count:
            return found
        time.sleep(0.1)
    raise AssertionError(f"{count} workers of {launcher} did not start")
