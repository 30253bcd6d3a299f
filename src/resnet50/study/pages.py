"""The text of an experiment: YAML at the head of its page in the course, docs/study/NAME.md.

A wheel carries the pages as `resnet50/study/pages`; a checkout (an editable install) reads docs/study itself.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import yaml

FENCE = "---\n"
"""The line before and after a page's front matter."""


@dataclass(frozen=True)
class Source:
    """A paper, and where in it the claim is made."""

    authors: str
    year: int
    title: str
    arxiv: str
    where: str = ""


@dataclass(frozen=True)
class Page:
    """What an experiment asks, claims, does and cites."""

    name: str  # of its module and files
    title: str
    question: str
    claim: str  # what the papers say, in a few sentences
    setting: str  # what is done here, and what is cheaper than in the papers; a format string: `Experiment.setting`
    caption: str  # how to read the figure
    sources: tuple[Source, ...]


def load_page(name: str) -> Page:
    text = (pages_folder() / f"{name}.md").read_text(encoding="utf-8")
    about = cast(dict[str, Any], yaml.safe_load(text.split(FENCE)[1]))
    sources = tuple(Source(**source) for source in about.pop("sources"))
    return Page(name=name, sources=sources, **about)


def pages_folder() -> Path:
    """Return the folder of the pages: in the installed package, else in the checkout."""
    here = Path(__file__).resolve()
    packaged = here.parent / "pages"
    return packaged if packaged.is_dir() else here.parents[3] / "docs" / "study"
