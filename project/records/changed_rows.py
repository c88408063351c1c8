"""Rows of a version in the making that are, or may be, other ones than in the version that it is made from.

On disk, so that memory does not grow with their number; gone when it is closed. A row that is not here is as the base
has it. One thread.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, NamedTuple

import msgspec

from .data_record import DataRecord, FileValue, decode_record, encode_record
from .versions import Version

__all__ = ["ChangedRows", "FileEdit"]

_PAGE = 1000
_encoder = msgspec.json.Encoder(order="sorted")
_file_decoder = msgspec.json.Decoder(FileValue)


class FileEdit(NamedTuple):
    """What is to be at a path in a folder: a record's file with metadata; None: nothing. No name: the folder itself."""

    folder: bytes
    name: bytes
    file: FileValue | None = None
    metadata: bytes = b""


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
            "CREATE TABLE edits (folder BLOB, name BLOB, file BLOB, metadata BLOB, PRIMARY KEY (folder, name)) "
            "WITHOUT ROWID;"
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
        self._table.execute(
            "INSERT INTO rows VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE SET new = excluded.new",
            (
                identity,
                _body(old) if old is not None else None,
                _body(record) if record is not None else None,
            ),
        )

    def has(self, identity: str) -> bool:
        """Whether there is such a row by now."""
        found = self._table.execute("SELECT new IS NOT NULL FROM rows WHERE id = ?", (identity,)).fetchone()
        if found is not None:
            return bool(found[0])
        return self.base is not None and self.base.record(identity) is not None

    def touched(self) -> Iterator[tuple[str, DataRecord]]:
        """Yield the rows that are here, by id; rows that were yielded may be put meanwhile."""
        for identity, new in self._pages("id, new", "new IS NOT NULL"):
            yield identity, decode_record(new, identity)

    def all(self) -> Iterator[tuple[str, DataRecord]]:
        """Yield all rows, those of the base first; rows that were yielded may be put meanwhile."""
        if self.base is not None:
            of_base = self.base.records()
            while page := list(islice(of_base, _PAGE)):
                query = "SELECT id, new FROM rows WHERE id BETWEEN ? AND ?"
                here = dict(self._table.execute(query, (page[0][0], page[-1][0])))
                for identity, record in page:
                    if identity not in here:
                        yield identity, record
                    elif (body := here[identity]) is not None:
                        yield identity, decode_record(body, identity)
        for identity, new in self._pages("id, new", "old IS NULL AND new IS NOT NULL"):
            yield identity, decode_record(new, identity)

    def changed(self) -> Iterator[tuple[str, DataRecord | None, DataRecord | None]]:
        """Yield the rows that differ from the base's, by id: before, and now."""
        for identity, old, new in self._pages("id, old, new", "old IS NOT new"):
            yield (
                identity,
                decode_record(old, identity) if old is not None else None,
                decode_record(new, identity) if new is not None else None,
            )

    def counts(self) -> tuple[int, int]:
        """Return how many rows are new, and how many are gone."""
        query = "SELECT count(*) FILTER (WHERE old IS NULL), count(*) FILTER (WHERE new IS NULL) FROM rows"
        added, removed = self._table.execute(f"{query} WHERE old IS NOT new").fetchone()
        return int(added), int(removed)

    def _pages(self, columns: str, condition: str) -> Iterator[tuple[Any, ...]]:
        last = ""
        query = f"SELECT {columns} FROM rows WHERE id > ? AND {condition} ORDER BY id LIMIT ?"  # noqa: S608  # all of it ours
        while page := self._table.execute(query, (last, _PAGE)).fetchall():
            yield from page
            last = page[-1][0]

    # The edits of files that make the new version of the base

    def note_edits(self, edits: Iterable[FileEdit]) -> None:
        """Note what is to happen at paths. What goes gives way to what is to be at its path."""
        self._table.executemany(
            "INSERT INTO edits VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET file = excluded.file, "
            "metadata = excluded.metadata WHERE excluded.file IS NOT NULL",
            [(each.folder, each.name, _file_body(each.file), each.metadata) for each in edits],
        )

    def edits(self) -> Iterator[FileEdit]:
        """Yield what was noted, in tree order."""
        for folder, name, file, metadata in self._table.execute("SELECT * FROM edits ORDER BY folder, name"):
            yield FileEdit(folder, name, _file_decoder.decode(file) if file is not None else None, metadata or b"")


def _file_body(file: FileValue | None) -> bytes | None:
    return _encoder.encode(file) if file is not None else None
