"""What a rule says about a run: a level, a sentence, advice."""

from dataclasses import dataclass
from typing import Literal

Level = Literal["good", "note", "warning"]


@dataclass(frozen=True)
class Diagnosis:
    """The result of one rule.

    Attributes:
        rule: Name of the rule.
        level: good, note (worth knowing) or warning (something to fix).
        text: What the numbers say, with epochs and values.
        advice: What to try next; empty if there is nothing to do.
    """

    rule: str
    level: Level
    text: str
    advice: str = ""
