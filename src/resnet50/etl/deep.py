"""Images of more than 8 bits a channel: gray of 12, 16 or 32 bits, floats, 16-bit color."""

import re
import struct
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from resnet50.etl.pixels import GrayLevels, PixelRange, choose_range, to_uint8
from resnet50.etl.tiff import UNSIGNED, TiffTags, TiffValues


class EightBits(NamedTuple):
    """An image of 8 bits a channel, made from one that may have more.

    Attributes:
        image: of any mode but I, F and I;16.
        clipped: pixels whose values lay outside the range and were clipped.
        peak: largest value, where 16 bits were assumed; else None.
    """

    image: Image.Image
    clipped: int = 0
    peak: float | None = None


def to_eight_bits(image: Image.Image, content: bytes, tags: TiffTags | None, bit_depth: int | None) -> EightBits:
    """Map the values of a loaded image to 8 bits.

    Args:
        image: with its pixels loaded.
        content: of its file; empty for an image in memory.
        tags: of a TIFF, read before its pixels were.
        bit_depth: as for `choose_range`.

    Raises:
        PixelRangeError: the values don't fit their range, or have none.
        ValueError: 16-bit color of a kind that can't be read in full depth.
    """
    png = png_header(content)
    if image.mode.startswith(("I", "F")):
        return gray_levels(image, content, tags, bit_depth)
    deep_tiff = tags is not None and tags.bits == 16 and tags.samples > 1
    if deep_tiff or (png is not None and png.depth == 16):
        return color_levels(image, content, tags, bit_depth)
    transparent = image.info.get("transparency")
    if png is not None and png.depth in (2, 4) and image.mode == "L" and isinstance(transparent, int):
        image.info["transparency"] = transparent * 255 // (2**png.depth - 1)  # Pillow scales the pixels only
    return EightBits(image)


def gray_levels(image: Image.Image, content: bytes, tags: TiffTags | None, bit_depth: int | None) -> EightBits:
    values = gray_values(image, tags)
    span = scaled_range(image, content, tags)
    if span is None:
        declared = tags.declared if tags else low_justified(values, content)
        span = choose_range(values, bit_depth, declared)
    levels = to_uint8(values, span.inverted() if tags and tags.inverted else span)
    gray = Image.fromarray(levels.pixels)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        gray.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
    return EightBits(gray, levels.clipped, levels.peak)


def gray_values(image: Image.Image, tags: TiffTags | None) -> np.ndarray:
    """Return the values in their file's type, which Pillow's mode I hides."""
    values = np.asarray(image)
    if image.mode != "I":
        return values
    if image.format in ("PPM", "PNG"):  # 16 bits without sign
        return values.astype(np.uint16)
    if tags is not None and tags.sample_format == UNSIGNED:
        return values.view(np.uint32)
    return values


def scaled_range(image: Image.Image, content: bytes, tags: TiffTags | None) -> PixelRange | None:
    """Return the range of values whose number of bits the format itself fixes; None for any other."""
    if tags is not None and 8 < tags.bits < 16:
        return PixelRange(0, 2**tags.bits - 1)
    if image.format == "PPM" and image.mode != "F" and pgm_maximum(content) != 65535:
        return PixelRange(0, 65535)  # to which Pillow scales them
    if image.format == "JPEG2000" and jpeg2000_bits(content) < 16:
        return PixelRange(0, 65535)
    return None


def pgm_maximum(content: bytes) -> int:
    header = re.match(rb"P[25](?:\s|#[^\n]*\n)+\d+(?:\s|#[^\n]*\n)+\d+(?:\s|#[^\n]*\n)+(\d+)", content[:4096])
    return int(header[1]) if header else 0


def jpeg2000_bits(content: bytes) -> int:
    """Return the bits of the first channel, from the marker SIZ of the codestream; 16 if it isn't found."""
    at = content.find(b"\xff\x4f\xff\x51")
    return 16 if at < 0 or at + 42 >= len(content) else (content[at + 42] & 0x7F) + 1


def color_levels(image: Image.Image, content: bytes, tags: TiffTags | None, bit_depth: int | None) -> EightBits:
    """Map 16-bit color to 8 bits. Pillow has kept the upper 8 bits; they suffice where all 16 are used."""
    known = tags.declared if tags else None
    if bit_depth in (None, 16) and known is None and "transparency" not in image.info and not significant_bits(content):
        peak = None if bit_depth else float(max(high for _, high in extrema(image)) * 256 + 255)
        return EightBits(image, peak=peak)
    values = color_values(image, content)
    color = values[..., :3]
    levels = to_uint8(color, choose_range(color, bit_depth, known or low_justified(color, content)))
    return with_alpha(levels, values[..., 3] if values.shape[2] == 4 else None)


def extrema(image: Image.Image) -> list[tuple[int, int]]:
    """Return the smallest and largest value of each color channel."""
    channels = image.getextrema()[: 1 if image.mode.startswith(("L", "P")) else 3]
    return [(int(low), int(high)) for low, high in channels]  # pyright: ignore[reportGeneralTypeIssues]


def color_values(image: Image.Image, content: bytes) -> np.ndarray:
    """Decode all 16 bits of a color image with OpenCV: RGB or RGBA.

    Raises:
        ValueError: OpenCV and Pillow don't see the same image.
    """
    found = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if found is not None and found.dtype == np.uint16 and found.shape[:2] == (image.height, image.width):
        values: np.ndarray = (
            found[..., [2, 1, 0, *range(3, found.shape[2])]] if found.ndim == 3 else found[..., None].repeat(3, 2)
        )
        seen = np.asarray(image.convert("RGBA" if image.mode in ("LA", "RGBA") else "RGB"))[..., :3]
        if np.array_equal(values[..., :3] >> 8, seen):
            return values
    raise ValueError("16-bit color of this kind can't be read: convert it to 8 bits, or to a 16-bit PNG")


def with_alpha(levels: GrayLevels, alpha: np.ndarray | None) -> EightBits:
    """Return gray or color levels as an image, with the alpha channel that goes with them."""
    image = Image.fromarray(levels.pixels)
    if alpha is not None:
        full = np.iinfo(alpha.dtype).max if alpha.dtype.kind == "u" else 1
        image.putalpha(Image.fromarray(to_uint8(alpha, PixelRange(0, full)).pixels))
    return EightBits(image, levels.clipped, levels.peak)


def tiff_to_eight_bits(found: TiffValues, bit_depth: int | None) -> EightBits:
    """Map what tifffile has read to 8 bits."""
    values, tags, alpha, _ = found
    color = values[..., :-1] if alpha else values
    color = color[..., 0] if color.ndim == 3 and color.shape[2] == 1 else color
    depth = None if 8 < tags.bits < 16 else bit_depth
    levels = to_uint8(color, choose_range(color, depth, tags.declared, tags.inverted))
    return with_alpha(levels, values[..., -1] if alpha else None)


class PngHeader(NamedTuple):
    """Bits of a channel, and the color type of the PNG standard."""

    depth: int
    color_type: int


def png_header(content: bytes) -> PngHeader | None:
    is_png = content[:8] == b"\x89PNG\r\n\x1a\n" and len(content) > 25
    return PngHeader(content[24], content[25]) if is_png else None


def significant_bits(content: bytes) -> int | None:
    """Return what a 16-bit PNG's sBIT chunk says, the most of any channel; None unless it is below 16."""
    if png_header(content) is None:
        return None
    at = 8
    while at + 8 <= len(content):
        (length,) = struct.unpack_from(">I", content, at)
        name, data = content[at + 4 : at + 8], content[at + 8 : at + 8 + length]
        if name == b"sBIT" and data:
            return max(data) if max(data) < 16 else None
        if name in (b"IDAT", b"PLTE"):
            return None
        at += 12 + length
    return None


def low_justified(values: np.ndarray, content: bytes) -> PixelRange | None:
    """Return the range of a PNG whose significant bits are the lower ones, against the standard; else None.

    By the standard, the significant bits are the upper ones and the others are zero or repeat them. Cameras that write
    12 bits as they are fill the lower ones instead.
    """
    bits = significant_bits(content)
    if bits is None or bits < 8 or values.max() >= 2**bits:
        return None
    upper = values >> (16 - bits) << (16 - bits)
    repeated = upper | (upper >> bits)
    return None if np.all((values == upper) | (values == repeated)) else PixelRange(0, 2**bits - 1)
