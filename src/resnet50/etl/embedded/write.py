"""Writing images that were inside tables to files."""

import io
import re
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from resnet50.etl.formats import HEAD_BYTES, content_kind
from resnet50.runtime.console import progress
from resnet50.runtime.cpu import available_cores

EXTENSIONS = {
    "JPEG": ".jpg", "PNG": ".png", "GIF": ".gif", "WebP": ".webp", "BMP": ".bmp", "TIFF": ".tif", "PNM": ".ppm",
    "JPEG 2000": ".jp2", "AVIF": ".avif", "HEIC": ".heic", "QOI": ".qoi", "Photoshop": ".psd", "DICOM": ".dcm",
}  # fmt: skip
"""By the kind of content; other images keep the extension they have."""

CHUNK, CHUNK_BYTES = 256, 16_000_000
"""Images, and bytes of them, that a thread writes at once."""


def extension_of(content: bytes) -> str:
    """Return the extension for the content of an image file; "" if it is no known image."""
    return EXTENSIONS.get(content_kind(content[:HEAD_BYTES]).name, "")


def extensions_of(contents: list[bytes]) -> list[str]:
    return [extension_of(content) for content in contents]


def file_names(
    split: pd.Series, number: pd.Series, name: pd.Series, extension: pd.Series
) -> tuple[pd.Series, pd.Series]:
    """Return the id and the path of every image: its own name if all have different ones, else its number.

    Both are below a folder of the split's name where there are published splits.

    Args:
        split: published one, or "".
        number: within the split.
        name: of the image in its table, perhaps a path or an address; "" for none.
        extension: that its content asks for; "" keeps that of its name.
    """
    below = split.where(split == "", split + "/")
    own = name.map(safe_name)
    stem = own.str.replace(r"\.[^.]*$", "", regex=True)
    given = own.str.extract(r"(\.[^.]*)$", expand=False).fillna("")
    spelled = given.str.lower().replace({".jpeg": ".jpg", ".tiff": ".tif"})
    wanted = given.where((spelled == extension) | (extension == ""), extension)
    path = below + stem + wanted
    if (stem == "").any() or path.str.casefold().duplicated().any():
        ids = below + number.map("{:08}".format)
        return ids, ids + extension
    return below + own, path


def safe_name(name: str) -> str:
    """Return the last part of a path or an address, without what a file name can't have."""
    last = re.split(r"[/\\]", name.partition("::")[0].partition("?")[0])[-1]
    last = re.sub(r'[\x00-\x1f\x7f<>:"|*]', "_", last).strip(" .")
    return last if len(last.encode(errors="replace")) <= 200 else ""


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Return a PNG file with exactly these pixels, H×W or H×W×3."""
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, format="PNG")
    return file.getvalue()


def write_images(folder: Path, images: Iterator[tuple[str, bytes | NDArray[np.uint8]]], total: int) -> None:
    """Write images to files with all cores; only a few chunks are in memory at a time.

    Args:
        folder: is made if it doesn't exist.
        images: path below the folder, and encoded content or pixels.
        total: number of images, for the progress.
    """
    folder.mkdir(parents=True, exist_ok=True)
    threads = available_cores()
    pool = ThreadPoolExecutor(threads)
    pending: deque[Future[int]] = deque()
    made: set[Path] = set()
    try:
        with progress("writing images", total, "images") as advance:
            while chunk := next_chunk(images):
                for parent in {(folder / name).parent for name, _ in chunk} - made:
                    parent.mkdir(parents=True, exist_ok=True)
                    made.add(parent)
                pending.append(pool.submit(write_chunk, folder, chunk))
                if len(pending) > threads:
                    advance(pending.popleft().result())
            while pending:
                advance(pending.popleft().result())
    finally:
        pool.shutdown(cancel_futures=True)


def next_chunk(
    images: Iterator[tuple[str, bytes | NDArray[np.uint8]]],
) -> list[tuple[str, bytes | NDArray[np.uint8]]]:
    chunk: list[tuple[str, bytes | NDArray[np.uint8]]] = []
    size = 0
    for name, image in islice(images, CHUNK):
        chunk.append((name, image))
        size += len(image) if isinstance(image, bytes) else image.nbytes
        if size > CHUNK_BYTES:
            break
    return chunk


def write_chunk(folder: Path, chunk: list[tuple[str, bytes | NDArray[np.uint8]]]) -> int:
    for name, image in chunk:
        (folder / name).write_bytes(image if isinstance(image, bytes) else png(image))
    return len(chunk)
