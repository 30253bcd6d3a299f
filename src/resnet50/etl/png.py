"""PNG files whose metadata is damaged: the pixels are good."""

import struct
import zlib

SIGNATURE = b"\x89PNG\r\n\x1a\n"

NEEDED = {b"tRNS", b"sBIT", b"eXIf"}
"""Chunks that decide what is seen, besides the critical ones: transparency, bits in use, orientation."""


def without_metadata(content: bytes) -> bytes:
    """Return a PNG without the chunks that don't decide what is seen; anything else as it is.

    A needed chunk stays with its damage, so that a decoder still refuses it; a damaged eXIf is metadata.
    """
    if not content.startswith(SIGNATURE):
        return content
    kept, at = [SIGNATURE], len(SIGNATURE)
    while at + 12 <= len(content):
        (length,) = struct.unpack_from(">I", content, at)
        kind, end = content[at + 4 : at + 8], at + 12 + length
        chunk = content[at:end]
        whole = zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:], "big")
        if kind[:1].isupper() or (kind in NEEDED and (whole or kind != b"eXIf")):
            kept.append(chunk)
        at = end
    return b"".join(kept)
