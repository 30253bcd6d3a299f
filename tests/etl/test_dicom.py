"""DICOM through `decode_image`, compared with pydicom's own processing of its sample files."""

import io
from pathlib import Path

import numpy as np
import pytest

from resnet50.etl import formats
from resnet50.etl.decode import OutOfRangeError, UnreadableImageError, decode_image
from resnet50.etl.store import estimate_bytes

pydicom = pytest.importorskip("pydicom")

RAMP = np.linspace(0, 1, 40 * 50).reshape(40, 50)


def sample(name: str) -> Path:
    return Path(pydicom.__file__).parent / "data" / "test_files" / name


def dicom(values: np.ndarray, photometric: str = "MONOCHROME2", preamble: bool = True, **tags: object) -> bytes:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

    file = Dataset()
    file.file_meta = FileMetaDataset()
    file.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file.file_meta.MediaStorageSOPClassUID = file.SOPClassUID = SecondaryCaptureImageStorage
    file.file_meta.MediaStorageSOPInstanceUID = file.SOPInstanceUID = "1.2.3"
    file.Rows, file.Columns = values.shape[:2]
    file.SamplesPerPixel = 1 if values.ndim == 2 else 3
    if values.ndim == 3:
        file.PlanarConfiguration = 0
    file.PhotometricInterpretation = photometric
    file.BitsAllocated = file.BitsStored = 8 * values.dtype.itemsize
    file.PixelRepresentation = int(values.dtype.kind == "i")
    for name, value in tags.items():
        setattr(file, name, value)
    file.HighBit = file.BitsStored - 1
    file.add_new("PixelData", "OB" if file.BitsAllocated == 8 else "OW", values.tobytes())
    written = io.BytesIO()
    if preamble:
        pydicom.dcmwrite(written, file, enforce_file_format=True)
    else:
        pydicom.dcmwrite(written, file, implicit_vr=False, little_endian=True, enforce_file_format=False)
    return written.getvalue()


def gray_of(content: bytes | Path, bit_depth: int | None = None) -> np.ndarray:
    return decode_image(content, bit_depth=bit_depth).pixels[..., 0].astype(int)


@pytest.mark.parametrize(
    "name",
    ["MR_small.dcm", "MR_small_RLE.dcm", "MR_small_bigendian.dcm", "MR_small_implicit.dcm", "examples_overlay.dcm"],
)
def test_window_of_the_file_is_applied_as_pydicom_does(name: str) -> None:
    from pydicom.pixels.processing import apply_modality_lut, apply_windowing

    file = pydicom.dcmread(sample(name))
    shown = apply_windowing(apply_modality_lut(file.pixel_array, file), file).astype(float)
    low, high = (-(2**15), 2**15 - 1) if file.PixelRepresentation else (0, 2**file.BitsStored - 1)
    np.testing.assert_allclose(gray_of(sample(name)), (shown - low) / (high - low) * 255, atol=0.6)


@pytest.mark.parametrize("name", ["SC_rgb_dcmtk_+eb+cr.dcm", "SC_rgb_rle.dcm", "SC_ybr_full_422_uncompressed.dcm"])
def test_color_is_rgb_whatever_its_space(name: str) -> None:
    from pydicom.pixels.processing import convert_color_space
    from pydicom.pixels.utils import pixel_array

    file = pydicom.dcmread(sample(name))
    colors = convert_color_space(pixel_array(file, raw=True), file.PhotometricInterpretation, "RGB")
    np.testing.assert_array_equal(decode_image(sample(name)).pixels, colors)


def test_palette_gives_its_colors() -> None:
    from pydicom.pixels.processing import apply_color_lut

    file = pydicom.dcmread(sample("examples_palette.dcm"))
    colors = apply_color_lut(file.pixel_array, file)
    np.testing.assert_allclose(decode_image(sample("examples_palette.dcm")).pixels, colors / 257, atol=0.6)


def test_file_that_is_also_a_tiff_is_read_as_dicom() -> None:
    content = sample("MR_small.dcm").read_bytes()
    assert content[:4] == b"II*\0"
    assert formats.content_kind(content).name == "DICOM"


@pytest.mark.parametrize(("photometric", "first"), [("MONOCHROME2", 0), ("MONOCHROME1", 255)])
def test_monochrome1_is_inverted(photometric: str, first: int) -> None:
    found = gray_of(dicom((RAMP * 255).astype(np.uint8), photometric))
    assert found[0, 0] == first
    np.testing.assert_allclose(np.abs(found - first), RAMP * 255, atol=1)


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_stored_bits_are_the_range_without_a_window(bits: int) -> None:
    values = (RAMP * (2**bits - 1)).astype(np.uint16)
    np.testing.assert_allclose(gray_of(dicom(values, BitsStored=bits)), RAMP * 255, atol=1)


def test_a_falling_rescale_slope_inverts() -> None:
    values = (RAMP * 4095).astype(np.uint16)
    found = gray_of(dicom(values, BitsStored=12, RescaleSlope=-1, RescaleIntercept=4095))
    np.testing.assert_allclose(found, 255 - RAMP * 255, atol=1)


def test_sixteen_stored_bits_are_an_assumption_that_bit_depth_replaces() -> None:
    content = dicom((RAMP * 4095).astype(np.uint16))
    assert decode_image(content).peak == 4095
    np.testing.assert_allclose(gray_of(content, 12), RAMP * 255, atol=1)


@pytest.mark.parametrize(("function", "middle"), [("LINEAR", 127), ("LINEAR_EXACT", 127), ("SIGMOID", 127)])
def test_rescaled_values_are_windowed(function: str, middle: int) -> None:
    values = np.arange(0, 2000, dtype=np.uint16).reshape(40, 50)
    window = {"WindowCenter": 40, "WindowWidth": 400, "VOILUTFunction": function}
    found = gray_of(dicom(values, RescaleSlope=1, RescaleIntercept=-1024, **window)).ravel()
    assert abs(found[1024 + 40] - middle) <= 1
    assert found[0] <= 1
    assert found[-1] >= 254
    assert (np.diff(found) >= 0).all()


@pytest.mark.parametrize("values", [(RAMP * 3000 - 1000).astype(np.int16), (RAMP * 100).astype(np.uint32)])
def test_values_without_window_or_bits_are_refused(values: np.ndarray) -> None:
    with pytest.raises(OutOfRangeError, match="nothing says which"):
        decode_image(dicom(values))


def test_bare_file_without_a_preamble_is_read() -> None:
    content = dicom((RAMP * 255).astype(np.uint8), preamble=False)
    assert content[128:132] != b"DICM"
    np.testing.assert_allclose(gray_of(content), RAMP * 255, atol=1)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("rtdose.dcm", "of 15 frames: save the one to classify"),
        ("rtplan.dcm", "a DICOM file without an image"),
        ("SC_rgb_jpeg_gdcm.dcm", "JPEG Lossless.* needs another decoder: pip install"),
        ("MR_truncated.dcm", "cannot be read as an image"),
    ],
)
def test_what_is_no_single_image_is_refused_with_the_reason(name: str, reason: str) -> None:
    with pytest.raises(UnreadableImageError, match=reason):
        decode_image(sample(name))


def test_size_for_the_store_is_known_from_the_header(tmp_path: Path) -> None:
    (tmp_path / "1.dcm").write_bytes(dicom((RAMP * 255).astype(np.uint8)))
    assert estimate_bytes([str(tmp_path / "1.dcm")], 256) == 40 * 50 * 3


def test_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UnreadableImageError, match=r"DICOM needs an extra: pip install 'resnet50\[dicom\]'"):
        decode_image(sample("MR_small.dcm"))


def test_too_many_pixels_are_refused_before_they_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("PIL.Image.MAX_IMAGE_PIXELS", 100)
    with pytest.raises(UnreadableImageError, match="too many pixels"):
        decode_image(dicom((RAMP * 255).astype(np.uint8)))
