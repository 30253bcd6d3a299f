"""Everything a user may give for one image or for many: paths, folders, globs, bytes, files, Pillow images, arrays."""

import glob
import operator
import os
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, TypeGuard, cast

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from resnet50.data.transforms import Preprocess
from resnet50.etl.decode import UnreadableImageError, decode, one_line, to_rgb
from resnet50.inference.arrays import from_array, from_tensor, is_one_image
from resnet50.inference.files import find_images
from resnet50.runtime.errors import UserError

ImageInput = str | os.PathLike[str] | bytes | BinaryIO | Image.Image | np.ndarray | Tensor
"""One image: a path; the content of a file; a file opened in binary mode; a Pillow image; an array, H×W or H×W×C; a
tensor, H×W or C×H×W. Arrays and tensors are gray, RGB or RGBA; uint8, or floats from 0 to 1."""

Images = ImageInput | Iterable[ImageInput]
"""One image or many; a folder or a glob, as a path, stands for many."""

WHAT_AN_IMAGE_IS = "give a path, the bytes of a file, an open file, a Pillow image, an array or a tensor"


def as_list(images: Images) -> tuple[Iterable[ImageInput], bool]:
    """Return the single images, and whether many were asked for: a list, even of one, is many."""
    if isinstance(images, str | os.PathLike):
        path = checked_path(os.fspath(images))
        if os.path.isdir(path) or (glob.has_magic(path) and not os.path.exists(path)):  # noqa: PTH110, PTH112
            return find_images([path]), True  # both are false for what can't be a path
        return [images], False
    if isinstance(images, np.ndarray) and images.ndim == 0:
        return as_list(images.item())
    if isinstance(images, np.ndarray) and images.dtype.kind in "OU":  # of paths, or of images
        return cast(list[Any], images.tolist()), True
    if isinstance(images, np.ndarray | Tensor):
        return ([images], False) if is_one_image(images) else (images, True)
    if isinstance(images, bytes | bytearray | memoryview | Image.Image) or is_file(images):
        return [cast(ImageInput, images)], False
    check_many(images)
    return images, True


def check_many(images: object) -> None:
    """Raise a UserError for what can be iterated over, but not for images in order, and for what can't."""
    if isinstance(images, pd.DataFrame):
        columns = ", ".join(map(str, images.columns))
        raise UserError(f"give the column that holds the images, as table['path']; the columns are {columns}")
    if isinstance(images, Mapping):
        keys = ", ".join(map(str, islice(cast(Mapping[Any, Any], images), 10)))
        raise UserError(f"give the image itself, as row['image'], or a list of images; the keys are {keys}")
    if isinstance(images, AbstractSet):
        raise UserError("a set has no order, in which results could be returned: give a list of images")
    if not isinstance(images, Iterable):
        raise UserError(f"{type(images).__name__} is not an image: {WHAT_AN_IMAGE_IS}")


def checked_batch_size(batch_size: object) -> int:
    """Return a batch size as an int; a UserError unless it is a whole number from 1."""
    try:
        size = operator.index(cast(Any, batch_size))
    except TypeError:
        size = 0
    if size < 1:
        raise UserError(f"batch_size {batch_size!r}: must be a whole number, at least 1")
    return size


def source_name(image: ImageInput) -> str:
    """Return the path of an image that is a file, else an empty string."""
    return os.fspath(image) if isinstance(image, str | os.PathLike) else ""


def preprocessed_batches(images: Iterable[Image.Image], preprocess: Preprocess, batch_size: int) -> Iterator[Tensor]:
    """Yield uint8 batches, N×3×size×size, of images that are decoded when they are asked for."""
    left = iter(images)
    while batch := [preprocess(image) for image in islice(left, batch_size)]:
        yield torch.stack(batch)


def decoded(images: Iterable[ImageInput], many: bool, bit_depth: int | None) -> Iterator[Image.Image]:
    """Decode or convert images to RGB, one after another; a UserError names which of many can't be."""
    for number, image in enumerate(images):
        try:
            yield to_image(image, bit_depth)
        except UserError as error:
            if many and not source_name(image):
                raise type(error)(f"image {number}: {error}") from error
            raise


def to_image(image: ImageInput, bit_depth: int | None = None) -> Image.Image:
    """Decode or convert one image to RGB; a UserError says why it can't be."""
    if isinstance(image, str | os.PathLike):
        return decode(Path(checked_path(os.fspath(image))), bit_depth)
    if isinstance(image, bytes | bytearray | memoryview):
        return decode(bytes(image), bit_depth)
    if isinstance(image, Image.Image):
        return from_pillow(image, bit_depth)
    if isinstance(image, np.ndarray | Tensor):
        if not is_one_image(image):
            raise UserError(f"an element of many is one image, not a batch of {len(image)}: give the batch alone")
        return from_tensor(image) if isinstance(image, Tensor) else from_array(image)
    if is_file(image):
        return decode(content_of(image), bit_depth)
    if isinstance(cast(object, image), Mapping | tuple | list):
        what = "an image and its label" if isinstance(cast(object, image), tuple) else "more than an image"
        raise UserError(f"a {type(image).__name__} is not an image: if it holds {what}, give the image alone")
    raise UserError(f"{one_line(repr(image)[:80])} is not an image: {WHAT_AN_IMAGE_IS}")


ADDRESSES = ("http://", "https://", "ftp://", "s3://", "gs://", "file://", "data:image/")


LONGEST_PATH = 4096
"""In characters: what Linux allows, and more than others do."""


def checked_path(path: str) -> str:
    """Return a path; a UserError for an empty one, which would stand for the current folder, and for an address."""
    if not path:
        raise UserError(f"'' is not an image: {WHAT_AN_IMAGE_IS}")
    if len(path) > LONGEST_PATH:
        raise UserError(f"{path[:80]}… is too long for a path: if it is base64, give base64.b64decode(it)")
    if path.startswith(ADDRESSES) and not os.path.exists(path):  # noqa: PTH110  # a long one is no path
        raise UserError(f"{path[:80]} is an address, not a file: download it first, or give the bytes")
    return path


def from_pillow(image: Image.Image, bit_depth: int | None) -> Image.Image:
    """Convert a Pillow image to upright RGB, as if it were read from its file; the image itself stays as it is."""
    if 0 in image.size:
        raise UserError(f"this Pillow image of {image.width}×{image.height} pixels has none")
    try:
        return to_rgb(image, bit_depth)
    except UserError:
        raise
    except Exception as error:  # Pillow's format plugins raise whatever their parsers trip over
        reason = one_line(" ".join((str(error) or repr(error)).split()))
        raise UnreadableImageError(f"this image: cannot be read ({reason})") from error


def is_file(value: object) -> TypeGuard[BinaryIO]:
    """Return whether a value is an open file, or anything else with its method `read`."""
    return callable(getattr(value, "read", None))


def content_of(file: BinaryIO) -> bytes:
    """Read an open file from where it is; from its start if nothing is left, as after writing to it."""
    try:
        content: Any = file.read()
        if not content and file.seekable():
            file.seek(0)
            content = file.read()
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"this file object cannot be read ({error})") from error
    if not isinstance(content, bytes | bytearray):
        raise UserError(f"this file object reads {type(content).__name__}, not bytes: open the file with mode 'rb'")
    return bytes(content)
