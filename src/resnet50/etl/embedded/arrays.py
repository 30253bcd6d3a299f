"""Arrays of images: .npz as MedMNIST and Keras have them, .npy, and the IDX files of MNIST."""

import gzip
import math
import struct
import zipfile
import zlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resnet50.etl.embedded.part import Batch
from resnet50.etl.embedded.pixel_columns import LEAST_PIXELS
from resnet50.etl.embedded.pixels import LEAST_SIDE, Shape, plausible_shapes
from resnet50.runtime.errors import UserError

CHUNK_BYTES = 16 << 20
"""Images read at once take about as much memory."""

IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}

DAMAGED = (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error, struct.error)
"""What damaged files raise."""


@dataclass(frozen=True)
class Array:
    """An array in a file; only its header has been read.

    Attributes:
        path: of the file.
        member: name of the array in an .npz; "" elsewhere.
        offset: bytes before the first value, in the file or member.
    """

    path: Path
    member: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int
    fortran_order: bool = False

    @property
    def name(self) -> str:
        return self.member.removesuffix(".npy") or self.path.name.partition(".")[0]

    def chunks(self, rows: int) -> Iterator[NDArray[Any]]:
        """Yield so many entries of the first axis at a time.

        Raises:
            UserError: the file is damaged.
        """
        try:
            with open_array(self.path, self.member) as file:
                if self.fortran_order:
                    whole = np.lib.format.read_array(file, allow_pickle=False)
                    yield from (whole[start : start + rows] for start in range(0, len(whole), rows))
                    return
                file.read(self.offset)
                size = self.dtype.itemsize * math.prod(self.shape[1:])
                for start in range(0, self.shape[0], rows):
                    count = min(rows, self.shape[0] - start)
                    content = file.read(count * size)
                    values = np.frombuffer(content, self.dtype, count * math.prod(self.shape[1:]))
                    yield values.reshape(count, *self.shape[1:])
        except DAMAGED as error:
            raise UserError(f"{self.path} is damaged ({self.name}: {error})") from error

    def read(self) -> NDArray[Any]:
        return np.concatenate(list(self.chunks(max(1, self.shape[0]))) or [np.zeros(self.shape, self.dtype)])


@contextmanager
def open_array(path: Path, member: str) -> Generator[IO[bytes]]:
    """Open a file, an array inside an .npz, or the content of a .gz."""
    if member:
        with zipfile.ZipFile(path) as archive, archive.open(member) as file:
            yield file
    elif path.suffix.lower() == ".gz":
        with gzip.open(path) as file:
            yield cast("IO[bytes]", file)
    else:
        with path.open("rb") as file:
            yield file


def arrays_in(path: Path) -> list[Array]:
    """Return the arrays of a file, by their headers. Arrays of Python objects are none: they would be unpickled."""
    try:
        if path.suffix.lower() == ".npz":
            with zipfile.ZipFile(path) as archive:
                members = [name for name in archive.namelist() if name.endswith(".npy")]
            found = [array_header(path, member) for member in members]
        elif path.suffix.lower() == ".npy":
            found = [array_header(path, "")]
        else:
            found = [idx_header(path)]
    except DAMAGED:
        return []
    return [array for array in found if array is not None]


def array_header(path: Path, member: str) -> Array | None:
    with open_array(path, member) as file:
        version = np.lib.format.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            return None
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran_order, dtype = header(file)
        if dtype.hasobject or not shape:
            return None
        return Array(path, member, shape, dtype, file.tell(), fortran_order and len(shape) > 1)


def idx_header(path: Path) -> Array | None:
    """Read the header of an IDX file: two zeros, type, number of axes, and the length of each."""
    with open_array(path, "") as file:
        start = file.read(4)
        if len(start) < 4 or start[:2] != b"\0\0" or start[2] not in IDX_TYPES or not 1 <= start[3] <= 4:
            return None
        shape = struct.unpack(f">{start[3]}I", file.read(4 * start[3]))
    dtype = np.dtype(IDX_TYPES[start[2]])
    if path.suffix.lower() != ".gz" and path.stat().st_size != 4 + 4 * start[3] + dtype.itemsize * math.prod(shape):
        return None
    return Array(path, "", shape, dtype, 4 + 4 * start[3])


def image_shape(array: Array) -> Shape | None:
    """Return the shape of the images in an array; None if it has none.

    N×H×W, N×H×W×1 and N×H×W×3 are images, N×1×H×W and N×3×H×W as well, and N×P where P is a square.
    """
    sizes = array.shape[1:]
    if array.dtype.kind not in "biuf" or not array.shape[0]:
        return None
    if len(sizes) == 1 and sizes[0] >= LEAST_PIXELS:
        return flat_shape(array)
    if len(sizes) == 2 and min(sizes) >= LEAST_SIDE:
        return Shape(sizes[0], sizes[1])
    if len(sizes) == 3 and sizes[2] in (1, 3) and min(sizes[:2]) >= LEAST_SIDE:
        return Shape(*sizes)
    if len(sizes) == 3 and sizes[0] in (1, 3) and min(sizes[1:]) >= LEAST_SIDE:
        return Shape(sizes[1], sizes[2], sizes[0], planar=sizes[0] == 3)
    return None


def flat_shape(array: Array) -> Shape | None:
    """Return the shape of N×P numbers if they are bytes that can have one shape only; others may be features."""
    if array.dtype != np.uint8 or array.shape[0] == array.shape[1]:
        return None  # features, or a single image
    shapes = plausible_shapes(next(array.chunks(32)))
    return shapes[0] if len(shapes) == 1 and shapes[0].height == shapes[0].width else None


def why_no_images(array: Array) -> str | None:
    """Return what an array is instead of many images, and what to do; None for one too small for any."""
    sizes, axes = array.shape, len(array.shape)
    if axes < 2 or array.dtype.kind not in "biuf" or image_shape(array) is not None:
        return None
    if axes < 4 and min(sizes[:2]) < LEAST_SIDE:
        return None
    size = "×".join(map(str, sizes))
    if (axes == 2 and array.dtype == np.uint8) or (axes == 3 and sizes[2] in (1, 3, 4)):
        return f"an array with a single image ({size}): save it as PNG, or many as one array N×H×W×3"
    if axes >= 4 and min(sizes[1:4]) >= LEAST_SIDE:
        return f"an array of volumes ({size}), not images: choose slices and save them as N×H×W"
    if axes > 2:
        return f"an array of the shape {size}: save it as N×H×W or N×H×W×3, the number of images first"
    return None


@dataclass(frozen=True)
class ArrayPair:
    """An array of images, and the arrays that could be their labels."""

    images: Array
    shape: Shape
    labels: tuple[Array, ...]

    first_line = 1

    @property
    def path(self) -> Path:
        return self.images.path

    @property
    def count(self) -> int:
        return self.images.shape[0]

    def batches(self, shape: Shape | None) -> Iterator[Batch]:
        cells = pd.DataFrame(dict(self.classes()), index=range(self.count), dtype="str")
        rows = max(1, CHUNK_BYTES // (self.images.dtype.itemsize * self.shape.count))
        start = 0
        for chunk in self.images.chunks(rows):
            number = np.arange(start, start + len(chunk))
            pixels = self.shape.images(chunk.reshape(len(chunk), -1))
            yield Batch(number, cells.iloc[start : start + len(chunk)].reset_index(drop=True), pixels)
            start += len(chunk)

    def classes(self) -> Iterator[tuple[str, list[str]]]:
        for array in self.labels:
            yield label_name(array, self.labels), classes_of(array)


def label_name(array: Array, among: tuple[Array, ...]) -> str:
    """Return the name of a column of labels: "label" for the only one, so that all splits have the same."""
    from resnet50.etl.embedded.names import meaning

    return "label" if len(among) == 1 else "_".join(meaning(array.name).rest) or array.name


def classes_of(array: Array) -> list[str]:
    """Return the label of every image as a string: N or N×1 values, or one-hot rows.

    Raises:
        UserError: they are not one class per image.
    """
    values = array.read()
    where = f"{array.name} in {array.path.name}"
    if values.ndim > 1 and math.prod(values.shape[1:]) == 1:
        values = values.reshape(-1)
    if values.ndim > 1:
        values = values.reshape(len(values), -1)
        if not np.isin(values, (0, 1)).all():
            raise UserError(f"{where} has {values.shape[1]} numbers per image, not a class: sort them into classes")
        chosen = values.astype(np.int64).sum(axis=1)
        if (chosen != 1).any():
            raise UserError(
                f"{where}: several labels per image ({(chosen > 1).sum():,} of {len(values):,} images have more than "
                f"one, {(chosen == 0).sum():,} have none): only one class per image can be learned"
            )
        values = values.argmax(axis=1)
    if values.dtype.kind == "f":
        if (values % 1 != 0).any():
            raise UserError(f"{where} has a number per image, not a class: sort the numbers into classes first")
        values = values.astype(np.int64)
    if values.dtype.kind == "S":
        values = np.char.decode(values.astype(np.bytes_), "utf-8", "replace")
    return [str(value) for value in values.tolist()]
