"""Trainings that are killed again and again, and what is left of them in the end."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file

from resnet50.model.file import read_metadata
from tests.faults.torchrun import environment

RUNNER = Path(__file__).parent / "runner.py"
TIMING = ["images_per_second", "wait_seconds", "seconds"]
PHASES = ("step", "validation", "writing")


@dataclass
class Killed:
    """How often a training was killed, in which phase, until it ended."""

    phases: Counter[str] = field(default_factory=Counter[str])
    said: str = ""


def start(arguments: list[str], marks: Path) -> "subprocess.Popen[str]":
    """Start a training in a process group of its own, on one thread, with what it says in a file."""
    shutil.rmtree(marks, ignore_errors=True)
    marks.mkdir(parents=True)
    with (marks / "said.txt").open("w") as said:
        return subprocess.Popen(
            [sys.executable, str(RUNNER), str(marks), *arguments],
            stdout=said, stderr=subprocess.STDOUT, text=True, start_new_session=True,
            env=environment(),
        )  # fmt: skip


def wait_for(process: "subprocess.Popen[str]", mark: Path, seconds: float = 120) -> bool:
    """Wait until a mark is there or the process has ended; return whether the mark is there."""
    deadline = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < deadline:
        if mark.exists():
            return True
        time.sleep(0.002)
    return False


def kill_and_resume(command: list[str], run: Path, kills: int, seed: int, within: float) -> Killed:
    """Run a training; kill it in turn in a step, a validation and the writing of a checkpoint; resume; to the end.

    Each kill comes within so many seconds of training, or when what it is to hit is next.
    """
    rng, killed, marks = np.random.default_rng(seed), Killed(), run.parent / f"marks-{run.name}"
    arguments = command
    while True:
        process = start(arguments, marks)
        phase = PHASES[sum(killed.phases.values()) % len(PHASES)]
        if sum(killed.phases.values()) < kills and wait_for(process, marks / "step"):
            time.sleep(rng.uniform(0, within))
            if wait_for(process, marks / phase):
                time.sleep(rng.uniform(0, 0.05))
        if sum(killed.phases.values()) < kills and process.poll() is None:
            there = [name for name in PHASES if (marks / name).exists()]
            os.killpg(process.pid, signal.SIGKILL)
            killed.phases[phase if phase in there else there[0] if there else "elsewhere"] += 1
        process.wait(timeout=600)
        killed.said = (marks / "said.txt").read_text()
        if process.returncode == 0:
            return killed
        assert process.returncode == -signal.SIGKILL, killed.said
        has_begun = any((run / "checkpoints").glob("*.safetensors"))
        assert has_begun or sum(killed.phases.values()) == 1, "what it had learned is lost"
        arguments = ["train", "--resume", str(run)] if has_begun else [*command, "--overwrite"]


def metrics(run: Path) -> str:
    """Return the epochs' numbers to the last digit, but for how long things took."""
    return pd.read_csv(run / "metrics.csv", dtype=str).drop(columns=TIMING).to_csv(index=False)


def same_results(run: Path, other: Path) -> list[str]:
    """Return what differs between two runs: nothing, if their weights and metrics are the same to the last bit."""
    files = ("model.safetensors", "last.safetensors")
    differing = [name for name in files if not same_model(run / name, other / name)]
    return differing + ([] if metrics(run) == metrics(other) else ["metrics.csv"])


def same_model(path: Path, other: Path) -> bool:
    """Compare two model files bit by bit, but for the order of the metadata, which is no order at all."""
    ours, theirs = load_file(path), load_file(other)
    same = list(ours) == list(theirs) and all(torch.equal(ours[name], theirs[name]) for name in ours)
    return same and read_metadata(path) == read_metadata(other)
