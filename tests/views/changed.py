"""Changed files in an overlay's directory, each beside a bytearray that says what it holds; with tables in memory."""

from __future__ import annotations

import os
from pathlib import Path

from views.tables import MemoryTables

from penstock.manifest.entry import MAX_SIZE, Kind
from penstock.overlay.content.file_content import FileContent
from penstock.overlay.content.shared_heads import group_of
from penstock.overlay.tables.schema import INODES, InodeRecord, TableChange, inode_key

__all__ = [
    "HEADS",
    "INODE",
    "LAYOUTS",
    "OWN",
    "ChangedFile",
    "Frozen",
    "Place",
    "head_file",
    "own_file",
    "use_own_files",
]

INODE = 0x1234
LAYOUTS = HEADS, OWN = "heads", "own"
"""Layouts: the first MiB of each file with those of others; all of a file in its own, as before and without holes."""


def use_own_files(directory: Path | str) -> None:
    """Have an overlay's directory be one that was made before there were heads."""
    os.mkdir(os.path.join(directory, "data"), 0o700)


def head_file(directory: Path | str, inode: int, generation: int) -> Path:
    """Return the path of the first MiB of an inode, and of its group's."""
    return Path(directory) / "data" / "heads" / f"{-1 - group_of((inode, generation))[0]:x}.{generation:x}"


def own_file(directory: Path | str, inode: int, generation: int) -> Path:
    """Return the path of what comes after that; of all, without heads."""
    return Path(directory) / "data" / f"{inode >> 8 & 255:02x}" / f"{inode:x}.{generation:x}"


class Place:
    """An overlay's directory, its tables and data files. `layout`: None, as the disk has it."""

    def __init__(self, directory: Path | str, layout: str | None = None) -> None:
        self.directory = str(directory)
        self.tables = MemoryTables()
        if layout == OWN:
            use_own_files(directory)
        self.content = FileContent(self.directory, self.tables, self.tables.after_checkpoint)
        if layout is not None:
            assert os.path.isdir(os.path.join(directory, "data", "heads")) == (layout == HEADS)

    def reopen(self) -> None:
        """Go on in another process, after a checkpoint."""
        self.tables.checkpoint()
        self.content.close()
        self.content = FileContent(self.directory, self.tables, self.tables.after_checkpoint)

    def crash(self, tables: MemoryTables) -> None:
        """Go on in another process with the tables of an earlier moment; data files are as they are."""
        self.content.close()
        self.tables = tables
        self.content = FileContent(self.directory, self.tables, self.tables.after_checkpoint)

    def remove_strays(self) -> None:
        """Do what a mount does when it begins."""
        self.content.remove(self.content.strays(self.tables))
        self.tables.checkpoint()
        self.content._removal.settle()

    def files(self) -> list[str]:
        """Return the paths of all data files, from data/ on."""
        data = Path(self.directory) / "data"
        return sorted(str(path.relative_to(data)) for path in data.rglob("*") if path.is_file())


class ChangedFile:
    """One changed file of `place`. The bytearray begins at byte `base` of the file; before it are zeros."""

    def __init__(self, place: Place | Path | str, lower: bytes = b"", inode: int = INODE, base: int = 0) -> None:
        self.place = place if isinstance(place, Place) else Place(place)
        self.inode = inode
        self.base = base
        self.lower = lower
        self.generation = 0
        self.record = InodeRecord(Kind.FILE, 0o644, size=base + len(lower), shown=base + len(lower))
        self.model = bytearray(lower)
        self.store(self.record, [])

    @property
    def content(self) -> FileContent:
        return self.place.content

    @property
    def tables(self) -> MemoryTables:
        return self.place.tables

    def store(self, record: InodeRecord, changes: list[TableChange]) -> None:
        self.record = record
        self.tables.change([*changes, TableChange(INODES, inode_key(self.inode), record.encode())])

    def write(self, offset: int, data: bytes) -> None:
        self.store(*self.content.write(self.inode, self.record, self.base + offset, data, self.generation))
        if data:
            self._grow(offset + len(data))
            self.model[offset : offset + len(data)] = data

    def truncate(self, size: int) -> None:
        self.store(*self.content.truncate(self.inode, self.record, self.base + size, self.generation))
        del self.model[size:]
        self._grow(size)

    def merge(self) -> None:
        self.store(*self.content.merge(self.inode, self.record, self.generation))

    def freeze(self) -> Frozen:
        self.generation += 1
        return Frozen(self)

    def land(self, frozen: Frozen) -> None:
        if frozen.inode != self.inode:
            return  # it was removed meanwhile
        self.store(*self.content.landed(self.inode, self.record, frozen.record))
        self.lower = frozen.expected

    def drop(self) -> None:
        """Remove it."""
        changes = self.content.drop(self.inode, self.record.layers)
        self.tables.change([*changes, TableChange(INODES, inode_key(self.inode), None)])

    def replace(self, inode: int) -> None:
        """Remove it, and make another."""
        self.drop()
        self.inode = inode
        self.model.clear()
        self.store(InodeRecord(Kind.FILE, 0o644, size=self.base), [])

    def read(self, start: int = 0, end: int = MAX_SIZE) -> bytes:
        return self.content.read_file(self.inode, self.record, self.base + start, self.base + end, self.below)

    def reopen(self) -> None:
        self.place.reopen()
        value = self.tables.get(INODES, inode_key(self.inode))
        assert value is not None
        assert InodeRecord.decode(value) == self.record

    def head_file(self, generation: int) -> Path:
        return head_file(self.place.directory, self.inode, generation)

    def own_file(self, generation: int) -> Path:
        return own_file(self.place.directory, self.inode, generation)

    def has_data(self, generation: int) -> bool:
        """Whether there is a file for bytes of a generation, of this inode or with it."""
        return self.head_file(generation).exists() or self.own_file(generation).exists()

    def below(self, start: int, end: int) -> bytes:
        """Read the version."""
        return _version(self.base, self.lower, start, end)

    def _grow(self, size: int) -> None:
        self.model += bytes(max(0, size - len(self.model)))


class Frozen:
    """What a commit reads: the tables and the record of one moment."""

    def __init__(self, file: ChangedFile) -> None:
        self.tables = file.tables.copy()
        self.record = file.record
        self.lower = file.lower
        self.expected = bytes(file.model)
        self.inode = file.inode
        self._base = file.base
        self._keeping = file.content.keep(file.generation - 1)
        self._keeping.__enter__()

    def read(self, file: ChangedFile) -> bytes:
        return file.content.read_file(self.inode, self.record, self._base, MAX_SIZE, self._below, self.tables)

    def end(self) -> None:
        self._keeping.__exit__(None, None, None)

    def _below(self, start: int, end: int) -> bytes:
        return _version(self._base, self.lower, start, end)


def _version(base: int, lower: bytes, start: int, end: int) -> bytes:
    """Read a version's file: zeros up to `base`, then `lower`."""
    assert 0 <= start < end <= base + len(lower)
    return (bytes(max(0, base - start)) + lower[max(0, start - base) :])[: end - start]
