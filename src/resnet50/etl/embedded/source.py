"""A source whose images are inside its tables: its rows as a table, its images as files."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resnet50.etl.embedded.labels import a_number_per_image, is_real_valued, publish
from resnet50.etl.embedded.part import Batch, EmbeddedFile, Fault
from resnet50.etl.embedded.pixels import FAULTS_ALLOWED, Ranges, Shape, choose_shape, to_uint8
from resnet50.etl.embedded.write import extensions_of, file_names, write_images
from resnet50.etl.source.tables import join_names
from resnet50.runtime.console import progress
from resnet50.runtime.errors import UserError, nearest

COLUMNS = ("image_id", "label", "published", "file")
HELPERS = ("_path", "_line", "_name", "_extension", "_number", "_missing")


@dataclass(frozen=True, eq=False)
class Scan:
    """What one pass over all rows finds.

    Attributes:
        table: a row per image that can be used.
        kept: for every row, also those left out for their values, whether it is in the table.
        largest: the value that stands for white; None for encoded images.
        whole: whether all pixels are whole numbers.
        faults: rows left out.
    """

    table: pd.DataFrame
    kept: NDArray[np.bool_]
    largest: float | None
    whole: bool
    faults: list[Fault]


@dataclass(frozen=True, eq=False)
class EmbeddedSource:
    """Files that belong together and have images in them.

    Attributes:
        kind: in words, e.g. "pixels in columns".
        files: in order, with the published split of each.
        count: number of images; estimated if `exact` is false.
        shapes: of the images; empty for encoded images, several where the number of pixels allows it.
        label_columns: the column with the labels, or those that could be it; empty without labels.
        evidence: what was found and how, a line each, for the screen.
        warnings: what seems to be missing, a line each.
        refusal: why its labels are not one class per image, and what to do; None if they may be.
        pixel_max: --pixel-max.
    """

    kind: str
    files: tuple[EmbeddedFile, ...]
    count: int
    shapes: tuple[Shape, ...]
    label_columns: tuple[str, ...]
    evidence: tuple[str, ...]
    exact: bool = True
    warnings: tuple[str, ...] = ()
    refusal: str | None = None
    pixel_max: float | None = None

    @property
    def has_labels(self) -> bool:
        return bool(self.label_columns)

    @property
    def without_labels(self) -> str:
        """What to do where labels are missing."""
        if self.kind == "arrays":
            return "no array of labels: save one with as many entries, called labels, in the same file"
        return "no column with labels: add one to the table"

    @property
    def where(self) -> str:
        """The names of its files, for messages."""
        names = list(dict.fromkeys(file.path.name for file in self.files))
        return ", ".join(names[:3]) + (f" and {len(names) - 3:,} more" if len(names) > 3 else "")

    @property
    def faults(self) -> list[Fault]:
        """The rows that `table` leaves out, since their pixels are damaged."""
        return self.scan.faults

    @property
    def notes(self) -> list[str]:
        """What `write` does to the pixels other than writing them as they are, and the rows that `table` leaves out."""
        scan = self.scan
        lines: list[str] = []
        if scan.largest not in (None, 255):
            lines.append(f"pixels: 0 to {scan.largest:g} in {self.where} become 0 to 255")
        elif not scan.whole:
            lines.append(f"pixels: the decimal places in {self.where} are rounded")
        if scan.faults:
            listed = [f"line {fault.line} of {fault.path.name}: {fault.reason}" for fault in sorted(scan.faults)[:3]]
            more = f"; and {len(scan.faults) - 3:,} more" if len(scan.faults) > 3 else ""
            lines.append(f"left out, {len(scan.faults):,} damaged rows: {'; '.join(listed)}{more}")
        return lines

    @functools.cached_property
    def shape(self) -> Shape | None:
        """The shape of all images; None for encoded ones.

        Raises:
            UserError: several are possible.
        """
        return None if not self.shapes else choose_shape(list(self.shapes), self.where)

    def label_column(self, asked: str | None = None) -> str:
        """Return the column with the labels.

        Raises:
            UserError: there is none, there are several, or the one asked for doesn't exist.
        """
        if self.refusal is not None and (asked is None or asked in self.label_columns):
            raise UserError(f"{self.where}: {self.refusal}")
        if asked is not None:
            known = [name for name in self.head(1).columns if name not in ("image_id", "file")]
            if asked not in (*known, *self.label_columns):
                raise UserError(
                    f"--label-column {asked!r}: no such column{nearest(asked, known)}; {self.where} has "
                    f"{join_names(known)}"
                )
            return asked
        if len(self.label_columns) == 1:
            return self.label_columns[0]
        if not self.label_columns:
            raise UserError(f"{self.where}: {self.kind}, but {self.without_labels}")
        raise UserError(
            f"cannot tell which column of {self.where} has the labels (it could be "
            f"{join_names(list(self.label_columns))}): name it with --label-column",
            [{"label_column": name} for name in self.label_columns],
        )

    def head(self, rows: int = 10) -> pd.DataFrame:
        """Return the first rows of every file, as `table` has them, without the names of the images."""
        tables = [next(self.frames(file), pd.DataFrame()).head(rows) for file in self.files]
        return pd.concat(tables, ignore_index=True).fillna("")

    def frames(self, file: EmbeddedFile) -> Iterator[pd.DataFrame]:
        for batch in file.part.batches(self.shape):
            yield batch.cells.assign(published=file.split)

    def table(self, label_column: str | None = None) -> pd.DataFrame:
        """Return a row of strings per image: image_id, label, published (split), file, and the columns that came along.

        `file` is the image's path below the folder that `write` is given.

        Args:
            label_column: --label-column.

        Raises:
            UserError: the labels or the shape are ambiguous, or more than 1% of the rows are damaged.
        """
        label = self.label_column(label_column) if self.has_labels or label_column is not None else None
        table = self.scan.table
        if label is not None and is_real_valued(table[label]):
            raise UserError(f"{self.where}: {a_number_per_image(label)}")
        rows = table.assign(label="" if label is None else table[label])
        further = [name for name in table.columns if name not in COLUMNS and name != label]
        return rows[[*COLUMNS, *further]]

    @functools.cached_property
    def scan(self) -> Scan:
        """One pass over all rows. It is made once, whoever asks first."""
        frames: list[pd.DataFrame] = []
        ranges: list[Ranges] = []
        faults: list[Fault] = []
        with progress(f"reading {self.where}", self.count, "images") as advance:
            for file in self.files:
                for batch in file.part.batches(self.shape):
                    frames.append(self.described(batch, file))
                    if not isinstance(batch.images, list):
                        ranges.append(Ranges.of(batch.images))
                    faults += batch.faults
                    advance(len(batch.number))
        rows = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=[*COLUMNS, *HELPERS])
        largest, kept = None, np.ones(len(rows), dtype=np.bool_)
        found = Ranges.concat(ranges)
        if ranges:
            largest = self.pixel_max or found.largest(self.where)
            kept = ~found.outside(largest)
            faults += self.out_of_range(rows, found, kept, largest)
        self.check_faults(faults, int(kept.sum()))
        rows = rows[kept].reset_index(drop=True)
        rows = number_across_files(rows)
        table = rows.drop(columns=list(HELPERS)).fillna("")
        return Scan(publish(table), kept, largest, found.whole, faults)

    def described(self, batch: Batch, file: EmbeddedFile) -> pd.DataFrame:
        """Return the cells of a batch with what names, numbers and places each image."""
        encoded = batch.images if isinstance(batch.images, list) else None
        own = {name: f"{name}_in_source" for name in COLUMNS if name in batch.cells.columns and name != "label"}
        return batch.cells.rename(columns=own).assign(
            published=file.split,
            _path=str(file.path),
            _line=batch.number + file.part.first_line,
            _number=batch.number,
            _name="" if batch.names is None else list(batch.names),
            _extension=".png" if encoded is None else extensions_of(encoded),
            _missing=False if encoded is None else [not content for content in encoded],
        )

    def out_of_range(self, rows: pd.DataFrame, found: Ranges, kept: NDArray[np.bool_], largest: float) -> list[Fault]:
        faults: list[Fault] = []
        for at in np.flatnonzero(~kept).tolist():
            missing = np.isnan(found.high[at])
            values = f"values from {found.low[at]:g} to {found.high[at]:g} instead of 0 to {largest:g}"
            reason = "a pixel is missing" if missing else values
            faults.append(Fault(Path(rows["_path"].iloc[at]), int(rows["_line"].iloc[at]), reason))
        return faults

    def check_faults(self, faults: list[Fault], kept: int) -> None:
        """Raise a UserError if more than 1% of the rows are damaged, or nothing is left."""
        total = kept + len(faults)
        if faults and len(faults) > FAULTS_ALLOWED * total:
            first = min(faults)
            raise UserError(
                f"{len(faults):,} of {total:,} rows of {self.where} are damaged; the first is line {first.line} of "
                f"{first.path.name} ({first.reason}): correct them"
            )
        if not total:
            raise UserError(f"{self.where}: there is no image in it")

    def write(self, folder: Path) -> None:
        """Write every image of `table` losslessly: encoded ones as they are, pixels as PNG. Equal input, equal bytes.

        Raises:
            UserError: see `table`; or the files have changed since.
        """
        scan = self.scan
        names = iter(scan.table["file"])
        start = 0

        def images() -> Iterator[tuple[bytes | NDArray[np.uint8], str]]:
            nonlocal start
            for file in self.files:
                for batch in file.part.batches(self.shape):
                    kept = scan.kept[start : start + len(batch.number)]
                    start += len(batch.number)
                    if len(kept) != len(batch.number):
                        raise UserError(f"{file.path} has changed while it was read: try again")
                    if isinstance(batch.images, list):
                        yield from zip(batch.images, names, strict=False)
                    else:
                        assert scan.largest is not None
                        pixels = to_uint8(batch.images[kept], scan.largest)
                        yield from zip(pixels, names, strict=False)

        write_images(folder, ((name, image) for image, name in images() if name), len(scan.table))


def number_across_files(rows: pd.DataFrame) -> pd.DataFrame:
    """Add image_id and file: the images' own names where they are unique, else a running number within each split."""
    sizes = rows.groupby(["published", "_path"], sort=False)["_number"].max() + 1
    before = sizes.groupby(level="published", sort=False).cumsum() - sizes
    offsets = pd.MultiIndex.from_frame(rows[["published", "_path"]]).map(before.to_dict())
    number = rows["_number"] + np.asarray(offsets, dtype=np.int64)
    image_ids, files = file_names(rows["published"], number, rows["_name"], rows["_extension"])
    return rows.assign(image_id=image_ids, file=files.where(~rows["_missing"].astype(bool), ""))
