"""The audit of a table of images: find faulty rows and images, list them, exclude what can't be used."""

import hashlib
import math
import os
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from resnet50.etl.decode import OutOfRangeError, UnreadableImageError, cannot_be_opened, decode_image, read_image_file
from resnet50.etl.near_duplicates.hashing import thumbnail
from resnet50.etl.store import StoreWriter, shrink
from resnet50.runtime.console import progress
from resnet50.runtime.cpu import available_cores
from resnet50.runtime.errors import UserError

CHUNK = 32
"""Images that a thread reads at a time."""

Items = list[dict[str, Any]]


class Kind(NamedTuple):
    """A kind of finding.

    Attributes:
        title: as printed.
        action: what is done about it, as printed.
    """

    title: str
    action: str


KINDS = {
    "missing_images": Kind("rows without an image", "left out"),
    "unlisted_images": Kind("images without a row", "not used"),
    "unreadable_images": Kind("unreadable images", "left out"),
    "pixel_range": Kind("values out of range", "left out"),
    "duplicate_images": Kind("copies of another image", "left out; the first stays"),
    "contradictory_labels": Kind("same image, different labels", "all left out"),
    "empty_labels": Kind("rows without a label", "left out"),
    "repeated_ids": Kind("ids in several rows", "the first row stays"),
    "malformed_rows": Kind("rows with too many cells", "left out"),
    "clipped_pixels": Kind("a few pixels out of range", "stay, clipped"),
    "near_duplicates": Kind("near-duplicates", "kept in one split"),
    "near_duplicates_across_splits": Kind("near-duplicates across splits", "stay as published"),
    "contradictory_near_duplicates": Kind("near-duplicates, other label", "stay"),
    "large_clusters": Kind("clusters of look-alikes", "stay, in any split"),
    "small_classes": Kind("classes with too few images", "see --small-classes"),
}
"""Every kind of finding, in the order in which audit.json and the screen list them."""

CAUSES = (
    "missing_images", "unreadable_images", "pixel_range", "empty_labels", "contradictory_labels", "repeated_ids",
    "duplicate_images", "near_duplicates",
)  # fmt: skip
"""Kinds whose rows are excluded. A row with several faults counts for the first of them."""


@dataclass(frozen=True)
class Audit:
    """The findings of an audit.

    Attributes:
        items: findings of each kind.
        cause: for each row, the kind it is excluded for; "" for rows that are kept.
        actions: what was done about a kind, where it isn't what `KINDS` says.
    """

    items: dict[str, Items]
    cause: pd.Series
    actions: dict[str, str] = field(default_factory=dict[str, str])

    def action(self, kind: str) -> str:
        """Say what was done about a kind of finding; "" if nothing was found."""
        return self.actions.get(kind, KINDS[kind].action) if self.items[kind] else ""

    def to_json(self) -> dict[str, dict[str, Any]]:
        """Return count, action and items of each kind."""
        return {
            kind: {"count": len(self.items[kind]), "action": self.action(kind), "items": self.items[kind]}
            for kind in KINDS
        }


class ImageRecord(NamedTuple):
    """An image file as it was read.

    Attributes:
        width: upright, in pixels; 0 if unreadable.
        height: likewise.
        sha256: of the file; "" if unreadable.
        reason: why the file can't be used; "" if it can.
        thumbnail: by which near-duplicates are found; empty if unreadable.
        pixels: for the pixel store, uint8, h×w×3; None without one.
        out_of_range: whether the reason is its values, not the file.
        clipped: pixels whose values lay outside the range and were clipped.
        peak: largest value, where the bits in use are assumed or unknown; NaN for all others.
    """

    width: int
    height: int
    sha256: str
    reason: str
    thumbnail: bytes
    pixels: np.ndarray | None
    out_of_range: bool = False
    clipped: int = 0
    peak: float = math.nan


class DecodeSettings(NamedTuple):
    """How images are read.

    Attributes:
        shorter_side: of the images in the store, in pixels; None without one.
        bit_depth: as for `resnet50.etl.decode.decode`.
    """

    shorter_side: int | None = None
    bit_depth: int | None = None


ImageReader = Callable[[Path, pd.Index, DecodeSettings], Iterator[ImageRecord]]
"""Reads images in order, given the folder and the files in it."""

RECORD_COLUMNS = {
    "width": 0, "height": 0, "sha256": "", "reason": "", "thumbnail": b"", "out_of_range": False, "clipped": 0,
    "peak": math.nan,
}  # fmt: skip
"""Fields of an `ImageRecord` that become columns of the table, with the value of a row without a file."""


def read_images(
    rows: pd.DataFrame,
    folder: Path,
    store: StoreWriter | None = None,
    dropped: Sequence[str] = (),
    read: ImageReader | None = None,
    bit_depth: int | None = None,
) -> pd.DataFrame:
    """Read and decode every image that the rows refer to; add the columns in `RECORD_COLUMNS`.

    An image is readable if `decode_image` can decode it completely, as training will. Every image is decoded only once:
    those with a label that is not dropped go into the store at the same time.

    Args:
        rows: columns file ("" where a row has no image) and label.
        folder: folder of the files.
        store: receives the pixels.
        dropped: labels whose images are not stored.
        read: reads the images; `read_parallel` by default.
        bit_depth: as for `resnet50.etl.decode.decode`.
    """
    with_file = rows.loc[rows["file"] != "", ["file", "label"]]
    labeled = ~with_file["label"].isin(["", *dropped])
    to_store = labeled.groupby(with_file["file"], sort=False).any()  # several rows may refer to one file
    settings = DecodeSettings(None if store is None else store.shorter_side, bit_depth)
    records: list[tuple[Any, ...]] = []
    for image, wanted in zip((read or read_parallel)(folder, to_store.index, settings), to_store, strict=True):
        records.append(tuple(getattr(image, name) for name in RECORD_COLUMNS))
        if store is not None and wanted and image.pixels is not None:
            store.add(image.sha256, image.pixels)
    found = pd.DataFrame(records, columns=list(RECORD_COLUMNS), index=to_store.index)
    columns = {
        name: found[name]
        .reindex(rows["file"], fill_value=missing)
        .set_axis(rows.index)
        .astype(pd.Series([missing]).dtype)
        for name, missing in RECORD_COLUMNS.items()
    }
    return rows.assign(**columns)


def referenced_files(rows: pd.DataFrame) -> pd.Index:
    """Return the image files that the rows refer to, each once, in the order in which `read_images` reads them."""
    return pd.Index(rows.loc[rows["file"] != "", "file"].unique())


def read_parallel(folder: Path, files: pd.Index, settings: DecodeSettings) -> Iterator[ImageRecord]:
    """Read images on all cores, in order, showing progress.

    Threads suffice, because decoding, resizing and hashing release the GIL. Only a few chunks are read ahead, since
    pixels waiting to be written take memory.
    """
    threads = min(available_cores() + 2, 32)  # two more, since some wait for the disk
    pool = ThreadPoolExecutor(threads)
    ahead: deque[Future[list[ImageRecord]]] = deque()
    try:
        with progress("reading images", len(files), "images") as advance:
            for start in range(0, len(files) + threads * CHUNK, CHUNK):
                if start < len(files):
                    # ten times as fast as Path
                    paths = [os.path.join(folder, file) for file in files[start : start + CHUNK]]  # noqa: PTH118
                    ahead.append(pool.submit(read_chunk, paths, settings))
                if ahead and (len(ahead) > threads or start >= len(files)):
                    read = ahead.popleft().result()
                    advance(len(read))
                    yield from read
    finally:
        pool.shutdown(cancel_futures=True)


def read_chunk(paths: list[str], settings: DecodeSettings) -> list[ImageRecord]:
    return [read_image(path, settings) for path in paths]


def read_image(path: str, settings: DecodeSettings) -> ImageRecord:
    """Read one image file; with a pixel store, shrink it."""
    shorter_side = settings.shorter_side
    try:
        content = read_image_file(path)
        decoded = decode_image(content, shorter_side, settings.bit_depth)
    except OutOfRangeError as error:
        peak = math.nan if error.peak is None else error.peak
        return ImageRecord(0, 0, "", str(error).partition(": ")[2], b"", None, out_of_range=True, peak=peak)
    except UnreadableImageError as error:
        return ImageRecord(0, 0, "", str(error).partition(": ")[2], b"", None)
    except OSError as error:
        return ImageRecord(0, 0, "", cannot_be_opened(error), b"", None)
    pixels = None if shorter_side is None else shrink(decoded, shorter_side)
    peak = math.nan if decoded.peak is None else decoded.peak
    small = thumbnail(decoded.pixels if pixels is None else pixels)
    sha256 = hashlib.sha256(content).hexdigest()
    return ImageRecord(decoded.width, decoded.height, sha256, "", small, pixels, clipped=decoded.clipped, peak=peak)


def audit(rows: pd.DataFrame, unlisted: list[str]) -> Audit:
    """Find every kind of fault except near-duplicates and small classes, in the whole table.

    Rows with the same id stand for the same image: with equal labels the first is kept, with different labels they are
    contradictory and all excluded. The same holds for files with the same bytes.

    Args:
        rows: image_id, label, file and the columns in `RECORD_COLUMNS`, as `read_images` returns them.
        unlisted: images that no row refers to.
    """
    missing = rows["file"] == ""
    unusable = rows["reason"] != ""
    out_of_range = rows["out_of_range"]
    empty = rows["label"] == ""
    usable = rows.loc[~(missing | unusable | empty), ["image_id", "label", "file", "sha256"]]
    alike = usable[usable["sha256"].duplicated(keep=False)]  # usually few; grouping all rows would be slow
    contradictory = alike[alike.groupby("sha256")["label"].transform("nunique") > 1]
    consistent = usable.drop(index=contradictory.index)
    later = consistent["image_id"].duplicated()
    once = consistent[~later]
    alike = once[once["sha256"].duplicated(keep=False)]
    alike = alike.assign(same_as=alike.groupby("sha256")["image_id"].transform("first"))
    copies = alike[alike["sha256"].duplicated()]

    cause = pd.Series("", index=rows.index, dtype="str")
    cause[copies.index] = "duplicate_images"
    cause[later.index[later]] = "repeated_ids"
    cause[contradictory.index] = "contradictory_labels"
    cause[empty] = "empty_labels"
    cause[out_of_range] = "pixel_range"
    cause[unusable & ~out_of_range] = "unreadable_images"
    cause[missing] = "missing_images"

    names = ["image_id", "label"]
    items: dict[str, Items] = {
        "missing_images": to_dicts(rows.loc[missing, names]),
        "unlisted_images": [{"file": file} for file in unlisted],
        "unreadable_images": to_dicts(rows.loc[unusable & ~out_of_range, [*names, "file", "reason"]]),
        "pixel_range": to_dicts(rows.loc[out_of_range, [*names, "file", "reason"]]),
        "duplicate_images": to_dicts(copies[[*names, "file", "same_as"]]),
        "contradictory_labels": to_dicts(
            contradictory[[*names, "file", "sha256"]].sort_values("sha256", kind="stable")
        ),
        "empty_labels": to_dicts(rows.loc[empty, ["image_id", "file"]]),
        "repeated_ids": repeated_ids(rows),
        "clipped_pixels": to_dicts(rows.loc[(rows["clipped"] > 0) & (cause == ""), [*names, "file", "clipped"]]),
    }
    return Audit({kind: items.get(kind, []) for kind in KINDS}, cause)


def to_dicts(rows: pd.DataFrame) -> Items:
    return [dict(zip(rows.columns, row, strict=True)) for row in rows.itertuples(index=False)]


def repeated_ids(rows: pd.DataFrame) -> Items:
    """Return the ids that occur in several rows, with the number of rows and their labels."""
    again = rows[rows["image_id"].duplicated(keep=False) & (rows["image_id"] != "")]
    labels: defaultdict[str, list[str]] = defaultdict(list)
    for name, label in zip(again["image_id"], again["label"], strict=True):
        labels[name].append(label)
    return [{"image_id": name, "rows": len(given), "labels": sorted(set(given))} for name, given in labels.items()]


def small_classes(labels: list[str], kept: pd.Series, minimum: int) -> Items:
    """Return the classes with fewer images than the minimum; a class with none is missing from the dataset.

    Args:
        labels: every label of the table that is not dropped.
        kept: label of each row that is kept.
        minimum: --min-class-count.
    """
    counts = kept.value_counts().reindex(labels, fill_value=0)
    return [{"label": label, "images": int(counts[label])} for label in labels if counts[label] < minimum]


def fail_on_findings(found: Audit) -> None:
    """Raise a UserError that counts the findings by kind, if there are any."""
    kinds = [f"{len(found.items[kind]):,} {KINDS[kind].title}" for kind in KINDS if found.items[kind]]
    if kinds:
        raise UserError(
            f"--strict: the audit found {', '.join(kinds)}; correct the source, or omit --strict: "
            "audit.json then lists the findings, and unusable rows are left out"
        )
