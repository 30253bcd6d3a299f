"""Errors that are messages to the user rather than bugs."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """An error that the user can fix: the message names what is wrong and says what to do.

    The command line prints the message on one line and exits with code 2. Any other exception is a bug: it exits with
    code 1 and a traceback.
    """

    def __init__(self, message: str) -> None:
        # A DataLoader worker puts its traceback before the message, which is on the last line.
        from_worker = message.startswith("Caught ")
        super().__init__(message.strip().splitlines()[-1].partition(": ")[2] if from_worker else message)


class Stopped(Exception):  # noqa: N818  # not an error
    """Training stopped early because it was asked to; the message says why, and how to resume.

    The command line exits with a code of its own, so that a job scheduler can start the run again.
    """


def nearest(name: str, candidates: Iterable[str]) -> str:
    """Return `" (did you mean 'x'?)"` for the candidate closest to `name`, or "" if none is close."""
    matches = difflib.get_close_matches(name, list(candidates), n=1)
    return f" (did you mean {matches[0]!r}?)" if matches else ""
