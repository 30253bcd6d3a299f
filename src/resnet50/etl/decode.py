"""Image decoding, for every reader of image files: any format and mode in, upright RGB uint8 out."""

import io
import stat
import warnings
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import simplejpeg
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from resnet50.etl import deep
from resnet50.etl.formats import JPEG_START, UNKNOWN, ContentKind, content_kind, kind_of_file
from resnet50.etl.orientation import EXIF_TRANSPOSE, SWAPS_SIDES, transposition
from resnet50.etl.pixels import PixelRangeError, row_strips
from resnet50.etl.png import without_metadata
from resnet50.etl.tiff import NEEDS_TIFFFILE, TiffTags, has_tifffile, read_with_tifffile, tiff_tags
from resnet50.runtime.errors import UserError

# Pillow warns about odd metadata and about large images; neither concerns the user here. The filter is global because
# `warnings.catch_warnings` around every image is not thread-safe.
warnings.filterwarnings("ignore", module=r"PIL\.")


MAX_FILE_BYTES = 600_000_000
"""Larger files are refused: an uncompressed image with as many pixels as Pillow accepts is smaller."""

MAX_SIDE = 1 << 18
"""In pixels. Every row has a cost of its own, and 69 bytes of PNG can claim 167 million rows of one pixel."""

MAX_SCANS = 100
"""Passes over the image in a progressive JPEG. Encoders write about a dozen; a file of 1 MB has room for thousands."""


class UnreadableImageError(UserError):
    """The file is missing, truncated, or not an image that Pillow can read."""


class OutOfRangeError(UnreadableImageError):
    """The image can be read, but its values don't fit the range that they should have, or have none.

    Attributes:
        peak: largest value, where a bit depth would say what is white; else None.
    """

    def __init__(self, message: str, peak: float | None = None) -> None:
        super().__init__(message)
        self.peak = peak


class DecodedImage(NamedTuple):
    """A decoded image, possibly at a reduced scale.

    Attributes:
        pixels: uint8, h×w×3, RGB, upright.
        width: of the full-size image, upright, in pixels.
        height: likewise.
        clipped: pixels of a deep image whose values lay outside its range and were clipped.
        peak: largest value of an image that was taken to use all of 16 bits, since nothing says otherwise; else None.
    """

    pixels: np.ndarray
    width: int
    height: int
    clipped: int = 0
    peak: float | None = None

    @classmethod
    def from_pil(cls, image: Image.Image) -> Self:
        """Wrap an RGB image at full size."""
        return cls(np.asarray(image), image.width, image.height)


def decode(source: str | Path | bytes, bit_depth: int | None = None) -> Image.Image:
    """Decode an image file, or its bytes, to an upright RGB image (8 bits per channel).

    Transparent images are composited on white, because the color under transparent pixels is arbitrary. Values of more
    than 8 bits are scaled by the rule in `resnet50.etl.pixels`. Of an animation, the first frame is returned.

    Args:
        source: path of the file, or its content.
        bit_depth: bits that integers of more than 8 use; None: as their file says.

    Returns:
        An image of mode RGB, rotated as its EXIF orientation says.

    Raises:
        UnreadableImageError: with the file's name and the reason.
    """
    return Image.fromarray(decode_image(source, bit_depth=bit_depth).pixels)


def decode_image(
    source: str | Path | bytes, shorter_side: int | None = None, bit_depth: int | None = None
) -> DecodedImage:
    """Decode to pixels, optionally at a reduced scale.

    The discrete cosine transform of a JPEG yields the image at 1/2, 1/4 or 1/8 of its size for less work than at full
    size. Without `shorter_side`, the pixels are bit-identical whichever library decodes them.

    Args:
        source: path of the file, or its content.
        shorter_side: pixels that the shorter side needs at least; a JPEG is then decoded at the smallest scale that has
            them. None: full size.
        bit_depth: as for `decode`.

    Raises:
        UnreadableImageError: with the file's name and the reason; an `OutOfRangeError` if the values are the reason.
    """
    name = "these bytes" if isinstance(source, bytes) else one_line(str(source))
    try:
        content = source if isinstance(source, bytes) else read_image_file(source)
    except FileNotFoundError as error:
        raise UnreadableImageError(f"{name}: no such file") from error
    except OSError as error:
        raise UnreadableImageError(f"{name}: {cannot_be_opened(error)}") from error
    except ValueError as error:  # a name with a NUL
        raise UnreadableImageError(f"{name}: not a path ({error})") from error
    try:
        return decode_bytes(content, shorter_side, bit_depth)
    except PixelRangeError as error:
        raise OutOfRangeError(f"{name}: {error}", error.peak) from error
    except Image.DecompressionBombError as error:
        raise UnreadableImageError(f"{name}: too many pixels for an image ({error})") from error
    except Exception as error:  # Pillow's format plugins raise whatever their parsers trip over
        reason = one_line(" ".join((str(error) or repr(error)).split()))
        if isinstance(error, Image.UnidentifiedImageError):
            kind = content_kind(content)
            reason = kind.hint or f"a damaged {kind.name}"
        raise UnreadableImageError(f"{name}: cannot be read as an image ({reason})") from error


def decode_bytes(content: bytes, shorter_side: int | None, bit_depth: int | None = None) -> DecodedImage:
    """Decode the content of a file; raises whatever its decoder raises if it can't be decoded."""
    try:
        return decode_as_it_is(content, shorter_side, bit_depth)
    except (PixelRangeError, Image.DecompressionBombError):
        raise
    except Exception:
        pixels = without_metadata(content)
        if pixels == content:
            raise
        return decode_as_it_is(pixels, shorter_side, bit_depth)


def decode_as_it_is(content: bytes, shorter_side: int | None, bit_depth: int | None) -> DecodedImage:
    kind = None if content[:3] == JPEG_START else content_kind(content)
    if kind is not None and kind.hint not in ("", UNKNOWN.hint):
        raise Image.UnidentifiedImageError  # some of them Pillow would open: the preview of a camera raw, PostScript
    if kind is not None and kind.name == "DICOM":
        return decode_dicom(content, bit_depth)
    if kind is not None and kind.name == "HEIC":
        register_heif()
    try:
        with Image.open(io.BytesIO(content)) as image:  # reads the header only
            if max(image.size) > MAX_SIDE:
                raise ValueError(f"{image.width:,}×{image.height:,} pixels: a side is longer than {MAX_SIDE:,}")
            if "progressive" in image.info and content.count(b"\xff\xda") > MAX_SCANS:
                raise ValueError(f"more than {MAX_SCANS} scans")
            return decode_jpeg(content, image, shorter_side) or decode_any(image, content, bit_depth)
    except Image.UnidentifiedImageError:
        return decode_unidentified(content, kind, bit_depth)


def decode_unidentified(content: bytes, kind: ContentKind | None, bit_depth: int | None) -> DecodedImage:
    """Decode what Pillow doesn't know: some TIFFs, if tifffile is installed."""
    if kind is None or kind.name != "TIFF":
        raise Image.UnidentifiedImageError
    if not has_tifffile():
        raise ValueError(NEEDS_TIFFFILE)
    return decode_with_tifffile(content, bit_depth)


def decode_with_tifffile(content: bytes, bit_depth: int | None) -> DecodedImage:
    values = read_with_tifffile(content, max_pixels())
    turn = EXIF_TRANSPOSE.get(values.orientation) if isinstance(values.orientation, int) else None
    return finished(turned(deep.tiff_to_eight_bits(values, bit_depth), turn))


def decode_dicom(content: bytes, bit_depth: int | None) -> DecodedImage:
    from resnet50.etl.dicom import read_dicom

    return finished(deep.with_alpha(read_dicom(content, max_pixels(), bit_depth), None))


def register_heif() -> None:
    """Let Pillow open HEIC files."""
    from pi_heif import register_heif_opener

    register_heif_opener()


def image_size(path: str) -> tuple[int, int]:
    """Return width and height from an image's header; raises whatever its decoder raises."""
    kind = kind_of_file(path)
    if kind.name == "DICOM" and kind.readable:
        from resnet50.etl.dicom import dicom_size

        return dicom_size(path)
    if kind.name == "HEIC" and kind.readable:
        register_heif()
    with Image.open(path) as image:
        return image.size


def max_pixels() -> int:
    """Return the number of pixels beyond which Pillow refuses an image."""
    return 2 * (Image.MAX_IMAGE_PIXELS or MAX_SIDE**2)


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
    turn = transposition(header)
    if turn is not None:
        pixels = np.asarray(Image.fromarray(pixels).transpose(turn))
        if turn in SWAPS_SIDES:
            width, height = height, width
    return DecodedImage(pixels, width, height)


def decode_any(image: Image.Image, content: bytes, bit_depth: int | None) -> DecodedImage:
    tags = tiff_tags(image)
    if tags is not None and tags.unknown_to_pillow:
        return decode_with_tifffile(content, bit_depth)
    return finished(upright_8_bits(image, content, tags, bit_depth))


def upright_8_bits(image: Image.Image, content: bytes, tags: TiffTags | None, bit_depth: int | None) -> deep.EightBits:
    load_pixels(image)
    return turned(deep.to_eight_bits(image, content, tags, bit_depth), transposition(image))


def load_pixels(image: Image.Image) -> None:
    """Load an opened image; its file is read and not mapped, as Pillow maps TIFFs by their sides after turning them."""
    name = getattr(image, "filename", None)
    if not isinstance(image, TiffImageFile) or name is None:
        image.load()
        return
    image.filename = ""
    try:
        image.load()
    finally:
        image.filename = name


def turned(found: deep.EightBits, turn: Image.Transpose | None) -> deep.EightBits:
    return found if turn is None else found._replace(image=found.image.transpose(turn))


def finished(found: deep.EightBits) -> DecodedImage:
    image = found.image
    return DecodedImage(rgb_pixels(image), image.width, image.height, found.clipped, found.peak)


def to_rgb(image: Image.Image, bit_depth: int | None = None) -> Image.Image:
    """Return an image in memory as RGB, upright as from its file; the image itself stays as it is.

    Raises:
        UnreadableImageError: it is cut off or damaged, or its values don't fit the range that they should have.
    """
    tags = tiff_tags(image)
    if tags is not None and tags.unknown_to_pillow:
        raise UnreadableImageError("this image: Pillow reads TIFFs of this kind wrong; give its path or its bytes")
    try:
        found = upright_8_bits(image, b"", tags, bit_depth).image
    except PixelRangeError as error:
        raise OutOfRangeError(f"this image: {error}", error.peak) from error
    except (OSError, SyntaxError, ValueError) as error:  # an opened file is only now read in full
        raise UnreadableImageError(f"this image: cannot be read ({one_line(str(error))})") from error
    return found if is_rgb(found) else Image.fromarray(rgb_pixels(found))


def is_rgb(image: Image.Image) -> bool:
    return image.mode == "RGB" and "transparency" not in image.info


def rgb_pixels(image: Image.Image) -> np.ndarray:
    """Convert an image of any mode of 8 bits to RGB pixels: uint8, h×w×3."""
    if is_rgb(image):
        return np.asarray(image)
    convert = composite_on_white if image.has_transparency_data else plain_rgb
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    for rows in row_strips(image.height, image.width):
        pixels[rows] = convert(image.crop((0, rows.start, image.width, rows.stop)))
    return pixels


def plain_rgb(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("RGB"))


def composite_on_white(image: Image.Image) -> np.ndarray:
    straight = image.convert("LA") if image.mode == "La" else image
    rgba = straight.convert("RGBA")
    white = Image.new("RGBA", rgba.size, "white")
    return np.asarray(Image.alpha_composite(white, rgba).convert("RGB"))
