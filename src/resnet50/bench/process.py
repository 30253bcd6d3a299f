"""A benchmark process: the child that runs workloads, and the parent's handle of it.

`python -m resnet50.bench.process MODULE:FUNCTION SETTINGS` is the child. The function takes the settings (JSON) and
returns workloads by name, set up and warmed up. Parent and child exchange lines of JSON: the child sends
{"ready": [names]}; the parent sends a name, and the child answers {"rate": number}; {"error": text} ends the exchange.
The child and everything it started are killed when its standard input closes, so in any case when its parent ends.
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

ERROR_LINES = 12
"""Lines of a dead child's standard error that are shown."""


class BenchmarkProcess:
    """The parent's handle: a context manager that starts a child, waits for its warm-up, and kills it in the end."""

    def __init__(self, function: str, settings: dict[str, Any]) -> None:
        self.function = function
        self.stderr = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        self.process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "resnet50.bench.process", function, json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.stderr,
            text=True,
            start_new_session=True,  # its own process group, which can be killed as a whole and doesn't get Ctrl-C
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
        kill_group(self.process.pid)
        self.process.wait()
        self.stderr.close()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):  # a dead child can't receive what is buffered
                    pipe.close()

    def workload(self, name: str) -> Workload:
        """Return one of the child's workloads as a local function; a UserError if the child fails or dies."""

        def measure() -> float:
            assert self.process.stdin is not None
            with contextlib.suppress(BrokenPipeError):  # the child is dead: `read` reports why
                self.process.stdin.write(name + "\n")
                self.process.stdin.flush()
            return float(self.read("rate"))

        return measure

    def read(self, key: str) -> Any:
        """Return a value of the child's next line.

        Processes that the child started may keep its standard output open, so its death is detected by polling.
        """
        assert self.process.stdout is not None
        while not select.select([self.process.stdout], [], [], 1.0)[0] and self.process.poll() is None:
            pass
        has_reply = select.select([self.process.stdout], [], [], 0.0)[0]
        line = self.process.stdout.readline() if has_reply else ""
        if not line:
            raise UserError(f"{self.function} died with exit code {self.process.wait()}: {self.last_output()}")
        reply = json.loads(line)
        if "error" in reply:
            raise UserError(f"{self.function}: {reply['error']}")
        return reply[key]

    def last_output(self) -> str:
        self.stderr.seek(0)
        return "\n".join(self.stderr.read().strip().splitlines()[-ERROR_LINES:]) or "no output"


def main(function: str, settings: str) -> None:
    """Run the child: set up, then measure rounds on request."""
    replies = private_stdout()
    try:
        module, name = function.split(":")
        requests: queue.SimpleQueue[str] = queue.SimpleQueue()
        # Not sys.stdin: a forked process closes it, and would deadlock with the thread that is reading it.
        threading.Thread(target=listen, args=(os.fdopen(os.dup(0)), requests), daemon=True).start()
        workloads: dict[str, Workload] = getattr(import_module(module), name)(**json.loads(settings))
        send(replies, {"ready": list(workloads)})
        while True:
            send(replies, {"rate": workloads[requests.get()]()})
    except UserError as error:
        send(replies, {"error": str(error)})
    except Exception:  # report every error to the parent
        send(replies, {"error": traceback.format_exc(limit=-3).strip()})


def private_stdout() -> TextIO:
    """Return standard output, and redirect everything that is printed from now on to standard error."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return replies


def send(replies: TextIO, message: dict[str, Any]) -> None:
    replies.write(json.dumps(message) + "\n")
    replies.flush()


def listen(stdin: TextIO, requests: queue.SimpleQueue[str]) -> None:
    """Queue the parent's requests until it is gone; then kill this process and all that it started."""
    for line in stdin:
        requests.put(line.strip())
    kill_group(os.getpid())
    os._exit(1)


def kill_group(leader: int) -> None:
    """Kill a process group; do nothing if it is gone, or if the process leads none."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


if __name__ == "__main__":
    main(*sys.argv[1:])
