"""A transaction of an `Environment`, and LMDB's errors in our terms.

LMDB's own handles stay in here: a variable that still names one after its transaction has ended would keep the
environment alive in a forked child, where the same file could then not be opened again. **Invariant:** when the
environment's lock is released, this object holds nothing of LMDB's, and nobody else ever did.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from types import TracebackType
from typing import Any, Protocol

import lmdb

from penstock.errors import IntegrityError

__all__ = ["IndexDamagedError", "Transaction", "translated"]

_DAMAGE = (
    lmdb.BadDbiError,
    lmdb.BadTxnError,
    lmdb.BadValsizeError,
    lmdb.CorruptedError,
    lmdb.CursorFullError,
    lmdb.DbsFullError,
    lmdb.IncompatibleError,
    lmdb.InvalidError,
    lmdb.MapFullError,
    lmdb.PageFullError,
    lmdb.PageNotFoundError,
    lmdb.PanicError,
    lmdb.TxnFullError,
    lmdb.VersionMismatchError,
)


class IndexDamagedError(IntegrityError):
    """The LMDB file is not what it should be; it never leaves `penstock.cache`, which rebuilds the index."""


class Opened(Protocol):
    """What a transaction needs of its environment: see `environment.Environment`."""

    lock: threading.Lock

    def begin(self, *, write: bool) -> tuple[lmdb.Transaction[bytes], list[Any]]:
        """Return LMDB's transaction and databases; the lock is held, and `end` follows."""
        ...

    def end(self) -> None:
        """Say that it is over."""
        ...


class Transaction:
    """A context manager that holds its environment's lock; commits when the block ends well, else aborts.

    Databases are named by their position. Every method raises IndexDamagedError or OSError.
    """

    __slots__ = ("_databases", "_environment", "_handle", "_write")

    def __init__(self, environment: Opened, *, write: bool) -> None:
        self._environment = environment
        self._write = write
        self._handle: lmdb.Transaction[bytes] | None = None
        self._databases: list[Any] = []

    def __enter__(self) -> Transaction:
        self._environment.lock.acquire()
        try:
            with translated():
                self._handle, self._databases = self._environment.begin(write=self._write)
        except BaseException:
            self._environment.lock.release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            with translated():
                if kind is None:
                    self._open.commit()
                else:
                    self._open.abort()
        finally:
            self._handle = None
            self._databases = []
            self._environment.end()
            self._environment.lock.release()

    def get(self, database: int, key: bytes) -> bytes | None:
        """Return the value of `key`."""
        with translated():
            return self._open.get(key, db=self._databases[database])

    def get_many(self, database: int, keys: list[bytes]) -> list[bytes | None]:
        """Return the values of `keys`."""
        with translated():
            get, handle = self._open.get, self._databases[database]
            return [get(key, db=handle) for key in keys]

    def put(self, database: int, key: bytes, value: bytes, *, overwrite: bool = True) -> None:
        """Set the value of `key`, unless it has one and `overwrite` is off."""
        with translated():
            self._open.put(key, value, overwrite=overwrite, db=self._databases[database])

    def put_many(self, database: int, rows: list[tuple[bytes, bytes]]) -> None:
        """Set the value of each key."""
        with translated(), self._open.cursor(self._databases[database]) as cursor:
            cursor.putmulti(rows)

    def delete(self, database: int, key: bytes) -> bool:
        """Delete `key`; whether it was there."""
        with translated():
            return bool(self._open.delete(key, db=self._databases[database]))

    def pages(self, database: int) -> int:
        """Return the pages that hold the database's entries."""
        with translated():
            found = self._open.stat(self._databases[database])
            return found["branch_pages"] + found["leaf_pages"] + found["overflow_pages"]

    def entries(self, database: int) -> int:
        """Return the number of entries."""
        with translated():
            return self._open.stat(self._databases[database])["entries"]

    def rows_from(self, database: int, start: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        """Return up to `limit` entries in byte order, from the first whose key is `start` or greater."""
        with translated(), self._open.cursor(self._databases[database]) as cursor:
            # An unpositioned cursor would iterate from the first entry.
            return list(islice(cursor.iternext(), limit)) if cursor.set_range(start) else []

    @property
    def _open(self) -> lmdb.Transaction[bytes]:
        assert self._handle is not None
        return self._handle


@contextmanager
def translated() -> Iterator[None]:
    """Raise what LMDB raises as IndexDamagedError or OSError."""
    try:
        yield
    except lmdb.Error as error:
        raise _in_our_terms(error) from error


def _in_our_terms(error: lmdb.Error) -> OSError | IndexDamagedError:
    if isinstance(error, _DAMAGE):
        return IndexDamagedError("the cache index is damaged", why=str(error))
    if isinstance(error, lmdb.DiskError):
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if isinstance(error, lmdb.ReadonlyError):
        return OSError(errno.EROFS, os.strerror(errno.EROFS))
    return OSError(errno.EIO, f"the cache index: {error}")
