"""A kind of source: a small layout, what `prepare` must make of it, and what it must say."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.etl.layouts.layout import Labels, Layout, run

Fill = Callable[[Layout], None]
RIGHT, ASKED, REFUSED = ("right",), ("asked",), ("refused",)
RIGHT_OR_ASKED = ("right", "asked")


@dataclass(frozen=True)
class Kind:
    """A kind of source.

    Attributes:
        fill: makes the layout.
        outcomes: those that are right.
        said: regular expressions that the output must match, without regard to case.
        options: of `prepare`.
        names: labels that may come out in place of the truth's: class names for ids.
    """

    fill: Fill
    outcomes: tuple[str, ...] = RIGHT
    said: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)

    def check(self, folder: Path) -> None:
        """Make the layout, prepare it, and compare outcome, labels and output."""
        layout = Layout()
        self.fill(layout)
        outcome = run(layout, folder, self.options)
        assert outcome.word in self.outcomes, f"{outcome.word}: {outcome.why}\n{layout}\n{outcome.said}"
        for pattern in self.said:
            assert re.search(f"(?is){pattern}", outcome.said), f"{pattern!r} is not in: {outcome.said}"
        if outcome.found:
            assert self.labels(outcome.found) in [self.labels(reading) for reading in (layout.truth, *layout.others)]

    def labels(self, found: Labels) -> set[str]:
        """Return the labels, as they are written in the source."""
        return {self.names.get(label, label) for label, _ in found.values()}


class Kinds(dict[str, Kind]):
    """Kinds by name."""

    def add(
        self, *outcomes: str, said: tuple[str, ...] = (), names: dict[str, str] | None = None, **options: Any
    ) -> Callable[[Fill], Fill]:
        """Register the function that makes a layout under its own name."""

        def register(fill: Fill) -> Fill:
            self[fill.__name__.replace("_", " ")] = Kind(fill, outcomes or RIGHT, said, options, names or {})
            return fill

        return register


def class_of(n: int) -> str:
    """Return the class of image n."""
    return ("cat", "dog", "owl")[n % 3]


def labeled(
    layout: Layout, pattern: str, count: int = 18, split: str = "", label: Callable[[int], str] = class_of
) -> list[tuple[str, str]]:
    """Add images, with the number and the label in their paths; return (path, label)."""
    rows = [(pattern.format(n=n, label=label(n)), label(n)) for n in range(count)]
    for path, one in rows:
        layout.image(path, one, split)
    return rows


def name_of(path: str) -> str:
    """Return the name of a file."""
    return path.rpartition("/")[2]


def stem_of(path: str) -> str:
    """Return the name of a file without its suffix."""
    return name_of(path).partition(".")[0]
