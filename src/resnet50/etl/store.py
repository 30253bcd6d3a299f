"""The pixel store: every photo decoded once, small and ready to be cropped, in files that are mapped and not read.

`pixels/` in a prepared dataset holds shards of raw uint8 RGB, one photo after another, `index.parquet` (whose photo
lies where, by the SHA-256 of its file) and `shards.json` (bytes and SHA-256 of every shard).
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
from PIL import Image

from resnet50.etl.decode import DecodedImage
from resnet50.runtime.errors import UserError

FOLDER, INDEX, SHARDS = "pixels", "index.parquet", "shards.json"

cv2.setNumThreads(1)  # photos are handled side by side already; threads within one would only be in the way

SHARD_BYTES = 1 << 30
"""A shard is closed when it has reached so many bytes."""

MEASURED = 2_000
"""Up to so many photos are measured before the store is written, to say how large it will be."""


def stored_size(width: int, height: int, shorter_side: int) -> tuple[int, int]:
    """Return (width, height) at which a photo is stored: aspect kept, nothing enlarged."""
    factor = min(1.0, shorter_side / min(width, height))
    return round(width * factor), round(height * factor)


def shrink(photo: DecodedImage, shorter_side: int) -> np.ndarray:
    """Return the pixels at the size they are stored in.

    Up to a factor of two, interpolating between neighbors leaves out no pixel; beyond, each is the mean of its area.
    """
    size = stored_size(photo.width, photo.height, shorter_side)
    height, width, _ = photo.pixels.shape
    if size == (width, height):
        return photo.pixels
    mode = cv2.INTER_AREA if max(width, height) > 2 * max(size) else cv2.INTER_LINEAR
    return cv2.resize(photo.pixels, size, interpolation=mode)


def estimate_bytes(paths: Sequence[str], shorter_side: int) -> int:
    """Return how large the store of these photos will be: exactly for few, from an even sample for many."""
    sample = paths[:: -(-len(paths) // MEASURED)] if paths else []
    total = 0
    for path in sample:
        try:
            with Image.open(path) as image:  # the header only
                width, height = stored_size(*image.size, shorter_side)
                total += 3 * width * height
        except Exception:  # noqa: S112  # whatever is wrong with it is the audit's to say
            continue
    return round(total * len(paths) / max(1, len(sample)))


def check_space(folder: Path, needed: int) -> None:
    """Raise a UserError if the disk that will hold `folder` has less room than the store needs."""
    above = next(parent for parent in folder.absolute().parents if parent.exists())
    free = shutil.disk_usage(above).free
    if needed > free:
        raise UserError(
            f"the pixel store needs {megabytes(needed)} and {above} has {megabytes(free)} left: "
            "choose another --out or a smaller --store-size, or --no-store (training then decodes every photo anew)"
        )


def megabytes(count: int) -> str:
    """Return a number of bytes in words."""
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"


class StoreWriter:
    """Writes a store, one photo after another; photos of equal files are stored once."""

    def __init__(self, folder: Path, shorter_side: int, shard_bytes: int = SHARD_BYTES) -> None:
        self.folder, self.shorter_side, self.shard_bytes = folder, shorter_side, shard_bytes
        self.rows: dict[str, tuple[int, int, int, int]] = {}
        self.shards: list[dict[str, Any]] = []
        self.file: BinaryIO | None = None
        self.hash = hashlib.sha256()
        self.offset = 0
        folder.mkdir(parents=True)

    def add(self, sha256: str, pixels: np.ndarray) -> None:
        """Append the pixels (uint8, h×w×3) of the file with this hash; a UserError if the disk is full."""
        if sha256 in self.rows:
            return
        try:
            if self.file is None:
                self.file = (self.folder / shard_name(len(self.shards))).open("wb")
            content = np.ascontiguousarray(pixels).data
            self.file.write(content)
            self.hash.update(content)
        except OSError as error:
            raise full_disk(error, self.folder) from error
        self.rows[sha256] = (len(self.shards), self.offset, *pixels.shape[:2])
        self.offset += pixels.nbytes
        if self.offset >= self.shard_bytes:
            self.close_shard()

    def close_shard(self) -> None:
        """Finish the shard that is being written."""
        if self.file is None:
            return
        try:
            self.file.close()
        except OSError as error:
            raise full_disk(error, self.folder) from error
        name = shard_name(len(self.shards))
        self.shards.append({"file": name, "bytes": self.offset, "sha256": self.hash.hexdigest()})
        self.file, self.hash, self.offset = None, hashlib.sha256(), 0

    def finish(self) -> None:
        """Write what says where each photo lies."""
        self.close_shard()
        index = pd.DataFrame.from_dict(self.rows, orient="index", columns=["shard", "offset", "height", "width"])
        index = index.astype({"shard": "int32", "offset": "int64", "height": "int32", "width": "int32"})
        index.rename_axis("sha256").reset_index().to_parquet(self.folder / INDEX, index=False)
        text = json.dumps({"shorter_side": self.shorter_side, "shards": self.shards}, indent=1)
        (self.folder / SHARDS).write_text(text + "\n", encoding="utf-8")


def full_disk(error: OSError, folder: Path) -> Exception:
    """Return what to raise for an error while writing: a UserError where the disk has no room left."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return error
    return UserError(f"no room is left for the pixel store in {folder.parent}: free some, or add --no-store")


def shard_name(number: int) -> str:
    """Return the file name of a shard."""
    return f"shard-{number:05d}.bin"


@dataclass(frozen=True, eq=False)
class PixelStore:
    """The photos of a prepared dataset as mapped pixels.

    Attributes:
        folder: `pixels/` of the dataset.
        shorter_side: length to which longer shorter sides were shrunk, in pixels.
        shards: file, bytes and sha256 of each shard.
        index: a row per photo: sha256 of its file, shard, offset in bytes, height and width as stored.
    """

    folder: Path
    shorter_side: int
    shards: list[dict[str, Any]]
    index: pd.DataFrame

    @property
    def bytes(self) -> int:
        """Return the size of all shards."""
        return sum(int(shard["bytes"]) for shard in self.shards)

    def photos(self, rows: pd.DataFrame) -> "StoredImages":
        """Return the photos of a manifest's rows, in their order; a UserError if the store lacks one."""
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
        """Read every shard and return what is wrong, a sentence each; `advance` is told the bytes as they are read."""
        wrong: list[str] = []
        for shard in self.shards:
            path, found = self.folder / str(shard["file"]), hashlib.sha256()
            with path.open("rb") as file:
                while content := file.read(1 << 24):
                    found.update(content)
                    advance(len(content))
            if found.hexdigest() != shard["sha256"]:
                wrong.append(f"{path} is damaged: its SHA-256 is not the one it was written with")
        return wrong


def open_store(dataset: Path) -> PixelStore | None:
    """Open the pixel store of a prepared dataset; None if it was prepared without one.

    Raises:
        UserError: it is not whole. Hashes are not looked at: `resnet50 check` does that.
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
                raise UserError(f"{folder / str(shard['file'])} has not the size it was written with: {again}")
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise UserError(f"the pixel store {folder} is damaged: {again} ({' '.join(str(error).split())})") from error
    return store


class StoredImages:
    """Photos in mapped memory. Loader processes share the pages; the tables are flat arrays, not Python objects."""

    def __init__(self, shards: list[Path], places: np.ndarray, sizes: np.ndarray) -> None:
        """Take shards, and for each photo its place (shard, offset, height, width) and its file's (width, height)."""
        self.shards, self.places, self.sizes = shards, places, sizes
        self.mapped: list[np.ndarray | None] = [None] * len(shards)

    def __len__(self) -> int:
        """Return the number of photos."""
        return len(self.places)

    def __getitem__(self, row: int) -> DecodedImage:
        """Return a photo; its pixels are a view of the mapped file."""
        shard, offset, height, width = self.places[row].tolist()
        content = self.mapped[shard]
        if content is None:
            content = self.mapped[shard] = map_file(self.shards[shard])
        pixels = content[offset : offset + 3 * height * width].reshape(height, width, 3)
        return DecodedImage(pixels, *self.sizes[row].tolist())

    def __getstate__(self) -> dict[str, Any]:
        """Leave the maps behind when sent to another process: it maps the files itself."""
        return self.__dict__ | {"mapped": [None] * len(self.shards)}


def map_file(path: Path) -> np.ndarray:
    """Map a file as a read-only array of bytes."""
    with path.open("rb") as file:
        return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), dtype=np.uint8)
