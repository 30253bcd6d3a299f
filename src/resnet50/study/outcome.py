"""How a claim fares in the numbers."""

from collections.abc import Iterable
from typing import Literal

import numpy as np

Outcome = Literal["seen", "not seen", "undecided", "note"]
"""The numbers show what the paper claims, or they don't, or they leave it open; a note is about no claim."""


def decide(*, seen: bool, not_seen: bool | None = None) -> Outcome:
    """Return an outcome from two criteria: undecided if neither holds; without the second there are two outcomes."""
    if seen:
        return "seen"
    return "not seen" if not_seen or not_seen is None else "undecided"


def agree(values: Iterable[float], above: float = 0.0) -> Outcome:
    """Return seen if all values lie above a threshold, not seen if none does, undecided for a mix, NaN or no values.

    A value is one seed, draw, canvas or network: a number to compare with the threshold, or whether the claim holds.
    """
    found = np.array(list(values), float)
    if not len(found):
        return "undecided"
    return decide(seen=bool(found.min() > above), not_seen=bool(found.max() <= above))


def span(values: np.ndarray, form: str) -> str:
    """Say from where to where values reach: "0.1 to 0.3"; `form` formats each, as in an f-string."""
    return f"{values.min():{form}} to {values.max():{form}}"
