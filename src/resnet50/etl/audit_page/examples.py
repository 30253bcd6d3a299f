"""The examples of each kind of finding: small images with captions, and lines of text where there is no image."""

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
from PIL import Image

from resnet50.etl.audit import Items
from resnet50.etl.decode import UnreadableImageError, decode_image

SIDE = 144
"""Longer side of an image on the page, in pixels."""

EXAMPLES, LINES = 8, 12
"""Examples of a kind that are shown as images, and as lines of text."""

T = TypeVar("T")


@dataclass(frozen=True)
class Thumbnail:
    """An image with its captions; `uri` is None if it can't be read."""

    uri: str | None
    name: str
    captions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Examples:
    """Examples of one kind: images that belong together, side by side, or lines of text."""

    groups: list[list[Thumbnail]] = field(default_factory=list[list[Thumbnail]])
    lines: list[str] = field(default_factory=list[str])


class Gallery:
    """Makes the small images of a page.

    Args:
        rows: every row of the source: image_id, label, file.
        splits: the split of each image that is kept, by image_id.
        folder: of the image files.
        bit_depth: as for `resnet50.etl.decode.decode`.
    """

    def __init__(self, rows: pd.DataFrame, splits: pd.Series, folder: Path, bit_depth: int | None) -> None:
        there = rows[rows["file"] != ""].drop_duplicates("image_id")
        self.files = pd.Series(there["file"].to_numpy(), index=there["image_id"].to_numpy())
        self.labels = pd.Series(there["label"].to_numpy(), index=there["image_id"].to_numpy())
        self.splits, self.folder, self.bit_depth = splits, folder, bit_depth

    def thumbnail(self, image_id: str, *captions: str) -> Thumbnail:
        """Return the image of an id, with its label and split as captions unless there are others."""
        if not captions:
            captions = (str(self.labels.get(image_id, "")), str(self.splits.get(image_id, "left out")))
        return self.file(str(self.files.get(image_id, "")), *captions, name=image_id)

    def file(self, file: str, *captions: str, name: str = "") -> Thumbnail:
        return Thumbnail(thumbnail_uri(self.folder / file, self.bit_depth), name or file, captions)


def thumbnail_uri(path: Path, bit_depth: int | None = None) -> str | None:
    """Encode an image file as a small JPEG in a data URI; None if it can't be read."""
    try:
        image = Image.fromarray(decode_image(path, SIDE, bit_depth).pixels)
    except UnreadableImageError:
        return None
    image.thumbnail((SIDE, SIDE), Image.Resampling.BILINEAR, reducing_gap=2.0)
    content = io.BytesIO()
    image.save(content, "JPEG", quality=75)
    return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}"


def examples_of(kind: str, items: Items, gallery: Gallery) -> Examples:
    """Return the examples of a kind of finding."""
    if kind in ("duplicate_images", "near_duplicates", "near_duplicates_across_splits"):
        return Examples([pair(item, gallery) for item in spread(items)])
    if kind == "contradictory_near_duplicates":
        return Examples([[gallery.thumbnail(name) for name in names] for names in spread(clusters(items))])
    if kind == "contradictory_labels":
        return Examples([[gallery.thumbnail(*group)] for group in spread(contradictions(items))])
    if kind == "large_clusters":
        return Examples([[gallery.thumbnail(name) for name in item["image_ids"][:EXAMPLES]] for item in items[:3]])
    if kind == "unlisted_images":
        return Examples([[gallery.file(item["file"]) for item in spread(items)]])
    if kind == "empty_labels":
        shown = [item for item in spread(items) if item["file"]]
        return Examples([[gallery.file(item["file"], name=item["image_id"]) for item in shown]] if shown else [])
    return Examples(lines=[line_of(item) for item in items[:LINES]])


def spread(items: Sequence[T]) -> Sequence[T]:
    """Return some of the items, evenly spread over all."""
    return items[:: -(-len(items) // EXAMPLES)] if items else items


def pair(item: dict[str, Any], gallery: Gallery) -> list[Thumbnail]:
    return [gallery.thumbnail(item["same_as"]), gallery.thumbnail(item["image_id"])]


def clusters(items: Items) -> list[list[str]]:
    """Return the first few members of each cluster, of different labels if possible."""
    members: dict[str, dict[str, str]] = {}
    for item in items:
        members.setdefault(item["same_as"], {}).setdefault(item["label"], item["image_id"])
    return [list(found.values())[:4] for found in members.values()]


def contradictions(items: Items) -> list[tuple[str, str]]:
    """Return an id and all labels of each image that has several."""
    found: dict[str, list[dict[str, Any]]] = {}
    for item in items:
        found.setdefault(item["sha256"], []).append(item)
    return [(same[0]["image_id"], " / ".join(dict.fromkeys(item["label"] for item in same))) for same in found.values()]


def line_of(item: dict[str, Any]) -> str:
    return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in described(item))


def described(item: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in item.items():
        if value not in ("", []):
            yield key, " / ".join(value) if isinstance(value, list) else value
