"""Start-up time: the command line and the import."""

import subprocess
import sys

import torch

from resnet50.bench.clock import repeated
from resnet50.bench.rounds import Workload
from resnet50.bench.rows import Row, Scratch, Side, Sides

START_SECONDS = 1.0
"""Shortest duration of a round; faster starts are repeated within it."""


def rows() -> list[Row]:
    help_words, imports = ["-m", "resnet50", "--help"], ["-c", "import resnet50"]
    return [
        row("startup_help", "resnet50 --help, until it has ended", help_words, "import torch, torchvision"),
        row("startup_import", "import resnet50 in a fresh Python, until it has ended", imports, "import torch"),
    ]


def row(name: str, meaning: str, candidate: list[str], baseline: str) -> Row:
    """Return a row in seconds: the candidate's arguments to Python against the baseline's import statement."""

    def sides(scratch: Scratch) -> Sides:
        del scratch
        commands = {"candidate": candidate, "baseline": ["-c", baseline], "limit": ["-c", "pass"]}
        return Sides(*[Side("resnet50.bench.startup:starts", commands, workload) for workload in commands])

    return Row(name, "startup", meaning, f"python -c '{baseline}'", sides, unit="s")


def starts(**commands: list[str]) -> dict[str, Workload]:
    """Return workloads that start Python with each command's arguments; no settings differ, so one child runs all."""
    return {name: seconds_of_start(arguments) for name, arguments in commands.items()}


def seconds_of_start(arguments: list[str]) -> Workload:
    """Return a workload that measures the mean seconds from starting Python to its exit."""

    def start() -> None:
        subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True)  # noqa: S603

    rate = repeated(start, 1, torch.device("cpu"), START_SECONDS)
    return lambda: 1 / rate()
