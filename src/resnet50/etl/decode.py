"""The one place that opens an image file: any format and mode, EXIF orientation applied, RGB uint8 out."""

import contextlib
import io
import re
import stat
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import simplejpeg
from PIL import ExifTags, Image, ImageOps

from resnet50.runtime.errors import UserError

IMAGE_EXTENSIONS = (
    ".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".jp2", ".avif",
)  # fmt: skip

# Pillow warns of oddities in metadata and of large photos: not the user's concern here. One filter for good, because
# `warnings.catch_warnings` around every image is not safe in the threads that read them.
warnings.filterwarnings("ignore", module=r"PIL\.")


LARGEST_FILE = 600_000_000
"""Bytes of a file: an uncompressed photo of as many pixels as Pillow opens has fewer."""

STRIP = 1 << 22
"""Pixels that are converted at a time: on the way, some modes need ten times the memory of the result."""

LONGEST_SIDE = 1 << 18
"""Pixels: each row costs something by itself, and 69 bytes of PNG may claim 167 million rows of one pixel."""

MOST_SCANS = 100
"""Passes over the image in a progressive JPEG: programs write a dozen, and a file of 1 MB has room for thousands."""

OTHER_KINDS = {
    "HEIC": rb"....ftyp(?:hei[cmsx]|hev[cmsx]|mif1|msf1)",
    "JPEG XL": rb"\xff\x0a|\0\0\0\x0cJXL ",
    "SVG": rb"(?:\xef\xbb\xbf)?\s*<(?:.*<)?svg[\s>]",
    "PDF": rb"%PDF-",
    "EPS": rb"%!PS|\xc5\xd0\xd3\xc6",
}
"""What is taken for photos and can't be read here: a pattern of how each starts."""


class UnreadableImageError(UserError):
    """The file is missing, truncated, or no image that Pillow knows."""


class DecodedImage(NamedTuple):
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

    Transparent pixels are laid over white: the color stored under them is arbitrary. 16-bit gray is scaled to 8 bits
    (Pillow's own conversion would clip it to white). Of an animation, the first frame counts.

    Raises:
        UnreadableImageError: with the file's name and the reason.
    """
    return Image.fromarray(decode_image(source).pixels)


def decode_image(source: str | Path | bytes, shorter_side: int | None = None) -> DecodedImage:
    """Decode to pixels; with `shorter_side`, to no fewer than that many on the shorter side, where that is quicker.

    A JPEG's discrete cosine transform yields the image at a half, a quarter or an eighth of its size for less work than
    at its full size. Without `shorter_side` the pixels are the same, bit by bit, whichever library decodes.

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
        return decoded_image_of(content, shorter_side)
    except Image.DecompressionBombError as error:
        raise UnreadableImageError(f"{name}: too many pixels to be a photograph ({error})") from error
    except Exception as error:  # Pillow's format plugins raise whatever their parsers trip over
        unknown = isinstance(error, Image.UnidentifiedImageError)
        reason = what_it_is(content) if unknown else one_line(" ".join((str(error) or repr(error)).split()))
        raise UnreadableImageError(f"{name}: cannot be read as an image ({reason})") from error


def decoded_image_of(content: bytes, shorter_side: int | None) -> DecodedImage:
    """Decode the bytes of a file; whatever Pillow raises where it can't."""
    with Image.open(io.BytesIO(content)) as image:  # reads the header only
        if image.format == "EPS":  # a program: Pillow would let Ghostscript run it
            raise Image.UnidentifiedImageError
        if max(image.size) > LONGEST_SIDE:
            raise ValueError(f"{image.width:,}×{image.height:,} pixels are no photo's shape")
        if "progressive" in image.info and content.count(b"\xff\xda") > MOST_SCANS:
            raise ValueError(f"more than {MOST_SCANS} scans")
        return decode_jpeg(content, image, shorter_side) or decode_any(image)


def read_image_file(path: str | Path) -> bytes:
    """Return the bytes of an image file.

    Raises:
        OSError: it can't be opened, is no ordinary file (of a pipe one would wait for ever), or is too large.
    """
    path = Path(path)
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError("a folder" if stat.S_ISDIR(status.st_mode) else "no ordinary file")
    if status.st_size > LARGEST_FILE:
        raise OSError(f"{status.st_size / 1e9:,.1f} GB are too many for a photo")
    return path.read_bytes()


def cannot_be_opened(error: OSError) -> str:
    """Say why `read_image_file` failed."""
    return f"cannot be opened ({error.strerror or error})"


def what_it_is(content: bytes) -> str:
    """Say what a file is that no decoder knows."""
    if not content:
        return "the file is empty"
    for kind, start in OTHER_KINDS.items():
        if re.match(start, content[:4096], re.DOTALL | re.IGNORECASE):
            return f"{kind} is not supported: convert it to JPEG or PNG"
    return "not an image"


def one_line(text: str) -> str:
    """Return text with escapes for what can't be printed on one line."""
    return text if text.isprintable() else repr(text)[1:-1]


def decode_jpeg(content: bytes, header: Image.Image, shorter_side: int | None) -> DecodedImage | None:
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
    return DecodedImage(pixels, width, height)


def decode_any(image: Image.Image) -> DecodedImage:
    """Decode an image of any format with Pillow."""
    image = upright(image)
    return DecodedImage(rgb_pixels(image), image.width, image.height)


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
    return image if is_rgb(image) else Image.fromarray(rgb_pixels(image))


def is_rgb(image: Image.Image) -> bool:
    """Return whether an image needs no conversion."""
    return image.mode == "RGB" and "transparency" not in image.info


def rgb_pixels(image: Image.Image) -> np.ndarray:
    """Return the pixels of an image of any Pillow mode as RGB: uint8, h×w×3."""
    if is_rgb(image):
        return np.asarray(image)
    convert = conversion(image)
    if image.width * image.height <= STRIP:
        return convert(image)
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    for rows in strips(image):
        pixels[rows] = convert(rows_of(image, rows))
    return pixels


def conversion(image: Image.Image) -> Callable[[Image.Image], np.ndarray]:
    """Return what makes RGB pixels of an image that is not RGB, or of some rows of it."""
    if image.mode.startswith(("I", "F")):
        peak = max(float(np.nan_to_num(np.asarray(rows_of(image, rows))).max()) for rows in strips(image))
        return lambda part: np.repeat(scale_to_uint8(np.asarray(part), peak)[..., np.newaxis], 3, axis=2)
    if image.has_transparency_data:
        return lay_on_white
    return lambda part: np.asarray(part.convert("RGB"))


def strips(image: Image.Image) -> list[slice]:
    """Return the rows of an image in strips of about `STRIP` pixels."""
    rows = max(1, STRIP // image.width)
    return [slice(top, min(top + rows, image.height)) for top in range(0, image.height, rows)]


def rows_of(image: Image.Image, rows: slice) -> Image.Image:
    """Return some rows of an image."""
    return image.crop((0, rows.start, image.width, rows.stop))


def lay_on_white(image: Image.Image) -> np.ndarray:
    """Return the pixels of a transparent image over white."""
    rgba = image.convert("RGBA")
    white = Image.new("RGBA", rgba.size, "white")
    return np.asarray(Image.alpha_composite(white, rgba).convert("RGB"))


def scale_to_uint8(gray: np.ndarray, peak: float) -> np.ndarray:
    """Map deep gray values to 0–255: floats from 0–1 where all lie there, integers from 16 bits unless all fit 8.

    Args:
        gray: the values, or some of them.
        peak: the largest of all.
    """
    values = np.nan_to_num(gray.astype(np.float64))
    if np.issubdtype(gray.dtype, np.floating):
        values = values * 255.0 if peak <= 1.0 else values
    elif gray.dtype.itemsize == 2 or peak > 255:
        values = values / 257.0
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
