"""What the overlay's parts need of the tables: the face of `durable_tables.DurableTables`, and of a snapshot of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from .schema import TableChange

__all__ = ["ReadTables", "Tables"]


class ReadTables(Protocol):
    """Tables to read. All of it is quick enough for an event loop."""

    def get(self, table: int, key: bytes) -> bytes | None:
        """Return the value of a key; None: there is none."""
        ...

    def scan(self, table: int, start: bytes, prefix: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Yield keys from `start` on that begin with `prefix`, in order; changes between steps are allowed."""
        ...

    def floor(self, table: int, key: bytes) -> tuple[bytes, bytes] | None:
        """Return the greatest key that is not above `key`."""
        ...


class Tables(ReadTables, Protocol):
    """Tables to read and to change."""

    def change(self, changes: Sequence[TableChange], note: bytes = b"", *, grows: bool = False) -> None:
        """Make changes, all or none; a `kill -9` does not undo them. OSError: the disk refuses, nothing was changed.

        `grows`: something is made, for which a disk that is nearly full has no room.
        """
        ...
