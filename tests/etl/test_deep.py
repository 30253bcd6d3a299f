"""Images of more than 8 bits a channel, through `decode_image`."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from resnet50.etl import tiff
from resnet50.etl.decode import OutOfRangeError, UnreadableImageError, decode_image, to_rgb

RAMP = np.linspace(0, 1, 60 * 80).reshape(60, 80)
GRAY = RAMP * 255


def tiff_of(values: np.ndarray, **options: object) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, values, **options)
    return file.getvalue()


def declaring(low: float, high: float, kind: int) -> dict[str, object]:
    return {"extratags": [(340, kind, 1, low, True), (341, kind, 1, high, True)]}


def gray_of(content: bytes, bit_depth: int | None = None) -> np.ndarray:
    pixels = decode_image(content, bit_depth=bit_depth).pixels.astype(int)
    assert (pixels == pixels[..., :1]).all()
    return pixels[..., 0]


def png(depth: int, color_type: int, rows: list[bytes], *chunks: tuple[bytes, bytes], width: int = 4) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, len(rows), depth, color_type, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = [(b"IHDR", header), *chunks, (b"IDAT", data), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def png16(values: np.ndarray, *chunks: tuple[bytes, bytes]) -> bytes:
    color_type = 0 if values.ndim == 2 else {2: 4, 3: 2, 4: 6}[values.shape[2]]
    return png(16, color_type, [row.astype(">u2").tobytes() for row in values], *chunks, width=values.shape[1])


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize(
    ("values", "options"),
    [
        ((RAMP * 65535).astype(np.uint16), {}),
        ((RAMP * 65535).astype(np.uint16), {"compression": "zlib", "predictor": True}),
        (RAMP.astype(np.float32), {}),
        ((65535 - RAMP * 65535).astype(np.uint16), {"photometric": "miniswhite"}),
        ((1 - RAMP).astype(np.float32), {"photometric": "miniswhite"}),
        ((RAMP * 4095).astype(np.uint16), declaring(0, 4095, 3)),
        ((RAMP * 3000 - 1000).astype(np.int16), declaring(-1000, 2000, 8)),
        ((RAMP * 3000 - 1000).astype(np.float32), declaring(-1000.0, 2000.0, 11)),
        ((RAMP * 70000).astype(np.int32), declaring(0, 70000, 9)),
        ((RAMP * 4e9).astype(np.uint32), declaring(0, 4_000_000_000, 4)),
        (RAMP, {}),  # float64, which Pillow doesn't know
        (RAMP.astype(np.float16), {}),
        (np.repeat(RAMP[..., None], 3, 2).astype(np.float32), {"photometric": "rgb"}),
        (np.stack([RAMP * 65535] * 3).astype(np.uint16), {"photometric": "rgb", "planarconfig": "separate"}),
        (np.stack([(RAMP * 65535).astype(np.uint16)] * 3), {"photometric": "minisblack"}),  # pages
        (np.repeat(RAMP[..., None] * 65535, 3, 2).astype(np.uint16), {"photometric": "rgb", "bigtiff": True}),
    ],
)  # fmt: skip
def test_tiff_of_any_type_is_scaled_by_its_range(
    values: np.ndarray, options: dict[str, object], byteorder: str
) -> None:
    found = gray_of(tiff_of(values, byteorder=byteorder, **options))
    np.testing.assert_allclose(found, GRAY, atol=1.1)


@pytest.mark.parametrize(
    "values",
    [RAMP * 1.01, RAMP * 255, RAMP * 65535, RAMP * 3000 - 1000, np.where(RAMP < 0.01, np.nan, RAMP),
     np.where(RAMP < 0.01, np.inf, RAMP), np.full_like(RAMP, np.nan)],
)  # fmt: skip
def test_floats_outside_0_to_1_are_refused_not_stretched(values: np.ndarray) -> None:
    with pytest.raises(OutOfRangeError, match=r"% of the pixels lie outside 0 to 1: .*; scale them"):
        decode_image(tiff_of(values.astype(np.float32)))


def test_message_about_the_range_counts_what_is_not_finite() -> None:
    with pytest.raises(OutOfRangeError, match=r"50\.0% are NaN or infinite"):
        decode_image(tiff_of(np.where(RAMP < 0.5, np.nan, RAMP).astype(np.float32)))


@pytest.mark.parametrize(("value", "level"), [(1.5, 255), (-3, 0), (np.nan, 0), (np.inf, 255), (-np.inf, 0)])
def test_few_pixels_outside_are_clipped_and_counted(value: float, level: int) -> None:
    values = RAMP.astype(np.float32)
    values[3, [4, 7]] = value
    decoded = decode_image(tiff_of(values))
    assert decoded.clipped == 2
    assert decoded.pixels[3, [4, 7], 0].tolist() == [level, level]
    np.testing.assert_allclose(decoded.pixels[10:, :, 1], GRAY[10:], atol=0.6)


def test_values_that_round_into_the_range_are_not_outside() -> None:
    assert decode_image(tiff_of((RAMP * 1.001).astype(np.float32))).clipped == 0


@pytest.mark.parametrize("top", [255, 256, 4095, 40_000])
@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.uint32])
def test_integers_without_a_range_are_refused_with_their_peak(top: int, dtype: type) -> None:
    if dtype is np.int16 and top > 32767:
        pytest.skip("doesn't fit")
    with pytest.raises(OutOfRangeError, match=r"nothing says which of the .* is white: .*--bit-depth") as caught:
        decode_image(tiff_of((RAMP * top).astype(dtype)))
    assert caught.value.peak == top


def test_bit_depth_cannot_help_negative_values() -> None:
    with pytest.raises(OutOfRangeError, match="without sign") as caught:
        decode_image(tiff_of((RAMP * 3000 - 1000).astype(np.int16)))
    assert caught.value.peak is None


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize(
    "write",
    [
        tiff_of,
        lambda values: tiff_of(values.astype(np.int32)),
        lambda values: tiff_of(np.repeat(values[..., None], 3, 2), photometric="rgb"),
        png16,
        lambda values: png16(np.repeat(values[..., None], 3, 2)),
        lambda values: png16(np.stack([values, np.full_like(values, 65535)], 2)),
    ],
)
def test_bit_depth_scales_every_kind_of_deep_integers(bits: int, write: Callable[[np.ndarray], bytes]) -> None:
    values = np.rint(RAMP * (2**bits - 1)).astype(np.uint16)
    np.testing.assert_allclose(gray_of(write(values), bits), GRAY, atol=1.1)


def test_bit_depth_leaves_8_bits_and_floats_alone() -> None:
    for values in (GRAY.astype(np.uint8), RAMP.astype(np.float32)):
        np.testing.assert_allclose(gray_of(tiff_of(values), 12), GRAY, atol=1)


def test_values_above_the_bit_depth_are_refused() -> None:
    with pytest.raises(OutOfRangeError, match="outside 0 to 4,095"):
        decode_image(png16((RAMP * 65535).astype(np.uint16)), bit_depth=12)


def test_peak_is_known_where_16_bits_are_assumed() -> None:
    values = (RAMP * 4000).astype(np.uint16)
    assert decode_image(png16(values)).peak == 4000
    assert 4000 <= decode_image(png16(np.repeat(values[..., None], 3, 2))).peak < 4000 + 256
    assert decode_image(png16(values), bit_depth=16).peak is None
    assert decode_image(tiff_of(GRAY.astype(np.uint8))).peak is None


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("upper", [True, False])
def test_significant_bits_of_a_png_are_read_upper_or_lower(channels: int, upper: bool) -> None:
    twelve = np.rint(RAMP * 4095).astype(np.uint16)
    values = twelve << 4 if upper else twelve
    values = values if channels == 1 else np.repeat(values[..., None], 3, 2)
    np.testing.assert_allclose(gray_of(png16(values, (b"sBIT", bytes([12] * channels)))), GRAY, atol=1.1)


def test_dark_png_with_upper_significant_bits_stays_dark() -> None:
    values = np.rint(RAMP * 200).astype(np.uint16) << 4
    assert gray_of(png16(values, (b"sBIT", b"\x0c"))).max() <= 13


@pytest.mark.parametrize("maximum", [1023, 4095, 65535])
def test_pgm_is_scaled_by_the_maximum_in_its_header(maximum: int) -> None:
    values = np.rint(RAMP * maximum).astype(">u2")
    content = b"P5\n# a comment\n80 60\n%d\n" % maximum + values.tobytes()
    decoded = decode_image(content)
    np.testing.assert_allclose(decoded.pixels[..., 0], GRAY, atol=1)
    assert (decoded.peak is None) == (maximum < 65535)


def test_deep_jpeg_2000_is_scaled() -> None:
    file = io.BytesIO()
    Image.fromarray((RAMP * 65535).astype(np.uint16)).save(file, "JPEG2000", irreversible=False)
    np.testing.assert_allclose(gray_of(file.getvalue()), GRAY, atol=1)


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_transparent_gray_of_a_png_becomes_white(depth: int) -> None:
    packed = {1: bytes([0b01010000]), 2: bytes([0b00010101]), 4: bytes([0x01, 0x11]), 8: bytes([0, 1, 1, 1])}
    row = packed.get(depth, struct.pack(">4H", 0, 1, 1, 1))
    content = png(depth, 0, [row], (b"tRNS", struct.pack(">H", 1)))
    assert gray_of(content)[0, :2].tolist() == [0, 255]


def test_transparent_color_of_a_16_bit_png_becomes_white() -> None:
    values = np.array([[[1000, 2000, 3000], [1001, 2000, 3000]]])
    content = png16(values, (b"tRNS", struct.pack(">3H", 1000, 2000, 3000)))
    assert decode_image(content).pixels[0].tolist() == [[255, 255, 255], [4, 8, 12]]


@pytest.mark.parametrize("channels", [2, 4])
def test_16_bit_alpha_is_composited_on_white(channels: int) -> None:
    values = np.zeros((1, 2, channels), np.uint16)
    values[0, 1, -1] = 65535
    for depth in (None, 12):
        assert decode_image(png16(values), bit_depth=depth).pixels[0].tolist() == [[255] * 3, [0] * 3]


def test_signed_bytes_are_refused_instead_of_wrapped() -> None:
    with pytest.raises(OutOfRangeError, match="int8 values from -128 to 127"):
        decode_image(tiff_of((RAMP * 255 - 128).astype(np.int8)))


@pytest.mark.parametrize(
    ("values", "options"),
    [
        (np.zeros((3, 20, 30), np.uint16), {"photometric": "rgb", "planarconfig": "separate"}),
        (np.zeros((20, 30)), {}),
        (np.zeros((20, 30), np.int8), {}),
    ],
)
def test_tiff_that_pillow_cannot_read_needs_the_extra(
    monkeypatch: pytest.MonkeyPatch, values: np.ndarray, options: dict[str, object]
) -> None:
    monkeypatch.setattr(tiff.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UnreadableImageError, match=r"pip install 'resnet50\[tiff\]'"):
        decode_image(tiff_of(values, **options))


@pytest.mark.parametrize(
    ("values", "options"),
    [
        (np.dstack([GRAY, GRAY[::-1], GRAY]).astype(np.uint8), {}),
        (np.stack([GRAY, GRAY[::-1], GRAY]).astype(np.uint16) * 257, {"planarconfig": "separate"}),
        (np.dstack([RAMP, RAMP[::-1], RAMP]).astype(np.float32), {}),
    ],
)
def test_turned_tiff_is_upright_whatever_reads_it(values: np.ndarray, options: dict[str, object]) -> None:
    stored = decode_image(tiff_of(values, photometric="rgb", **options)).pixels
    tag = [(274, 3, 1, 6, True)]
    found = decode_image(tiff_of(values, photometric="rgb", extratags=tag, **options))
    np.testing.assert_array_equal(found.pixels, np.rot90(stored, -1))
    assert (found.width, found.height) == (60, 80)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_turned_gray_tiff_opened_by_its_path_is_upright(dtype: type, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(tiff_of((RAMP * np.iinfo(dtype).max).astype(dtype), extratags=[(274, 3, 1, 6, True)]))
    image = Image.open(path)
    np.testing.assert_array_equal(np.asarray(to_rgb(image)), decode_image(path).pixels)
    assert image.filename == str(path)


def test_tiff_of_many_bands_is_no_image() -> None:
    with pytest.raises(UnreadableImageError, match="7 channels is no gray or RGB image"):
        decode_image(tiff_of(np.zeros((20, 30, 7), np.uint16), photometric="minisblack", planarconfig="contig"))


def test_damaged_tiff_is_reported_without_noise(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UnreadableImageError, match="damaged TIFF"):
        decode_image(b"II*\0\xff\xff\0\0" + bytes(50))
    assert capfd.readouterr() == ("", "")


def test_deep_images_in_memory_follow_the_same_rule() -> None:
    deep = Image.fromarray((RAMP * 4095).astype(np.uint16))
    np.testing.assert_allclose(np.asarray(to_rgb(deep, 12))[..., 0], GRAY, atol=1)
    opened = Image.open(io.BytesIO(tiff_of((RAMP * 4095).astype(np.uint16), **declaring(0, 4095, 3))))
    np.testing.assert_allclose(np.asarray(to_rgb(opened))[..., 0], GRAY, atol=1)
    with pytest.raises(OutOfRangeError, match="this image: "):
        to_rgb(Image.fromarray((RAMP * 255).astype(np.float32)))
    with pytest.raises(OutOfRangeError, match="--bit-depth"):
        to_rgb(Image.fromarray((RAMP * 255).astype(np.int32)))


def test_large_deep_image_is_scaled_in_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resnet50.etl.pixels.STRIP_PIXELS", 500)
    np.testing.assert_allclose(gray_of(tiff_of((RAMP * 65535).astype(np.uint16))), GRAY, atol=0.6)
