"""The one place that opens an image file: any format and mode, EXIF orientation applied, RGB uint8 out."""

import contextlib
import io
import warnings
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import simplejpeg
from PIL import ExifTags, Image, ImageOps

from resnet50.errors import UserError

IMAGE_EXTENSIONS = (
    ".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".jp2", ".avif",
)  # fmt: skip

# Pillow warns of oddities in metadata and of large photos: not the user's concern here. One filter for good, because
# `warnings.catch_warnings` around every image is not safe in the threads that read them.
warnings.filterwarnings("ignore", module=r"PIL\.")


class UnreadableImageError(UserError):
    """The file is missing, truncated, or no image that Pillow knows."""


class Photo(NamedTuple):
    """A decoded image, possibly smaller than the file's: pixels are uint8, h×w×3, RGB, upright.

    `width` and `height` are those of the file's whole image, upright, in pixels.
    """

    pixels: np.ndarray
    width: int
    height: int

    @classmethod
    def of(cls, image: Image.Image) -> Self:
        """Take an RGB image as it is."""
        return cls(np.asarray(image), image.width, image.height)


def decode(source: str | Path | bytes) -> Image.Image:
    """Decode a file, or the bytes of one, to an upright RGB image (8 bits a channel).

    Transparent pixels are laid over white: the colour stored under them is arbitrary. 16-bit grey is scaled to 8 bits
    (Pillow's own conversion would clip it to white). Of an animation, the first frame counts.

    Raises:
        UnreadableImageError: with the file's name and the reason.
    """
    return Image.fromarray(decode_photo(source).pixels)


def decode_photo(source: str | Path | bytes, shorter_side: int | None = None) -> Photo:
    """Decode to pixels; with `shorter_side`, to no fewer than that many on the shorter side, where that is quicker.

    A JPEG's discrete cosine transform yields the image at a half, a quarter or an eighth of its size for less work than
    at its full size. Without `shorter_side` the pixels are the same, bit by bit, whichever library decodes.

    Raises:
        UnreadableImageError: with the file's name and the reason.
    """
    name = "these bytes" if isinstance(source, bytes) else str(source)
    try:
        content = source if isinstance(source, bytes) else Path(source).read_bytes()
        with Image.open(io.BytesIO(content)) as image:  # reads the header only
            return decode_jpeg(content, image, shorter_side) or Photo.of(to_rgb(upright(image)))
    except FileNotFoundError as error:
        raise UnreadableImageError(f"{name}: no such file") from error
    except Image.DecompressionBombError as error:
        raise UnreadableImageError(f"{name}: too many pixels to be a photograph ({error})") from error
    except Exception as error:  # Pillow's format plugins raise whatever their parsers trip over
        reason = "not an image" if isinstance(error, Image.UnidentifiedImageError) else str(error) or repr(error)
        raise UnreadableImageError(f"{name}: cannot be read as an image ({reason})") from error


def decode_jpeg(content: bytes, header: Image.Image, shorter_side: int | None) -> Photo | None:
    """Decode an ordinary JPEG with simplejpeg: the library under Pillow, without its detours; None for any other file.

    What makes simplejpeg complain goes to Pillow too, which has the last word on whether it can be read.
    """
    if header.format != "JPEG" or header.mode not in ("RGB", "L"):
        return None
    smallest = shorter_side or 0  # 0: at full size
    try:
        pixels = simplejpeg.decode_jpeg(content, "RGB", min_height=smallest, min_width=smallest)
    except ValueError:
        return None
    width, height = header.size
    turn = TURNS.get(orientation(header) or 1)
    if turn is not None:
        pixels = np.asarray(Image.fromarray(pixels).transpose(turn))
        if turn in SWAPPING:
            width, height = height, width
    return Photo(pixels, width, height)


TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes an image upright, by the value of its EXIF orientation (EXIF 2.3, tag 0x0112)."""

SWAPPING = {TURNS[value] for value in (5, 6, 7, 8)}
"""Those that make width of height."""


def orientation(image: Image.Image) -> int | None:
    """Return the EXIF orientation of an image that may not be loaded yet; None where it says nothing."""
    with contextlib.suppress(SyntaxError):  # Pillow's word for a block without structure
        return image.getexif().get(ExifTags.Base.Orientation)


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
