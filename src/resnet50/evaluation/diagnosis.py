"""What a rule finds in a run: a level, a sentence, advice."""

from dataclasses import dataclass
from typing import Literal

Level = Literal["good", "note", "warning"]


@dataclass(frozen=True)
class Diagnosis:
    """What one rule found.

    Attributes:
        rule: the rule's name.
        level: good, note (worth knowing) or warning (something to mend).
        text: what the numbers say, with epochs and values.
        advice: what to try next; empty when there is nothing to do.
    """

    rule: str
    level: Level
    text: str
    advice: str = ""
