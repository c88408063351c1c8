"""Frames: how a node or a page lies in a node pack. Self-delimiting from both ends, bounded, checked.

    offset  size  field
    0       4     magic "PSN1"; "PSN2" of types from 3 on; "PSN3" of type 7
    4       1     type: 0 leaf, 1 index node, 2 page of block hashes, 3 document, 4 leaf with documents,
                  5 timed leaf, 6 timed leaf with documents, 7 leaf with identities
    5       3     zero
    8       4     length of the body, little-endian
    12      4     length of the content, little-endian
    16      n     body: the content as it is (page) or compressed with zstandard (all others)
    16+n    4     length of the whole frame, little-endian

The trailer lets a reader that fetched more than it asked for find the frames before the one it wanted too: a
subtree's nodes lie just before the node that holds them.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterator

import zstandard

from penstock.errors import FormatTooNewError, IntegrityError, UsageError

__all__ = [
    "FRAME_DOCUMENT",
    "FRAME_DOCUMENTED",
    "FRAME_IDENTIFIED",
    "FRAME_INDEX",
    "FRAME_LEAF",
    "FRAME_PAGE",
    "FRAME_TIMED",
    "FRAME_TIMED_DOCUMENTED",
    "MAX_CONTENT",
    "MAX_FRAME",
    "decode_frame",
    "encode_frame",
    "frames_around",
]

FRAME_LEAF = 0
FRAME_INDEX = 1
FRAME_PAGE = 2
FRAME_DOCUMENT = 3
FRAME_DOCUMENTED = 4
"""A leaf of which some entries have their metadata in documents."""
FRAME_TIMED = 5
FRAME_TIMED_DOCUMENTED = 6
"""The same as a leaf, and as one with documents, with times that these have no room for."""
FRAME_IDENTIFIED = 7
"""A leaf with entries pinned by identity; it has room for documents and for all times."""
MAX_CONTENT = 16 << 20
"""Bytes that a node may unpack to. Larger is refused before anything is unpacked.

A leaf of 4096 files with 32 block hashes each, or with long addresses, takes 4 to 5 MiB. What bounds it from above
is memory: hostile content of many small extents takes about 20 times its size when it is decoded.
"""

_HEADER = struct.Struct("<4sB3sII")
_TRAILER = struct.Struct("<I")
_MAGIC = b"PSN1"
_MAGIC_2 = b"PSN2"
"""Of what format 1 did not have at first: a program of then says that it is too old for it."""
_MAGIC_3 = b"PSN3"
"""Of hashes that are not of content: a program of format 2 says that it is too old."""
_MAGICS = (_MAGIC, _MAGIC, _MAGIC, _MAGIC_2, _MAGIC_2, _MAGIC_2, _MAGIC_2, _MAGIC_3)
"""By type."""
_KNOWN = frozenset(_MAGICS)
_OVERHEAD = _HEADER.size + _TRAILER.size
MAX_FRAME = MAX_CONTENT + (MAX_CONTENT >> 8) + 1024
"""Bytes of a frame: zstandard makes what it cannot compress a little longer."""
_LEVEL = 3
_context = threading.local()  # zstandard's contexts serve one thread at a time


def _compressor() -> zstandard.ZstdCompressor:
    found: zstandard.ZstdCompressor | None = getattr(_context, "compressor", None)
    if found is None:
        found = _context.compressor = zstandard.ZstdCompressor(level=_LEVEL)
    return found


def _decompressor() -> zstandard.ZstdDecompressor:
    found: zstandard.ZstdDecompressor | None = getattr(_context, "decompressor", None)
    if found is None:
        found = _context.decompressor = zstandard.ZstdDecompressor()
    return found


def encode_frame(kind: int, content: bytes) -> bytes:
    """Wrap the content of a node or page. UsageError: it is larger than MAX_CONTENT."""
    if len(content) > MAX_CONTENT:
        raise UsageError(
            f"a node of {len(content)} bytes",
            why=f"the most is {MAX_CONTENT}: its files are in too many pieces",
            fix="Write the files that were changed in many places anew, as a whole.",
        )
    body = content if kind == FRAME_PAGE else _compressor().compress(content)
    header = _HEADER.pack(_MAGICS[kind], kind, b"\0\0\0", len(body), len(content))
    return b"".join((header, body, _TRAILER.pack(len(body) + _OVERHEAD)))


def decode_frame(frame: bytes | memoryview) -> tuple[int, bytes]:
    """Unwrap one whole frame: its type and its content. IntegrityError names what does not fit."""
    if len(frame) < _OVERHEAD:
        raise IntegrityError("a node is truncated", why=f"it has {len(frame)} bytes")
    magic, kind, zero, body_length, content_length = _HEADER.unpack_from(frame)
    if magic not in _KNOWN:
        if magic[:3] == _MAGIC[:3]:
            raise FormatTooNewError(
                f"a node of format {bytes(magic[3:])!r}",
                why="this Penstock reads formats 1 to 3",
                fix="Upgrade Penstock.",
            )
        raise IntegrityError("a node does not start as one", why=f"first bytes {bytes(magic)!r}")
    if kind >= len(_MAGICS) or magic != _MAGICS[kind] or zero != b"\0\0\0":
        raise IntegrityError("a node of an unknown type", why=f"type {kind}")
    if body_length + _OVERHEAD != len(frame) or _TRAILER.unpack_from(frame, len(frame) - 4)[0] != len(frame):
        raise IntegrityError("a node is truncated", why=f"{len(frame)} bytes do not fit its lengths")
    if content_length > MAX_CONTENT:
        raise IntegrityError("a node is too large", why=f"it says it unpacks to {content_length} bytes")
    body = frame[_HEADER.size : _HEADER.size + body_length]
    if kind == FRAME_PAGE:
        content = bytes(body)
    else:
        try:
            # The size in the zstandard header is what the library allocates: hold it against ours first.
            declared = zstandard.frame_content_size(body)
            if declared != content_length:
                raise IntegrityError("a node is corrupt", why="its two content lengths differ")
            content = _decompressor().decompress(body, allow_extra_data=False)
        except zstandard.ZstdError as error:
            raise IntegrityError("a node is corrupt", why=str(error)) from error
    if len(content) != content_length:
        raise IntegrityError("a node is corrupt", why="it does not unpack to the length it says")
    return kind, content


def frames_around(window: bytes | memoryview, position: int) -> Iterator[tuple[int, int]]:
    """Find the whole frames in a window of a node pack: (offset, length) each, given where one of them starts.

    What is found is a guess until its hash has been checked; junk ends the search in its direction.
    """
    view = memoryview(window)
    at = position
    while at + _OVERHEAD <= len(view):
        magic, _, _, body_length, _ = _HEADER.unpack_from(view, at)
        length = body_length + _OVERHEAD
        if magic not in _KNOWN or at + length > len(view):
            break
        yield at, length
        at += length
    at = position
    while at >= _OVERHEAD:
        length = _TRAILER.unpack_from(view, at - 4)[0]
        if not _OVERHEAD <= length <= at or bytes(view[at - length : at - length + 4]) not in _KNOWN:
            break
        at -= length
        yield at, length
