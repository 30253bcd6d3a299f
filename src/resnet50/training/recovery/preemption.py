"""Requests to stop training before it is done: a signal, or `--max-time`. It then stops after the current step."""

import signal
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

from resnet50.runtime.console import warn

INTERRUPTED, TERMINATED, OUT_OF_TIME = "interrupted", "stopped by SIGTERM", "out of time"
REASONS = (None, OUT_OF_TIME, TERMINATED, INTERRUPTED)
"""Reasons to stop, the most urgent last."""

FINISHING = "finishing the current step and writing a checkpoint"


class StopRequest:
    """Whether, and why, training is to stop: `reason` is None until then."""

    def __init__(self, seconds: float | None = None) -> None:
        """Begin; with `seconds`, the time is up after so many."""
        self.deadline = None if seconds is None else time.perf_counter() + seconds
        self.signal: signal.Signals | None = None

    @property
    def reason(self) -> str | None:
        """Return why to stop now."""
        if self.signal is not None:
            return INTERRUPTED if self.signal is signal.SIGINT else TERMINATED
        if self.deadline is not None and time.perf_counter() >= self.deadline:
            return OUT_OF_TIME
        return None

    def receive(self, number: int, frame: FrameType | None) -> None:
        """Take a signal. A Ctrl-C after it exits at once; another SIGTERM does not: clusters send several."""
        del frame
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        if self.signal is None:
            self.signal = signal.Signals(number)
            warn(f"{self.signal.name}: {FINISHING}; Ctrl-C {'once more ' * (number == signal.SIGINT)}exits at once")

    @contextmanager
    def listening(self) -> Generator[None]:
        """Take SIGINT and SIGTERM as requests; only a process's main thread can."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.receive) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


SIGNALS = (signal.SIGINT, signal.SIGTERM)
