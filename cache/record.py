"""The bytes of a segment: its header, the header of a record, the table of a sealed one. Pure; see docs/CACHE.md.

Every checksum is seeded with the segment's nonce, so neither bytes left over from before a crash nor bytes that
somebody stored as a block can pass for a header. A header says only where a block lies: the block itself is always
checked against its key.
"""

from __future__ import annotations

import struct
from typing import NamedTuple
from zlib import crc32

from blake3 import blake3

from penstock.store.base import Buffer

__all__ = [
    "KEY_BYTES",
    "RECORD_HEADER_BYTES",
    "SEGMENT_HEADER_BYTES",
    "TRAILER_BYTES",
    "BlockRecord",
    "SegmentHeader",
    "decode_record_header",
    "decode_segment_header",
    "decode_table",
    "decode_trailer",
    "encode_record_header",
    "encode_segment_header",
    "encode_table",
    "names_block",
    "record_bytes",
    "table_bytes",
]

KEY_BYTES = 32

_SEGMENT_MAGIC = b"PENSTSEG"
_TABLE_MAGIC = b"PENSTTAB"
_RECORD_MAGIC = 0x424B4350
_FORMAT = 1

_SEGMENT = struct.Struct("<8sIQQ16sI16x")
_RECORD = struct.Struct("<II32sII")
_NAME = struct.Struct("<I32s")
_ROW = struct.Struct("<32sII")
_TRAILER = struct.Struct("<8sQQ32s8x")

SEGMENT_HEADER_BYTES = _SEGMENT.size
RECORD_HEADER_BYTES = _RECORD.size
TRAILER_BYTES = _TRAILER.size
_ALIGNMENT = 8


class BlockRecord(NamedTuple):
    """Where a block lies in its segment: `offset` of the data (not of the header) and `length`, in bytes."""

    key: bytes
    offset: int
    length: int


class SegmentHeader(NamedTuple):
    """The first bytes of a segment. `size` is what was reserved for it, in bytes."""

    number: int
    size: int
    nonce: bytes


def encode_segment_header(header: SegmentHeader) -> bytes:
    """Return the SEGMENT_HEADER_BYTES that a segment begins with."""
    fields = (_SEGMENT_MAGIC, _FORMAT, header.number, header.size, header.nonce)
    return _SEGMENT.pack(*fields, crc32(_SEGMENT.pack(*fields, 0)))


def decode_segment_header(data: bytes) -> SegmentHeader | None:
    """Return the header in `data`, or None when it is damaged or of another format."""
    if len(data) != SEGMENT_HEADER_BYTES:
        return None
    magic, version, number, size, nonce, check = _SEGMENT.unpack(data)
    fields = (magic, version, number, size, nonce)
    if magic != _SEGMENT_MAGIC or version != _FORMAT or check != crc32(_SEGMENT.pack(*fields, 0)):
        return None
    return SegmentHeader(number, size, nonce)


def encode_record_header(nonce: bytes, position: int, key: bytes, length: int) -> bytes:
    """Return the header of a block of `length` bytes, for `position` (bytes from the segment's start)."""
    return _RECORD.pack(_RECORD_MAGIC, length, key, _record_check(nonce, position, key, length), 0)


def decode_record_header(nonce: bytes, position: int, data: bytes) -> BlockRecord | None:
    """Return the record whose header `data`, read at `position`, is; None for anything else."""
    if len(data) != RECORD_HEADER_BYTES:
        return None
    magic, length, key, check, _ = _RECORD.unpack(data)
    if magic != _RECORD_MAGIC or length == 0 or check != _record_check(nonce, position, key, length):
        return None
    return BlockRecord(key, position + RECORD_HEADER_BYTES, length)


def names_block(data: Buffer, key: bytes, length: int) -> bool:
    """Whether `data` is the header of a block with this key and length; who checked it on its way in asks no more."""
    return data[4:40] == _NAME.pack(length, key)


def record_bytes(length: int) -> int:
    """Return the bytes that a block of `length` takes in a segment: header, data, padding to eight."""
    return (RECORD_HEADER_BYTES + length + _ALIGNMENT - 1) // _ALIGNMENT * _ALIGNMENT


def table_bytes(count: int) -> int:
    """Return the bytes at a segment's end that a table of `count` records and its trailer take."""
    return _ROW.size * count + TRAILER_BYTES


def encode_table(nonce: bytes, size: int, records: list[BlockRecord]) -> bytes:
    """Return the table and trailer that end a sealed segment of `size` bytes."""
    rows = b"".join(_ROW.pack(*record) for record in records)
    start = size - table_bytes(len(records))
    return rows + _TRAILER.pack(_TABLE_MAGIC, len(records), start, _table_digest(nonce, rows))


def decode_trailer(size: int, data: bytes) -> tuple[int, int] | None:
    """Return (offset, length) in bytes of the table that the trailer `data` announces, or None."""
    if len(data) != TRAILER_BYTES:
        return None
    magic, count, start, _ = _TRAILER.unpack(data)
    if magic != _TABLE_MAGIC or count > size or start != size - table_bytes(count) or start < 0:
        return None
    return start, _ROW.size * count


def decode_table(nonce: bytes, size: int, rows: bytes, trailer: bytes) -> list[BlockRecord] | None:
    """Return the records of a table, or None when it is damaged."""
    if _TRAILER.unpack(trailer)[3] != _table_digest(nonce, rows):
        return None
    records = [BlockRecord._make(row) for row in _ROW.iter_unpack(rows)]
    if any(record.offset + record.length > size for record in records):
        return None
    return records


def _record_check(nonce: bytes, position: int, key: bytes, length: int) -> int:
    return crc32(b"%b%b%d:%d" % (nonce, key, position, length))


def _table_digest(nonce: bytes, rows: bytes) -> bytes:
    return blake3(rows, key=nonce + nonce).digest()
