"""Sets of hashes on disk, for walks over buckets whose objects do not fit into memory.

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
CREATE TABLE garbage (kind TEXT, id BLOB, size INTEGER, due INTEGER, PRIMARY KEY (kind, id)) WITHOUT ROWID;
CREATE TABLE noted (kind TEXT, id BLOB, note INTEGER, since REAL, PRIMARY KEY (kind, id, note)) WITHOUT ROWID;
CREATE INDEX of_note ON noted (note, kind, id);
"""
_UNMARKED = "FROM garbage g WHERE kind = ? AND NOT EXISTS (SELECT 1 FROM held h WHERE h.kind = g.kind AND h.id = g.id)"
_IS_GARBAGE = "EXISTS (SELECT 1 FROM garbage g WHERE g.kind = n.kind AND g.id = n.id)"
_OUTDATED = f"SELECT DISTINCT note FROM noted n WHERE NOT {_IS_GARBAGE}"  # noqa: S608 - of constants
_STILL = f"SELECT id FROM noted n WHERE note = ? AND {_IS_GARBAGE} ORDER BY id"  # noqa: S608


class Marks:
    """What was visited; what is held, by kind, with the bytes of each that are needed; what looks like garbage.

    And what earlier runs noted as garbage: `note` is the number of the note, `since` when that was found.
    """

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

    def add_garbage(self, kind: str, found: Garbage, *, due: bool = True) -> None:
        """Note an object that was not held when it was met; whether it is `due` to be deleted."""
        self._database.execute("INSERT OR IGNORE INTO garbage VALUES (?, ?, ?, ?)", (kind, *found, due))

    def garbage(self, kind: str, limit: int) -> list[Garbage]:
        """Return some of the noted objects that are due and still not held."""
        query = f"SELECT id, size {_UNMARKED} AND due ORDER BY id LIMIT ?"
        return self._database.execute(query, (kind, limit)).fetchall()

    def due(self, kind: str) -> set[bytes]:
        """Return all noted objects of a kind that are due, held or not."""
        return {row[0] for row in self._database.execute("SELECT id FROM garbage WHERE kind = ? AND due", (kind,))}

    def add_noted(self, note: int, kind: str, since: float, identities: Iterable[bytes]) -> None:
        """Add what a note of an earlier run says."""
        rows = ((kind, identity, note, since) for identity in identities)
        self._database.executemany("INSERT OR IGNORE INTO noted VALUES (?, ?, ?, ?)", rows)

    def noted_since(self, kind: str, identity: bytes) -> float | None:
        """Return when an object was noted; of several notes, the last says."""
        query = "SELECT max(since) FROM noted WHERE kind = ? AND id = ?"
        since: float | None = self._database.execute(query, (kind, identity)).fetchone()[0]
        return since

    def outdated_notes(self) -> list[int]:
        """Return the numbers of the notes that name something which is no garbage any more."""
        return [row[0] for row in self._database.execute(_OUTDATED)]

    def still_garbage(self, note: int) -> list[bytes]:
        """Return what of a note is garbage still, in order."""
        return [row[0] for row in self._database.execute(_STILL, (note,))]

    def drop_noted(self, note: int) -> None:
        """Forget a note."""
        self._database.execute("DELETE FROM noted WHERE note = ?", (note,))

    def unnoted(self, kind: str, limit: int, after: bytes = b"") -> list[bytes]:
        """Return garbage of a kind that no note names, in order, behind a hash."""
        query = (
            "SELECT id FROM garbage g WHERE kind = ? AND id > ? AND NOT EXISTS "
            "(SELECT 1 FROM noted n WHERE n.kind = g.kind AND n.id = g.id) ORDER BY id LIMIT ?"
        )
        return [row[0] for row in self._database.execute(query, (kind, after, limit))]

    def garbage_kinds(self) -> list[str]:
        """Return the kinds of garbage that there are."""
        return [row[0] for row in self._database.execute("SELECT DISTINCT kind FROM garbage ORDER BY kind")]

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
