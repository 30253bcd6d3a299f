"""A file with images in it, and its rows, a few at a time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resnet50.etl.embedded.pixels import Shape


class Fault(NamedTuple):
    """A row that can't be used.

    Attributes:
        line: in a text file, its line; elsewhere the number of the row, from 1.
    """

    path: Path
    line: int
    reason: str


@dataclass(frozen=True)
class Batch:
    """Some consecutive rows of a file.

    Attributes:
        number: of each row in the file, from 0, counting those that are left out.
        cells: the columns that are not pixels, as strings.
        images: N×H×W or N×H×W×3 numbers, or files as they were encoded.
        names: of the images, "" where they have none.
        faults: rows that were left out.
    """

    number: NDArray[np.int64]
    cells: pd.DataFrame
    images: NDArray[Any] | list[bytes]
    names: Sequence[str] | None = None
    faults: tuple[Fault, ...] = ()


class Part(Protocol):
    """A file of a source, or a pair of arrays."""

    @property
    def path(self) -> Path: ...
    @property
    def count(self) -> int: ...
    @property
    def first_line(self) -> int:
        """The line of the first row, as people count."""
        ...

    def batches(self, shape: Shape | None) -> Iterator[Batch]:
        """Yield all rows in order, a few at a time."""
        ...


@dataclass(frozen=True)
class EmbeddedFile:
    """A file with images in it.

    Attributes:
        part: reads it.
        split: published one: train, val, test; "" if there is none.
    """

    part: Part
    split: str

    @property
    def path(self) -> Path:
        return self.part.path
