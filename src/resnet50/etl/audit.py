"""What is wrong with a table of images: found, listed, and left out."""

import hashlib
import os
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from resnet50.etl.decode import UnreadableImageError, cannot_be_opened, decode_image, read_image_file
from resnet50.etl.store import StoreWriter, shrink
from resnet50.runtime.console import progress
from resnet50.runtime.cpu import available_cores
from resnet50.runtime.errors import UserError

CHUNK = 32
"""Images that a thread reads before it reports."""

Items = list[dict[str, Any]]


class Kind(NamedTuple):
    """A kind of finding: what it is called on the screen, and what is done about it."""

    title: str
    action: str


KINDS = {
    "missing_images": Kind("rows without an image", "left out"),
    "unlisted_images": Kind("images without a row", "not used"),
    "unreadable_images": Kind("unreadable images", "left out"),
    "duplicate_images": Kind("copies of another image", "left out; the first stays"),
    "contradictory_labels": Kind("same image, different labels", "all left out"),
    "empty_labels": Kind("rows without a label", "left out"),
    "repeated_ids": Kind("ids in several rows", "the first row stays"),
    "small_classes": Kind("classes with too few images", "stay"),
}
"""Every kind of finding, in the order of audit.json and of the screen."""

CAUSES = (
    "missing_images", "unreadable_images", "empty_labels", "contradictory_labels", "repeated_ids", "duplicate_images",
)  # fmt: skip
"""Kinds for which rows are left out; a row with several faults counts as left out for the first of them."""


@dataclass(frozen=True)
class Audit:
    """What was found.

    Attributes:
        items: for each kind, an item per finding.
        cause: for each row, the kind for which it is left out; "" for a row that stays.
    """

    items: dict[str, Items]
    cause: pd.Series

    def to_json(self) -> dict[str, dict[str, Any]]:
        """Return count and items by kind."""
        return {kind: {"count": len(self.items[kind]), "items": self.items[kind]} for kind in KINDS}


class ReadImage(NamedTuple):
    """What reading an image gave: its size once upright and its SHA-256, or the reason why it can't be read.

    `pixels` are those for the pixel store; None without one.
    """

    width: int
    height: int
    sha256: str
    reason: str
    pixels: np.ndarray | None


Read = Callable[[Path, pd.Index, int | None], Iterator[ReadImage]]
"""Reads images (folder, files in it, shorter side for the store) in order."""

FACTS = ("width", "height", "sha256", "reason")
"""What of it becomes columns of the table."""


def read_images(
    rows: pd.DataFrame,
    folder: Path,
    store: StoreWriter | None = None,
    dropped: Sequence[str] = (),
    read: Read | None = None,
) -> pd.DataFrame:
    """Read and decode every image that the rows name, and add the columns width, height, sha256 and reason.

    An image passes if `decode_image` reads all of it, which is what training will do. It is decoded this once: what has
    a label that isn't dropped goes into the store at the same time.

    Args:
        rows: columns file, "" where a row has no image, and label.
        folder: where the files are.
        store: takes the pixels.
        dropped: labels whose images are not stored.
        read: reads the images; `read_parallel` when left out.
    """
    with_file = rows.loc[rows["file"] != "", ["file", "label"]]
    labeled = ~with_file["label"].isin(["", *dropped])
    to_store = labeled.groupby(with_file["file"], sort=False).any()  # a file may be named by several rows
    side = None if store is None else store.shorter_side
    facts: list[tuple[int, int, str, str]] = []
    for image, wanted in zip((read or read_parallel)(folder, to_store.index, side), to_store, strict=True):
        facts.append((image.width, image.height, image.sha256, image.reason))
        if store is not None and wanted and image.pixels is not None:
            store.add(image.sha256, image.pixels)
    found = pd.DataFrame(facts, columns=list(FACTS), index=to_store.index)
    found = found.reindex(rows["file"]).set_axis(rows.index)
    return rows.assign(
        width=found["width"].fillna(0).astype("int64"),
        height=found["height"].fillna(0).astype("int64"),
        sha256=found["sha256"].fillna("").astype("str"),
        reason=found["reason"].fillna("").astype("str"),
    )


def files_of(rows: pd.DataFrame) -> pd.Index:
    """Return the image files that the rows name, each once, in the order in which `read_images` reads them."""
    return pd.Index(rows.loc[rows["file"] != "", "file"].unique())


def read_parallel(folder: Path, files: pd.Index, shorter_side: int | None) -> Iterator[ReadImage]:
    """Read images on all cores, in order, showing progress.

    Threads are enough: decoding, shrinking and hashing let go of the interpreter. A few chunks are read ahead, no more:
    pixels that wait to be written take memory.
    """
    threads = min(available_cores() + 2, 32)  # two more, for when some wait for the disk
    pool = ThreadPoolExecutor(threads)
    ahead: deque[Future[list[ReadImage]]] = deque()
    try:
        with progress("reading images", len(files), "images") as advance:
            for start in range(0, len(files) + threads * CHUNK, CHUNK):
                if start < len(files):
                    # a tenth of Path's time
                    paths = [os.path.join(folder, file) for file in files[start : start + CHUNK]]  # noqa: PTH118
                    ahead.append(pool.submit(read_chunk, paths, shorter_side))
                if ahead and (len(ahead) > threads or start >= len(files)):
                    read = ahead.popleft().result()
                    advance(len(read))
                    yield from read
    finally:
        pool.shutdown(cancel_futures=True)


def read_chunk(paths: list[str], shorter_side: int | None) -> list[ReadImage]:
    """Read some image files."""
    return [read_image(path, shorter_side) for path in paths]


def read_image(path: str, shorter_side: int | None) -> ReadImage:
    """Read one image file; shrink it for the store, if it is to have a shorter side."""
    try:
        content = read_image_file(path)
        photo = decode_image(content, shorter_side)
    except UnreadableImageError as error:
        return ReadImage(0, 0, "", str(error).partition(": ")[2], None)
    except OSError as error:
        return ReadImage(0, 0, "", cannot_be_opened(error), None)
    pixels = None if shorter_side is None else shrink(photo, shorter_side)
    return ReadImage(photo.width, photo.height, hashlib.sha256(content).hexdigest(), "", pixels)


def audit(rows: pd.DataFrame, unlisted: list[str]) -> Audit:
    """Look for every kind of fault but small classes, in the whole table.

    Rows of one id are rows of one image: with the same label the first stays, with different ones they are
    contradictory, and all go. The same holds for files with the same bytes.

    Args:
        rows: image_id, label, file, sha256, reason: as `read_images` returns them.
        unlisted: images that no row names.
    """
    missing = rows["file"] == ""
    unreadable = rows["reason"] != ""
    empty = rows["label"] == ""
    usable = rows.loc[~(missing | unreadable | empty), ["image_id", "label", "file", "sha256"]]
    alike = usable[usable["sha256"].duplicated(keep=False)]  # few, usually; grouping all rows would take long
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
    cause[unreadable] = "unreadable_images"
    cause[missing] = "missing_images"

    names = ["image_id", "label"]
    items: dict[str, Items] = {
        "missing_images": records(rows.loc[missing, names]),
        "unlisted_images": [{"file": file} for file in unlisted],
        "unreadable_images": records(rows.loc[unreadable, [*names, "file", "reason"]]),
        "duplicate_images": records(copies[[*names, "file", "same_as"]]),
        "contradictory_labels": records(contradictory[[*names, "file", "sha256"]].sort_values("sha256", kind="stable")),
        "empty_labels": records(rows.loc[empty, ["image_id", "file"]]),
        "repeated_ids": repeated_ids(rows),
        "small_classes": [],
    }
    return Audit(items, cause)


def records(rows: pd.DataFrame) -> Items:
    """Return the rows as dictionaries."""
    return [dict(zip(rows.columns, row, strict=True)) for row in rows.itertuples(index=False)]


def repeated_ids(rows: pd.DataFrame) -> Items:
    """Return the ids that several rows have, in how many rows, and with which labels."""
    again = rows[rows["image_id"].duplicated(keep=False) & (rows["image_id"] != "")]
    labels: defaultdict[str, list[str]] = defaultdict(list)
    for name, label in zip(again["image_id"], again["label"], strict=True):
        labels[name].append(label)
    return [{"image_id": name, "rows": len(given), "labels": sorted(set(given))} for name, given in labels.items()]


def small_classes(labels: list[str], kept: pd.Series, minimum: int) -> Items:
    """Return the classes that end up with fewer images than wanted; one with none at all is lost to the dataset.

    Args:
        labels: every label of the table that wasn't dropped.
        kept: the label of each row that stays.
        minimum: --min-class-count.
    """
    counts = kept.value_counts().reindex(labels, fill_value=0)
    return [{"label": label, "images": int(counts[label])} for label in labels if counts[label] < minimum]


def stop_at_findings(found: Audit) -> None:
    """Raise a UserError that names every kind of finding, if there is any."""
    kinds = [f"{len(found.items[kind]):,} {KINDS[kind].title}" for kind in KINDS if found.items[kind]]
    if kinds:
        raise UserError(
            f"--strict: the audit found {', '.join(kinds)}; mend the source, or leave out --strict: "
            "then audit.json lists them, and what can't be used is left out"
        )
