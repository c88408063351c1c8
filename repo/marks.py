"""Sets of hashes on disk, for walks over buckets whose objects do not fit into memory. Used by `gc` and `verify`.

A temporary SQLite file, removed at the end; its page cache is what bounds memory. Belongs to one thread.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Self

__all__ = ["Garbage", "Marks"]

Garbage = tuple[bytes, int]
"""Hash of an object, and its size in bytes."""

_SCHEMA = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA cache_size = -65536;
CREATE TABLE visited (id BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE held (kind TEXT, id BLOB, size INTEGER, PRIMARY KEY (kind, id)) WITHOUT ROWID;
CREATE TABLE garbage (kind TEXT, id BLOB, size INTEGER, PRIMARY KEY (kind, id)) WITHOUT ROWID;
"""
_UNMARKED = "FROM garbage g WHERE kind = ? AND NOT EXISTS (SELECT 1 FROM held h WHERE h.kind = g.kind AND h.id = g.id)"


class Marks:
    """What was visited; what is held, by kind, with the bytes of each that are needed; what looks like garbage."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="penstock-marks-")
        self._database = sqlite3.connect(os.path.join(self._folder.name, "marks"), isolation_level=None)
        self._database.executescript(_SCHEMA)
        self._database.execute("BEGIN")

    def visit(self, identity: bytes) -> bool:
        """Note a visit; whether it is the first."""
        return self._database.execute("INSERT OR IGNORE INTO visited VALUES (?)", (identity,)).rowcount == 1

    def forget_visits(self) -> None:
        """Begin a walk anew."""
        self._database.execute("DELETE FROM visited")

    def hold(self, kind: str, sizes: Iterable[tuple[bytes, int]]) -> None:
        """Hold objects, of which so many bytes are needed at least."""
        self._database.executemany(
            "INSERT INTO held VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET size = max(size, ?3)",
            ((kind, identity, size) for identity, size in sizes),
        )

    def is_held(self, kind: str, identity: bytes) -> bool:
        """Whether an object is held."""
        row = self._database.execute("SELECT 1 FROM held WHERE kind = ? AND id = ?", (kind, identity)).fetchone()
        return row is not None

    def held(self, kind: str) -> Iterator[tuple[bytes, int]]:
        """Yield what is held, in order, with the bytes that are needed."""
        yield from self._database.execute("SELECT id, size FROM held WHERE kind = ? ORDER BY id", (kind,))

    def count_held(self, kind: str) -> int:
        """Count what is held."""
        return int(self._database.execute("SELECT count(*) FROM held WHERE kind = ?", (kind,)).fetchone()[0])

    def add_garbage(self, kind: str, found: Garbage) -> None:
        """Note an object that was not held when it was met."""
        self._database.execute("INSERT OR IGNORE INTO garbage VALUES (?, ?, ?)", (kind, *found))

    def garbage(self, kind: str, limit: int) -> list[Garbage]:
        """Return some of the noted objects that are still not held."""
        return self._database.execute(f"SELECT id, size {_UNMARKED} ORDER BY id LIMIT ?", (kind, limit)).fetchall()

    def garbage_total(self, kind: str) -> tuple[int, int]:
        """Return how many of the noted objects are still not held, and their bytes."""
        row = self._database.execute(f"SELECT count(*), coalesce(sum(size), 0) {_UNMARKED}", (kind,)).fetchone()
        return int(row[0]), int(row[1])

    def drop_garbage(self, kind: str, identities: Iterable[bytes]) -> None:
        """Forget noted objects: they are deleted."""
        self._database.executemany(
            "DELETE FROM garbage WHERE kind = ? AND id = ?", ((kind, identity) for identity in identities)
        )

    def close(self) -> None:
        """Remove the file."""
        self._database.close()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
