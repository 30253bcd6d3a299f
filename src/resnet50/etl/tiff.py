"""What Pillow doesn't know about TIFFs: declared ranges, and the kinds of values and layouts that it can't read."""

import importlib.util
import io
import logging
import math
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from resnet50.etl.pixels import PixelRange

BITS_PER_SAMPLE, PHOTOMETRIC, ORIENTATION, PLANAR, SAMPLE_FORMAT, S_MIN, S_MAX = 258, 262, 274, 284, 339, 340, 341
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB = 0, 1, 2
SEPARATE = 2
UNSIGNED, SIGNED, FLOAT = 1, 2, 3


class TiffTags(NamedTuple):
    """What a TIFF's tags say about its values.

    Attributes:
        bits: of each sample.
        samples: of each pixel.
        sample_format: unsigned, signed or float.
        inverted: whether 0 is white.
        planar: whether the channels lie one after another.
        declared: what SMinSampleValue and SMaxSampleValue declare; None if they don't.
    """

    bits: int
    samples: int
    sample_format: int
    inverted: bool
    planar: bool
    declared: PixelRange | None

    @property
    def unknown_to_pillow(self) -> bool:
        """Whether Pillow reads such values wrong: signed bytes as unsigned, deep planes as mixed channels."""
        signed_bytes = self.sample_format == SIGNED and self.bits <= 8
        return signed_bytes or (self.planar and self.samples > 1 and self.bits > 8)


def tiff_tags(image: Image.Image) -> TiffTags | None:
    """Return the tags that matter here; None if the image is not a TIFF as it was opened."""
    tags: Any = getattr(image, "tag_v2", None)
    if tags is None or image.format != "TIFF":
        return None
    bits = numbers(tags.get(BITS_PER_SAMPLE, 1))
    formats = numbers(tags.get(SAMPLE_FORMAT, UNSIGNED))
    return TiffTags(
        bits=int(max(bits)),
        samples=len(bits),
        sample_format=int(formats[0]),
        inverted=tags.get(PHOTOMETRIC) == WHITE_IS_ZERO,
        planar=tags.get(PLANAR) == SEPARATE,
        declared=declared_range(tags.get(S_MIN), tags.get(S_MAX), int(max(bits)), int(formats[0])),
    )


def declared_range(low: object, high: object, bits: int, sample_format: int) -> PixelRange | None:
    """Return the range that a file declares; None unless it declares the upper end and the two are a range."""
    if high is None:
        return None
    black = 0.0 if low is None else min(numbers(low))
    white = max(numbers(high))
    if not (math.isfinite(black) and math.isfinite(white) and white > black):
        return None
    full = sample_format == UNSIGNED and (black, white) == (0, 2**bits - 1)
    return None if full else PixelRange(black, white)  # the full range is what writers put there by habit


def numbers(value: Any) -> list[float]:
    return [float(number) for number in (value if isinstance(value, tuple | list) else [value])] or [0.0]


class TiffValues(NamedTuple):
    """The first image of a TIFF.

    Attributes:
        values: h×w or h×w×2…4, as they are stored.
        tags: what explains them.
        alpha: whether the last channel is alpha.
        orientation: as EXIF numbers it.
    """

    values: np.ndarray
    tags: TiffTags
    alpha: bool
    orientation: object


def has_tifffile() -> bool:
    return importlib.util.find_spec("tifffile") is not None


NEEDS_TIFFFILE = "a TIFF of this kind needs an extra: pip install 'resnet50[tiff]'"


def read_with_tifffile(content: bytes, max_pixels: int) -> TiffValues:
    """Read the first image of a TIFF with tifffile.

    Raises:
        ValueError: tifffile is missing, or can't read it, or it is no gray or RGB image.
    """
    if not has_tifffile():
        raise ValueError(NEEDS_TIFFFILE)
    import tifffile

    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # it prints what it also raises
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        if not len(file.pages):
            raise ValueError("a damaged TIFF")
        page: Any = file.pages[0]
        if page.imagewidth * page.imagelength > max_pixels:
            raise Image.DecompressionBombError(f"{page.imagewidth:,}×{page.imagelength:,} pixels")
        photometric, samples = int(page.photometric), int(page.samplesperpixel)
        color = photometric == RGB and samples >= 3
        if not (color or (photometric in (WHITE_IS_ZERO, BLACK_IS_ZERO) and samples <= 2)) or page.imagedepth > 1:
            raise ValueError(f"a TIFF of {samples} channels is no gray or RGB image: convert it to one")
        channels = 3 if color else 1
        alpha = samples > channels and bool(page.extrasamples) and int(page.extrasamples[0]) in (1, 2)
        values = np.asarray(page.asarray())
        if page.planarconfig == SEPARATE and samples > 1:
            values = np.moveaxis(values, 0, -1)
        high, low, orientation = (page.tags.valueof(tag) for tag in (S_MAX, S_MIN, ORIENTATION))
        bits, sample_format = int(page.bitspersample), int(page.sampleformat)
        declared = declared_range(low, high, bits, sample_format)
    if values.ndim == 3:
        values = values[..., : channels + alpha]
        values = values[..., 0] if values.shape[2] == 1 else values
    if bits not in (8, 16, 32, 64) and sample_format == UNSIGNED and bits > 1:
        declared = PixelRange(0, 2**bits - 1)
    tags = TiffTags(bits, samples, sample_format, photometric == WHITE_IS_ZERO, False, declared)
    return TiffValues(values, tags, alpha, orientation)
