"""What is wrong with a table of images: found, listed, and left out."""

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from resnet50.console import progress
from resnet50.cores import available_cores
from resnet50.errors import UserError
from resnet50.etl.decode import UnreadableImageError, decode

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
    """What reading an image gave: its size once upright and its SHA-256, or the reason why it can't be read."""

    width: int
    height: int
    sha256: str
    reason: str


def read_images(rows: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Read and decode every image that the rows name, and add the columns width, height, sha256 and reason.

    An image passes if `decode` reads all of it, which is what training will do. Threads are enough: Pillow lets go of
    the interpreter while it decodes.

    Args:
        rows: column file, "" where a row has no image.
        folder: where the files are.
    """
    files = rows.loc[rows["file"] != "", "file"].drop_duplicates().tolist()
    read = list(read_parallel([os.path.join(folder, file) for file in files]))  # noqa: PTH118  # a tenth of Path's time
    facts = pd.DataFrame(read, columns=list(ReadImage._fields), index=files)
    found = facts.reindex(rows["file"]).set_axis(rows.index)
    return rows.assign(
        width=found["width"].fillna(0).astype("int64"),
        height=found["height"].fillna(0).astype("int64"),
        sha256=found["sha256"].fillna("").astype("str"),
        reason=found["reason"].fillna("").astype("str"),
    )


def read_parallel(paths: list[str]) -> Iterator[ReadImage]:
    """Read images on all cores, in order, showing progress."""
    chunks = [paths[start : start + CHUNK] for start in range(0, len(paths), CHUNK)]
    pool = ThreadPoolExecutor(min(available_cores() + 2, 32))  # two more, for when some wait for the disk
    try:
        with progress("reading images", len(paths), "images") as advance:
            for read in pool.map(read_chunk, chunks):
                advance(len(read))
                yield from read
    finally:
        pool.shutdown(cancel_futures=True)


def read_chunk(paths: list[str]) -> list[ReadImage]:
    """Read some image files."""
    return [read_image(path) for path in paths]


def read_image(path: str) -> ReadImage:
    """Read one image file."""
    try:
        content = Path(path).read_bytes()
        image = decode(content)
    except UnreadableImageError as error:
        return ReadImage(0, 0, "", str(error).partition(": ")[2])
    except OSError as error:
        return ReadImage(0, 0, "", f"cannot be opened ({error.strerror})")
    return ReadImage(image.width, image.height, hashlib.sha256(content).hexdigest(), "")


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
    usable = rows[~(missing | unreadable | empty)]
    repeated = rows["image_id"].duplicated(keep=False) & (rows["image_id"] != "")
    contradictory = usable.groupby("sha256")["label"].transform("nunique") > 1
    consistent = usable[~contradictory]
    later = consistent["image_id"].duplicated()
    once = consistent[~later]
    copies = once[once["sha256"].duplicated()]
    originals = once.drop_duplicates("sha256").set_index("sha256")["image_id"]

    cause = pd.Series("", index=rows.index, dtype="str")
    cause[copies.index] = "duplicate_images"
    cause[later.index[later]] = "repeated_ids"
    cause[contradictory.index[contradictory]] = "contradictory_labels"
    cause[empty] = "empty_labels"
    cause[unreadable] = "unreadable_images"
    cause[missing] = "missing_images"

    names = ["image_id", "label"]
    same_id = rows[repeated].groupby("image_id", sort=False)["label"]
    items: dict[str, Items] = {
        "missing_images": records(rows.loc[missing, names]),
        "unlisted_images": [{"file": file} for file in unlisted],
        "unreadable_images": records(rows.loc[unreadable, [*names, "file", "reason"]]),
        "duplicate_images": records(copies[[*names, "file"]].assign(same_as=copies["sha256"].map(originals))),
        "contradictory_labels": records(
            usable.loc[contradictory, [*names, "file", "sha256"]].sort_values("sha256", kind="stable")
        ),
        "empty_labels": records(rows.loc[empty, ["image_id", "file"]]),
        "repeated_ids": [
            {"image_id": name, "rows": len(labels), "labels": sorted(set(labels))} for name, labels in same_id
        ],
        "small_classes": [],
    }
    return Audit(items, cause)


def records(rows: pd.DataFrame) -> Items:
    """Return the rows as dictionaries."""
    return [dict(zip(rows.columns, row, strict=True)) for row in rows.itertuples(index=False)]


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
