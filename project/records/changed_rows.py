"""Rows of a version in the making that are, or may be, other ones than in the version that it is made from.

On disk, so that memory does not grow with their number; gone when it is closed. A row that is not here is as the base
has it. One thread.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Iterator

import msgspec

from .data_record import DataRecord, decode_record, encode_record
from .versions import Version

__all__ = ["ChangedRows"]

_PAGE = 1000
_encoder = msgspec.json.Encoder(order="sorted")


def _body(record: DataRecord) -> bytes:
    """Write a row for this file alone: equal rows are equal bytes. UsageError: no record can hold a value."""
    try:
        return _encoder.encode(record)
    except (OverflowError, msgspec.MsgspecError):
        return encode_record(record)  # which says what is wrong


class ChangedRows:
    """Rows over those of `base`."""

    def __init__(self, base: Version | None, folder: str) -> None:
        self.base = base
        handle, self._path = tempfile.mkstemp(prefix="rows-", dir=folder)
        os.close(handle)
        self._table = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        self._table.executescript(
            "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA cache_size=-16384; PRAGMA temp_store=FILE;"
            "CREATE TABLE rows (id TEXT PRIMARY KEY, old BLOB, new BLOB) WITHOUT ROWID;"
            "CREATE TABLE edits (folder BLOB, name BLOB, id TEXT, PRIMARY KEY (folder, name)) WITHOUT ROWID;"
            "BEGIN"
        )

    def close(self) -> None:
        """Remove it."""
        self._table.close()
        os.unlink(self._path)

    def get(self, identity: str) -> DataRecord | None:
        """Return a row as it is by now; None: there is none."""
        found = self._table.execute("SELECT new FROM rows WHERE id = ?", (identity,)).fetchone()
        if found is None:
            return self.base.record(identity) if self.base is not None else None
        return decode_record(found[0], identity) if found[0] is not None else None

    def touch(self, identity: str, old: DataRecord | None) -> None:
        """Take a row of the base in: it may have changed."""
        body = _body(old) if old is not None else None
        self._table.execute("INSERT OR IGNORE INTO rows VALUES (?, ?, ?)", (identity, body, body))

    def put(self, identity: str, record: DataRecord | None, old: DataRecord | None = None) -> None:
        """Let a row be this, None: nothing. `old` is what the base has, needed the first time."""
        body = _body(record) if record is not None else None
        done = self._table.execute("UPDATE rows SET new = ? WHERE id = ?", (body, identity))
        if not done.rowcount:
            before = _body(old) if old is not None else None
            self._table.execute("INSERT INTO rows VALUES (?, ?, ?)", (identity, before, body))

    def has(self, identity: str) -> bool:
        """Whether there is such a row by now."""
        found = self._table.execute("SELECT new IS NOT NULL FROM rows WHERE id = ?", (identity,)).fetchone()
        if found is not None:
            return bool(found[0])
        return self.base is not None and self.base.record(identity) is not None

    def touched(self) -> Iterator[tuple[str, DataRecord]]:
        """Yield the rows that are here, by id; rows may be put meanwhile."""
        for identity, _, new in self._pages():
            if new is not None:
                yield identity, decode_record(new, identity)

    def all(self) -> Iterator[tuple[str, DataRecord]]:
        """Yield all rows, those of the base first; rows may be put meanwhile."""
        if self.base is not None:
            for identity, record in self.base.records():
                found = self._table.execute("SELECT new FROM rows WHERE id = ?", (identity,)).fetchone()
                if found is None:
                    yield identity, record
                elif found[0] is not None:
                    yield identity, decode_record(found[0], identity)
        for identity, old, new in self._pages():
            if old is None and new is not None:
                yield identity, decode_record(new, identity)

    def changed(self) -> Iterator[tuple[str, DataRecord | None, DataRecord | None]]:
        """Yield the rows that differ from the base's: before, and now."""
        for identity, old, new in self._pages():
            if old != new:
                yield (
                    identity,
                    decode_record(old, identity) if old is not None else None,
                    decode_record(new, identity) if new is not None else None,
                )

    def _pages(self) -> Iterator[tuple[str, bytes | None, bytes | None]]:
        last = ""
        while page := self._table.execute(
            "SELECT id, old, new FROM rows WHERE id > ? ORDER BY id LIMIT ?", (last, _PAGE)
        ).fetchall():
            yield from page
            last = page[-1][0]

    # The edits that make the new version of the base

    def note_edit(self, folder: bytes, name: bytes, identity: str) -> None:
        """Note that something is to happen at a path."""
        self._table.execute("INSERT OR IGNORE INTO edits VALUES (?, ?, ?)", (folder, name, identity))

    def edits(self) -> Iterator[tuple[bytes, bytes, str]]:
        """Yield the paths that were noted, in tree order, each with its row's id."""
        yield from self._table.execute("SELECT folder, name, id FROM edits ORDER BY folder, name")
