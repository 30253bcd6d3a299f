"""Terminal output of the commands: messages, tables and progress; plain lines where there is no terminal."""

import io
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

console = Console(highlight=False, soft_wrap=True)
"""Results and messages, on standard output."""

errors = Console(highlight=False, soft_wrap=True, stderr=True)
"""Progress and errors, on standard error."""

PLAIN_INTERVAL = 10.0
"""Seconds between two progress lines where standard error is not a terminal."""


class RankLog:
    """Output of the processes other than rank 0.

    It is buffered in memory until the run folder exists, then written to `rank-N.log` there. Rank 0 has no log: it
    writes to the terminal.
    """

    def __init__(self, rank: int) -> None:
        self.rank, self.file = rank, io.StringIO() if rank else None

    def to_file(self, folder: Path) -> None:
        """Write everything so far, and from now on, to `rank-N.log` in a folder."""
        if isinstance(self.file, io.StringIO):
            folder.mkdir(parents=True, exist_ok=True)
            log = (folder / f"rank-{self.rank}.log").open("a", encoding="utf-8", buffering=1)
            log.write(self.file.getvalue())
            self.file = console.file = errors.file = log


@contextmanager
def rank_zero_output(rank: int) -> Generator[RankLog]:
    """Let only rank 0 write to the terminal inside this context; other ranks write to the log it yields."""
    log = RankLog(rank)
    before = console.file, errors.file
    if log.file is not None:
        console.file = errors.file = log.file
    try:
        yield log
    finally:
        if log.file is not None:
            console.file, errors.file = before
            log.file.close()


class Advance(Protocol):
    """Reports that `count` more items are done."""

    def __call__(self, count: int = 1) -> None: ...


def say(message: str) -> None:
    """Print a message to standard output as it is: square brackets are not markup."""
    console.print(message, markup=False)


def warn(message: str) -> None:
    errors.print(f"[yellow]warning:[/yellow] {escape(message)}")


def escape(text: str) -> str:
    """Protect square brackets in user data from being read as markup."""
    return text.replace("[", "\\[")


@contextmanager
def progress(what: str, total: int, unit: str) -> Generator[Advance]:
    """Show the progress of a task with rate and time left: a bar on a terminal, plain lines elsewhere.

    Args:
        what: the task, e.g. "reading images".
        total: number of items.
        unit: name of the items, in the plural.

    Yields:
        A function to call with the number of items that are done since the last call.
    """
    if errors.is_terminal:
        with Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(compact=True),
            console=errors,
            transient=True,
        ) as bar:
            task = bar.add_task(what, total=total, rate="")
            start, done = time.perf_counter(), 0

            def advance(count: int = 1) -> None:
                nonlocal done
                done += count
                rate = done / max(time.perf_counter() - start, 1e-9)
                bar.update(task, advance=count, rate=f"{rate:,.0f} {unit}/s")

            yield advance
    else:
        yield plain_progress(what, total, unit)


def plain_progress(what: str, total: int, unit: str) -> Advance:
    start = time.perf_counter()
    next_line = start + PLAIN_INTERVAL
    done = 0

    def advance(count: int = 1) -> None:
        nonlocal done, next_line
        done += count
        now = time.perf_counter()
        if now >= next_line and done:
            rate = done / (now - start)
            left = (total - done) / rate
            errors.print(f"{what}: {done:,}/{total:,} {unit}, {rate:,.1f}/s, {left:,.0f} s left", markup=False)
            next_line = now + PLAIN_INTERVAL

    return advance


def duration(seconds: float) -> str:
    """Format seconds for people: 40 s, 5 min 10 s, 45 min, 3 h 05 min."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    if minutes >= 10:
        return f"{minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
