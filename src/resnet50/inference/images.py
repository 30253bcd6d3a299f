"""Everything a user may give for an image or for many: paths, folders, globs, bytes, Pillow images, arrays, columns."""

import glob
import os
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from resnet50.data.transforms import Preprocess
from resnet50.etl.decode import decode, to_rgb
from resnet50.inference.files import find_images
from resnet50.runtime.errors import UserError

ImageInput = str | os.PathLike[str] | bytes | Image.Image | np.ndarray
"""One image: a file, the bytes of one, a Pillow image, or a uint8 array, H×W×3 (RGB) or H×W (gray)."""

Images = ImageInput | Iterable[ImageInput]
"""One image or many; a folder or a glob, as a path, stands for many."""


def as_list(images: Images) -> tuple[Iterable[ImageInput], bool]:
    """Return the single images, and whether many were asked for: a list, even of one, is many."""
    if isinstance(images, str | os.PathLike):
        path = Path(images)
        if path.is_dir() or (glob.has_magic(str(images)) and not path.exists()):
            return find_images([os.fspath(images)]), True
        return [images], False
    if isinstance(images, bytes | Image.Image):
        return [images], False
    if isinstance(images, np.ndarray) and images.dtype != object and images.ndim < 4:
        return [images], False
    if isinstance(images, pd.DataFrame):
        columns = ", ".join(map(str, images.columns))
        raise UserError(f"give the column that holds the images, as table['path']; the columns are {columns}")
    if not isinstance(cast(object, images), Iterable):
        raise UserError(f"{type(images).__name__} is not an image: give a path, bytes, a Pillow image or a uint8 array")
    return images, True


def source_name(image: ImageInput) -> str:
    """Return the path of an image that is a file, else an empty string."""
    return os.fspath(image) if isinstance(image, str | os.PathLike) else ""


def preprocessed_batches(images: Iterable[ImageInput], preprocess: Preprocess, batch_size: int) -> Iterator[Tensor]:
    """Yield uint8 batches, N×3×size×size, each decoded when it is asked for."""
    if batch_size < 1:
        raise UserError(f"batch_size {batch_size}: must be at least 1")
    left = iter(images)
    while batch := [preprocess(to_image(image, preprocess.bit_depth)) for image in islice(left, batch_size)]:
        yield torch.stack(batch)


def to_image(image: ImageInput, bit_depth: int | None = None) -> Image.Image:
    """Decode or convert one image to RGB; a UserError names what cannot be read."""
    if isinstance(image, Image.Image):
        return to_rgb(image, bit_depth)
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim not in (2, 3):
            raise UserError(f"an array image must be uint8, H×W×3 or H×W, not {image.dtype} {image.shape}")
        return to_rgb(Image.fromarray(image))
    if isinstance(image, bytes):
        return decode(image, bit_depth)
    if not isinstance(cast(object, image), str | os.PathLike):
        raise UserError(f"{image!r} is not an image: give a path, bytes, a Pillow image or a uint8 array")
    return decode(Path(image), bit_depth)
