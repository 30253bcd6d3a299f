"""The one place that opens an image file: any format and mode, EXIF orientation applied, RGB uint8 out."""

import contextlib
import io
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from resnet50.errors import UserError

IMAGE_EXTENSIONS = (
    ".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".jp2", ".avif",
)  # fmt: skip

# Pillow warns of oddities in metadata and of large photos: not the user's concern here. One filter for good, because
# `warnings.catch_warnings` around every image is not safe in the threads that read them.
warnings.filterwarnings("ignore", module=r"PIL\.")


class UnreadableImageError(UserError):
    """The file is missing, truncated, or no image that Pillow knows."""


def decode(source: str | Path | bytes) -> Image.Image:
    """Decode a file, or the bytes of one, to an upright RGB image (8 bits a channel).

    Transparent pixels are laid over white: the colour stored under them is arbitrary. 16-bit grey is scaled to 8 bits
    (Pillow's own conversion would clip it to white). Of an animation, the first frame counts.

    Raises:
        UnreadableImageError: with the file's name and the reason.
    """
    name = "these bytes" if isinstance(source, bytes) else str(source)
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
            return to_rgb(upright(image))
    except FileNotFoundError as error:
        raise UnreadableImageError(f"{name}: no such file") from error
    except Image.DecompressionBombError as error:
        raise UnreadableImageError(f"{name}: too many pixels to be a photograph ({error})") from error
    except Exception as error:  # Pillow's format plugins raise whatever their parsers trip over
        reason = "not an image" if isinstance(error, Image.UnidentifiedImageError) else str(error) or repr(error)
        raise UnreadableImageError(f"{name}: cannot be read as an image ({reason})") from error


def upright(image: Image.Image) -> Image.Image:
    """Turn an image as its EXIF orientation says; one whose EXIF block is damaged stays as it is stored."""
    image.load()
    with contextlib.suppress(SyntaxError):  # Pillow's word for a block without structure; the pixels are read by now
        ImageOps.exif_transpose(image, in_place=True)
    return image


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert any Pillow mode to RGB, 8 bits a channel."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith(("I", "F")):
        return Image.fromarray(scale_to_uint8(np.asarray(image))).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def scale_to_uint8(grey: np.ndarray) -> np.ndarray:
    """Map deep grey values to 0–255: floats from 0–1 where all lie there, integers from 16 bits unless all fit 8."""
    values = np.nan_to_num(grey.astype(np.float64))
    peak = values.max(initial=0.0)
    if np.issubdtype(grey.dtype, np.floating):
        values = values * 255.0 if peak <= 1.0 else values
    elif grey.dtype.itemsize == 2 or peak > 255:
        values = values / 257.0
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
