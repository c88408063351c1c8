"""What each tracked path was when it was known last: so that what has not changed since is not read again.

One SQLite file a work tree. Of a tracked path it has the version that was added or checked out last, and one row a
file, symlink and directory below it: kind, size, times, inode and hash. Rows are keyed by their names joined with NUL
bytes, whose byte order is the order of trees.

It costs only time to lose: a damaged one is made anew. **Invariant:** a row is only believed for a file of exactly
those facts, and facts that a later write could still have (made within a tick of the clock) are never noted: such a row
has the time 0, which no file has.

One thread; several processes, one of which writes at a time.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

from penstock.errors import AccessError, ConflictError

__all__ = [
    "FOLDER_FACTS",
    "LINKED",
    "FileFacts",
    "IndexWriter",
    "TrackedIndex",
    "TrackedState",
    "facts_of",
    "key_of",
    "names_of",
]

_FORMAT = 1
_PATIENCE = 10.0
_TICK_NS = 20_000_000
"""The kernel's clock for files goes in steps of up to 10 ms."""
_TABLES = """
CREATE TABLE IF NOT EXISTS tracked (number INTEGER PRIMARY KEY, path BLOB UNIQUE NOT NULL, top BLOB NOT NULL,
    previous BLOB NOT NULL, linked INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS facts (
    number INTEGER, key BLOB, kind INTEGER, size INTEGER, mtime INTEGER, ctime INTEGER, inode INTEGER, hash BLOB,
    PRIMARY KEY (number, key)) WITHOUT ROWID;
"""


class FileFacts(NamedTuple):
    """What lstat said of a file, as far as it tells whether its content changed; `kind` is a `manifest.entry.Kind`."""

    kind: int
    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    hash: bytes


LINKED = -1
"""In the place of the time of the inode: the file is a link into the local bucket, and that time says nothing."""

FOLDER_FACTS = FileFacts(2, 0, 0, 0, 0, b"")
"""Of a directory nothing is noted but that it is there."""

Row = tuple[bytes, int, int, int, int, int, bytes]
"""Key, kind, size, mtime, ctime, inode, hash."""


class TrackedState(NamedTuple):
    """A tracked path as the index knows it: its number, the version that it was brought to last, and the one before.

    `linked`: its files are links into the local bucket (`linked_objects`).
    """

    number: int
    top: bytes
    previous: bytes
    linked: bool = False


def key_of(names: tuple[bytes, ...]) -> bytes:
    """Return the key of a path."""
    return b"\0".join(names)


def names_of(key: bytes) -> tuple[bytes, ...]:
    """Return the path that has a key."""
    return tuple(key.split(b"\0"))


def facts_of(kind: int, status: os.stat_result, digest: bytes, looked_at_ns: int) -> FileFacts:
    """Return what is noted of a file whose content is known to have been `digest` when or after `status` was taken.

    `looked_at_ns`: a time of the system's clock not after that. Facts that a write in the same tick could leave as they
    are come without their time.
    """
    is_settled = max(status.st_ctime_ns, status.st_mtime_ns) + _TICK_NS <= looked_at_ns
    ctime = status.st_ctime_ns if is_settled else 0
    return FileFacts(kind, status.st_size, status.st_mtime_ns, ctime, status.st_ino, digest)


class TrackedIndex:
    """The index in a file, which is made if it is not there. Closed by `close`."""

    def __init__(self, path: str) -> None:
        self._path = path
        try:
            self._open()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError) and "locked" in str(error):
                raise self._busy(error) from error
            self._begin_anew()

    def _open(self) -> None:
        self._base = base = sqlite3.connect(self._path, timeout=_PATIENCE, isolation_level=None)
        (version,) = base.execute("PRAGMA user_version").fetchone()
        if version not in (0, _FORMAT):
            raise sqlite3.DatabaseError(f"format {version}")
        if not version:
            base.executescript(
                f"PRAGMA journal_mode = TRUNCATE; BEGIN IMMEDIATE; {_TABLES} PRAGMA user_version = {_FORMAT}; COMMIT;"
            )
        base.execute("PRAGMA synchronous = NORMAL")

    def _begin_anew(self) -> None:
        with suppress(sqlite3.Error):
            self._base.close()
        try:
            for name in (self._path, f"{self._path}-journal"):
                with suppress(FileNotFoundError):
                    os.unlink(name)
            self._open()
        except (OSError, sqlite3.Error) as error:
            raise AccessError(
                f"{self._path} cannot be used", why=str(error), fix="Give yourself access, or make room."
            ) from error

    def close(self) -> None:
        """Close it; what was not committed is as it was before."""
        self._base.close()

    def state(self, path: str) -> TrackedState | None:
        """Return what is known of a tracked path."""
        with self._told():
            row = self._base.execute(
                "SELECT number, top, previous, linked FROM tracked WHERE path = ?", (os.fsencode(path),)
            ).fetchone()
        return TrackedState(row[0], row[1], row[2], bool(row[3])) if row is not None else None

    def paths(self) -> dict[str, bytes]:
        """Return the versions of all tracked paths that are known."""
        with self._told():
            found = self._base.execute("SELECT path, top FROM tracked ORDER BY path").fetchall()
        return {os.fsdecode(path): top for path, top in found}

    def rows(self, number: int) -> Iterator[Row]:
        """Yield the rows of a tracked path, in tree order."""
        with self._told():
            yield from self._base.execute(
                "SELECT key, kind, size, mtime, ctime, inode, hash FROM facts WHERE number = ? ORDER BY key", (number,)
            )

    def row(self, number: int, key: bytes) -> FileFacts | None:
        """Return one row of a tracked path."""
        with self._told():
            row = self._base.execute(
                "SELECT kind, size, mtime, ctime, inode, hash FROM facts WHERE number = ? AND key = ?", (number, key)
            ).fetchone()
        return FileFacts(*row) if row is not None else None

    @contextmanager
    def writing(self, path: str) -> Iterator[IndexWriter]:
        """Let what is known of a path be changed in the block: all of it, or, when that raises, nothing.

        ConflictError: another process writes for longer than ten seconds.
        """
        with self._told():
            self._base.execute("BEGIN IMMEDIATE")
        try:
            with self._told():
                self._base.execute(
                    "INSERT OR IGNORE INTO tracked (path, top, previous) VALUES (?, x'', x'')", (os.fsencode(path),)
                )
            state = self.state(path)
            assert state is not None
            writer = IndexWriter(self._base, state)
            yield writer
            with self._told():
                writer.flush()
                self._base.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                self._base.execute("ROLLBACK")
            raise

    def forget(self, path: str) -> None:
        """Know nothing of a path any more."""
        state = self.state(path)
        if state is None:
            return
        with self._told():
            self._base.execute("BEGIN IMMEDIATE")
            self._base.execute("DELETE FROM facts WHERE number = ?", (state.number,))
            self._base.execute("DELETE FROM tracked WHERE number = ?", (state.number,))
            self._base.execute("COMMIT")

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            if "locked" in str(error) or "busy" in str(error):
                raise self._busy(error) from error
            raise AccessError(
                f"{self._path} cannot be used", why=str(error), fix="Make room, or remove it: it costs only time."
            ) from error
        except sqlite3.DatabaseError as error:
            raise AccessError(
                f"{self._path} is damaged", why=str(error), fix="Remove it: it costs only time to make it anew."
            ) from error

    def _busy(self, error: sqlite3.Error) -> ConflictError:
        return ConflictError(
            "another command is at work in this project",
            why=f"it writes {self._path} ({error})",
            fix="Run this again when that is done.",
        )


class IndexWriter:
    """Changes rows of one tracked path. Made by `TrackedIndex.writing`."""

    def __init__(self, base: sqlite3.Connection, state: TrackedState) -> None:
        self.state = state
        """What was known of the path when the block began."""
        self._base = base
        self._number = state.number
        self._waiting: dict[bytes, FileFacts] = {}

    def row(self, key: bytes) -> FileFacts | None:
        """Return what was known of a file when the block began, or what was written since."""
        found = self._waiting.get(key)
        if found is not None:
            return found
        row = self._base.execute(
            "SELECT kind, size, mtime, ctime, inode, hash FROM facts WHERE number = ? AND key = ?", (self._number, key)
        ).fetchone()
        return FileFacts(*row) if row is not None else None

    def put(self, key: bytes, facts: FileFacts) -> None:
        """Note what is known of a file now."""
        self._waiting[key] = facts
        if len(self._waiting) >= 10_000:
            self.flush()

    def remove(self, key: bytes) -> None:
        """Know nothing of a file any more."""
        self._waiting.pop(key, None)
        self._base.execute("DELETE FROM facts WHERE number = ? AND key = ?", (self._number, key))

    def clear(self) -> None:
        """Know nothing of any file."""
        self._waiting.clear()
        self._base.execute("DELETE FROM facts WHERE number = ?", (self._number,))

    def stand_at(self, top: bytes) -> None:
        """Note the version that the path was brought to."""
        self._base.execute(
            "UPDATE tracked SET previous = top, top = ?1 WHERE number = ?2 AND top <> ?1", (top, self._number)
        )

    def have_linked(self, linked: bool) -> None:
        """Note whether its files are to be links."""
        self._base.execute("UPDATE tracked SET linked = ? WHERE number = ?", (linked, self._number))

    def flush(self) -> None:
        """Write what waits."""
        put, self._waiting = self._waiting, {}
        self._base.executemany(
            "INSERT OR REPLACE INTO facts VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            ((self._number, key, *facts) for key, facts in put.items()),
        )
