"""DICOM: what its file says a viewer shows - modality and window, palette, color space - as gray or RGB."""

import io
import warnings
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from resnet50.etl.pixels import GrayLevels, PixelRange, PixelRangeError, choose_range, to_uint8

warnings.filterwarnings("ignore", module=r"pydicom")  # about odd metadata, which doesn't concern the user here

GRAY = ("MONOCHROME1", "MONOCHROME2")

BARE = {(True, True): "1.2.840.10008.1.2", (False, True): "1.2.840.10008.1.2.1", (False, False): "1.2.840.10008.1.2.2"}
"""Transfer syntax of a file that names none: uncompressed, with (implicit types, little-endian) as found."""


class Window(NamedTuple):
    """The values shown between black and white: `VOILUTFunction`, `WindowCenter`, `WindowWidth`."""

    function: str
    center: float
    width: float


def read_dicom(content: bytes, max_pixels: int, bit_depth: int | None) -> GrayLevels:
    """Decode a DICOM file of one image to gray (h×w) or RGB (h×w×3) levels.

    Raises:
        ValueError: it holds no image or several, or is compressed by a method that no installed package decodes.
        PixelRangeError: it says neither by a window nor by its bits what is white.
    """
    import pydicom
    from pydicom.pixels.processing import apply_color_lut
    from pydicom.pixels.utils import pixel_array
    from pydicom.uid import UID

    file: Any = pydicom.dcmread(io.BytesIO(content), force=True)
    if "PixelData" not in file or "Rows" not in file or "Columns" not in file:
        raise ValueError("a DICOM file without an image")
    frames = int(file.get("NumberOfFrames") or 1)
    if frames > 1:
        raise ValueError(f"a DICOM file of {frames:,} frames: save the one to classify")
    if int(file.Rows) * int(file.Columns) > max_pixels:
        raise Image.DecompressionBombError(f"{file.Columns:,}×{file.Rows:,} pixels")
    if "TransferSyntaxUID" not in file.file_meta:  # no header, as old devices write it
        file.file_meta.TransferSyntaxUID = UID(BARE[file.original_encoding])
    photometric = str(file.get("PhotometricInterpretation", "MONOCHROME2"))
    try:
        values: np.ndarray = pixel_array(file)  # YBR becomes RGB
    except (RuntimeError, NotImplementedError) as error:
        syntax = getattr(file.file_meta.get("TransferSyntaxUID"), "name", "an unknown method")
        raise ValueError(
            f"DICOM in {syntax} needs another decoder: pip install pylibjpeg-openjpeg pyjpegls python-gdcm"
        ) from error
    if photometric == "PALETTE COLOR":
        values = apply_color_lut(values, file)
        return to_uint8(values, PixelRange(0, np.iinfo(values.dtype).max))
    if values.ndim == 3:
        return to_uint8(values, PixelRange(0, 2 ** int(file.BitsStored) - 1))
    if photometric not in GRAY:
        raise ValueError(f"DICOM of the kind {photometric} is not supported: convert it to PNG")
    levels = gray_levels(file, values, bit_depth)
    return levels._replace(pixels=255 - levels.pixels) if photometric == "MONOCHROME1" else levels


def dicom_size(path: str) -> tuple[int, int]:
    """Return width and height without reading the pixels."""
    import pydicom

    file: Any = pydicom.dcmread(path, force=True, stop_before_pixels=True)
    return int(file.Columns), int(file.Rows)


def gray_levels(file: Any, stored: np.ndarray, bit_depth: int | None) -> GrayLevels:
    """Map stored gray values to 8 bits: by the file's first window, else its table, else the bits it stores."""
    from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut

    values = apply_modality_lut(stored, file)
    if file.get("VOILUTSequence"):
        shown = apply_voi_lut(values, file, index=0)
        bits = int(file.VOILUTSequence[0].LUTDescriptor[2])
        return to_uint8(shown, PixelRange(0, 2**bits - 1))
    window = first_window(file)
    if window is not None:
        return GrayLevels(apply_window(values, window), 0, None)
    if int(file.get("PixelRepresentation", 0)) == 1:
        raise PixelRangeError("signed DICOM values without a window: nothing says which are black and white")
    bits = int(file.BitsStored)
    span = PixelRange(0, 2**bits - 1) if bits < 16 else choose_range(stored, bit_depth)
    levels = to_uint8(stored, span)
    falling = float(file.get("RescaleSlope") or 1) < 0
    return levels._replace(pixels=255 - levels.pixels) if falling else levels


def first_window(file: Any) -> Window | None:
    center, width = file.get("WindowCenter"), file.get("WindowWidth")
    if center is None or width is None or center == "" or width == "":
        return None
    first = [float(value[0] if hasattr(value, "__len__") else value) for value in (center, width)]
    function = str(file.get("VOILUTFunction") or "LINEAR")
    return Window(function, *first) if first[1] > 0 else None


def apply_window(values: np.ndarray, window: Window) -> np.ndarray:
    """Map values to 0–255 (DICOM PS3.3, C.11.2.1.2 and C.11.2.1.3)."""
    function, center, width = window
    wide = values.astype(np.float64)
    if function == "SIGMOID":
        shown = 1 / (1 + np.exp(np.clip(-4 * (wide - center) / width, -500, 500)))
    elif function == "LINEAR_EXACT":
        shown = (wide - center) / width + 0.5
    elif width <= 1:
        shown = (wide > center - 0.5).astype(np.float64)
    else:
        shown = (wide - (center - 0.5)) / (width - 1) + 0.5
    return np.rint(np.clip(shown, 0, 1) * 255).astype(np.uint8)
