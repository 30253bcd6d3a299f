"""A fuzzer, guided by coverage, of everything that reads what strangers send: images, tables, models, checkpoints.

    FUZZ_S=300 python -m tests.faults.fuzz [TARGET ...]

All targets (or the named ones) share FUZZ_S seconds; each runs in a process of its own. What makes one raise anything
but the error it is meant to raise, or take more than 10 seconds of processor time or 1 GB, is a finding: its input is
kept, and the exit code is 1.
"""

# ruff: noqa: T201  # what it finds is for the terminal

import contextlib
import hashlib
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
MOST_SECONDS, MOST_BYTES = 10, 1 << 30
LONGEST = 1 << 16
"""Bytes of an input."""

INPUT = "input.bin"

Target = Callable[[bytes], None]


def decode_target(folder: Path) -> tuple[Target, list[bytes]]:
    """Image files: pixels or an UnreadableImageError."""
    import numpy as np

    from resnet50.etl.decode import UnreadableImageError, decode_image
    from tests.faults import corpus

    def run(content: bytes) -> None:
        with contextlib.suppress(UnreadableImageError):
            image = decode_image(content, 32 if len(content) % 2 else None)
            assert image.pixels.dtype == np.uint8
            assert image.pixels.ndim == 3
            assert image.pixels.shape[2] == 3

    bad = [content for content, _ in corpus.bad_images().values()]
    seeds = [*corpus.good_images().values(), *bad, corpus.claimed_arithmetic()]
    return run, [seed for seed in seeds if len(seed) <= LONGEST]


def table_target(folder: Path) -> tuple[Target, list[bytes]]:
    """CSV files: a table of strings or a UserError."""
    from resnet50.etl.source.tables import read_table
    from resnet50.runtime.errors import UserError
    from tests.faults import corpus

    path = folder / "table.csv"

    def run(content: bytes) -> None:
        path.write_bytes(content)
        with contextlib.suppress(UserError):
            table = read_table(path).frame
            assert all(isinstance(cell, str) for name in table.columns for cell in table[name])

    return run, corpus.TABLES


def model_target(folder: Path) -> tuple[Target, list[bytes]]:
    """Model files: a UserError, for none of these has all of its weights."""
    from resnet50.model.file import load_model
    from resnet50.runtime.errors import UserError
    from tests.faults import corpus

    path = folder / "model.safetensors"

    def run(content: bytes) -> None:
        path.write_bytes(corpus.framed(content) if content.startswith(b"{") else content)
        with contextlib.suppress(UserError):
            load_model(path)

    header = corpus.model_header
    deep = "[" * 20_000
    changed = [header(depth="50"), header(classes='"cat"'), header(classes="3"), header(classes=deep)]
    changed += [header(preprocess="[1]"), header(preprocess=deep)]
    return run, [header(), *changed, corpus.framed(header())]


def checkpoint_target(folder: Path) -> tuple[Target, list[bytes]]:
    """Checkpoints whose digest is right: a dictionary, None, or an error for those of an earlier version."""
    from resnet50.runtime.errors import UserError
    from resnet50.training.recovery.checkpoint import Checkpoint, read_checkpoint
    from tests.faults import corpus

    path = folder / "checkpoint.safetensors"

    def run(content: bytes) -> None:
        content = corpus.framed(content) if content.startswith(b"{") else content
        path.write_bytes(content)
        with contextlib.suppress(UserError):
            found = read_checkpoint(Checkpoint(1, path, hashlib.sha256(content).hexdigest()[:16]))
            assert found is None or isinstance(found, dict)  # pyright: ignore[reportUnnecessaryIsInstance]

    header = corpus.checkpoint_header
    odd = [{"pairs": [["a", {"tensor": "x"}]]}, {"pairs": [[[], 1]]}, {"pairs": 1}, 5, []]
    deep = header().replace(b'"content": "', b'"content": "' + b"[" * 20_000, 1)
    return run, [header(), *map(header, odd), deep, corpus.framed(header())]


TARGETS = {
    "decode_image": decode_target,
    "read_table": table_target,
    "load_model": model_target,
    "read_checkpoint": checkpoint_target,
}


def bounded(run: Target, kept: Path) -> Target:
    """Return a target that fails where an input takes too much memory or time.

    It keeps the input that it is at in a file: whatever ends the process, that is the one to look at.
    """
    before = peak_bytes()

    def call(content: bytes) -> None:
        kept.write_bytes(content)
        start = time.process_time()  # not the clock's: other programs take the processor too
        run(content)
        assert time.process_time() - start < MOST_SECONDS, "too slow"
        assert peak_bytes() - before < MOST_BYTES, "too much memory"

    return call


def peak_bytes() -> int:
    """Return the most memory that this process has had."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def fuzz(name: str, folder: Path, seconds: int) -> None:
    """Fuzz one target in this process, which ends with it."""
    import atheris

    watched = ["PIL", "resnet50", "safetensors"]
    with atheris.instrument_imports(include=watched):  # pyright: ignore[reportAttributeAccessIssue]
        run, seeds = TARGETS[name](folder)
        from tests.faults import corpus

    for seed in seeds:  # the first time, what is imported late takes time and memory that are not the input's
        (folder / INPUT).write_bytes(seed)
        run(seed)
    begin = folder / "seeds"
    begin.mkdir()
    for seed in seeds:
        (begin / hashlib.sha256(seed).hexdigest()).write_bytes(seed)
    options = [
        f"-max_total_time={seconds}", f"-max_len={LONGEST}", f"-timeout={MOST_SECONDS}", "-print_final_stats=1",
        f"-rss_limit_mb={(peak_bytes() + MOST_BYTES) >> 20}", f"-artifact_prefix={folder}/", str(begin),
    ]  # fmt: skip

    def mutate(content: bytes, longest: int, seed: int) -> bytes:
        return corpus.mended(atheris.Mutate(content, longest))[:longest]

    atheris.Setup([sys.argv[0], *options], bounded(run, folder / INPUT), custom_mutator=mutate)
    atheris.Fuzz()


def fuzz_apart(name: str, folder: Path, seconds: int) -> bool:
    """Fuzz one target in a process of its own; print what came of it, and return whether that is nothing."""
    folder.mkdir()
    command = [sys.executable, "-m", "tests.faults.fuzz", name, str(folder), str(seconds)]
    with (folder / "log.txt").open("w") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
        try:
            code: int | str = process.wait(timeout=seconds + 120)
        except subprocess.TimeoutExpired:
            process.kill()
            code = "hangs"
    said = (folder / "log.txt").read_text(errors="replace")
    executions = int((re.findall(r"(?:^#|units:\s*)(\d+)", said, re.MULTILINE) or [0])[-1])
    sound = code == 0 and executions > 0
    print(f"{name}: {executions:,} executions in {seconds} s, {'nothing found' if sound else 'A FINDING'}")
    if not sound:
        print(f"  exit code {code}, by {folder / INPUT}; {folder / 'log.txt'} ends with:")
        print("\n".join("    " + line for line in said.splitlines()[-40:]))
    return sound


def main(names: list[str]) -> int:
    """Fuzz the named targets, or all; return the exit code."""
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    seconds = max(1, int(os.environ.get("FUZZ_S", "300")) // len(names or TARGETS))
    sound = [fuzz_apart(name, folder / name, seconds) for name in names or TARGETS]
    return 0 if all(sound) else 1


if __name__ == "__main__":
    if len(sys.argv) == 4 and Path(sys.argv[2]).is_dir():
        fuzz(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
    sys.exit(main(sys.argv[1:]))
