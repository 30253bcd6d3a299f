import io
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from resnet50.etl import formats
from resnet50.etl.formats import content_kind, has_image_extension, looks_like_image

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"


def encoded(form: str, mode: str = "RGB", **options: object) -> bytes:
    file = io.BytesIO()
    Image.new(mode, (40, 30), 100 if mode == "L" else "teal").save(file, form, **options)
    return file.getvalue()


def box(major: bytes, *compatible: bytes) -> bytes:
    brands = major + bytes(4) + b"".join(compatible)
    return struct.pack(">I", 8 + len(brands)) + b"ftyp" + brands + bytes(64)


def tiff(*entries: tuple[int, int, int], order: str = "<") -> bytes:
    """A TIFF's first directory: (tag, type, value) each."""
    start = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}IH", 8, len(entries))
    values = [struct.pack(f"{order}HHI", tag, kind, 1) + struct.pack(f"{order}{'H2x' if kind == 3 else 'I'}", value)
              for tag, kind, value in entries]  # fmt: skip
    return start + b"".join(values) + bytes(4)


@pytest.mark.parametrize(
    ("name", "form"),
    [("JPEG", "JPEG"), ("PNG", "PNG"), ("GIF", "GIF"), ("WebP", "WEBP"), ("BMP", "BMP"), ("TIFF", "TIFF"),
     ("PNM", "PPM"), ("JPEG 2000", "JPEG2000"), ("AVIF", "AVIF"), ("QOI", "QOI")],
)  # fmt: skip
def test_formats_that_pillow_writes_are_named(name: str, form: str) -> None:
    kind = content_kind(encoded(form)[:100])
    assert kind.name == name
    assert kind.is_image and kind.readable


def test_every_readable_extension_belongs_to_a_decodable_file() -> None:
    with_signature = {".tif", ".jfif", ".jpe", ".jpg", ".png", ".webp", ".avif", ".bmp", ".dib", ".gif", ".ppm", ".jp2"}
    Image.init()
    for extension in with_signature:
        assert has_image_extension(f"A{extension.upper()}")
        assert extension in Image.registered_extensions()


def test_big_tiff_is_a_tiff() -> None:
    assert content_kind(encoded("TIFF", big_tiff=True)).name == "TIFF"


@pytest.mark.parametrize("major", [b"heic", b"mif1", b"msf1", b"hevc"])
def test_heic_needs_an_extra(monkeypatch: pytest.MonkeyPatch, major: bytes) -> None:
    monkeypatch.setattr(formats.importlib.util, "find_spec", lambda name: None)
    kind = content_kind(box(major, b"mif1", b"heic"))
    assert kind.is_image and not kind.readable
    assert kind.hint == "HEIC needs an extra: pip install 'resnet50[heif]'"


def test_avif_with_a_general_brand_is_no_heic() -> None:
    assert content_kind(box(b"mif1", b"avif", b"miaf")).name == "AVIF"


@pytest.mark.parametrize(
    "head",
    [
        bytes(128) + b"DICM\2\0\0\0UL\4\0",
        b"\x08\0\x05\0CS\x0a\0ISO_IR 100\x08\0\x16\0UI\x1a\x001.2.840.10008.5.1.4.1.1.2\0",
    ],
)
def test_dicom_is_known_with_and_without_its_preamble(monkeypatch: pytest.MonkeyPatch, head: bytes) -> None:
    monkeypatch.setattr(formats.importlib.util, "find_spec", lambda name: None)
    assert content_kind(head).hint == "DICOM needs an extra: pip install 'resnet50[dicom]'"


@pytest.mark.parametrize(
    "head",
    [
        b"II*\0\x10\0\0\0CR\2\0",
        b"\0\0\0\x18ftypcrx \0\0\0\1",
        b"FUJIFILMCCD-RAW 0201",
        b"IIRO\x08\0\0\0",
        b"IIU\0\x18\0\0\0",
        tiff((254, 4, 1), (330, 4, 200)),  # NEF, ARW: a preview first, the image in a subdirectory
        tiff((254, 4, 1), (330, 4, 200), order=">"),
        tiff((254, 4, 0), (262, 3, 32803)),  # PEF: the sensor's mosaic
        tiff((254, 4, 0), (50706, 1, 0x401)),  # DNG
    ],
)
def test_camera_raw_is_an_image_that_must_be_developed(head: bytes) -> None:
    kind = content_kind(head + bytes(64))
    assert kind.is_image and not kind.readable
    assert "develop it" in kind.hint


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("Git LFS pointer", LFS),
        ("git-annex pointer", b"/annex/objects/MD5E-s1234--5f.jpg\n"),
        ("git-annex pointer", b"../../.git/annex/objects/kx/5Z/MD5E-s1234--5f.jpg"),
        ("HTML page", b"\n<!DOCTYPE html><html><body>404</body></html>"),
        ("HTML page", b"\xef\xbb\xbf<!-- login --> <HTML lang=en>"),
        ("SVG", b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>'),
        ("XML document", b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>'),
        ("JSON document", b'{"error": "quota exceeded"}'),
        ("PDF", b"%PDF-1.7"),
        ("archive", b"PK\x03\x04" + bytes(30)),
        ("archive", b"\x1f\x8b\x08\0"),
        ("archive", b"a.jpg".ljust(257, b"\0") + b"ustar\x0000"),
        ("video", box(b"isom", b"mp41")),
        ("AppleDouble", b"\0\x05\x16\x07\0\x02\0\0Mac OS X"),
        ("file of zeros", bytes(500)),
        ("empty file", b""),
        ("unknown", b"a note about a cat\n"),
    ],
)
def test_what_pretends_to_be_an_image_is_named(name: str, head: bytes) -> None:
    kind = content_kind(head)
    assert kind.name == name
    assert not kind.readable and kind.hint


def test_images_are_told_by_their_name_or_content(tmp_path: Path) -> None:
    contents = {"1.JPE": b"", "2.Heic": b"", "1.2.840.113619.2": encoded("PNG"), "noext": encoded("JPEG"),
                "notes.txt": b"cat", "list.csv": b"id,label\n", "page": b"<html>"}  # fmt: skip
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    found = {name for name in contents if looks_like_image(tmp_path / name)}
    assert found == {"1.JPE", "2.Heic", "1.2.840.113619.2", "noext"}
    assert not looks_like_image(tmp_path)
    assert not looks_like_image(tmp_path / "missing")


def test_any_bytes_get_a_name() -> None:
    rng = np.random.default_rng(0)
    starts = (b"", b"II*\0\x08\0\0\0", b"MM\0*", b"\0\0\1\0ftyp", b"<", b"\xff\xd8")
    for number in range(2000):
        head = starts[number % len(starts)] + rng.bytes(int(rng.integers(0, 200)))
        kind = content_kind(head)
        assert kind.name
        assert kind.readable or kind.hint


@pytest.mark.skipif(sys.platform == "win32", reason="no pipes in the file system")
def test_a_pipe_is_not_opened(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "pipe")
    assert not looks_like_image(tmp_path / "pipe")
