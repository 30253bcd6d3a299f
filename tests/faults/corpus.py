"""Files as they come from cameras, phones, scanners and strangers, made on the spot: good, odd and broken ones."""

import io
import json
import struct
import zlib
from typing import Any, cast

import numpy as np
from PIL import Image, ImageChops, ImageCms

SOI, SOF0, SOF9, APP14 = b"\xff\xd8", b"\xff\xc0", b"\xff\xc9", b"\xff\xee"
"""Markers of a JPEG (ITU T.81, table B.1): its start, a baseline frame, an arithmetic-coded one, Adobe's segment."""

PNG_START = b"\x89PNG\r\n\x1a\n"

ARITHMETIC_JPEG = bytes.fromhex(
    "ffd8ffe000104a46494600010100000100010000ffdb00430003020203020203030303040303040508050504"
    "04050a070706080c0a0c0c0b0a0b0b0d0e12100d0e110e0b0b1016101113141515150c0f1718161418121415"
    "14ffc9000b080008000801011100ffcc000600101005ffda0008010100003f00feeaa5ac5c8c68ea7bcb9aa3"
    "fdffd9"
)
"""By `cjpeg -arithmetic`, for Pillow can't write it: 8×8 gray pixels, 40 in the upper half and 200 in the lower."""

HEIC = struct.pack(">I4s4sI4s4s", 24, b"ftyp", b"heic", 0, b"mif1", b"heic") + bytes(64)
SVG = b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"><rect width="8"/></svg>'
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n"


def scene(width: int = 48, height: int = 32) -> np.ndarray:
    """Return a smooth image with another color in each corner: uint8, h×w×3."""
    y, x = np.mgrid[0:height, 0:width]
    across, down = 220 * x // max(1, width - 1), 220 * y // max(1, height - 1)
    return np.stack([across + 20, down + 20, 240 - (across + down) // 2], axis=2).astype(np.uint8)


def saved(image: Image.Image, form: str, **options: Any) -> bytes:
    """Return the bytes of a file that Pillow writes."""
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def jpeg(pixels: np.ndarray, **options: Any) -> bytes:
    """Return a JPEG near to the pixels: fine, and with color at full resolution."""
    return saved(Image.fromarray(pixels), "JPEG", **{"quality": 97, "subsampling": 0} | options)


def chunk(kind: bytes, content: bytes) -> bytes:
    """Return a chunk of a PNG (RFC 2083, section 3.2)."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, rows: bytes, *, depth: int = 8, color: int = 2) -> bytes:
    """Return a PNG with any header over any rows (each with its filter byte in front), whether they fit or not."""
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    return PNG_START + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def bomb() -> bytes:
    """Return a PNG of some kilobytes that claims 60,000×60,000 pixels: 11 GB once it is decoded."""
    return png(60_000, 60_000, bytes(1_000_000))


def mended(content: bytes) -> bytes:
    """Return a PNG with right checksums: without, hardly any change to its bytes gets past the first look at them."""
    if not content.startswith(PNG_START):
        return content
    parts, at = [PNG_START], len(PNG_START)
    while at + 12 <= len(content):
        (length,) = struct.unpack_from(">I", content, at)
        if at + 12 + length > len(content):
            break
        parts.append(chunk(content[at + 4 : at + 8], content[at + 8 : at + 8 + length]))
        at += 12 + length
    return b"".join(parts) + content[at:]


def with_orientation(upright: np.ndarray, value: int) -> bytes:
    """Return a JPEG that is stored as a camera would hold it and says so in its EXIF block (EXIF 2.3, tag 0x0112).

    What the tag says is where row 0 and column 0 of the stored image lie in the upright one: 6, a phone held upright,
    has row 0 at the right and column 0 at the top.
    """
    stored = {
        1: upright,
        2: upright[:, ::-1],  # column 0 at the right
        3: upright[::-1, ::-1],  # row 0 at the bottom, column 0 at the right
        4: upright[::-1],  # row 0 at the bottom
        5: upright.transpose(1, 0, 2),  # row 0 at the left, column 0 at the top
        6: upright.transpose(1, 0, 2)[::-1],  # row 0 at the right, column 0 at the top
        7: upright.transpose(1, 0, 2)[::-1, ::-1],  # row 0 at the right, column 0 at the bottom
        8: upright.transpose(1, 0, 2)[:, ::-1],  # row 0 at the left, column 0 at the bottom
    }[value]
    exif = Image.Exif()
    exif[0x0112] = value
    return jpeg(np.ascontiguousarray(stored), exif=exif)


def cmyk_jpeg() -> bytes:
    """Return the scene as Photoshop stores it: four inks, each inverted, with Adobe's segment."""
    return saved(Image.fromarray(scene()).convert("CMYK"), "JPEG", quality=97)


def ycck_jpeg() -> bytes:
    """Return the same with its inks turned into brightness and color, as Adobe's segment says by the value 2."""
    inks = Image.fromarray(scene()).convert("CMYK").split()
    turned = Image.merge("RGB", inks[:3]).convert("YCbCr").split()
    # what is stored is the inverse of what Pillow is given, and only the black ink is to be stored inverted
    content = saved(Image.merge("CMYK", (*map(ImageChops.invert, turned), inks[3])), "JPEG", quality=97)
    at = content.index(APP14 + b"\x00\x0eAdobe") + 15
    return content[:at] + b"\x02" + content[at + 1 :]


def without_adobe(content: bytes) -> bytes:
    """Return a JPEG without Adobe's segment."""
    at = content.index(APP14 + b"\x00\x0eAdobe")
    return content[:at] + content[at + 16 :]


def profile() -> bytes:
    """Return an ICC profile."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def animation(colors: tuple[str, ...] = ("red", "blue", "lime")) -> bytes:
    """Return an animated GIF, a color a frame."""
    first, *others = [Image.new("RGB", (12, 8), color) for color in colors]
    return saved(first, "GIF", save_all=True, append_images=others, duration=50, loop=0)


def palette_png() -> bytes:
    """Return a PNG of 4×2 with three colors in a palette, the second of them transparent by half, the third wholly."""
    image = Image.new("P", (4, 2))
    image.putpalette([10, 20, 30, 200, 100, 50, 0, 255, 0])
    image.putdata([0, 1, 2, 0, 0, 1, 2, 0])
    return saved(image, "PNG", transparency=bytes([255, 128, 0]))


def gray16_png() -> tuple[bytes, np.ndarray]:
    """Return a PNG of 16 bits and its values."""
    values = np.linspace(0, 65535, 48 * 32).reshape(32, 48).round().astype(np.uint16)
    return saved(Image.fromarray(values), "PNG"), values


def good_images() -> dict[str, bytes]:
    """Return one small file of each kind that can be read, by file name."""
    pixels = scene()
    image = Image.fromarray(pixels)
    return {
        "plain.jpg": jpeg(pixels),
        "gray.jpg": saved(image.convert("L"), "JPEG"),
        "progressive.jpg": jpeg(pixels, progressive=True),
        "arithmetic.jpg": ARITHMETIC_JPEG,
        "cmyk.jpg": cmyk_jpeg(),
        "cmyk-without-adobe.jpg": without_adobe(cmyk_jpeg()),
        "ycck.jpg": ycck_jpeg(),
        "icc.jpg": jpeg(pixels, icc_profile=profile()),
        "turned.jpg": with_orientation(pixels, 6),
        "plain.png": saved(image, "PNG"),
        "icc.png": saved(image, "PNG", icc_profile=profile()),
        "by-hand.png": png(2, 2, bytes([0, 1, 2, 3, 4, 5, 6] * 2)),
        "gray16.png": gray16_png()[0],
        "palette.png": palette_png(),
        "rgba.png": saved(image.convert("RGBA"), "PNG"),
        "dot.png": saved(Image.new("RGB", (1, 1), (1, 2, 3)), "PNG"),
        "ribbon.png": saved(Image.fromarray(scene(20_000, 10)), "PNG"),
        "animation.gif": animation(),
        "plain.webp": saved(image, "WEBP"),
        "plain.tif": saved(image, "TIFF"),
        "packed.tif": saved(image, "TIFF", compression="tiff_lzw"),
        "float.tif": saved(Image.fromarray(pixels[..., 0].astype(np.float32) / 255), "TIFF"),
        "plain.bmp": saved(image, "BMP"),
        "plain.ppm": saved(image, "PPM"),
        "plain.jp2": saved(image, "JPEG2000"),
    }


def bad_images() -> dict[str, tuple[bytes, str]]:
    """Return files that can't be read, by file name, each with a pattern of what is to be said about it."""
    pixels = scene()
    whole_jpeg, whole_png = jpeg(pixels), saved(Image.fromarray(pixels), "PNG")
    return {
        "truncated.jpg": (whole_jpeg[: len(whole_jpeg) // 2], "truncated"),
        "start.jpg": (whole_jpeg[:20], "cannot be read as an image"),
        "truncated.png": (whole_png[: len(whole_png) // 2], "truncated"),
        "header.png": (whole_png[:33], "cannot be read as an image"),
        "empty.jpg": (b"", "the file is empty"),
        "text.jpg": (b"this is a note about a cat\n", "not an image"),
        "page.jpg": (b"<!DOCTYPE html><html><body>404 Not Found</body></html>", "not an image"),
        "bomb.png": (bomb(), "too many pixels"),
        "thread.png": (png(1, 1 << 27, b""), "a side is longer than 262,144"),
        "endless.jpg": (endless_jpeg(64, 200), "more than 100 scans"),
        "hollow.png": (png(4000, 4000, b""), "truncated"),
        "drawing.svg": (SVG, "SVG is not supported: convert it to JPEG or PNG"),
        "phone.heic": (HEIC, "HEIC"),
        "phone-as.jpg": (HEIC, "HEIC"),
        "print.eps": (EPS, "EPS is not supported"),
        "page.pdf": (b"%PDF-1.7\n", "PDF is not supported"),
        "next.jxl": (b"\xff\x0a\xfa\x1f", "JPEG XL is not supported"),
    }


def claimed_arithmetic() -> bytes:
    """Return a baseline JPEG that says it is arithmetic-coded: no decoder may crash on what it then finds."""
    return jpeg(scene()).replace(SOF0, SOF9, 1)


def endless_jpeg(side: int, scans: int) -> bytes:
    """Return a progressive JPEG whose last pass is there again and again: a minute's work in some kilobytes."""
    content = saved(Image.new("L", (side, side), 77), "JPEG", progressive=True)
    start, end = content.rindex(b"\xff\xda"), len(content) - 2
    return content[:end] + content[start:end] * scans + content[end:]


def framed(header: bytes) -> bytes:
    """Return a safetensors file: a header, and behind it as many bytes as its tensors ask for (up to 1 MB)."""
    return struct.pack("<Q", len(header)) + header + bytes(tensor_bytes(header))


def tensor_bytes(header: bytes) -> int:
    """Return how many bytes a header of a safetensors file asks for; 0 where it makes no sense."""
    try:
        entries = cast(dict[str, Any], json.loads(header))
        ends = [int(entry["data_offsets"][1]) for name, entry in entries.items() if name != "__metadata__"]
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RecursionError):
        return 0
    return max(0, min(max(ends, default=0), 1_000_000))


def model_header(**changes: str) -> bytes:
    """Return the header of a model file of a ResNet-18 that lacks most of its weights, with changes to its metadata."""
    preprocess = {
        "size": 32, "resize": 36, "resize_mode": "crop", "interpolation": "bilinear",
        "mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2],
    }  # fmt: skip
    metadata = {
        "format": "resnet50-1",
        "depth": "18",
        "variant": "v1.5",
        "shortcuts": "B",
        "classes": '["cat", "dog"]',
        "preprocess": json.dumps(preprocess),
    }
    tensors = {
        "fc.weight": {"dtype": "F32", "shape": [2, 512], "data_offsets": [0, 4096]},
        "fc.bias": {"dtype": "F32", "shape": [2], "data_offsets": [4096, 4104]},
    }
    return json.dumps({"__metadata__": metadata | changes} | tensors).encode()


def checkpoint_header(content: Any = None) -> bytes:
    """Return the header of a checkpoint with a tensor and some numbers, or with other content."""
    if content is None:
        content = {"pairs": [["epoch", 3], ["weights", {"tensor": "w"}], ["list", [1, {"pairs": [["a", None]]}]]]}
    metadata = {"format": "resnet50-checkpoint-2", "content": json.dumps(content)}
    tensors = {"w": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}}
    return json.dumps({"__metadata__": metadata} | tensors).encode()


TABLES = [
    b"id,label\n001,cat\n002,dog\n",
    b"\xef\xbb\xbfid;label\n001;cat\n",
    b'id\tlabel\n001\t"a ""quoted"" cat"\n',
    b'id,label\n"a\nb","x\r\ny"\n',
    b"id,id\na,b\n",
    b"a,b,c,d\n1,2\n1,2,3,4,5\n",
    b"id,label\n=cmd(),../../etc/passwd\n\x00,/etc/passwd\n",
    b"id,label\n\xff\xfe,x\n",
    b"",
]
"""CSV files to begin with."""
