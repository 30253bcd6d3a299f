"""Output of the commands: messages, tables and progress, on a terminal, in a notebook, or as plain lines."""

import io
import os
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, Protocol, TextIO, cast

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from resnet50.runtime.notebook import NotebookBar, notebook_shell


@contextmanager
def to_nowhere_if_full(stream: TextIO) -> Generator[None]:
    """Let a command go on without its output where that can't be written, as to a log on a full disk.

    A closed pipe is left to end the command: whoever closed it has seen enough.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())  # what is buffered goes there, too
        os.close(nowhere)


class EncodableStream(io.TextIOBase):
    """Standard output or standard error, whichever object that is now, for any text.

    What its encoding lacks is written as an escape sequence: a class may be named café where output is ASCII, and a
    file's name may hold bytes that are no text at all.
    """

    def __init__(self, name: Literal["stdout", "stderr"]) -> None:
        self.name = name

    @property
    def stream(self) -> TextIO | None:
        """Return the stream; a process may have none. Below a progress bar of rich, the one that it replaced."""
        stream = getattr(sys, self.name)
        return getattr(stream, "rich_proxied_file", stream)

    @property
    def encoding(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Return the encoding of the stream."""
        return getattr(self.stream, "encoding", None) or "utf-8"

    def write(self, text: str) -> int:
        """Write a text, or as much of it as the encoding has."""
        if self.stream is not None:
            with to_nowhere_if_full(self.stream):
                self.stream.write(text.encode(self.encoding, "backslashreplace").decode(self.encoding))
        return len(text)

    def flush(self) -> None:
        """Flush the stream."""
        if self.stream is not None:
            with to_nowhere_if_full(self.stream):
                self.stream.flush()

    def isatty(self) -> bool:
        """Return whether the stream is a terminal."""
        return self.stream is not None and self.stream.isatty()

    def fileno(self) -> int:
        """Return the stream's file descriptor."""
        if self.stream is None:
            raise io.UnsupportedOperation("fileno")
        return self.stream.fileno()


# In a notebook, rich would make a display of its own of every message, and its progress bars need ipywidgets.
console = Console(file=cast(TextIO, EncodableStream("stdout")), highlight=False, soft_wrap=True, force_jupyter=False)
"""Results and messages, on standard output."""

errors = Console(file=cast(TextIO, EncodableStream("stderr")), highlight=False, soft_wrap=True, force_jupyter=False)
"""Progress and errors, on standard error."""

PLAIN_INTERVAL = 10.0
"""Seconds between two progress lines where there is neither a terminal nor a notebook."""

NOTEBOOK_INTERVAL = 0.3
"""Seconds between two updates of a notebook's progress bar."""


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
            log = (folder / f"rank-{self.rank}.log").open("a", encoding="utf-8", errors="backslashreplace", buffering=1)
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
    """Show the progress of a task with rate and time left: a bar on a terminal or in a notebook, else plain lines.

    Args:
        what: the task, e.g. "reading images".
        total: number of items.
        unit: name of the items, in the plural.

    Yields:
        A function to call with the number of items that are done since the last call.
    """
    shell = notebook_shell()
    if shell is not None:  # first: a notebook's kernel asks for colors, which rich takes for a terminal
        bar = NotebookBar.of_cell(shell)
        try:
            yield periodic_progress(what, total, unit, NOTEBOOK_INTERVAL, bar.show)
        finally:
            bar.clear()
    elif errors.is_terminal:
        with terminal_progress(what, total, unit) as advance:
            yield advance
    else:
        yield plain_progress(what, total, unit)


@contextmanager
def terminal_progress(what: str, total: int, unit: str) -> Generator[Advance]:
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


def plain_progress(what: str, total: int, unit: str) -> Advance:
    def show(text: str, done: int, total: int) -> None:
        errors.print(text, markup=False)

    return periodic_progress(what, total, unit, PLAIN_INTERVAL, show)


class Show(Protocol):
    """Shows a line of text about the progress, and how much is done."""

    def __call__(self, text: str, done: int, total: int) -> None: ...


def periodic_progress(what: str, total: int, unit: str, interval: float, show: Show) -> Advance:
    """Return an `Advance` that shows rate and time left at most once in so many seconds."""
    start = time.perf_counter()
    next_time = start + interval
    done = 0

    def advance(count: int = 1) -> None:
        nonlocal done, next_time
        done += count
        now = time.perf_counter()
        if now >= next_time and done:
            rate = done / (now - start)
            left = (total - done) / rate
            show(f"{what}: {done:,}/{total:,} {unit}, {rate:,.1f}/s, {left:,.0f} s left", done, total)
            next_time = now + interval

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
