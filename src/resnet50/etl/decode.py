"""Image decoding, for every reader of image files: any format and mode in, upright RGB uint8 out."""

import contextlib
import io
import stat
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import simplejpeg
from PIL import ExifTags, Image, ImageOps

from resnet50.etl.formats import JPEG_START, UNKNOWN, content_kind
from resnet50.runtime.errors import UserError

# Pillow warns about odd metadata and about large images; neither concerns the user here. The filter is global because
# `warnings.catch_warnings` around every image is not thread-safe.
warnings.filterwarnings("ignore", module=r"PIL\.")


MAX_FILE_BYTES = 600_000_000
"""Larger files are refused: an uncompressed image with as many pixels as Pillow accepts is smaller."""

STRIP_PIXELS = 1 << 22
"""Pixels converted at a time: converting some modes needs ten times the memory of the result."""

MAX_SIDE = 1 << 18
"""In pixels. Every row has a cost of its own, and 69 bytes of PNG can claim 167 million rows of one pixel."""

MAX_SCANS = 100
"""Passes over the image in a progressive JPEG. Encoders write about a dozen; a file of 1 MB has room for thousands."""


class UnreadableImageError(UserError):
    """The file is missing, truncated, or not an image that Pillow can read."""


class DecodedImage(NamedTuple):
    """A decoded image, possibly at a reduced scale.

    Attributes:
        pixels: uint8, h×w×3, RGB, upright.
        width: of the full-size image, upright, in pixels.
        height: likewise.
    """

    pixels: np.ndarray
    width: int
    height: int

    @classmethod
    def from_pil(cls, image: Image.Image) -> Self:
        """Wrap an RGB image at full size."""
        return cls(np.asarray(image), image.width, image.height)


def decode(source: str | Path | bytes) -> Image.Image:
    """Decode an image file, or its bytes, to an upright RGB image (8 bits per channel).

    Transparent images are composited on white, because the color under transparent pixels is arbitrary. 16-bit gray is
    scaled to 8 bits (Pillow's own conversion clips it to white). Of an animation, the first frame is returned.

    Args:
        source: path of the file, or its content.

    Returns:
        An image of mode RGB, rotated as its EXIF orientation says.

    Raises:
        UnreadableImageError: with the file's name and the reason.
    """
    return Image.fromarray(decode_image(source).pixels)


def decode_image(source: str | Path | bytes, shorter_side: int | None = None) -> DecodedImage:
    """Decode to pixels, optionally at a reduced scale.

    The discrete cosine transform of a JPEG yields the image at 1/2, 1/4 or 1/8 of its size for less work than at full
    size. Without `shorter_side`, the pixels are bit-identical whichever library decodes them.

    Args:
        source: path of the file, or its content.
        shorter_side: pixels that the shorter side needs at least; a JPEG is then decoded at the smallest scale that has
            them. None: full size.

    Raises:
        UnreadableImageError: with the file's name and the reason.
    """
    name = "these bytes" if isinstance(source, bytes) else one_line(str(source))
    try:
        content = source if isinstance(source, bytes) else read_image_file(source)
    except FileNotFoundError as error:
        raise UnreadableImageError(f"{name}: no such file") from error
    except OSError as error:
        raise UnreadableImageError(f"{name}: {cannot_be_opened(error)}") from error
    try:
        return decode_bytes(content, shorter_side)
    except Image.DecompressionBombError as error:
        raise UnreadableImageError(f"{name}: too many pixels for an image ({error})") from error
    except Exception as error:  # Pillow's format plugins raise whatever their parsers trip over
        reason = one_line(" ".join((str(error) or repr(error)).split()))
        if isinstance(error, Image.UnidentifiedImageError):
            reason = content_kind(content).hint or "not an image"
        raise UnreadableImageError(f"{name}: cannot be read as an image ({reason})") from error


def decode_bytes(content: bytes, shorter_side: int | None) -> DecodedImage:
    """Decode the content of a file; raises whatever Pillow raises if it can't be decoded."""
    if content[:3] != JPEG_START and content_kind(content).hint not in ("", UNKNOWN.hint):
        raise Image.UnidentifiedImageError  # some of them Pillow would open: the preview of a camera raw, PostScript
    with Image.open(io.BytesIO(content)) as image:  # reads the header only
        if max(image.size) > MAX_SIDE:
            raise ValueError(f"{image.width:,}×{image.height:,} pixels: a side is longer than {MAX_SIDE:,}")
        if "progressive" in image.info and content.count(b"\xff\xda") > MAX_SCANS:
            raise ValueError(f"more than {MAX_SCANS} scans")
        return decode_jpeg(content, image, shorter_side) or decode_any(image)


def read_image_file(path: str | Path) -> bytes:
    """Return the content of an image file.

    Raises:
        OSError: the file can't be opened, is not a regular file (reading a pipe could block forever), or is too large.
    """
    path = Path(path)
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError("a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file")
    if status.st_size > MAX_FILE_BYTES:
        raise OSError(f"{status.st_size / 1e9:,.1f} GB are too many for an image")
    return path.read_bytes()


def cannot_be_opened(error: OSError) -> str:
    return f"cannot be opened ({error.strerror or error})"


def one_line(text: str) -> str:
    """Escape everything in a text that can't be printed on one line."""
    return text if text.isprintable() else repr(text)[1:-1]


def decode_jpeg(content: bytes, header: Image.Image, shorter_side: int | None) -> DecodedImage | None:
    """Decode an ordinary JPEG with simplejpeg, which uses the same library as Pillow with less overhead.

    Returns None for any other file, and for a JPEG that simplejpeg rejects: Pillow then decides whether it is readable.
    """
    if header.format != "JPEG" or header.mode not in ("RGB", "L"):
        return None
    min_side = shorter_side or 0  # 0: at full size
    try:
        pixels = simplejpeg.decode_jpeg(content, "RGB", min_height=min_side, min_width=min_side)
    except ValueError:
        return None
    width, height = header.size
    transpose = EXIF_TRANSPOSE.get(orientation(header) or 1)
    if transpose is not None:
        pixels = np.asarray(Image.fromarray(pixels).transpose(transpose))
        if transpose in SWAPS_SIDES:
            width, height = height, width
    return DecodedImage(pixels, width, height)


def decode_any(image: Image.Image) -> DecodedImage:
    image = upright(image)
    return DecodedImage(rgb_pixels(image), image.width, image.height)


EXIF_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""Transposition that makes an image upright, by its EXIF orientation (EXIF 2.3, tag 0x0112)."""

SWAPS_SIDES = {EXIF_TRANSPOSE[value] for value in (5, 6, 7, 8)}
"""Transpositions that swap width and height."""


def orientation(image: Image.Image) -> int | None:
    """Return the EXIF orientation, without loading the pixels; None if there is none."""
    with contextlib.suppress(SyntaxError):  # what Pillow raises for a malformed EXIF block
        return image.getexif().get(ExifTags.Base.Orientation)


def upright(image: Image.Image) -> Image.Image:
    """Rotate an image as its EXIF orientation says; an image with a damaged EXIF block stays as it is stored."""
    image.load()
    with contextlib.suppress(SyntaxError):  # malformed EXIF block; the pixels are loaded by now
        ImageOps.exif_transpose(image, in_place=True)
    return image


def to_rgb(image: Image.Image) -> Image.Image:
    return image if is_rgb(image) else Image.fromarray(rgb_pixels(image))


def is_rgb(image: Image.Image) -> bool:
    return image.mode == "RGB" and "transparency" not in image.info


def rgb_pixels(image: Image.Image) -> np.ndarray:
    """Convert an image of any Pillow mode to RGB pixels: uint8, h×w×3."""
    if is_rgb(image):
        return np.asarray(image)
    convert = conversion(image)
    if image.width * image.height <= STRIP_PIXELS:
        return convert(image)
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    for rows in strips(image):
        pixels[rows] = convert(crop_rows(image, rows))
    return pixels


def conversion(image: Image.Image) -> Callable[[Image.Image], np.ndarray]:
    """Return the function that converts a non-RGB image, or some rows of it, to RGB pixels."""
    if image.mode.startswith(("I", "F")):
        peak = max(float(np.nan_to_num(np.asarray(crop_rows(image, rows))).max()) for rows in strips(image))
        return lambda strip: np.repeat(scale_to_uint8(np.asarray(strip), peak)[..., np.newaxis], 3, axis=2)
    if image.has_transparency_data:
        return composite_on_white
    return lambda strip: np.asarray(strip.convert("RGB"))


def strips(image: Image.Image) -> list[slice]:
    """Split the rows of an image into slices of about `STRIP_PIXELS` pixels."""
    rows = max(1, STRIP_PIXELS // image.width)
    return [slice(top, min(top + rows, image.height)) for top in range(0, image.height, rows)]


def crop_rows(image: Image.Image, rows: slice) -> Image.Image:
    return image.crop((0, rows.start, image.width, rows.stop))


def composite_on_white(image: Image.Image) -> np.ndarray:
    rgba = image.convert("RGBA")
    white = Image.new("RGBA", rgba.size, "white")
    return np.asarray(Image.alpha_composite(white, rgba).convert("RGB"))


def scale_to_uint8(gray: np.ndarray, peak: float) -> np.ndarray:
    """Map gray values to 0–255.

    Floats are scaled from 0–1 if none is above 1. Integers are scaled from 16 bits, except wide types whose values all
    fit in 8 bits.

    Args:
        gray: gray values, or part of an image's.
        peak: largest value of the whole image.
    """
    values = np.nan_to_num(gray.astype(np.float64))
    if np.issubdtype(gray.dtype, np.floating):
        values = values * 255.0 if peak <= 1.0 else values
    elif gray.dtype.itemsize == 2 or peak > 255:
        values = values / 257.0
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
