"""The one error type that means: the user can do something about it."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something in the input is wrong, and the message names it and says what to do.

    The command line prints it as one line and exits with 2. Every other exception is a bug: it exits with 1 and
    keeps its traceback.
    """

    def __init__(self, message: str) -> None:
        # A loader process hands an error over with its traceback in front: the last line has the message.
        from_worker = message.startswith("Caught ")
        super().__init__(message.strip().splitlines()[-1].partition(": ")[2] if from_worker else message)


class Stopped(Exception):  # noqa: N818  # nothing went wrong
    """Training stopped before it was done because it was asked to; the message says why, and how it goes on.

    The command line exits with a code of its own, for whatever starts jobs again.
    """


def nearest(name: str, candidates: Iterable[str]) -> str:
    """Return `" (did you mean 'x'?)"` for the candidate closest to `name`, or an empty string when none is close."""
    matches = difflib.get_close_matches(name, list(candidates), n=1)
    return f" (did you mean {matches[0]!r}?)" if matches else ""
