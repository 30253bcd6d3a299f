"""When the command began that this process carries out: a time limit for the whole of it counts from there."""

import time
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar

began: ContextVar[float | None] = ContextVar("began", default=None)


@contextmanager
def counting_from(start: float) -> Generator[None]:
    """Let the command have begun at a time of `time.perf_counter`."""
    token = began.set(start)
    try:
        yield
    finally:
        began.reset(token)


def command_start() -> float:
    """Return when the command began, as `time.perf_counter` counts; for a call from Python, that is now."""
    start = began.get()
    return time.perf_counter() if start is None else start
