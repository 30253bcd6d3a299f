"""Files that can't be read as they are (archives, pickles, matrices, databases): what they are and what to do."""

import re
import struct
import zipfile
import zlib
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd

from resnet50.etl.embedded.arrays import DAMAGED, arrays_in, image_shape, open_array, why_no_images
from resnet50.etl.files import FileIndex

HEAD = 1024
MAX_LOOKED_AT, MAX_LISTED = 1000, 3
TAR_MAGIC = slice(257, 262)
USER_BLOCK = 512
"""HDF5 may begin after a block of this size, as MATLAB 7.3 writes it."""

MAX_PICKLE_PROTOCOL = 5

UNPACK = "unpack it first, then give the folder"
EXPORT = "save its images as files, one folder per class, or as .npz (images, labels)"
PICKLE = f"which is never loaded, since it can run any program: in a program that you trust, {EXPORT}"

BY_CONTENT = (
    (rb"Rar!\x1a\x07", f"a RAR archive: {UNPACK}"),
    (rb"7z\xbc\xaf\x27\x1c", f"a 7z archive: {UNPACK}"),
    (rb"\xfd7zXZ\0", f"compressed by xz: {UNPACK}"),
    (rb"BZh[1-9]1AY&SY", f"compressed by bzip2: {UNPACK}"),
    (rb"\x28\xb5\x2f\xfd", f"compressed by zstd: {UNPACK}"),
    (rb"\x04\x22\x4d\x18", f"compressed by lz4: {UNPACK}"),
    (rb"PK\x07\x08|PK00PK", "a part of a ZIP archive: join the parts and unpack them first (7z x {name})"),
    (rb"MATLAB [57]\.[0-9] MAT-file", f"a MATLAB file (.mat): load it with scipy.io.loadmat and {EXPORT}"),
    (rb"\x89HDF\r\n\x1a\n", f"an HDF5 file: open it with h5py and {EXPORT}"),
    (rb"SQLite format 3\0", f"an SQLite database: write its labels to a CSV and {EXPORT}"),
    (rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Excel workbook (.xls): save the sheet as CSV (UTF-8)"),
    (rb"ARROW1|\xff\xff\xff\xff.\0\0\0", "an Arrow or Feather file: read it with pandas and save it with to_parquet"),
    (rb"ORC", "an ORC file: read it with pandas and save it with to_parquet"),
    (rb"Obj\x01", "an Avro file: read it with pandas and save it with to_parquet"),
    (rb"\x0a\x23\xd7\xce", f"a RecordIO file of MXNet: read it with mxnet.recordio and {EXPORT}"),
    (rb"version https://git-lfs", "a Git LFS pointer, not the file itself: fetch it with git lfs pull"),
    (rb"(?i)\s*<(?:!doctype )?html", "an HTML page, not the file itself: download it again, perhaps after signing in"),
    (rb"%PDF-", "a PDF: save its images as files"),
)  # fmt: skip
"""What a file starts with, and what it is."""

BY_SUFFIX = {
    (".tfrecord", ".tfrecords", ".tfrec"): f"a TFRecord file: read it with tf.data.TFRecordDataset and {EXPORT}",
    (".mat",): f"a MATLAB file (.mat): load it with scipy.io.loadmat and {EXPORT}",
    (".mdb", ".lmdb"): f"an LMDB database: open it with lmdb and {EXPORT}",
    (".h5", ".hdf5", ".hdf"): f"an HDF5 file: open it with h5py and {EXPORT}",
    (".pkl", ".pickle"): f"a pickle, {PICKLE}",
    (".pt", ".pth"): f"a file of PyTorch, {PICKLE}",
    (".beton",): f"a file of FFCV: read it with ffcv and {EXPORT}",
}

IN_ZIP = (
    ("xl/workbook.xml", "an Excel workbook (.xlsx): save the sheet as CSV (UTF-8)"),
    ("content.xml", "an OpenDocument file: save the table as CSV (UTF-8)"),
    ("word/document.xml", "a Word document: save its table as CSV"),
)
"""A name inside a ZIP archive, and what then it is."""


def unreadable_container(path: Path) -> str | None:
    """Return what a file that `prepare` can't read is, and what to do, in one line; None for any other file.

    Content counts more than the name. Only the beginning of the file is read.
    """
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError:
        return None
    name, suffix = path.name, path.suffix.lower()
    if not head:
        return None
    if suffix in (".npz", ".npy"):
        found = unusable_arrays(path)
    elif head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        found = zip_content(path)
    elif head.startswith(b"\x1f\x8b"):
        found = gzip_content(path, head)
    elif head[TAR_MAGIC] == b"ustar":
        found = f"a tar archive: {UNPACK} (tar -xf {name})"
    else:
        found = content_kind(head) or suffix_kind(suffix, name)
    return None if found is None else f"{name} is {found.replace('{name}', name)}"


def unreadable_containers(files: FileIndex) -> list[str]:
    """Return a line for each of the first files in a folder that `prepare` can't read, shallow ones first."""
    others = pd.Series(files.depth, index=files.paths)[~files.is_image].sort_values(kind="stable")
    found = (unreadable_container(files.folder / str(path)) for path in others.index[:MAX_LOOKED_AT])
    return list(islice((line for line in found if line is not None), MAX_LISTED))


def content_kind(head: bytes) -> str | None:
    for magic, kind in BY_CONTENT:
        if re.match(magic, head, re.DOTALL):
            return kind
    if head[USER_BLOCK:].startswith(b"\x89HDF\r\n\x1a\n"):
        return f"an HDF5 file: open it with h5py and {EXPORT}"
    if head[16:20] == b"\xde\xc0\xef\xbe":
        return f"an LMDB database: open it with lmdb and {EXPORT}"
    if is_tfrecord(head):
        return next(kind for suffixes, kind in BY_SUFFIX.items() if ".tfrecord" in suffixes)
    if is_pickle(head):
        return f"a pickle, {PICKLE}"
    return None


def suffix_kind(suffix: str, name: str) -> str | None:
    if re.search(r"(?i)\.(?:zip|7z|rar|gz|tar|tgz|bz2|xz)\.?\d{2,3}$|\.z\d\d$|\.tar\.[a-z0-9]+\.?[a-z]{2}$", name):
        return f"a part of an archive: join the parts and unpack them first (7z x {name})"
    return next((kind for suffixes, kind in BY_SUFFIX.items() if suffix in suffixes), None)


def zip_content(path: Path) -> str | None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except DAMAGED:
        return f"a ZIP archive that is damaged or a part of one: download all of it again, then {UNPACK}"
    for inside, kind in IN_ZIP:
        if inside in names:
            return kind
    if any(name.endswith("/data.pkl") for name in names):
        return f"a file of PyTorch, {PICKLE}"
    return f"a ZIP archive ({len(names):,} files): {UNPACK} (python -m zipfile -e {path.name} {path.stem})"


def gzip_content(path: Path, head: bytes) -> str | None:
    """Return whether a .gz is a tar archive or one compressed file; None for an IDX file, which is read as it is."""
    if arrays_in(path):
        return None
    try:
        content = zlib.decompressobj(wbits=31).decompress(head, HEAD)
    except zlib.error:
        content = b""
    if content[TAR_MAGIC] == b"ustar" or re.search(r"(?i)\.(?:tar\.gz|tgz)$", path.name):
        return f"a tar archive: {UNPACK} (tar -xzf {path.name})"
    return f"compressed by gzip: unpack it first (gunzip {path.name})"


def unusable_arrays(path: Path) -> str | None:
    """Return why nothing in an .npz or .npy file is an image; None if something is, or all are small."""
    found = arrays_in(path)
    if any(image_shape(array) is not None for array in found):
        return None
    reasons = [reason for reason in map(why_no_images, found) if reason is not None]
    if reasons:
        return reasons[0]
    return f"an array of Python objects, a pickle, {PICKLE}" if has_objects(path) else None


def has_objects(path: Path) -> bool:
    """Return whether an array of a file is pickled."""
    try:
        names = [""] if path.suffix.lower() == ".npy" else zipfile.ZipFile(path).namelist()
        for name in names:
            with open_array(path, name) as file:
                version = np.lib.format.read_magic(file)
                header = (
                    np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                )
                if header(file)[2].hasobject:
                    return True
    except DAMAGED:
        return False
    return False


def is_pickle(head: bytes) -> bool:
    """Return whether a file starts as a pickle does: from protocol 2 on with its number, then an opcode."""
    if re.match(rb"\(dp\d|\(lp\d|c(?:__builtin__|copy_reg|numpy)", head):  # protocol 0
        return True
    return len(head) > 2 and head[0] == 0x80 and 2 <= head[1] <= MAX_PICKLE_PROTOCOL and head[2:3] in b"\x95}](c\x8cX"


def is_tfrecord(head: bytes) -> bool:
    """Return whether a file starts as a TFRecord does: the length of the first record and its masked CRC-32C."""
    if len(head) < 12:
        return False
    crc = crc32c(head[:8])
    masked = (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF
    return struct.unpack("<I", head[8:12])[0] == masked


def crc32c(content: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in content:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF
