"""The journal of an overlay: what was changed since the last checkpoint, one record a change, in a file.

A file begins with a header of HEADER_BYTES: magic, format (u32), number (u64), boot id (36 bytes, zero-padded), CRC-32
of that. Records follow: magic, length of the body (u32), CRC-32 of the body (u32), body; the CRC begins with the
record's offset, so that bytes that lie elsewhere than they were written are no record. A body is a byte for the kind
and MessagePack: of a change `[note, [[table, key, value], ...]]`, of a mark the offset up to which what is in the
journal, and the data that it speaks of, are on the disk. All integers of the framing are big-endian.

What follows the last record is zeros: the file is allocated ahead, because a disk that has become full must still
take the changes that free space, and the marks.

**Invariant:** a change is in the journal completely or not at all when `append` has returned or raised.

`append`, `mark` and `cut` under its lock; `sync` in any thread.
"""

from __future__ import annotations

import errno
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress

import msgspec

from penstock.errors import FormatTooNewError, IntegrityError
from penstock.overlay.directory import sync_directory

from .damage_log import ways_out
from .schema import TableChange

__all__ = ["HEADER_BYTES", "Journal", "has_records", "journal_numbers", "journal_path", "read_journal"]

_FORMAT = 1
_HEADER = struct.Struct(">8sIQ36sI4x")
_HEADER_MAGIC = b"PSTKJRNL"
HEADER_BYTES = _HEADER.size

_FRAME = struct.Struct(">4sII")
_MAGIC = b"\xf5rec"
_CHANGE, _MARK = b"\x01", b"\x02"

_AHEAD_BYTES = 1 << 20
"""Allocated at a time: some thousand changes, that a full disk still takes."""
_MARK_ROOM = 4096
"""Kept free for marks: an `fsync` after the last change that fitted must not fail for want of space."""

_PREFIX = "journal-"
_encoder = msgspec.msgpack.Encoder()
_changes = msgspec.msgpack.Decoder(tuple[bytes, list[TableChange]])
_marks = msgspec.msgpack.Decoder(int)


def journal_path(directory: str, number: int) -> str:
    """Return where the journal `number` of an overlay lies."""
    return os.path.join(directory, f"{_PREFIX}{number}")


def journal_numbers(directory: str) -> list[int]:
    """Return the numbers of the journals that are there, in order."""
    names = (name.removeprefix(_PREFIX) for name in os.listdir(directory) if name.startswith(_PREFIX))
    return sorted(int(name) for name in names if name.isdecimal())


def has_records(directory: str, number: int) -> bool:
    """Whether the journal `number` has more than a header, or what was to become one."""
    with open(journal_path(directory, number), "rb") as file:
        file.seek(HEADER_BYTES)
        return file.read(1) not in {b"", b"\0"}


def read_journal(directory: str, number: int, boot: str) -> tuple[list[list[TableChange]], str, bool]:
    """Return the changes of a journal that nobody has open, as far as it is whole, and what is wrong with it, if any.

    Also whether it was begun in this boot; else what comes after its last mark does not count. It stays as it is.
    """
    with open(journal_path(directory, number), "rb") as file:
        data = file.read()
    if len(data) < HEADER_BYTES or data[:8] != _HEADER_MAGIC:
        return [], f"journal {number} does not begin as a journal does", False
    magic, version, own, begun, checksum = _HEADER.unpack_from(data)
    if zlib.crc32(_HEADER.pack(magic, version, own, begun, 0)) != checksum or own != number or version > _FORMAT:
        return [], f"the header of journal {number} does not match its checksum", False
    same = bool(begun.rstrip(b"\0") == boot.encode("ascii"))
    found = list(_whole_records(data))
    end = found[-1][0] if found else HEADER_BYTES
    fault = "" if _tail_is_blank(data, end) else f"journal {number} is damaged from byte {end} on"
    limit = end if same else max((_marks.decode(body[1:]) for _, body in found if body[:1] == _MARK), default=0)
    wanted = [body for at, body in found if body[:1] == _CHANGE and at <= limit]
    return [_changes.decode(body[1:])[1] for body in wanted], fault, same


def _tail_is_blank(data: bytes, end: int) -> bool:
    """Whether no whole record follows what is broken: a process that dies tears the last one only."""
    at = data.find(_MAGIC, end)
    while at >= 0:
        if _record_at(data, at) is not None:
            return False
        at = data.find(_MAGIC, at + 1)
    return True


class Journal:
    """One journal file, open for appending.

    `boot`: the boot id it was begun in. `changes_end`: where the last change ends, in bytes. `length`: where the next
    record goes.
    """

    def __init__(self, directory: str, number: int, *, boot: str | None = None) -> None:
        """Begin the journal `number`, on the disk when this returns; without `boot`, open one that is there.

        OSError; IntegrityError and FormatTooNewError when what is there cannot be read.
        """
        self.number = number
        self.path = journal_path(directory, number)
        self.length = self.changes_end = HEADER_BYTES
        flags = os.O_RDWR | os.O_CLOEXEC
        if boot is None:
            self._descriptor = os.open(self.path, flags)
        else:
            self._descriptor = os.open(self.path, flags | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            self._allocated = os.fstat(self._descriptor).st_size
            if boot is None:
                self.boot = self._read_header()
                self.length = self._allocated
            else:
                self.boot = boot
                self._write_header()
                sync_directory(directory)
        except BaseException:
            os.close(self._descriptor)
            if boot is not None:
                os.unlink(self.path)
            raise

    @property
    def is_empty(self) -> bool:
        """Whether no change is in it."""
        return self.changes_end == HEADER_BYTES

    def append(self, changes: Sequence[TableChange], note: bytes) -> None:
        """Hand a change to the kernel. OSError when it cannot take it: then nothing of it is there."""
        body = _CHANGE + _encoder.encode((note, changes))
        size = _FRAME.size + len(body)
        if self.length + size + _MARK_ROOM > self._allocated:
            self._allocate(size + _MARK_ROOM)
        self._write(body)
        self.changes_end = self.length

    def mark(self, covered: int) -> None:
        """Note that everything before the offset `covered`, and the data that it speaks of, is on the disk."""
        self._write(_MARK + _encoder.encode(covered))

    def cut(self, length: int) -> None:
        """Take back what was appended since `length`, which was the end of a record."""
        self.length = length
        self.changes_end = min(self.changes_end, length)
        os.ftruncate(self._descriptor, length)
        self._allocated = length

    def replay(self, *, everything: bool) -> Iterator[tuple[list[TableChange], bytes]]:
        """Yield changes and their notes in order: all, or those before the last mark; then append after them.

        A torn record at the end is dropped. IntegrityError when, all being wanted, whole records follow a broken one:
        a process that dies tears the last record only.
        """
        data = self._read(self.length)
        found = list(_whole_records(data))
        end = found[-1][0] if found else HEADER_BYTES
        if everything:
            if not _tail_is_blank(data, end):
                raise self._damaged(f"the record at byte {end} is broken, and others follow it")
            limit = end
        else:
            limit = max((_marks.decode(body[1:]) for _, body in found if body[:1] == _MARK), default=HEADER_BYTES)
        wanted = [(at, body) for at, body in found if body[:1] == _CHANGE and at <= limit]
        self.length, self.changes_end = end, wanted[-1][0] if wanted else HEADER_BYTES
        if data.count(0, end) != len(data) - end:
            os.ftruncate(self._descriptor, end)
            self._allocated = end
        for _, body in wanted:
            note, changes = _changes.decode(body[1:])
            yield changes, note

    def sync(self) -> None:
        """Write what was appended to the disk."""
        os.fdatasync(self._descriptor)

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _write(self, body: bytes) -> None:
        frame = _FRAME.pack(_MAGIC, len(body), zlib.crc32(body, self.length & 0xFFFFFFFF)) + body
        try:
            written = os.pwrite(self._descriptor, frame, self.length)
            if written != len(frame):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self.path)
        except OSError:
            self.cut(self.length)
            raise
        self.length += len(frame)

    def allocate_ahead(self) -> None:
        """Take room for the changes to come, when the disk has it."""
        with suppress(OSError):
            self._allocate(_MARK_ROOM)

    def _allocate(self, needed: int) -> None:
        """Make room for `needed` bytes after the last record, and for more when the disk has it."""
        for room in (needed + _AHEAD_BYTES, needed):
            try:
                os.posix_fallocate(self._descriptor, 0, self.length + room)
            except OSError as error:
                if error.errno == errno.EOPNOTSUPP:
                    return  # Writes will say whether there is room.
                if room == needed:
                    raise
            else:
                self._allocated = self.length + room
                return

    def _write_header(self) -> None:
        head = _HEADER.pack(_HEADER_MAGIC, _FORMAT, self.number, self.boot.encode("ascii"), 0)
        checksum = zlib.crc32(head)
        head = _HEADER.pack(_HEADER_MAGIC, _FORMAT, self.number, self.boot.encode("ascii"), checksum)
        if os.pwrite(self._descriptor, head, 0) != len(head):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self.path)
        self._allocate(_MARK_ROOM)
        os.fsync(self._descriptor)

    def _read_header(self) -> str:
        head = os.pread(self._descriptor, HEADER_BYTES, 0)
        if len(head) != HEADER_BYTES or head[:8] != _HEADER_MAGIC:
            raise self._damaged("it does not begin as a journal does")
        magic, version, number, boot, checksum = _HEADER.unpack(head)
        if version > _FORMAT:
            raise FormatTooNewError(
                f"the overlay's journal {self.path} was written by a newer Penstock",
                why=f"it has format {version}, this Penstock reads up to {_FORMAT}",
                fix="Upgrade Penstock",
            )
        if zlib.crc32(_HEADER.pack(magic, version, number, boot, 0)) != checksum or number != self.number:
            raise self._damaged("its header does not match its checksum")
        return str(boot.rstrip(b"\0"), "ascii")

    def _read(self, size: int) -> bytes:
        parts, at = [], 0
        while part := os.pread(self._descriptor, size - at, at):
            parts.append(part)
            at += len(part)
        return b"".join(parts)

    def _damaged(self, why: str) -> IntegrityError:
        directory = os.path.dirname(self.path)
        return IntegrityError(
            f"the overlay's journal {self.path} is damaged",
            why=why,
            fix=ways_out(directory),
        )


def _record_at(data: bytes, at: int) -> bytes | None:
    """Return the body of the record at `at`, or None when there is no whole one."""
    body_at = at + _FRAME.size
    if body_at > len(data):
        return None
    magic, size, checksum = _FRAME.unpack_from(data, at)
    if magic != _MAGIC or body_at + size > len(data):
        return None
    body = data[body_at : body_at + size]
    return body if zlib.crc32(body, at & 0xFFFFFFFF) == checksum else None


def _whole_records(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the end and the body of each record up to the first that is not whole."""
    at = HEADER_BYTES
    while (body := _record_at(data, at)) is not None:
        at += _FRAME.size + len(body)
        yield at, body
