"""What is whole in an overlay and what is not, by path; and what is whole, taken out into a plain directory.

Reads a snapshot of the tables: of a mount, or of what was salvaged (`salvage`). Nothing of the overlay is changed, and
damage is no failure here but what is looked for. Blocking.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress

import msgspec

from penstock.errors import IntegrityError, PenstockError
from penstock.manifest.entry import Kind, display_path
from penstock.manifest.tree import ROOT_INODE
from penstock.overlay.content.file_content import FileContent
from penstock.overlay.content.sums import blocks_of
from penstock.overlay.outcomes import Finding
from penstock.overlay.tables.checksum import CHECKSUM_BYTES, MODULUS, Tally, checksum_of, is_whole
from penstock.overlay.tables.damage_log import record_text
from penstock.overlay.tables.schema import (
    INODES,
    NAMES,
    ORDER,
    RANGES,
    SEVERAL,
    SUMS,
    TABLES,
    InodeRecord,
    Name,
    inode_key,
)
from penstock.overlay.tables.table_view import Reader
from penstock.overlay.tree.lower import Lower
from penstock.overlay.tree.refusal import Refused

__all__ = ["ReadLower", "inspect", "inspect_snapshot", "rescue"]

_PIECE = 1 << 20
_LOST = b"lost+found"

ReadLower = Callable[[InodeRecord, int, int], bytes]
"""Reads a range of what a version has of a file. PenstockError: it cannot."""


class _Paths:
    """Where inodes are, also where some records on the way are damaged. `lower` None: versions are out of reach."""

    def __init__(self, reader: Reader, lower: Lower | None) -> None:
        self._reader = reader
        self._lower = lower
        self._named: dict[int, list[tuple[int, bytes]]] | None = None

    def record(self, inode: int) -> InodeRecord | None:
        """Return a record that is whole."""
        with suppress(IntegrityError, msgspec.DecodeError):
            value = self._reader.get(INODES, inode_key(inode))
            return InodeRecord.decode(value) if value is not None else None
        return None

    def names(self, inode: int) -> list[bytes] | None:
        """Return the names that lead to an inode; None: it is linked nowhere. What is not known is in lost+found."""
        names: list[bytes] = []
        for _ in range(1 << 16):
            if inode == ROOT_INODE:
                return names[::-1]
            record = self.record(inode)
            if record is not None and record.parent == 0:
                return None
            if record is not None and record.parent is not None and not record.links:
                names.append(record.name)
                inode = record.parent
                continue
            place = self._below(inode) if record is None or not record.links else None
            place = place or next(iter(self._places().get(inode, [])), None)
            if place is None:
                break
            names.append(place[1])
            inode = place[0]
        return [_LOST, b"%d" % inode, *names[::-1]]

    def others(self, inode: int) -> list[list[bytes]]:
        """Return the other paths of a file that has several names."""
        return [list(self.below(*place)) for place in self._places().get(inode, [])[1:]]

    def below(self, directory: int, name: bytes) -> tuple[bytes, ...]:
        """Return the path of a name in a directory."""
        names = self.names(directory)
        return (*(names if names is not None else (_LOST,)), name)

    def text(self, inode: int) -> str:
        """Return the path of an inode for people."""
        return display_path(tuple(self.names(inode) or (b"(removed, and open)",)))

    def _below(self, inode: int) -> tuple[int, bytes] | None:
        if self._lower is None:
            return None
        with suppress(PenstockError, Refused):
            if self._lower.has(inode) and (way := self._lower.way(inode)):
                return (way[-2][0] if len(way) > 1 else self._lower.root_of(inode)), way[-1][1]
        return None

    def _places(self) -> dict[int, list[tuple[int, bytes]]]:
        """Return where names say that inodes are whose own records are not whole, or do not say it."""
        if self._named is None:
            self._named = {}
            for key, value in whole_records(self._reader, NAMES):
                upper = Name.decode(value)
                if upper.inode and (upper.flags & SEVERAL or self.record(upper.inode) is None):
                    self._named.setdefault(upper.inode, []).append((int.from_bytes(key[:8], "big"), key[8:]))
        return self._named


def whole_records(reader: Reader, table: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield those records of a table that match their checksums."""
    for key, stored in reader.stored(table):
        if is_whole(table, key, stored):
            yield key, stored[:-CHECKSUM_BYTES]


def inspect_snapshot(
    reader: Reader, content: FileContent, lower: Lower | None, tallies: Sequence[Tally]
) -> Iterator[Finding]:
    """Yield what is damaged by the snapshot of tables that should have these tallies."""
    damaged: list[tuple[int, bytes]] = []
    faults: list[str] = []
    for table, wanted in enumerate(tallies):
        count = total = 0
        for key, stored in reader.stored(table):
            if not is_whole(table, key, stored):
                damaged.append((table, key))
            count += 1
            total += checksum_of(stored)
        if count != wanted[0] or (total % MODULUS != wanted[1] and not damaged):
            faults.append(f"the table {TABLES[table].decode()} has {count} records of {wanted[0]}, or others")
    return inspect(reader, content, lower, damaged, faults)


def inspect(
    reader: Reader,
    content: FileContent,
    lower: Lower | None,
    damaged: Sequence[tuple[int, bytes]],
    faults: Iterable[str],
) -> Iterator[Finding]:
    """Yield what is damaged: `faults` of the tables, records in them, then files whose bytes are not those written."""
    paths = _Paths(reader, lower)
    for fault in faults:
        yield Finding("damaged", "", fault)
    for table, key in damaged:
        number = int.from_bytes(key[:8], "big")
        if table == NAMES:
            names = paths.below(number, key[8:])
            yield Finding("damaged", display_path(names), "the record of this name does not match its checksum")
        elif table in (INODES, RANGES, SUMS, ORDER):
            why = f"{record_text(table, key)} does not match its checksum"
            yield Finding("damaged", paths.text(number), why)
        else:
            yield Finding("damaged", "", f"{record_text(table, key)} does not match its checksum")
    for key, value in whole_records(reader, INODES):
        inode = int.from_bytes(key, "big")
        try:
            record = InodeRecord.decode(value)
            for generation, _ in record.layers:
                for number in blocks_of(reader, inode, generation):
                    content.sums.check((inode, generation, number), reader)
        except (IntegrityError, OSError, msgspec.DecodeError) as error:
            yield Finding("damaged", paths.text(inode), _why(error))
    for key, value in whole_records(reader, NAMES):
        upper = Name.decode(value)
        if upper.inode and paths.record(upper.inode) is None and (INODES, inode_key(upper.inode)) not in damaged:
            names = paths.below(int.from_bytes(key[:8], "big"), key[8:])
            yield Finding("damaged", display_path(names), "the record of what has this name is missing")


def rescue(
    reader: Reader, content: FileContent, lower: Lower | None, committed: int, read_lower: ReadLower, to: str
) -> Iterator[Finding]:
    """Write what was changed and is whole below `to`, an empty directory; yield what became of each.

    Nothing that is there is overwritten, no link is followed. OSError: the disk of `to` refuses.
    """
    paths, links = _Paths(reader, lower), list[tuple[list[bytes], bytes]]()
    for key, value in whole_records(reader, INODES):
        inode, record = int.from_bytes(key, "big"), InodeRecord.decode(value)
        names = paths.names(inode)
        if names is None or not names or (record.sequence <= committed and not record.layers):
            continue
        others = [each for each in paths.others(inode) if _can_be(each)] if record.links else []
        if not _can_be(names):
            yield Finding("left", display_path(tuple(names)), "it has no name that a file can have")
        elif record.special:
            yield Finding("left", display_path(tuple(names)), "a pipe or a socket, which holds nothing")
        elif record.kind is Kind.SYMLINK:
            links += [(each, record.target) for each in (names, *others)]
        elif record.kind is Kind.DIRECTORY:
            os.makedirs(os.path.join(os.fsencode(to), *names), exist_ok=True)
            if record.entry:
                yield Finding("left", display_path(tuple(names)), "what was not changed in it is in the version")
        elif not record.layers and record.entry and record.shown == record.size:
            yield Finding("left", display_path(tuple(names)), "its bytes are the version's, under another name or mode")
        else:
            taken = _rescue_file(reader, content, inode, record, names, read_lower, to)
            yield taken
            for other in others if taken.kind == "taken" else ():
                os.link(_place(to, names), _place(to, other), follow_symlinks=False)
                yield Finding("taken", display_path(tuple(other)))
    for names, target in links:
        os.symlink(target, _place(to, names))
        yield Finding("taken", display_path(tuple(names)))
    for key, value in whole_records(reader, NAMES):
        upper = Name.decode(value)
        if not upper.inode and upper.sequence > committed:
            yield Finding("deleted", display_path(paths.below(int.from_bytes(key[:8], "big"), key[8:])))


def _rescue_file(
    reader: Reader,
    content: FileContent,
    inode: int,
    record: InodeRecord,
    names: list[bytes],
    read_lower: ReadLower,
    to: str,
) -> Finding:
    text, place = display_path(tuple(names)), _place(to, names)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(place, flags, 0o700 if record.executable else 0o600)
    try:
        with open(descriptor, "wb") as stream:
            stream.writelines(
                content.read_file(
                    inode,
                    record,
                    start,
                    min(start + _PIECE, record.size),
                    lambda low, high: read_lower(record, low, high),
                    reader,
                )
                for start in range(0, record.size, _PIECE)
            )
        os.utime(place, ns=(record.mtime_ns, record.mtime_ns))
    except PenstockError as error:
        os.unlink(place)
        return Finding("left", text, _why(error))
    except BaseException:
        os.unlink(place)
        raise
    return Finding("taken", text)


def _can_be(names: list[bytes]) -> bool:
    """Whether each of these names is one that a file can have."""
    return not any(name in (b"", b".", b"..") or b"/" in name for name in names)


def _place(to: str, names: list[bytes]) -> bytes:
    place = os.path.join(os.fsencode(to), *names)
    os.makedirs(os.path.dirname(place), exist_ok=True)
    return place


def _why(error: Exception) -> str:
    if isinstance(error, PenstockError):
        return error.reason
    return str(error)
