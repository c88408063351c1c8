"""One entry of a version, as programs meet it: what it is called, what it is, where its bytes are, how to read them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from io import TextIOWrapper
from typing import Any, Literal, Protocol, overload

from penstock.manifest import entry as tree
from penstock.manifest.entry import display_path

from .entry_file import EntryFile, open_entry

__all__ = ["Entry", "EntryKind", "PhysicalKey", "kind_name"]

EntryKind = Literal["file", "executable", "directory", "symlink"]

_KINDS: dict[tree.Kind, EntryKind] = {
    tree.Kind.FILE: "file",
    tree.Kind.EXECUTABLE: "executable",
    tree.Kind.DIRECTORY: "directory",
    tree.Kind.SYMLINK: "symlink",
}


def kind_name(entry: tree.TreeEntry) -> EntryKind:
    """Return what an entry is, as programs are told."""
    return _KINDS[entry.kind]


@dataclass(frozen=True, slots=True)
class PhysicalKey:
    """Where bytes lie: `length` of them at `offset` of the object `uri`."""

    uri: str
    offset: int
    length: int


class EntrySource(Protocol):
    """What an entry belongs to: the version that it is read from."""

    def _entry_blocks(self, entry: tree.TreeEntry, key: str, blocks: range | None = None) -> Iterator[memoryview]:
        """Yield the bytes of a file, or of some of its blocks, block by block. UsageError, at once: it is no file."""
        ...

    def _entry_bytes(self, entry: tree.TreeEntry, key: str) -> bytes:
        """Return the bytes of a file. UsageError: it is no file."""
        ...

    def _entry_metadata(self, entry: tree.TreeEntry) -> dict[str, Any]:
        """Return an entry's metadata, fetching it where there is much of it."""
        ...

    def _entry_places(self, entry: tree.TreeEntry) -> list[PhysicalKey]:
        """Say where the bytes of a file lie."""
        ...


class Entry:
    """One entry of a `Package`: immutable, made by it, and read through it.

    Text that names it (`key`, `target`) holds bytes that are not UTF-8 as surrogates, as `os.fsdecode` does.

    >>> import penstock
    >>> entry = penstock.open("demo/photos").entry("2024/cat.jpg")
    >>> entry.name, entry.kind, entry.size
    ('cat.jpg', 'file', 3)
    >>> entry.read()
    b'cat'
    """

    __slots__ = ("_entry", "_names", "_source")

    def __init__(self, source: EntrySource, names: tuple[bytes, ...], entry: tree.TreeEntry) -> None:
        self._source = source
        self._names = names
        self._entry = entry

    @property
    def key(self) -> str:
        """The logical key: the path in the package, with ``/`` between names; empty for its root."""
        return display_path(self._names)

    @property
    def logical_key(self) -> str:
        """The same as `key`."""
        return self.key

    @property
    def name(self) -> str:
        """The last name of the key."""
        return display_path(self._names[-1:])

    @property
    def kind(self) -> EntryKind:
        """What it is: ``file``, ``executable``, ``directory`` or ``symlink``."""
        return _KINDS[self._entry.kind]

    def is_file(self) -> bool:
        """Return whether it has content of its own: a file, executable or not."""
        return self._entry.is_file

    def is_directory(self) -> bool:
        """Return whether it is a directory."""
        return self._entry.directory is not None

    @property
    def size(self) -> int:
        """Bytes of a file, of a symlink's target, of all files below a directory."""
        return self._entry.size

    @property
    def entries(self) -> int:
        """How many entries lie below a directory, at any depth; 0 for all else."""
        return self._entry.entries

    @property
    def hash(self) -> str:
        """BLAKE3 of the content (docs/FORMAT.md says of what, for large files and directories), 64 hex digits.

        ``identity:`` stands before it where nobody has read the file: it is of what the store says of the object.
        """
        return self._entry.shown_hash

    @property
    def metadata(self) -> dict[str, Any]:
        """The user's metadata; empty where there is none. Of the root of a package, that of the dataset."""
        return self._source._entry_metadata(self._entry)  # noqa: SLF001  # made by it

    @property
    def modified(self) -> float:
        """When the file was changed last, before it was pushed: seconds since 1970; 0 where nothing is known."""
        return (self._entry.mtime_ns or 0) / 1_000_000_000  # by an integer: rounded once

    @property
    def target(self) -> str:
        """What a symlink leads to; empty for all else."""
        return display_path((self._entry.target,))

    @property
    def physical_keys(self) -> list[PhysicalKey]:
        """Where the bytes of a file lie, in their order."""
        return self._source._entry_places(self._entry)  # noqa: SLF001  # made by it

    def blocks(self) -> Iterator[memoryview]:
        """Yield the bytes of a file in pieces of at most 1 MiB, each verified. UsageError: it is no file."""
        return self._source._entry_blocks(self._entry, self.key)  # noqa: SLF001  # made by it

    def read(self) -> bytes:
        """Return the bytes of a file, all in memory. UsageError: it is no file."""
        return self._source._entry_bytes(self._entry, self.key)  # noqa: SLF001  # made by it

    def get_bytes(self) -> bytes:
        """Return the same as `read`."""
        return self.read()

    def some_blocks(self, first: int, count: int) -> Iterator[memoryview]:
        """Yield `count` blocks of 1 MiB of a file from the one numbered `first` on, each verified."""
        return self._source._entry_blocks(self._entry, self.key, range(first, first + count))  # noqa: SLF001  # made by it

    @overload
    def open(self, mode: Literal["rb"] = "rb") -> EntryFile: ...
    @overload
    def open(
        self,
        mode: Literal["r", "rt"],
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> TextIOWrapper: ...
    @overload
    def open(
        self, mode: str, encoding: str | None = None, errors: str | None = None, newline: str | None = None
    ) -> EntryFile | TextIOWrapper: ...
    def open(
        self,
        mode: str = "rb",
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> EntryFile | TextIOWrapper:
        """Open a file for reading, seekable: bytes by default, text with ``rt``. What is not read is not fetched.

        UsageError: it is no file, or another mode.

        >>> import penstock
        >>> with penstock.open("demo/photos")["labels.csv"].open("rt") as lines:
        ...     lines.readline()
        'cat,1'
        """
        self._source._entry_blocks(self._entry, self.key)  # noqa: SLF001  # raises for what is no file
        return open_entry(self, mode, encoding, errors, newline)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Entry) and (self._names, self._entry) == (other._names, other._entry)

    def __hash__(self) -> int:
        return hash((self._names, self._entry.hash))

    def __repr__(self) -> str:
        return f"Entry({self.key!r}, {self.kind}, size={self.size})"
