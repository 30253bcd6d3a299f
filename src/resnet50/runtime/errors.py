"""Errors that are messages to the user rather than bugs."""

import difflib
import re
from collections.abc import Iterable, Mapping

CHOICES_SHOWN = 10
"""Choices that a notebook lists; `UserError.choices` has them all."""


class UserError(Exception):
    """An error that the user can fix: the message names what is wrong and says what to do.

    The command line prints the message on one line and exits with code 2. Any other exception is a bug: it exits with
    code 1 and a traceback.

    Attributes:
        choices: where the input can be read in several ways, the keyword arguments that select each of them, e.g.
            `({"label_column": "grade"}, {"label_column": "breed"})`; else empty.
        commands: the complete command, or the call in Python, of each choice, likeliest first; the command line and
            the Python functions set them.
    """

    def __init__(self, message: str, choices: Iterable[Mapping[str, str]] = ()) -> None:
        self.choices = tuple(dict(choice) for choice in choices)
        self.commands: tuple[str, ...] = ()
        # A DataLoader worker puts its traceback before the message, which is on the last line.
        from_worker = message.startswith("Caught ")
        super().__init__(message.strip().splitlines()[-1].partition(": ")[2] if from_worker else message)

    def _render_traceback_(self) -> list[str]:
        """Return the lines that a notebook shows: the message in Python's words, then the choices, and no traceback."""
        lines = [f"UserError: {in_python(str(self))}"]
        arguments = [", ".join(f"{name}={value!r}" for name, value in choice.items()) for choice in self.choices]
        return [*lines, *(f"    {line}" for line in (self.commands or arguments)[:CHOICES_SHOWN])]


class Stopped(Exception):  # noqa: N818  # not an error
    """Training stopped early because it was asked to; the message says why, and how to resume.

    The command line exits with a code of its own, so that a job scheduler can start the run again.
    """

    def _render_traceback_(self) -> list[str]:
        """Return the line that a notebook shows in place of a traceback."""
        return [in_python(str(self))]


class Incomplete(Exception):  # noqa: N818  # not an error
    """The work is done except for some items, which the message counts.

    The command line exits with a code of its own, so that a script can tell.
    """


def in_python(message: str) -> str:
    """Rewrite a message's commands and flags as calls and keyword arguments: `--no-store` is `store=False`."""
    message = re.sub(r"`resnet50 train --resume ([^`]+)`", r"resnet50.train(resume='\1')", message)
    message = re.sub(r"`resnet50 (\w+)`", r"resnet50.\1()", message)
    message = message.replace("--overwrite", "overwrite=True")
    message = re.sub(r"--no-([a-z][a-z-]*)", lambda found: f"{found[1]}=False", message)
    return re.sub(r"--([a-z][a-z-]*)", lambda found: found[1].replace("-", "_"), message)


def nearest(name: str, candidates: Iterable[str]) -> str:
    """Return `" (did you mean 'x'?)"` for the candidate closest to `name`, or "" if none is close."""
    matches = difflib.get_close_matches(name, list(candidates), n=1)
    return f" (did you mean {matches[0]!r}?)" if matches else ""
