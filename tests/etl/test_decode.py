import base64
import io
import struct
import threading
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from resnet50.etl.decode import UnreadableImageError, decode, decode_image, to_rgb
from resnet50.runtime.errors import UserError

RAMP = np.linspace(0, 255, 24 * 16).reshape(16, 24)


def saved(image: Image.Image, form: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(int)


def gray(mode: str = "L") -> Image.Image:
    return Image.fromarray(RAMP.astype(np.uint8)).convert(mode)


def rgb() -> Image.Image:
    return Image.merge("RGB", [gray(), ImageOps.flip(gray()), ImageOps.mirror(gray())])


@pytest.mark.parametrize("form", ["PNG", "BMP", "WEBP", "TIFF", "PPM"])
def test_rgb_pixels_are_decoded_unchanged(form: str) -> None:
    content = saved(rgb(), form, **({"lossless": True} if form == "WEBP" else {}))
    image = decode(content)
    assert image.mode == "RGB"
    np.testing.assert_array_equal(pixels(image), pixels(rgb()))


def test_one_bit_becomes_black_and_white() -> None:
    bits = gray().point(lambda value: 255 * (value > 100)).convert("1")
    image = decode(saved(bits, "PNG"))
    np.testing.assert_array_equal(pixels(image)[..., 1], 255 * (pixels(gray()) > 100))


def test_gray_gives_three_equal_channels() -> None:
    image = pixels(decode(saved(gray(), "PNG")))
    for channel in range(3):
        np.testing.assert_array_equal(image[..., channel], pixels(gray()))


def test_transparent_gray_is_composited_on_white() -> None:
    image = Image.merge("LA", [Image.new("L", (4, 4), 100), Image.fromarray(np.tile(np.uint8([0, 255]), (4, 2)))])
    assert pixels(decode(saved(image, "PNG")))[0, :2].tolist() == [[255] * 3, [100] * 3]


def test_rgba_is_blended_with_white() -> None:
    image = Image.new("RGBA", (4, 4), (200, 0, 0, 128))
    expected = np.array([200, 0, 0]) * 128 / 255 + 255 * 127 / 255
    np.testing.assert_allclose(pixels(decode(saved(image, "PNG")))[0, 0], expected, atol=1)


def test_transparent_palette_entry_is_composited_on_white() -> None:
    image = Image.new("P", (4, 4), 0)
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)
    decoded = pixels(decode(saved(image, "PNG", transparency=0)))
    assert decoded[0, :2].tolist() == [[255] * 3, [200, 100, 50]]


def test_palette_without_transparency_gives_its_colors() -> None:
    image = Image.new("P", (4, 4), 1)
    image.putpalette([10, 20, 30, 200, 100, 50])
    assert pixels(decode(saved(image, "PNG")))[2, 2].tolist() == [200, 100, 50]


def test_transparent_color_of_an_rgb_png_becomes_white() -> None:
    image = Image.new("RGB", (2, 1), (1, 2, 3))
    image.putpixel((1, 0), (9, 9, 9))
    assert pixels(decode(saved(image, "PNG", transparency=(1, 2, 3))))[0].tolist() == [[255] * 3, [9] * 3]


def test_cmyk_jpeg_is_converted_to_its_original_colors() -> None:
    red = Image.new("RGB", (16, 16), (250, 10, 10)).convert("CMYK")
    np.testing.assert_allclose(pixels(decode(saved(red, "JPEG", quality=100)))[8, 8], [250, 10, 10], atol=4)


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_sixteen_bit_gray_is_scaled_not_clipped(form: str) -> None:
    deep = Image.fromarray((RAMP * 257).astype(np.uint16))
    image = pixels(decode(saved(deep, form)))
    np.testing.assert_allclose(image[..., 0], RAMP, atol=1)
    assert len(np.unique(image)) > 200


def test_float_image_in_0_to_1_is_scaled_and_nan_becomes_black() -> None:
    values = np.tile(RAMP / 255, (3, 1)).astype(np.float32)
    values[0, 5] = np.nan
    image = pixels(decode(saved(Image.fromarray(values), "TIFF")))
    assert image[0, 5, 0] == 0
    np.testing.assert_allclose(image[16:32, :, 0], RAMP, atol=1)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    turn_back = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }  # fmt: skip
    stored = rgb().transpose(turn_back[orientation]) if orientation > 1 else rgb()
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = decode(saved(stored, "PNG", exif=exif))
    np.testing.assert_array_equal(pixels(image), pixels(rgb()))


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_damaged_exif_leaves_the_image_as_stored(form: str) -> None:
    image = decode(saved(rgb(), form, exif=b"Exif\x00\x00garbage that is no TIFF header"))
    assert image.size == (24, 16)


def test_animation_gives_its_first_frame() -> None:
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    content = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert pixels(decode(content))[0, 0].tolist() == [255, 0, 0]


def test_path_and_bytes_give_the_same_pixels(tmp_path: Path) -> None:
    rgb().save(tmp_path / "a.jpg")
    by_path, by_bytes = decode(tmp_path / "a.jpg"), decode((tmp_path / "a.jpg").read_bytes())
    np.testing.assert_array_equal(pixels(by_path), pixels(by_bytes))


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF"])
def test_truncated_image_is_reported_with_its_name(tmp_path: Path, form: str) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    content = saved(noise, form)
    path = tmp_path / "half.img"
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(UnreadableImageError, match=r"half\.img: cannot be read as an image"):
        decode(path)


@pytest.mark.parametrize("content", [b"", b"this is text\n", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"])
def test_file_that_is_not_an_image_is_reported_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "image.jpg"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"image\.jpg") as caught:
        decode(path)
    assert "\n" not in str(caught.value)


def test_missing_file_and_folder_are_reported(tmp_path: Path) -> None:
    with pytest.raises(UnreadableImageError, match=r"none\.jpg: no such file"):
        decode(tmp_path / "none.jpg")
    with pytest.raises(UnreadableImageError, match=str(tmp_path)):
        decode(tmp_path)


def test_decompression_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    content = saved(Image.new("L", (100, 100)), "PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(UnreadableImageError, match="too many pixels"):
        decode(content)


def test_decoding_in_threads_keeps_the_warning_filters() -> None:
    content = saved(rgb(), "JPEG")
    before = list(warnings.filters)
    threads = [threading.Thread(target=lambda: [decode(content) for _ in range(50)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(warnings.filters) == before


def textured(width: int, height: int) -> Image.Image:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (height // 24, width // 24, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("options", [{"quality": 95, "subsampling": 0}, {"quality": 75}, {"progressive": True}])
def test_jpeg_pixels_equal_pillows_bit_for_bit(mode: str, options: dict[str, object]) -> None:
    content = saved(textured(203, 151).convert(mode), "JPEG", **options)
    np.testing.assert_array_equal(pixels(decode(content)), pixels(Image.open(io.BytesIO(content)).convert("RGB")))


@pytest.mark.parametrize(("shorter_side", "expected"), [(300, 300), (150, 150), (120, 150), (75, 75), (40, 75)])
def test_jpeg_is_decoded_at_a_scale_with_enough_pixels(shorter_side: int, expected: int) -> None:
    whole = textured(480, 300)
    decoded = decode_image(saved(whole, "JPEG", quality=95), shorter_side)
    height, width, _ = decoded.pixels.shape
    assert shorter_side <= height <= expected
    assert (decoded.width, decoded.height) == (480, 300)
    assert abs(width / height - 1.6) < 0.03
    shrunk = whole.resize((width, height), Image.Resampling.BOX)
    assert np.abs(decoded.pixels.astype(int) - pixels(shrunk)).mean() < 4


def test_other_formats_are_always_decoded_at_full_size() -> None:
    decoded = decode_image(saved(rgb(), "PNG"), shorter_side=4)
    np.testing.assert_array_equal(decoded.pixels, np.asarray(rgb()))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_jpeg_at_reduced_scale_is_upright(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = saved(textured(480, 300), "JPEG", exif=exif)
    whole, decoded = decode(content), decode_image(content, 100)
    assert (decoded.width, decoded.height) == whole.size
    height, width, _ = decoded.pixels.shape
    shrunk = whole.resize((width, height), Image.Resampling.BOX)
    assert (width > height) == (whole.width > whole.height)
    assert np.abs(decoded.pixels.astype(int) - pixels(shrunk)).mean() < 6


@pytest.mark.parametrize("share", [0.3, 0.9, 0.999])
@pytest.mark.parametrize("shorter_side", [None, 60])
def test_truncated_jpeg_is_reported_at_any_scale(share: float, shorter_side: int | None) -> None:
    content = saved(textured(480, 300), "JPEG")
    with pytest.raises(UnreadableImageError, match="truncated"):
        decode_image(content[: int(len(content) * share)], shorter_side)


HEIC = base64.b64decode(
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAchtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAA"
    "ADRpbG9jAAAAAERAAAIAAQAAAAAB7AABAAAAAAAAACsAAgAAAAACFwABAAAAAAAAACQAAAA4aWluZgAAAAAAAgAAABVpbmZlAgAA"
    "AAABAABodmMxAAAAABVpbmZlAgAAAQACAABFeGlmAAAAAA5waXRtAAAAAAABAAABB2lwcnAAAADmaXBjbwAAAHZodmNDAQNwAAAA"
    "kAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQAqQgEBA3AAAAMAkAAAAwAAAwAeoCCBBZbq"
    "5Ka5uAhoMCAAAAMDIAAAAwAhYgABAAZEAcFzwIkAAAATY29scm5jbHgAAQANAAaAAAAAFGlzcGUAAAAAAAAAQAAAAEAAAAAoY2xh"
    "cAAAAEAAAAABAAAAIAAAAAEAAAAAAAAAAv///+AAAAACAAAAEHBpeGkAAAAAAwgICAAAAAlpcm90AwAAABlpcG1hAAAAAAAAAAEA"
    "AQaBAgMFhIYAAAAaaXJlZgAAAAAAAAAOY2RzYwACAAEAAQAAAFdtZGF0AAAAJygBrxmA94Ry1/8NiI24t6AsrayGk/XE5chwjPc1"
    "MsKIDwUKE4S7wAAAAAZFeGlmAABNTQAqAAAACAABARIAAwAAAAEABgAAAAAAAA=="
)
"""64×32 pixels, blue above red, with the orientation 6, which makes it 32×64, red on the left."""


def test_heic_is_decoded_upright() -> None:
    pytest.importorskip("pi_heif")
    image = decode(HEIC)
    assert image.size == (32, 64)
    np.testing.assert_allclose(pixels(image)[20, [4, -4]], [[200, 40, 40], [40, 60, 200]], atol=6)


def exif_block(*entries: tuple[int, int, int, bytes]) -> bytes:
    fields = [struct.pack("<HHI", tag, kind, count) + value.ljust(4, b"\0") for tag, kind, count, value in entries]
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(fields)) + b"".join(fields) + bytes(4)


TURNED = (0x0112, 3, 1, struct.pack("<H", 6))
ODD = {
    "resolution as text": exif_block(TURNED, (282, 2, 3, b"72"), (283, 2, 3, b"72")),
    "values beyond the end": exif_block(TURNED, (0x010F, 2, 500, struct.pack("<I", 9999))),
    "unknown type": exif_block((0x0100, 99, 1, b""), TURNED),
    "cut in the next entry": exif_block(TURNED, (282, 5, 1, b""))[:-10],
    "long orientation": exif_block((0x0112, 4, 1, struct.pack("<I", 6))),
}


@pytest.mark.parametrize("form", ["PNG", "WEBP", "JPEG"])
@pytest.mark.parametrize("kind", ODD)
def test_orientation_is_read_alone_from_odd_exif(kind: str, form: str) -> None:
    content = saved(rgb(), form, exif=b"Exif\0\0" + ODD[kind])
    assert decode(content).size == (16, 24)
    opened = Image.open(io.BytesIO(content))
    assert to_rgb(opened).size == (16, 24)
    assert opened.size == (24, 16), "the caller's image stays as it is"


def test_orientation_is_read_behind_a_doubled_header() -> None:
    block = b"Exif\0\0" * 2 + exif_block(TURNED)
    content = saved(rgb(), "JPEG")
    segment = b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block
    assert decode(content[:2] + segment + content[2:]).size == (16, 24)


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_meaningless_orientation_leaves_the_image_as_stored(value: int) -> None:
    block = exif_block((0x0112, 3, 1, struct.pack("<H", value)))
    assert decode(saved(rgb(), "PNG", exif=b"Exif\0\0" + block)).size == (24, 16)


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "La", "P", "PA", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr", "LAB", "HSV"]
)
def test_image_in_memory_of_any_8_bit_mode_becomes_rgb(mode: str) -> None:
    flat = Image.new("RGB", (6, 4), (255, 255, 255))
    via = {"La": "LA", "LA": "LA", "PA": "PA", "RGBa": "RGBA", "LAB": "RGB", "HSV": "RGB"}.get(mode, mode)
    image = flat.convert("P").convert("PA") if mode == "PA" else flat.convert(via).convert(mode)
    assert image.mode == mode
    found = to_rgb(image)
    assert found.mode == "RGB"
    np.testing.assert_allclose(pixels(found), 255, atol=1)


def png_chunk(kind: bytes, content: bytes, crc: int | None = None) -> bytes:
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content) if crc is None else crc)
    )


@pytest.mark.parametrize(
    "chunk",
    [
        png_chunk(b"pHYs", b"\0\0\0"),
        png_chunk(b"gAMA", b"\0"),
        png_chunk(b"cHRM", b"\0" * 5),
        png_chunk(b"tEXt", b"Title\0a cat", crc=1),
        png_chunk(b"eXIf", b"MM\0*", crc=1),
    ],
)
def test_damaged_metadata_leaves_the_pixels_of_a_png(chunk: bytes) -> None:
    content = saved(rgb(), "PNG")
    after_header = content.index(b"IDAT") - 4
    damaged = content[:after_header] + chunk + content[after_header:]
    assert np.array_equal(pixels(decode(damaged)), pixels(rgb()))


def test_a_png_with_damaged_pixels_or_transparency_stays_unreadable() -> None:
    content = saved(rgb(), "PNG")
    at = content.index(b"IDAT")
    for damaged in (
        content[: at + 12] + b"\xff\xff" + content[at + 14 :],
        content[: at - 4] + png_chunk(b"tRNS", b"\0" * 6, crc=1) + png_chunk(b"pHYs", b"\0") + content[at - 4 :],
    ):
        with pytest.raises(UnreadableImageError):
            decode(damaged)
