"""Segment files: begin one, append to it, find its records again, seal it.

A segment has its reserved size from the first moment and keeps it: mappings of it stay valid while it grows, and
nobody ever truncates it. Only the process that holds its flock appends.

**Invariant:** bytes that were once indexed never change: views of them are handed out. So a segment is appended to
only behind everything that was ever written to it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets

from blake3 import blake3

from penstock.store.base import Buffer

from .locking import LockedFile
from .record import (
    RECORD_HEADER_BYTES,
    SEGMENT_HEADER_BYTES,
    TRAILER_BYTES,
    BlockRecord,
    SegmentHeader,
    decode_record_header,
    decode_segment_header,
    decode_table,
    decode_trailer,
    encode_record_header,
    encode_segment_header,
    encode_table,
    record_bytes,
    table_bytes,
)

__all__ = ["ActiveSegment", "read_header", "read_records"]

_CHUNK = 1 << 20


class ActiveSegment:
    """The segment this process appends to. Not thread-safe: its writer holds the cache's lock."""

    def __init__(self, file: LockedFile, header: SegmentHeader, end: int, count: int) -> None:
        self.number = header.number
        self._file = file
        self._header = header
        self._end = end
        self.count = count

    @classmethod
    def create(cls, path: str, number: int, size: int) -> ActiveSegment:
        """Begin a segment of `size` bytes at `path`; OSError leaves no file behind."""
        file = LockedFile(path, exclusive=True)
        try:
            header = SegmentHeader(number, size, secrets.token_bytes(16))
            os.ftruncate(file.descriptor, size)
            _write(file.descriptor, [encode_segment_header(header)], 0)
        except OSError:
            os.unlink(path)
            file.close()
            raise
        return cls(file, header, SEGMENT_HEADER_BYTES, 0)

    @classmethod
    def adopt(cls, path: str) -> tuple[ActiveSegment, list[BlockRecord]] | None:
        """Take over a segment that nobody holds, behind its last record; also return its records.

        BlockingIOError when a live process holds it; None when its header is damaged or its size is not its own.
        When anything lies behind the last record (a torn record, or whole ones behind a damaged header, which
        readers may be looking at), nothing `fits` any more: those bytes must not change.
        """
        file = LockedFile(path, exclusive=True, create=False)
        header = read_header(file.descriptor)
        if header is None or os.fstat(file.descriptor).st_size != header.size:
            file.close()
            return None
        records = _scan(file.descriptor, header, header.size)
        end = SEGMENT_HEADER_BYTES
        if records:
            last = records[-1]
            end = last.offset - RECORD_HEADER_BYTES + record_bytes(last.length)
        if not _blank(file.descriptor, end, header.size):
            end = header.size
        return cls(file, header, end, len(records)), records

    def fits(self, length: int) -> bool:
        """Whether a block of `length` bytes, and the table that will then be due, still fit."""
        return self._end + record_bytes(length) + table_bytes(self.count + 1) <= self._header.size

    def linked(self) -> bool:
        """Whether the file is still in the directory: clearing the cache unlinks it under its writer."""
        return os.fstat(self._file.descriptor).st_nlink > 0

    def append(self, key: bytes, data: Buffer) -> int:
        """Write a block that `fits` and return the offset of its data. OSError leaves the segment as it was."""
        length = len(data)
        header = encode_record_header(self._header.nonce, self._end, key, length)
        _write(self._file.descriptor, [header, data], self._end)
        offset = self._end + RECORD_HEADER_BYTES
        self._end += record_bytes(length)
        self.count += 1
        return offset

    def write_table(self) -> None:
        """Write the table that makes evicting and re-indexing this segment cheap; it does without."""
        if self._end == self._header.size:
            return
        records = _scan(self._file.descriptor, self._header, self._header.size)
        # The segment may be sparse here and the disk full. Its records can still be found by walking the chain.
        with contextlib.suppress(OSError):
            table = encode_table(self._header.nonce, self._header.size, records)
            _write(self._file.descriptor, [table], self._header.size - len(table))

    def close(self) -> None:
        """Let go: whoever needs a segment next may adopt it."""
        self._file.close()


def read_header(descriptor: int) -> SegmentHeader | None:
    """Return the header of an open segment, or None when there is none to be read."""
    try:
        return decode_segment_header(os.pread(descriptor, SEGMENT_HEADER_BYTES, 0))
    except OSError:
        return None


def read_records(descriptor: int) -> list[BlockRecord]:
    """Return the records of an open segment, by its table or else by walking the chain; none that lie outside."""
    header = read_header(descriptor)
    if header is None:
        return []
    size = os.fstat(descriptor).st_size
    if size == header.size:
        with contextlib.suppress(OSError):
            trailer = os.pread(descriptor, TRAILER_BYTES, size - TRAILER_BYTES)
            extent = decode_trailer(size, trailer)
            if extent is not None:
                rows = os.pread(descriptor, extent[1], extent[0])
                records = decode_table(header.nonce, size, rows, trailer)
                if records is not None:
                    return records
    return _scan(descriptor, header, min(size, header.size))


def _scan(descriptor: int, header: SegmentHeader, size: int) -> list[BlockRecord]:
    """Walk the chain of records from the start, and leave out a torn one at its end."""
    records: list[BlockRecord] = []
    position = SEGMENT_HEADER_BYTES
    # A sector that cannot be read ends the chain like one that makes no sense.
    with contextlib.suppress(OSError):
        while True:
            found = os.pread(descriptor, RECORD_HEADER_BYTES, position)
            record = decode_record_header(header.nonce, position, found)
            if record is None or record.offset + record.length > size:
                break
            records.append(record)
            position += record_bytes(record.length)
    if records and not _whole(descriptor, records[-1]):
        records.pop()
    return records


def _blank(descriptor: int, start: int, end: int) -> bool:
    """Whether nothing was ever written from `start` to `end`; holes are skipped, not read."""
    try:
        while start < end:
            chunk = os.pread(descriptor, min(_CHUNK, end - start), start)
            if not chunk or chunk.count(0) != len(chunk):
                return False
            start = os.lseek(descriptor, start + len(chunk), os.SEEK_DATA)
    except OSError as error:
        # No data up to the end of the file; any other fault of the disk is no promise of blankness.
        return error.errno == errno.ENXIO
    return True


def _whole(descriptor: int, record: BlockRecord) -> bool:
    try:
        return blake3(os.pread(descriptor, record.length, record.offset)).digest() == record.key
    except OSError:
        return False


def _write(descriptor: int, parts: list[Buffer], position: int) -> None:
    total = sum(len(part) for part in parts)
    written = os.pwritev(descriptor, parts, position)
    if written < total:
        # A short write precedes the error that says why; asking for the rest brings it out.
        rest = memoryview(b"".join(parts))
        while written < total:
            written += os.pwrite(descriptor, rest[written:], position + written)
