"""Looking things up in the tables of an overlay, and LMDB's errors in our terms.

It belongs to one thread at a time, whichever that is.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any
from zlib import crc32

import lmdb

from penstock.errors import IntegrityError

from .checksum import CHECKSUM_BYTES, SEEDS, WHOLE
from .damage_log import DamageLog, damaged_record, damaged_tables

__all__ = ["Reader", "View", "in_our_terms", "translated", "unavailable"]

_NEARLY_FULL_BYTES = 1 << 20
_FIRST_BATCH, _LARGEST_BATCH = 16, 256

_DAMAGE = (
    lmdb.BadDbiError,
    lmdb.CorruptedError,
    lmdb.IncompatibleError,
    lmdb.InvalidError,
    lmdb.PageNotFoundError,
    lmdb.VersionMismatchError,
)
_FULL = (lmdb.DiskError, lmdb.MapFullError)


class View:
    """Looking things up in a transaction. Every record is checked when it is read; `damage` is told of those that fail.

    IntegrityError names the record; others can be read on.
    """

    def __init__(
        self, path: str, databases: list[Any], transaction: lmdb.Transaction[bytes] | None, damage: DamageLog
    ) -> None:
        self._path = path
        self._databases = databases
        self._transaction = transaction
        self.damage = damage

    def get(self, table: int, key: bytes) -> bytes | None:
        """Return the value of `key`, or None. OSError, IntegrityError."""
        if (transaction := self._transaction) is None:
            raise unavailable()
        try:
            stored = transaction.get(key, None, self._databases[table])
        except lmdb.Error as error:
            raise in_our_terms(error, self._path) from error
        if stored is None:
            return None
        if crc32(stored, crc32(key, SEEDS[table])) != WHOLE:
            raise damaged_record(self._path, table, key, self.damage)
        return stored[:-CHECKSUM_BYTES]

    def scan(self, table: int, start: bytes, prefix: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Yield keys and values from `start` on, in order, while keys begin with `prefix`.

        Changes may be made between two steps: what is read is up to 256 entries ahead, so an entry changed meanwhile
        may be seen as it was; none is skipped, none comes twice. OSError, IntegrityError.
        """
        at, limit = max(start, prefix), _FIRST_BATCH
        while True:
            batch = self._batch(table, at, prefix, limit)
            yield from batch
            if len(batch) < limit:
                return
            at, limit = batch[-1][0] + b"\0", min(limit * 4, _LARGEST_BATCH)

    def floor(self, table: int, key: bytes) -> tuple[bytes, bytes] | None:
        """Return the entry with the greatest key that is not beyond `key`, or None. OSError, IntegrityError."""
        if (transaction := self._transaction) is None:
            raise unavailable()
        try:
            # Not in a `with`, as in all that is done once or more for each request: that costs more than the look-up.
            cursor = transaction.cursor(self._databases[table])
            beyond = cursor.set_range(key)
            found = (cursor.key() == key or cursor.prev()) if beyond else cursor.last()
            item = cursor.item() if found else None
            cursor.close()
        except lmdb.Error as error:
            raise in_our_terms(error, self._path) from error
        return self._checked(table, item) if item is not None else None

    def _checked(self, table: int, item: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
        key, stored = item
        if crc32(stored, crc32(key, SEEDS[table])) != WHOLE:
            raise damaged_record(self._path, table, key, self.damage)
        return key, stored[:-CHECKSUM_BYTES]

    def stored(self, table: int) -> Iterator[tuple[bytes, bytes]]:
        """Yield all keys of a table and their values as they are stored, checksum and all, whole or not."""
        at, more = b"", True
        while more:
            batch: list[tuple[bytes, bytes]] = []
            with self._cursor(table) as cursor:
                more = cursor.set_range(at) if at else cursor.first()
                while more and len(batch) < _LARGEST_BATCH:
                    batch.append(cursor.item())
                    more = cursor.next()
            yield from batch
            at = batch[-1][0] + b"\0" if batch else at

    def _batch(self, table: int, at: bytes, prefix: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        if (transaction := self._transaction) is None:
            raise unavailable()
        batch: list[tuple[bytes, bytes]] = []
        try:
            cursor = transaction.cursor(self._databases[table])
            more = cursor.set_range(at) if at else cursor.first()
            while more and len(batch) < limit:
                key, stored = cursor.item()
                if not key.startswith(prefix):
                    break
                if crc32(stored, crc32(key, SEEDS[table])) != WHOLE:
                    raise damaged_record(self._path, table, key, self.damage)
                batch.append((key, stored[:-CHECKSUM_BYTES]))
                more = cursor.next()
            cursor.close()
        except lmdb.Error as error:
            raise in_our_terms(error, self._path) from error
        return batch

    @contextmanager
    def _cursor(self, table: int) -> Iterator[Any]:
        if self._transaction is None:
            raise unavailable()
        with translated(self._path), self._transaction.cursor(self._databases[table]) as cursor:
            yield cursor


class Reader(View):
    """What was in the tables at one moment, whatever happens to them since. A context manager: `close` ends it."""

    def close(self) -> None:
        """Let go of the pages that this moment keeps."""
        transaction, self._transaction = self._transaction, None
        if transaction is not None:
            transaction.abort()

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@contextmanager
def translated(path: str) -> Iterator[None]:
    """Raise what LMDB raises as IntegrityError or OSError."""
    try:
        yield
    except lmdb.Error as error:
        raise in_our_terms(error, path) from error


def in_our_terms(error: lmdb.Error, path: str) -> OSError | IntegrityError:
    """Return what to raise for an error of the tables in `path`."""
    if isinstance(error, _DAMAGE):
        return damaged_tables(path, str(error))
    if isinstance(error, lmdb.BadValsizeError):
        return OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
    if isinstance(error, _FULL) or _nearly_full(path):
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
    return OSError(errno.EIO, f"the overlay's tables: {error}", path)


def _nearly_full(path: str) -> bool:
    """Whether a failed write was probably one that found no room: LMDB calls a short write an I/O error."""
    free = os.statvfs(path)
    return free.f_bavail * free.f_frsize < _NEARLY_FULL_BYTES


def unavailable() -> OSError:
    """Return what to raise while nothing can be shown."""
    return OSError(errno.EIO, "the overlay's tables could not be read again after a failed write")
