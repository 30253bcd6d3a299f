"""What the notebook objects have in common: a path, and reading what is there again only when it has changed."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import lru_cache
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from resnet50.options.keywords import StrPath

Content = TypeVar("Content")


class OnDisk(os.PathLike[str]):
    """An object that stands for a path: functions that take a path take it too."""

    def __init__(self, path: StrPath) -> None:
        self.path = Path(path)

    def __fspath__(self) -> str:
        return os.fspath(self.path)

    def __truediv__(self, name: StrPath) -> Path:
        return self.path / name

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.path.absolute() == other.path.absolute()

    def __hash__(self) -> int:
        return hash(self.path.absolute())


def read_if_changed(read: Callable[[Path], Content], path: Path) -> Content:
    """Return what a function reads from a file; what it read last, if the file has not been written since.

    Raises:
        FileNotFoundError: there is no such file.
    """
    status = path.stat()
    return read_version(read, path.absolute(), (status.st_mtime_ns, status.st_ino))


@lru_cache(maxsize=16)
def read_version(read: Callable[[Path], Any], path: Path, version: tuple[int, int]) -> Any:
    return read(path)


def facts_as_html(title: str, facts: Mapping[str, object]) -> str:
    """Return a small HTML table of names and values."""
    rows = "".join(
        f'<tr><th style="text-align:left">{escape(name)}</th><td style="text-align:left">{escape(str(value))}</td></tr>'
        for name, value in facts.items()
    )
    return f'<table><caption style="text-align:left"><b>{escape(title)}</b></caption>{rows}</table>'
