"""Fixtures for tiny images, each with different bytes unless requested otherwise."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

WriteImage = Callable[..., Path]
CountCalls = Callable[..., int]


@pytest.fixture
def write_image() -> WriteImage:
    """Return a writer of 12×8 images, of a different color each time, or of the color of a number."""
    made = 0

    def write(path: Path, number: int | None = None, size: tuple[int, int] = (12, 8)) -> Path:
        nonlocal made
        made += 1
        value = made if number is None else number + 100_000
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (value // 65536, value // 256 % 256, value % 256)).save(path, "PNG")
        return path

    return write


@pytest.fixture
def count_calls() -> CountCalls:
    """Return a counter of a function's Python calls: vectorized code makes no more calls for more rows."""

    def count(function: Callable[..., object], *arguments: object) -> int:
        calls = 0

        def note(*_: object) -> None:
            nonlocal calls
            calls += 1

        sys.setprofile(note)
        try:
            function(*arguments)
        finally:
            sys.setprofile(None)
        return calls

    return count
