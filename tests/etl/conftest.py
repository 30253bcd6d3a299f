"""Tiny pictures, each with bytes of its own unless asked otherwise."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

WritePicture = Callable[..., Path]


@pytest.fixture
def write_picture() -> WritePicture:
    """Return a writer of 12×8 pictures, of another colour each time, or of the colour of a number."""
    made = 0

    def write(path: Path, number: int | None = None, size: tuple[int, int] = (12, 8)) -> Path:
        nonlocal made
        made += 1
        value = made if number is None else number + 100_000
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (value // 65536, value // 256 % 256, value % 256)).save(path, "PNG")
        return path

    return write
