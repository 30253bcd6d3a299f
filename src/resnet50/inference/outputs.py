"""What `predict` writes: a table of all probabilities, or a submission. Both make their rows in parts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd

from resnet50.inference.csv_rows import Dialect
from resnet50.inference.matching import match_ids
from resnet50.inference.submission import Column, decide_columns, summary
from resnet50.inference.template import Template, read_template
from resnet50.options import PredictOptions
from resnet50.runtime.console import say
from resnet50.runtime.provenance import sha256_of_file


class Output(Protocol):
    """The rows of a CSV, and the image that each is about.

    Attributes:
        paths: an image file for each row.
        header: the first line.
        identity: what the rows depend on besides the images and the model.
    """

    @property
    def paths(self) -> "pd.Series[str]": ...
    @property
    def header(self) -> bytes: ...
    @property
    def identity(self) -> object: ...

    def ids(self, rows: slice) -> Sequence[str]:
        """Return what some rows are called in the table of errors."""
        ...

    def lines(self, rows: slice, probabilities: np.ndarray, readable: np.ndarray) -> bytes:
        """Return some rows as they are written: probabilities are N×classes, `readable` N booleans."""
        ...

    def summary(self) -> list[str]:
        """Say what was written in which column."""
        ...

    def count(self, total: int, unreadable: int) -> int:
        """Return how many rows there are if so many images can't be read."""
        ...

    def about_unreadable(self, unreadable: int, total: int, out: Path, errors: Path) -> str:
        """Say what became of the images that can't be read."""
        ...


def make_output(options: PredictOptions, images: "pd.Series[str]", classes: tuple[str, ...]) -> Output:
    """Return what the options ask for; a UserError if a template doesn't fit images and classes."""
    if options.format == "table":
        return Table(images, classes)
    assert options.template is not None  # checked
    template = read_template(options.template)
    columns = decide_columns(template, classes, options.submit)
    return Submission(template, images, columns, classes)


class Table:
    """A row per image: image_id (the file's name without extension), path, prediction, `p_CLASS` for every class."""

    def __init__(self, images: "pd.Series[str]", classes: tuple[str, ...]) -> None:
        self.paths, self.classes, self.identity = images, classes, "table"
        names = ["image_id", "path", "prediction", *(f"p_{name}" for name in classes)]
        self.header = Dialect().text([names])

    def ids(self, rows: slice) -> list[str]:
        return [Path(path).stem for path in self.paths.iloc[rows]]

    def lines(self, rows: slice, probabilities: np.ndarray, readable: np.ndarray) -> bytes:
        ids, paths, labels = self.ids(rows), self.paths.iloc[rows], labels_of(probabilities, self.classes)
        text = zip(ids, paths, labels, strict=True)
        kept = [row for row, is_readable in zip(text, readable, strict=True) if is_readable]
        return Dialect().lines(kept, probabilities[readable], np.ones(len(kept), bool))

    def summary(self) -> list[str]:
        return []

    def count(self, total: int, unreadable: int) -> int:
        return total - unreadable

    def about_unreadable(self, unreadable: int, total: int, out: Path, errors: Path) -> str:
        return f"{unreadable:,} of {total:,} images can't be read and are not in {out}; {errors} has the reasons"


class Submission:
    """The ids of a template in their order, with what its other columns ask for."""

    def __init__(
        self, template: Template, images: "pd.Series[str]", columns: Sequence[Column], classes: tuple[str, ...]
    ) -> None:
        self.template, self.columns, self.classes = template, columns, classes
        found = match_ids(template.ids, images, template.path)
        self.paths = images.take(found).reset_index(drop=True)
        self.header = template.dialect.text([list(template.cells.columns)])
        self.identity = (sha256_of_file(template.path), columns)
        if unused := len(images) - len(np.unique(found)):
            say(f"{unused:,} images are not among the ids of {template.path}: they are not classified")

    def ids(self, rows: slice) -> list[str]:
        return self.template.ids.iloc[rows].tolist()

    def lines(self, rows: slice, probabilities: np.ndarray, readable: np.ndarray) -> bytes:
        ids, dialect = self.ids(rows), self.template.dialect
        wanted = [column.of for column in self.columns if column.of is not None]
        if wanted:
            return dialect.lines(([name] for name in ids), probabilities[:, wanted], readable)
        labels = labels_of(probabilities, self.classes)
        return dialect.text(
            [name, label if is_readable else ""] for name, label, is_readable in zip(ids, labels, readable, strict=True)
        )

    def summary(self) -> list[str]:
        name = self.template.ids.name
        return [f"column {name!r}: the ids of {self.template.path}", *summary(self.columns, self.classes)]

    def count(self, total: int, unreadable: int) -> int:
        return total

    def about_unreadable(self, unreadable: int, total: int, out: Path, errors: Path) -> str:
        return (
            f"{unreadable:,} of {total:,} ids are left empty in {out}, as their images can't be read; {errors} has the "
            "reasons"
        )


def labels_of(probabilities: np.ndarray, classes: tuple[str, ...]) -> list[str]:
    """Return the likeliest class of each row."""
    return [classes[index] for index in probabilities.argmax(axis=1)]
