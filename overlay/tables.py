"""The tables of an overlay in LMDB: one transaction that stays open, and readers of what was committed.

LMDB syncs at every commit here: what was committed survives anything. Beside the tables of `model` there is one for
the state of this layer: format, number of the journal that goes on from the last commit, notes of the last requests.

Used by `records` only, in the thread that made it.

**Invariant:** `_transaction` shows the state with all changes, or is None (then everything raises OSError): never
what was committed alone while the journal has more.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import lmdb
import msgspec

from penstock.errors import FormatTooNewError

from .directory import sync_directory
from .model import TABLES, Change
from .view import Reader, View, damaged_tables, in_our_terms, translated, unavailable

__all__ = ["Tables"]

_FORMAT = 2
"""2: data files may have heads (`heads`), where who knows 1 alone would look for bytes in other files."""
_READ = (b"1", b"2")
_MAP_BYTES = (64 << 30, 8 << 30, 1 << 30)
"""Address space, not disk; the next one where a limit on that (`ulimit -v`) refuses the one before."""
_READERS = 126
_STATE = b"state"


class _State(msgspec.Struct, frozen=True):
    journal: int
    notes: list[bytes]


_states = msgspec.msgpack.Decoder(_State)


class Tables(View):
    """The LMDB environment of an overlay, in the directory `path`.

    `journal`: number of the journal that holds what came after the last commit, 0 when there never was a commit.
    `notes`: those of the last changes before it. `writing`: whether there is something to commit.
    """

    def __init__(self, path: str) -> None:
        """Open it, creating it as 0700. OSError, IntegrityError, FormatTooNewError."""
        super().__init__(path, [], None)
        self.writing = False
        self.journal = 0
        self.notes: list[bytes] = []
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            pass
        else:
            sync_directory(os.path.dirname(path))
        self._open()

    def apply(self, changes: Sequence[Change]) -> None:
        """Make changes. When it raises, some of them may be made: `restart` and replay."""
        if not self.writing:
            self._begin(write=True)
        if (transaction := self._transaction) is None:
            raise unavailable()
        databases = self._databases
        try:
            for table, key, value in changes:
                if value is None:
                    transaction.delete(key, b"", databases[table])
                else:
                    transaction.put(key, value, db=databases[table])
        except lmdb.Error as error:
            raise in_our_terms(error, self._path) from error

    def drop(self) -> None:
        """Remove everything from all tables. When it raises: `restart` and replay."""
        if not self.writing:
            self._begin(write=True)
        if (transaction := self._transaction) is None:
            raise unavailable()
        with translated(self._path):
            for database in self._databases[:-1]:
                transaction.drop(database, delete=False)

    def commit(self, journal: int, notes: list[bytes]) -> None:
        """Make what was changed durable; the journal with this number goes on from there.

        When it raises, nothing is shown until `restart`; whether it took effect, `journal` says then.
        """
        if not self.writing:
            self._begin(write=True)
        if (transaction := self._transaction) is None:
            raise unavailable()
        self._transaction = None
        with translated(self._path):
            try:
                transaction.put(b"format", b"%d" % _FORMAT, db=self._databases[-1])
                transaction.put(_STATE, msgspec.msgpack.encode(_State(journal, notes)), db=self._databases[-1])
                transaction.commit()
            except lmdb.Error:
                transaction.abort()
                raise
        self.writing = False
        self.journal, self.notes = journal, notes
        self._begin(write=False)

    def restart(self) -> None:
        """Go back to what was committed. OSError, IntegrityError: then nothing is shown."""
        transaction, self._transaction = self._transaction, None
        if transaction is not None:
            transaction.abort()
        try:
            self._load()
        except OSError:
            # After some failures LMDB wants to be opened anew; readers of it end.
            self._transaction = None
            self._environment.close()
            self._open()

    def reader(self) -> Reader:
        """Return a reader of what was committed last. OSError, IntegrityError."""
        with translated(self._path):
            return Reader(self._path, self._databases, self._environment.begin())

    def suspend(self) -> None:
        """Show nothing until `restart`: what could be shown is not the whole."""
        transaction, self._transaction = self._transaction, None
        self.writing = False
        if transaction is not None:
            transaction.abort()

    @property
    def suspended(self) -> bool:
        """Whether nothing is shown."""
        return self._transaction is None

    def bytes_on_disk(self) -> int:
        """Return the bytes that the file takes on disk."""
        return os.stat(os.path.join(self._path, "data.mdb")).st_blocks * 512

    def close(self) -> None:
        """Close it; what was not committed is dropped, and readers end."""
        self.suspend()
        self._environment.close()

    def _open(self) -> None:
        with translated(self._path):
            # No spares: such a transaction is shared with a forked child, whose release of it breaks the parent's.
            for map_bytes in _MAP_BYTES:
                try:
                    self._environment = lmdb.open(
                        self._path,
                        map_size=map_bytes,
                        mode=0o600,
                        readahead=False,
                        max_readers=_READERS,
                        max_dbs=len(TABLES) + 1,
                        max_spare_txns=0,
                    )
                    break
                except lmdb.MemoryError:
                    if map_bytes == _MAP_BYTES[-1]:
                        raise
        try:
            with translated(self._path):
                pages, page_bytes = self._environment.info()["last_pgno"] + 1, self._environment.stat()["psize"]
                if pages > 2 and os.stat(os.path.join(self._path, "data.mdb")).st_size < pages * page_bytes:
                    # Looking beyond the end of the file would be a SIGBUS.
                    raise damaged_tables(self._path, "data.mdb is truncated")
                self._environment.reader_check()
                self._databases = [self._environment.open_db(name) for name in (*TABLES, b"journal")]
            self._load()
        except BaseException:
            self._transaction = None
            self._environment.close()
            raise
        sync_directory(self._path)

    def _load(self) -> None:
        """Begin to read, and learn the state."""
        self._begin(write=False)
        version, state = self.get(len(TABLES), b"format"), self.get(len(TABLES), _STATE)
        if version is None or state is None:
            return
        if version not in _READ:
            raise FormatTooNewError(
                f"the overlay's tables in {self._path} were written by a newer Penstock",
                why=f"they have format {version.decode('ascii', 'replace')}, this Penstock reads up to {_FORMAT}",
                fix="Upgrade Penstock",
            )
        try:
            found = _states.decode(state)
        except msgspec.DecodeError as error:
            raise damaged_tables(self._path, str(error)) from error
        self.journal, self.notes = found.journal, found.notes

    def _begin(self, *, write: bool) -> None:
        """Put a transaction in place of the one there is, which has changed nothing."""
        transaction, self._transaction = self._transaction, None
        if transaction is not None:
            transaction.abort()
        with translated(self._path):
            self._transaction = self._environment.begin(write=write)
        self.writing = write
