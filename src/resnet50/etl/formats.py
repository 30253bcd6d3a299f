"""What a file is, by the end of its name and by its first bytes: an image, or something that pretends to be one."""

import importlib.util
import re
import struct
from pathlib import Path
from typing import NamedTuple

HEIF_EXTENSIONS = (".heic", ".heif", ".hif", ".heics", ".heifs")

DICOM_EXTENSIONS = (".dcm", ".dicom")

RAW_EXTENSIONS = (
    ".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".iiq", ".kdc", ".mef", ".mos", ".mrw", ".nef",
    ".nrw", ".orf", ".pef", ".raf", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f",
)  # fmt: skip
"""Of cameras' own formats, which hold the sensor's values and a small preview."""

DECODABLE_EXTENSIONS = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".jfi", ".jif", ".pjpeg", ".pjp", ".mpo", ".png", ".apng", ".webp", ".avif",
    ".avifs", ".bmp", ".dib", ".gif", ".tif", ".tiff", ".btf", ".tf8", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".jp2",
    ".j2k", ".j2c", ".jpc", ".jpf", ".jpx", ".qoi", ".psd", ".tga", ".pcx",
)  # fmt: skip
"""Of formats that the base install decodes."""

IMAGE_EXTENSIONS = (
    *DECODABLE_EXTENSIONS, *HEIF_EXTENSIONS, *DICOM_EXTENSIONS, *RAW_EXTENSIONS, ".jxl", ".exr", ".svg",
)  # fmt: skip
"""Of images, in lower case; those that can't be decoded are listed all the same, so that none is lost unsaid."""

HEAD_BYTES = 4096
"""Of a file, enough to tell what it is."""


class ContentKind(NamedTuple):
    """What the first bytes of a file say it is.

    Attributes:
        name: e.g. "JPEG", "HEIC", "Git LFS pointer"; "unknown" if nothing is recognized.
        is_image: whether a person would call it an image, readable or not.
        readable: whether it can be decoded with what is installed.
        hint: where it is not readable, what it is and what to do.
    """

    name: str
    is_image: bool
    readable: bool
    hint: str = ""


JPEG_START = b"\xff\xd8\xff"

CONVERT = "convert it to JPEG or PNG"
DEVELOP = "camera raw, which holds the sensor's values: develop it to JPEG, PNG or TIFF"

DECODED = {
    "JPEG": JPEG_START,
    "PNG": rb"\x89PNG\r\n\x1a\n",
    "GIF": rb"GIF8[79]a",
    "WebP": rb"RIFF....WEBP",
    "BMP": rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0",
    "TIFF": rb"II[*+]\0|MM\0[*+]",
    "PNM": rb"P[1-7Ff][\s#]",
    "JPEG 2000": rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51",
    "QOI": rb"qoif",
    "Photoshop": rb"8BPS",
}
"""The first bytes of each format that the base install decodes. Those without a signature (TGA, PCX) are not here."""

RAW = {
    "CR2": rb"II\*\0.{4}CR",
    "CR3": rb"....ftypcrx ",
    "CRW": rb"II\x1a\0\0\0HEAPCCDR",
    "ORF": rb"IIR[OS]|MMOR",
    "RW2": rb"IIU\0",
    "RAF": rb"FUJIFILMCCD-RAW",
    "X3F": rb"FOVb",
    "MRW": rb"\0MRM",
}
"""Formats of cameras that can be told from others by their first bytes."""

OTHER_IMAGES = {
    "JPEG XL": rb"\xff\x0a|\0\0\0\x0cJXL ",
    "JPEG XR": rb"II\xbc",
    "OpenEXR": rb"v/1\x01",
    "Radiance HDR": rb"#\?(?:RADIANCE|RGBE)",
    "FITS": rb"SIMPLE  =",
    "SVG": rb"(?:\xef\xbb\xbf)?\s*<(?:.{0,3900}<)?svg[\s>]",
    "EPS": rb"%!PS|\xc5\xd0\xd3\xc6",
    "NIfTI": rb".{344}(?:n\+1|ni1)\0",
    "NRRD": rb"NRRD0",
    "MetaImage": rb"ObjectType\s*=",
}
"""Formats of images that can't be decoded here."""

BOM = rb"(?:\xef\xbb\xbf)?\s*"
NO_IMAGES = {
    "Git LFS pointer": (
        rb"version https://(?:git-lfs|hawser)\.github\.com/",
        "a Git LFS pointer, not the image itself: run `git lfs pull` in the repository it comes from",
    ),
    "git-annex pointer": (
        rb"(?:/|(?:\.\./)+\.git/)annex/objects/",
        "a git-annex pointer, not the image itself: run `git annex get` in the repository it comes from",
    ),
    "HTML page": (
        BOM + rb"(?:<!--.{0,3000}?-->\s*|<\?xml.{0,200}?\?>\s*)*<(?:!doctype html|html|head|body)[\s>]",
        "an HTML page, not an image: the download met a login or an error page; download it again",
    ),
    "XML document": (BOM + rb"<(?:\?xml[\s?]|error>)", "an XML document, not an image: download it again"),
    "JSON document": (BOM + rb"[{\[]\s*[\"{\[]", "a JSON document, not an image: download it again"),
    "PDF": (rb"%PDF-", f"PDF is not supported: {CONVERT}"),
    "archive": (
        rb"PK(?:\x03\x04|\x05\x06|\x07\x08)|\x1f\x8b|BZh[1-9]1AY&SY|\xfd7zXZ\0|\x28\xb5\x2f\xfd"
        rb"|7z\xbc\xaf\x27\x1c|Rar!\x1a\x07|.{257}ustar",
        "an archive, not an image: unpack it first",
    ),
    "array file": (rb"\x93NUMPY|\x89HDF\r\n\x1a\n", "a file of arrays, not an image: save each image as PNG or TIFF"),
    "table": (rb"PAR1|SQLite format 3\0", "a table, not an image"),
    "video": (
        rb"....ftyp(?:isom|iso[2-9]|mp4[12]|avc1|qt  |M4V |3g)|....moov|RIFF....AVI |\x1a\x45\xdf\xa3|\0\0\x01\xba",
        "a video, not an image: save its frames as JPEG or PNG",
    ),
    "AppleDouble": (rb"\0\x05\x16\x07", "macOS's record of another file, not an image: delete it"),
    "property list": (rb"bplist00", "a property list, not an image: download it again"),
    "OLE document": (rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a Windows or Office document, not an image"),
    "file of zeros": (rb"\0{64,}\Z|\0{4096}", "the file holds zeros alone: copy or download it again"),
}
"""Files that turn up under an image's name: their first bytes, and what to do."""


def matcher(pattern: bytes) -> re.Pattern[bytes]:
    return re.compile(pattern, re.DOTALL)


DECODED_STARTS = {name: matcher(pattern) for name, pattern in DECODED.items()}
RAW_STARTS = {name: matcher(pattern) for name, pattern in RAW.items()}
IMAGE_STARTS = {name: matcher(pattern) for name, pattern in OTHER_IMAGES.items()}
NO_IMAGE_STARTS = {
    name: (re.compile(start, re.DOTALL | re.IGNORECASE), hint) for name, (start, hint) in NO_IMAGES.items()
}

UNKNOWN = ContentKind("unknown", False, False, "not an image")
EMPTY = ContentKind("empty file", False, False, "the file is empty")


def content_kind(head: bytes) -> ContentKind:
    """Name what a file is from its first bytes, of which `HEAD_BYTES` are enough."""
    if not head:
        return EMPTY
    dicom = dicom_kind(head)  # first: its preamble may be the header of a TIFF
    if dicom:
        return dicom
    raw = raw_name(head)
    if raw:
        return ContentKind("camera raw", True, False, f"{raw} is {DEVELOP}")
    for name, start in DECODED_STARTS.items():
        if start.match(head):
            return ContentKind(name, True, True)
    container = isobmff_kind(head)
    if container:
        return container
    head = head[:HEAD_BYTES]
    for name, start in IMAGE_STARTS.items():
        if start.match(head):
            return ContentKind(name, True, False, f"{name} is not supported: {CONVERT}")
    for name, (start, hint) in NO_IMAGE_STARTS.items():
        if start.match(head):
            return ContentKind(name, False, False, hint)
    return UNKNOWN


def raw_name(head: bytes) -> str:
    """Return the camera raw format that a file is in, "" for none.

    Most are TIFFs whose first image is a preview, which a TIFF reader takes for the image.
    """
    for name, start in RAW_STARTS.items():
        if start.match(head):
            return name
    if head[:4] not in (b"II*\0", b"MM\0*"):
        return ""
    tags = first_directory(head)
    if DNG_VERSION in tags:
        return "DNG"
    preview = tags.get(NEW_SUBFILE_TYPE, 0) & 1 and SUB_IFDS in tags
    return "this TIFF" if preview or tags.get(PHOTOMETRIC) in (COLOR_FILTER_ARRAY, LINEAR_RAW) else ""


NEW_SUBFILE_TYPE, PHOTOMETRIC, SUB_IFDS, DNG_VERSION = 254, 262, 330, 50706
COLOR_FILTER_ARRAY, LINEAR_RAW = 32803, 34892


def first_directory(head: bytes) -> dict[int, int]:
    """Return the tags of a TIFF's first directory with their first value if it is a number, as far as they are there.

    EXIF blocks have the same form.
    """
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    tags: dict[int, int] = {}
    if order is None:
        return tags
    try:
        (at,) = struct.unpack_from(f"{order}I", head, 4)
        (count,) = struct.unpack_from(f"{order}H", head, at)
        for start in range(at + 2, at + 2 + 12 * count, 12):
            tag, kind = struct.unpack_from(f"{order}HH", head, start)
            form = {1: "B", 3: "H"}.get(kind, "I")
            tags[tag] = struct.unpack_from(f"{order}{form}", head, start + 8)[0]
    except struct.error:
        pass
    return tags


HEIF_BRANDS = {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"hevm", b"hevs", b"mif1", b"msf1", b"mif2"}


def isobmff_kind(head: bytes) -> ContentKind | None:
    """Name an image in an ISO base media file (AVIF, HEIC) by its brands."""
    if head[4:8] != b"ftyp":
        return None
    end = min(int.from_bytes(head[:4], "big"), 512)
    brands = {head[at : at + 4] for at in (8, *range(16, end - 3, 4))}
    if brands & {b"avif", b"avis"}:
        return ContentKind("AVIF", True, True)
    return needs_extra("HEIC", "heif", "pi_heif") if brands & HEIF_BRANDS else None


def dicom_kind(head: bytes) -> ContentKind | None:
    """Recognize DICOM, also without the 128 bytes in front that its standard asks for."""
    bare = head[:2] in (b"\x02\0", b"\x08\0") and b"1.2.840.10008." in head[:1024]
    return needs_extra("DICOM", "dicom", "pydicom") if head[128:132] == b"DICM" or bare else None


def needs_extra(name: str, extra: str, module: str) -> ContentKind:
    if importlib.util.find_spec(module) is not None:
        return ContentKind(name, True, True)
    return ContentKind(name, True, False, f"{name} needs an extra: pip install 'resnet50[{extra}]'")


def has_image_extension(name: str) -> bool:
    return name.lower().endswith(IMAGE_EXTENSIONS)


def looks_like_image(path: str | Path) -> bool:
    """Return whether a file is an image by the end of its name or, if that is no image's, by its first bytes."""
    return has_image_extension(str(path)) or kind_of_file(path).is_image


def kind_of_file(path: str | Path) -> ContentKind:
    """Name what a regular file is from its first bytes; a file that can't be opened is unknown."""
    path = Path(path)
    try:
        if not path.is_file():  # opening a pipe could block forever
            return UNKNOWN
        with path.open("rb") as file:
            return content_kind(file.read(HEAD_BYTES))
    except OSError:
        return UNKNOWN
