"""How long one waits before anything happens: the command line and the import."""

import subprocess
import sys

import torch

from resnet50.bench.clock import repeated
from resnet50.bench.rounds import Workload
from resnet50.bench.rows import Row, Scratch, Side, Sides

START_SECONDS = 1.0
"""Shortest round: what starts quicker is started several times in one."""


def rows() -> list[Row]:
    """Return the rows of starting."""
    help_words, imports = ["-m", "resnet50", "--help"], ["-c", "import resnet50"]
    return [
        row("startup_help", "resnet50 --help, until it has ended", help_words, "import torch, torchvision"),
        row("startup_import", "import resnet50 in a fresh Python, until it has ended", imports, "import torch"),
    ]


def row(name: str, meaning: str, ours: list[str], baseline: str) -> Row:
    """Return a row of seconds: our arguments to Python, and the statement of a tool that imports first."""

    def sides(scratch: Scratch) -> Sides:
        del scratch
        commands = {"ours": ours, "baseline": ["-c", baseline], "limit": ["-c", "pass"]}
        return Sides(*[Side("resnet50.bench.startup:starts", commands, workload) for workload in commands])

    return Row(name, "startup", meaning, f"python -c '{baseline}'", sides, unit="s")


def starts(**commands: list[str]) -> dict[str, Workload]:
    """Start Python with each command's arguments, in seconds; nobody else's settings matter, so one child does all."""
    return {name: seconds_of_start(arguments) for name, arguments in commands.items()}


def seconds_of_start(arguments: list[str]) -> Workload:
    """Return rounds of the mean seconds from starting Python to its end."""

    def start() -> None:
        subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True)  # noqa: S603

    rate = repeated(start, 1, torch.device("cpu"), START_SECONDS)
    return lambda: 1 / rate()
