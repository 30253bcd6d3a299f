"""The pixel store: every image decoded once, small, ready to be cropped, in memory-mapped files.

`pixels/` in a prepared dataset holds shards of raw uint8 RGB, one image after another; `index.parquet`, which locates
each image by the SHA-256 of its file; and `shards.json` with the size and SHA-256 of every shard.
"""

import errno
import hashlib
import json
import mmap
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np
import pandas as pd
import pyarrow as pa

from resnet50.etl.decode import DecodedImage, image_size
from resnet50.runtime.errors import UserError

FOLDER, INDEX, SHARDS = "pixels", "index.parquet", "shards.json"

cv2.setNumThreads(1)  # images are processed in parallel; threads within one image would compete

SHARD_BYTES = 1 << 30
"""A shard is closed once it has this many bytes."""

MAX_SAMPLED = 2_000
"""Headers read to estimate the size of the store; all of them if there are no more."""


def stored_size(width: int, height: int, shorter_side: int) -> tuple[int, int]:
    """Return (width, height) at which an image is stored: same aspect ratio, never enlarged."""
    factor = min(1.0, shorter_side / min(width, height))
    return round(width * factor), round(height * factor)


def shrink(image: DecodedImage, shorter_side: int) -> np.ndarray:
    """Resize an image to its stored size.

    Down to half its size, bilinear interpolation skips no pixel; beyond that, each result is the mean of its area.
    """
    size = stored_size(image.width, image.height, shorter_side)
    height, width, _ = image.pixels.shape
    if size == (width, height):
        return image.pixels
    mode = cv2.INTER_AREA if max(width, height) > 2 * max(size) else cv2.INTER_LINEAR
    return cv2.resize(image.pixels, size, interpolation=mode)


def estimate_bytes(paths: Sequence[str], shorter_side: int) -> int:
    """Estimate the size of the store: exact for few images, from an even sample of many."""
    sample = paths[:: -(-len(paths) // MAX_SAMPLED)] if paths else []
    total = 0
    for path in sample:
        try:
            width, height = stored_size(*image_size(path), shorter_side)
            total += 3 * width * height
        except Exception:  # noqa: S112  # the audit reports what is wrong with it
            continue
    return round(total * len(paths) / max(1, len(sample)))


def check_space(folder: Path, needed: int) -> None:
    above = next(parent for parent in folder.absolute().parents if parent.exists())
    free = shutil.disk_usage(above).free
    if needed > free:
        raise UserError(
            f"the pixel store needs {format_bytes(needed)} and {above} has {format_bytes(free)} left: "
            "choose another --out, a smaller --store-size or --no-store (training then decodes images in every epoch)"
        )


def format_bytes(count: int) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"


class StoreWriter:
    """Writes a pixel store image by image; files with equal content are stored once."""

    def __init__(self, folder: Path, shorter_side: int, shard_bytes: int = SHARD_BYTES) -> None:
        self.folder, self.shorter_side, self.shard_bytes = folder, shorter_side, shard_bytes
        self.rows: dict[str, tuple[int, int, int, int]] = {}
        self.shards: list[dict[str, Any]] = []
        self.file: BinaryIO | None = None
        self.hash = hashlib.sha256()
        self.offset = 0
        folder.mkdir(parents=True)

    def add(self, sha256: str, pixels: np.ndarray) -> None:
        """Append the pixels (uint8, h×w×3) of the file with this hash; raises a UserError if the disk is full."""
        if sha256 in self.rows:
            return
        try:
            if self.file is None:
                self.file = (self.folder / shard_name(len(self.shards))).open("wb")
            content = np.ascontiguousarray(pixels).data
            self.file.write(content)
            self.hash.update(content)
        except OSError as error:
            raise write_error(error, self.folder) from error
        self.rows[sha256] = (len(self.shards), self.offset, *pixels.shape[:2])
        self.offset += pixels.nbytes
        if self.offset >= self.shard_bytes:
            self.close_shard()

    def close_shard(self) -> None:
        if self.file is None:
            return
        try:
            self.file.close()
        except OSError as error:
            raise write_error(error, self.folder) from error
        name = shard_name(len(self.shards))
        self.shards.append({"file": name, "bytes": self.offset, "sha256": self.hash.hexdigest()})
        self.file, self.hash, self.offset = None, hashlib.sha256(), 0

    def finish(self) -> None:
        """Close the last shard and write the index."""
        self.close_shard()
        index = pd.DataFrame.from_dict(self.rows, orient="index", columns=["shard", "offset", "height", "width"])
        index = index.astype({"shard": "int32", "offset": "int64", "height": "int32", "width": "int32"})
        index.rename_axis("sha256").reset_index().to_parquet(self.folder / INDEX, index=False)
        text = json.dumps({"shorter_side": self.shorter_side, "shards": self.shards}, indent=1)
        (self.folder / SHARDS).write_text(text + "\n", encoding="utf-8")


def write_error(error: OSError, folder: Path) -> Exception:
    """Return the error to raise after a failed write: a UserError if the disk is full."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return error
    return UserError(
        f"the disk is full: no room for the pixel store in {folder.parent}; free some space, or add --no-store"
    )


def shard_name(number: int) -> str:
    return f"shard-{number:05d}.bin"


@dataclass(frozen=True, eq=False)
class PixelStore:
    """The images of a prepared dataset as memory-mapped pixels.

    Attributes:
        folder: `pixels/` of the dataset.
        shorter_side: length in pixels to which longer shorter sides were reduced.
        shards: file, bytes and sha256 of each shard.
        index: one row per image: sha256 of its file, shard, offset in bytes, stored height and width.
    """

    folder: Path
    shorter_side: int
    shards: list[dict[str, Any]]
    index: pd.DataFrame

    @property
    def bytes(self) -> int:
        return sum(int(shard["bytes"]) for shard in self.shards)

    def images(self, rows: pd.DataFrame) -> "StoredImages":
        """Return the images of the given rows of a manifest, in order; a UserError names one that the store lacks."""
        at = pd.Index(self.index["sha256"]).get_indexer(pd.Index(rows["sha256"]))
        if (at < 0).any():
            missing = rows["path"].iloc[int((at < 0).argmax())]
            raise UserError(f"{self.folder} lacks the pixels of {missing}: prepare the dataset again")
        found = self.index.iloc[at]
        return StoredImages(
            [self.folder / str(shard["file"]) for shard in self.shards],
            np.column_stack([found[name] for name in ("shard", "offset", "height", "width")]).astype(np.int64),
            np.column_stack([rows["width"], rows["height"]]).astype(np.int64),
        )

    def verify(self, advance: Callable[[int], object]) -> list[str]:
        """Hash every shard; return a message for each damaged one. `advance` is called with the bytes just read."""
        problems: list[str] = []
        for shard in self.shards:
            path, found = self.folder / str(shard["file"]), hashlib.sha256()
            with path.open("rb") as file:
                while content := file.read(1 << 24):
                    found.update(content)
                    advance(len(content))
            if found.hexdigest() != shard["sha256"]:
                problems.append(f"{path} is damaged: its SHA-256 has changed")
        return problems


def open_store(dataset: Path) -> PixelStore | None:
    """Open the pixel store of a prepared dataset; None if the dataset has none.

    Raises:
        UserError: the store is incomplete. Hashes are not verified here: `resnet50 check` does that.
    """
    folder = dataset / FOLDER
    if not folder.is_dir():
        return None
    again = "prepare the dataset again"
    try:
        description = json.loads((folder / SHARDS).read_bytes())
        index = pd.read_parquet(folder / INDEX)
        store = PixelStore(folder, int(description["shorter_side"]), list(description["shards"]), index)
        for shard in store.shards:
            if (folder / str(shard["file"])).stat().st_size != shard["bytes"]:
                raise UserError(f"{folder / str(shard['file'])} has changed in size: {again}")
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise UserError(f"the pixel store {folder} is damaged: {again} ({' '.join(str(error).split())})") from error
    return store


class StoredImages:
    """A sequence of `DecodedImage` views of the memory-mapped store.

    Worker processes share the pages, and the tables are flat arrays rather than Python objects.

    Args:
        shards: files of the store.
        places: shard, offset in bytes, height and width of each image, int64, N×4.
        sizes: width and height of each image's file, int64, N×2.
    """

    def __init__(self, shards: list[Path], places: np.ndarray, sizes: np.ndarray) -> None:
        self.shards, self.places, self.sizes = shards, places, sizes
        self.mapped: list[np.ndarray | None] = [None] * len(shards)

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, row: int) -> DecodedImage:
        shard, offset, height, width = self.places[row].tolist()
        content = self.mapped[shard]
        if content is None:
            content = self.mapped[shard] = map_file(self.shards[shard])
        pixels = content[offset : offset + 3 * height * width].reshape(height, width, 3)
        return DecodedImage(pixels, *self.sizes[row].tolist())

    def __getstate__(self) -> dict[str, Any]:
        """Exclude the memory maps from the pickle: each worker process maps the files itself."""
        return self.__dict__ | {"mapped": [None] * len(self.shards)}


def map_file(path: Path) -> np.ndarray:
    with path.open("rb") as file:
        return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), dtype=np.uint8)
