"""A reading of class folders, and the options that choose it."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from resnet50.etl.source.tree import Node
from resnet50.etl.source.words import shorten

ANY_CLASS = "([^/]+)/"
"""The end of a pattern whose label is a whole folder's name."""


@dataclass(frozen=True)
class FolderReading:
    """One way to read class folders.

    Attributes:
        label: by the number of a folder with images; folders that aren't in it have no labels.
        published: likewise, the name of the split folder; {} if there is none.
        level: what the class folders are, in words.
        choice: options that select this reading, where there are several.
        notes: what was decided.
        weak: whether nothing but the existence of folders speaks for these classes.
    """

    label: dict[int, str]
    published: dict[int, str] = field(default_factory=dict)
    level: str = ""
    choice: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    weak: bool = False


def by_children(children: dict[str, Node], above: str, notes: list[str], level: str = "") -> FolderReading:
    """Read the folders of one level as the classes, with all that is in them."""
    label = {number: name for name, child in children.items() for number in child.below()}
    choice = {"label_pattern": f"^{above}{ANY_CLASS}"}
    return FolderReading(
        label, {}, level or shorten(sorted(children)), choice, tuple(notes), weak=not any(map(has_word, children))
    )


def has_word(name: str) -> bool:
    """Return whether a folder's name has a word, as 001.Albatross has, and c0 or p012 has not."""
    return re.search(r"[^\W\d_]{3}", name) is not None


def excluding(names: Iterable[str], above: str) -> dict[str, str]:
    """Return the option that leaves folders out."""
    return {"exclude": ",".join(f"*/{name}/*" if above else f"{name}/*" for name in names)}


def joined_choices(one: dict[str, str], other: dict[str, str]) -> dict[str, str]:
    """Return the options of both; what either excludes is excluded."""
    excluded = [choice["exclude"] for choice in (one, other) if "exclude" in choice]
    return one | other | ({"exclude": ",".join(excluded)} if excluded else {})
