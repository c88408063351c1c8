"""A file of a version as a seekable binary file: what `Entry.open` returns, for whatever reads files.

Blocks come from the block cache, else from the store, verified. For a reader that goes on where it stopped they are
fetched in growing steps, for one that jumps about one by one.

**Invariant:** a position is the file object's own; like any file object it belongs to one thread at a time. Pickled, it
is opened again at its position in the process that has it then.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from typing import Any, NoReturn, Protocol

from penstock.errors import UsageError
from penstock.manifest.entry import BLOCK_SIZE, block_count

__all__ = ["EntryFile", "OpenableEntry", "open_entry"]

_MOST_AHEAD = 8
"""Blocks fetched at a time for who reads on and on."""


class ReadableEntry(Protocol):
    """What is read: an `Entry`."""

    @property
    def key(self) -> str:
        """The path in its package."""
        ...

    @property
    def size(self) -> int:
        """Bytes."""
        ...

    def some_blocks(self, first: int, count: int, /) -> Iterator[memoryview]:
        """Yield blocks of 1 MiB."""
        ...


class OpenableEntry(Protocol):
    """What a file is opened of: an entry that is a file. To be pickled with the file, it can be."""

    @property
    def key(self) -> str:
        """The logical key."""
        ...

    @property
    def size(self) -> int:
        """Bytes of it."""
        ...

    def some_blocks(self, first: int, count: int) -> Iterator[memoryview]:
        """Yield `count` blocks from the one numbered `first` on."""
        ...


class EntryFile(io.BufferedIOBase):
    """One file of a version, read only. Made by `Entry.open`.

    `blocksize` and `size` are what libraries that read by way of fsspec look at.
    """

    blocksize = BLOCK_SIZE

    def __init__(self, entry: ReadableEntry, position: int = 0) -> None:
        super().__init__()
        self._entry = entry
        self._at = position
        self._ahead = 1
        self._next = 0
        self._held: dict[int, memoryview] = {}
        self.size = entry.size

    @property
    def name(self) -> str:
        """The logical key."""
        return self._entry.key

    @property
    def mode(self) -> str:
        """How it was opened."""
        return "rb"

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position, in bytes."""
        self._check_open()
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Go to a position, as files do; one behind the end reads nothing."""
        self._check_open()
        begin = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.size}.get(whence)
        if begin is None:
            raise ValueError(f"invalid whence ({whence}, should be 0, 1 or 2)")
        if begin + offset < 0:
            raise ValueError(f"negative seek position {begin + offset}")
        self._at = begin + offset
        return self._at

    def read(self, size: int | None = -1, /) -> bytes:
        """Return up to `size` bytes, fewer only at the end; all that is left by default."""
        self._check_open()
        left = max(0, self.size - self._at)
        wanted = left if size is None or size < 0 else min(size, left)
        parts: list[memoryview] = []
        while wanted:
            part = self._piece(wanted)
            parts.append(part)
            wanted -= len(part)
            self._at += len(part)
        return bytes(parts[0]) if len(parts) == 1 else b"".join(parts)

    def read1(self, size: int = -1, /) -> bytes:
        """Return up to `size` bytes, of one block."""
        self._check_open()
        left = max(0, self.size - self._at)
        wanted = left if size < 0 else min(size, left)
        part = bytes(self._piece(wanted)) if wanted else b""
        self._at += len(part)
        return part

    def readinto(self, buffer: Any, /) -> int:
        """Fill a buffer, as far as there are bytes."""
        view = memoryview(buffer).cast("B")
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)

    def readinto1(self, buffer: Any, /) -> int:
        """Fill a buffer from one block."""
        view = memoryview(buffer).cast("B")
        data = self.read1(len(view))
        view[: len(data)] = data
        return len(data)

    def detach(self) -> NoReturn:
        """Raise: there is no file below."""
        raise io.UnsupportedOperation("detach")

    def close(self) -> None:
        """Let go of the blocks in memory."""
        self._held.clear()
        super().close()

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file.")

    def _piece(self, wanted: int) -> memoryview:
        """Return the bytes at the position, up to the end of their block."""
        index, begin = divmod(self._at, BLOCK_SIZE)
        return self._block(index, begin + wanted)[begin : begin + wanted]

    def _block(self, index: int, end: int) -> memoryview:
        found = self._held.get(index)
        if found is None:
            if index == self._next:
                self._ahead = min(2 * self._ahead, _MOST_AHEAD)
            else:
                self._ahead = 1
            # What one call asks for is fetched together; beyond that, as much as reading on has earned.
            needed = min(-(-end // BLOCK_SIZE), _MOST_AHEAD)
            count = min(max(self._ahead, needed), block_count(self.size) - index)
            self._held = dict(enumerate(self._entry.some_blocks(index, count), index))
            self._next = index + count
            found = self._held[index]
        return found

    def __reduce__(self) -> tuple[object, ...]:
        return EntryFile, (self._entry, self._at)

    def __repr__(self) -> str:
        return f"<EntryFile {self.name!r}>"


def open_entry(
    entry: ReadableEntry, mode: str, encoding: str | None, errors: str | None, newline: str | None
) -> EntryFile | io.TextIOWrapper:
    """Open an entry as `open` would: ``rb``, or ``rt`` for text, UTF-8 by default. UsageError: another mode."""
    if mode in ("r", "rt", "tr"):
        return io.TextIOWrapper(EntryFile(entry), encoding or "utf-8", errors, newline)
    if mode not in ("rb", "br"):
        raise UsageError(
            f"{entry.key!r} cannot be opened with mode {mode!r}",
            why="a version never changes",
            fix="Open it with 'rb' or 'rt'; changes are made in a writable mount, or by a push.",
        )
    if encoding is not None or errors is not None or newline is not None:
        raise ValueError("binary mode takes no encoding, errors or newline argument")
    return EntryFile(entry)
