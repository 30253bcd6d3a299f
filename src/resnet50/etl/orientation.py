"""Turning images upright: the EXIF orientation is read alone, so that odd metadata beside it does no harm."""

import contextlib

from PIL import ExifTags, Image

from resnet50.etl.formats import first_directory

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

EXIF_HEADER = b"Exif\0\0"

OTHER_PLACES = ("Raw profile type exif", "XML:com.adobe.xmp", "xmp")
"""Keys of `Image.info` where Pillow looks for an orientation besides the EXIF block."""


def transposition(image: Image.Image) -> Image.Transpose | None:
    """Return what makes an image upright, None if it is, or if its orientation can't be read."""
    return EXIF_TRANSPOSE.get(orientation(image) or 1)


def orientation(image: Image.Image) -> int | None:
    """Return the EXIF orientation, without loading the pixels; None if there is none.

    Of a TIFF there is none: Pillow turns it when it loads it.
    """
    block = image.info.get("exif")
    if isinstance(block, bytes):
        value = first_directory(without_headers(block)).get(ExifTags.Base.Orientation)
        if value is not None:
            return value
    if any(key in image.info for key in OTHER_PLACES):
        with contextlib.suppress(Exception):  # malformed metadata raises whatever its parser trips over
            return image.getexif().get(ExifTags.Base.Orientation)
    return None


def without_headers(block: bytes) -> bytes:
    """Return the directories of an EXIF block; some programs write the header in front of them twice."""
    while block.startswith(EXIF_HEADER):
        block = block.removeprefix(EXIF_HEADER)
    return block
