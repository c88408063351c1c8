"""What a repository's machine remembers of work that was done, so that nothing is done twice.

    brought      records of an ingest, in order, as they came: by the hash of its code
    finished     ingests that came to their end
    made         what a method returned: by the hash of its code and of its inputs
    stored       of files of more than a block: the object that each is, and the hashes of its blocks

Losing the file loses time, and of an ingest that was cut off, records. Shared by all work trees and processes. A power
failure may leave remembered files without their bytes: their sizes are compared before they are believed.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import groupby
from operator import itemgetter

import msgspec

from penstock.errors import AccessError

from .data_record import DataRecord, FileValue, decode_record, encode_record, record_id
from .file_store import FileStore, StoredFile

__all__ = ["KeptValue", "KeptWork"]

_PAGE = 1000
_BLOCK = 1 << 20
_MOST_WAITING = 256
_LONGEST_WAIT = 0.5
"""Seconds that something is not kept yet, at most, while more is to be kept."""
_TABLES = """
CREATE TABLE IF NOT EXISTS brought (
    ingest TEXT, code TEXT, number INTEGER, id TEXT, content TEXT, record BLOB, PRIMARY KEY (ingest, code, number)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS contents ON brought (ingest, code, content);
CREATE TABLE IF NOT EXISTS finished (ingest TEXT, code TEXT, PRIMARY KEY (ingest, code)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS made (work TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS stored (hash TEXT PRIMARY KEY, object BLOB, blocks BLOB) WITHOUT ROWID;
"""


class KeptValue(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a method returned: a file, or a value that is none."""

    file: FileValue | None = None
    plain: object = None


_decoder = msgspec.json.Decoder(KeptValue)


class KeptWork:
    """The file at `path`. `ingest` names are of a dataset: ``Dataset.method``."""

    def __init__(self, path: str, files: FileStore) -> None:
        self._files = files
        try:
            self._table = sqlite3.connect(path, timeout=60, isolation_level=None, check_same_thread=False)
            self._table.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;" + _TABLES)
        except sqlite3.DatabaseError as error:
            raise AccessError(
                f"{path} cannot be used", why=str(error), fix="Remove it: what was made once is then made again."
            ) from error
        self._waiting: list[tuple[str, tuple[object, ...]]] = []
        self._contents: Counter[tuple[str, str, str]] = Counter()
        self._since = 0.0

    def close(self) -> None:
        """Close it, with all that was put written."""
        with closing(self._table):
            self.flush()

    def _write(self, statement: str, values: tuple[object, ...]) -> None:
        # No transaction stays open while a user's code runs: other work trees write here as well.
        if not self._waiting:
            self._since = time.monotonic()
        self._waiting.append((statement, values))
        if len(self._waiting) >= _MOST_WAITING or time.monotonic() - self._since > _LONGEST_WAIT:
            self.flush()

    def flush(self) -> None:
        """Write what waits: from here on it is kept, whatever happens to this process."""
        if self._waiting:
            self._table.execute("BEGIN IMMEDIATE")
            for statement, group in groupby(self._waiting, itemgetter(0)):
                self._table.executemany(statement, [values for _, values in group])
            self._table.execute("COMMIT")
            self._waiting.clear()
            self._contents.clear()

    # Ingests

    def is_finished(self, ingest: str, code: str) -> bool:
        """Whether an ingest has come to its end before."""
        found = self._table.execute("SELECT 1 FROM finished WHERE ingest = ? AND code = ?", (ingest, code))
        return found.fetchone() is not None

    def finish(self, ingest: str, code: str) -> None:
        """Note that an ingest has come to its end."""
        self._write("INSERT OR IGNORE INTO finished VALUES (?, ?)", (ingest, code))
        self.flush()

    def forget_ingest(self, ingest: str, code: str) -> None:
        """Forget what an ingest brought: it is to run again."""
        self._write("DELETE FROM brought WHERE ingest = ? AND code = ?", (ingest, code))
        self._write("DELETE FROM finished WHERE ingest = ? AND code = ?", (ingest, code))
        self.flush()

    def count(self, ingest: str, code: str) -> int:
        """How many records an ingest has brought so far."""
        self.flush()
        found = self._table.execute("SELECT count(*) FROM brought WHERE ingest = ? AND code = ?", (ingest, code))
        return int(found.fetchone()[0])

    def bring(self, ingest: str, code: str, number: int, name: str, record: DataRecord) -> str:
        """Keep the next record of an ingest; return its id."""
        content = record_id(name, record.files, record.values, 0)
        same = self._table.execute(
            "SELECT count(*) FROM brought WHERE ingest = ? AND code = ? AND content = ?", (ingest, code, content)
        ).fetchone()[0]
        same += self._contents[ingest, code, content]
        identity = record_id(name, record.files, record.values, same) if same else content
        row = (ingest, code, number, identity, content, encode_record(record))
        self._contents[ingest, code, content] += 1
        self._write("INSERT INTO brought VALUES (?, ?, ?, ?, ?, ?)", row)
        return identity

    def brought(self, ingest: str, code: str) -> Iterator[tuple[str, DataRecord]]:
        """Yield the records of an ingest, by id, in the order in which they came."""
        self.flush()
        last = -1
        while page := self._table.execute(
            "SELECT number, id, record FROM brought WHERE ingest = ? AND code = ? AND number > ? "
            "ORDER BY number LIMIT ?",
            (ingest, code, last, _PAGE),
        ).fetchall():
            yield from ((identity, decode_record(body, identity)) for _, identity, body in page)
            last = page[-1][0]

    # Derived values

    def find(self, works: Sequence[str]) -> dict[str, KeptValue]:
        """Return what methods returned for such inputs; not of those not called yet, or whose file is gone."""
        if not works:
            return {}
        marks = ", ".join("?" * len(works))
        query = f"SELECT work, value FROM made WHERE work IN ({marks})"  # noqa: S608  # question marks
        found = {work: _decoder.decode(body) for work, body in self._table.execute(query, works)}
        return {work: each for work, each in found.items() if each.file is None or self.has_file(each.file)}

    def keep(self, work: str, value: KeptValue) -> None:
        """Keep what a method returned."""
        self._write("INSERT OR REPLACE INTO made VALUES (?, ?)", (work, msgspec.json.encode(value)))

    # Files

    def store(self, file: StoredFile) -> None:
        """Note the object that a file is, where its hash does not tell."""
        if file.blocks:
            row = (file.value.hash, file.object, file.blocks)
            self._write("INSERT OR IGNORE INTO stored VALUES (?, ?, ?)", row)

    def stored(self, value: FileValue) -> StoredFile | None:
        """Return where a file lies; None: it is not known here."""
        if value.size <= _BLOCK:
            return StoredFile(value, bytes.fromhex(value.hash), b"")
        self.flush()
        found = self._table.execute("SELECT object, blocks FROM stored WHERE hash = ?", (value.hash,)).fetchone()
        return StoredFile(value, *found) if found is not None else None

    def has_file(self, value: FileValue) -> bool:
        """Whether a file lies in the bucket, whole as far as its size tells."""
        found = self.stored(value)
        try:
            return found is not None and os.stat(self._files.path_of(found.object)).st_size == value.size
        except OSError:
            return False
