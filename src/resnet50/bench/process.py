"""A contender in a process of its own, and the parent's end of it.

`python -m resnet50.bench.process MODULE:FUNCTION SETTINGS` is the child. The function takes the settings (JSON) and
returns workloads by name, set up and warmed up. Parent and child then speak in lines of JSON: the child says
{"ready": [names]}; the parent writes a name and the child answers {"rate": number}; {"error": text} ends the
conversation. The child and everything that it started die when its standard input closes, so when its parent does,
however that ends.
"""

import contextlib
import json
import os
import queue
import select
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from importlib import import_module
from types import TracebackType
from typing import Any, TextIO

from resnet50.bench.rounds import Workload
from resnet50.runtime.errors import UserError

LAST_LINES = 12
"""Lines of a dead child's messages that are shown."""


class BenchmarkProcess:
    """The parent's end: a context manager that starts the child, waits until it has warmed up, and ends it."""

    def __init__(self, function: str, settings: dict[str, Any]) -> None:
        self.function = function
        self.messages = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        self.process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "resnet50.bench.process", function, json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.messages,
            text=True,
            start_new_session=True,  # a group of its own, that can be ended as one and that Ctrl-C passes by
        )

    def __enter__(self) -> "BenchmarkProcess":
        try:
            self.read("ready")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        end_group(self.process.pid)
        self.process.wait()
        self.messages.close()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):  # what could not be written to a dead child
                    pipe.close()

    def workload(self, name: str) -> Workload:
        """Return one of the child's workloads as a function here; a UserError when the child fails or dies."""

        def round_of_it() -> float:
            assert self.process.stdin is not None
            with contextlib.suppress(BrokenPipeError):  # it is dead: reading says of what
                self.process.stdin.write(name + "\n")
                self.process.stdin.flush()
            return float(self.read("rate"))

        return round_of_it

    def read(self, key: str) -> Any:
        """Return a value of the child's next line.

        Its standard output may stay open in processes that it started, so its death has to be looked for.
        """
        assert self.process.stdout is not None
        while not select.select([self.process.stdout], [], [], 1.0)[0] and self.process.poll() is None:
            pass
        said_something = select.select([self.process.stdout], [], [], 0.0)[0]
        line = self.process.stdout.readline() if said_something else ""
        if not line:
            raise UserError(f"{self.function} died with exit code {self.process.wait()}: {self.closing_message()}")
        reply = json.loads(line)
        if "error" in reply:
            raise UserError(f"{self.function}: {reply['error']}")
        return reply[key]

    def closing_message(self) -> str:
        """Return the end of what the child wrote to its standard error."""
        self.messages.seek(0)
        return "\n".join(self.messages.read().strip().splitlines()[-LAST_LINES:]) or "it said nothing"


def main(function: str, settings: str) -> None:
    """Be the child: set up, then carry out rounds as they are asked for."""
    replies = private_stdout()
    try:
        module, name = function.split(":")
        orders: queue.SimpleQueue[str] = queue.SimpleQueue()
        # sys.stdin itself stays untouched: a forked process closes it, and would wait for ever for who reads it.
        threading.Thread(target=listen, args=(os.fdopen(os.dup(0)), orders), daemon=True).start()
        workloads: dict[str, Workload] = getattr(import_module(module), name)(**json.loads(settings))
        say(replies, {"ready": list(workloads)})
        while True:
            say(replies, {"rate": workloads[orders.get()]()})
    except UserError as error:
        say(replies, {"error": str(error)})
    except Exception:  # whatever it is, the person at the other end has to see it
        say(replies, {"error": traceback.format_exc(limit=-3).strip()})


def private_stdout() -> TextIO:
    """Return standard output, and let everything that is printed from now on go to standard error instead."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return replies


def say(replies: TextIO, message: dict[str, Any]) -> None:
    """Write a line to the parent."""
    replies.write(json.dumps(message) + "\n")
    replies.flush()


def listen(stdin: TextIO, orders: queue.SimpleQueue[str]) -> None:
    """Take orders in until the parent is gone; then end, with every process started here, in whatever state."""
    for line in stdin:
        orders.put(line.strip())
    end_group(os.getpid())
    os._exit(1)


def end_group(leader: int) -> None:
    """Kill a process and all that it started; nothing happens where it is gone already, or leads no group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


if __name__ == "__main__":
    main(*sys.argv[1:])
