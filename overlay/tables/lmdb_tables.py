"""The tables of an overlay in LMDB: one transaction that stays open, and readers of what was committed.

LMDB syncs at every commit here: what was committed survives anything. Beside the tables of `schema` there is one for
the state of this layer: format, number of the journal that goes on from the last commit, notes of the last requests,
tallies of the tables. Records have checksums (`checksum`), LMDB's pages have none and may end the process when they are
damaged; so a file is opened only when it is the one that was closed last (`closed_note`), or its pages were looked
through (`pages`). Tables of formats 1 and 2, without checksums, get them when they are opened.

It belongs to the thread that made it.

**Invariant:** `_transaction` shows the state with all changes, or is None (then everything raises OSError): never
what was committed alone while the journal has more.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from zlib import crc32

import lmdb
import msgspec

from penstock.overlay.directory import sync_directory

from .checksum import CHECKSUM_BYTES, MODULUS, SEEDS, Tally, checksum_of, is_whole, with_checksum
from .closed_note import forget_closed, is_as_closed, note_closed
from .damage_log import DamageLog, damaged_tables
from .pages import Pages
from .schema import TABLES, TableChange
from .table_format import FORMAT, FORMAT_KEY, UNCHECKED_FORMATS, is_damaged_format
from .table_view import Reader, View, in_our_terms, translated, unavailable

__all__ = ["LmdbTables"]

_STATES = len(TABLES)
_MAP_BYTES = (64 << 30, 8 << 30, 1 << 30)
"""Address space, not disk; the next one where a limit on that (`ulimit -v`) refuses the one before."""
_READERS = 126
_STATE = b"state"


class _State(msgspec.Struct, frozen=True):
    journal: int
    notes: list[bytes]
    tallies: list[Tally] = []


_states = msgspec.msgpack.Decoder(_State)


class LmdbTables(View):
    """The LMDB environment of an overlay, in the directory `path`.

    `journal`: number of the journal that holds what came after the last commit, 0 when there never was a commit.
    `notes`: those of the last changes before it. `writing`: whether there is something to commit. `was_closed`: whether
    nothing has touched it since a process closed it.
    """

    def __init__(self, path: str, *, trusted: bool = False) -> None:
        """Open it, creating it as 0700. `trusted`: a process of this boot had it open until now, and looked through it.

        OSError, IntegrityError, FormatTooNewError.
        """
        super().__init__(path, [], None, DamageLog())
        self.writing = False
        self.journal = 0
        self.notes: list[bytes] = []
        self._tallies = _no_tallies()
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            pass
        else:
            sync_directory(os.path.dirname(path))
        self.was_closed = is_as_closed(path)
        if not trusted and not self.was_closed:
            self._look_through()
        forget_closed(path)
        self._open()

    def _look_through(self) -> None:
        """Raise IntegrityError when a page or a record is not what it should be, or one is missing."""
        with Pages(self._path) as pages:
            faults = pages.faults()
        if faults:
            more = f", and {len(faults) - 1} more" if len(faults) > 1 else ""
            raise damaged_tables(self._path, faults[0] + more)

    def apply(self, changes: Sequence[TableChange]) -> None:
        """Make changes. When it raises, some of them may be made: `restart` and replay."""
        if not self.writing:
            self._begin(write=True)
        if (transaction := self._transaction) is None:
            raise unavailable()
        databases, tallies = self._databases, self._tallies
        try:
            # Spelled out, as in all that is done for every record: a call costs as much as the checksum.
            for table, key, value in changes:
                tally = tallies[table]
                if value is None:
                    old = transaction.pop(key, databases[table])
                else:
                    checksum = crc32(value, crc32(key, SEEDS[table]))
                    stored = value + checksum.to_bytes(CHECKSUM_BYTES, "little")
                    old = transaction.replace(key, stored, databases[table])
                    tally[0] += 1
                    tally[1] += checksum
                if old is not None:
                    tally[0] -= 1
                    tally[1] -= int.from_bytes(old[-CHECKSUM_BYTES:], "little")
        except lmdb.Error as error:
            raise in_our_terms(error, self._path) from error

    def drop(self, tables: Sequence[int] = range(len(TABLES))) -> None:
        """Remove everything from some tables, or all. When it raises: `restart` and replay."""
        if not self.writing:
            self._begin(write=True)
        if (transaction := self._transaction) is None:
            raise unavailable()
        with translated(self._path):
            for table in tables:
                transaction.drop(self._databases[table], delete=False)
                self._tallies[table] = [0, 0]

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
                transaction.put(FORMAT_KEY, b"%d" % FORMAT, db=self._databases[-1])
                state = msgspec.msgpack.encode(_State(journal, notes, self.tallies()))
                transaction.put(_STATE, with_checksum(_STATES, _STATE, state), db=self._databases[-1])
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
            return Reader(self._path, self._databases, self._environment.begin(), self.damage)

    def tallies(self) -> list[Tally]:
        """Return what the tables should have, by the state that was committed last."""
        return [(count, total % MODULUS) for count, total in self._tallies]

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

    def close(self, *, note: bool = False) -> None:
        """Close it; what was not committed is dropped, and readers end. `note`: how it is, for who opens it next."""
        self.suspend()
        self._environment.close()
        if note:
            note_closed(self._path)

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
        self._tallies = _no_tallies()
        self._begin(write=False)
        version, stored = self._raw(FORMAT_KEY), self._raw(_STATE)
        if version is None or stored is None:
            return
        if version in UNCHECKED_FORMATS:
            self._take(stored)
            self._convert()
            return
        if is_damaged_format(version, self._path):
            raise damaged_tables(self._path, f"no format is called {version[:16]!r}")
        if not is_whole(_STATES, _STATE, stored):
            raise damaged_tables(self._path, "their state does not match its checksum")
        self._take(stored[:-CHECKSUM_BYTES])

    def _raw(self, key: bytes) -> bytes | None:
        assert self._transaction is not None  # just begun
        with translated(self._path):
            return self._transaction.get(key, None, self._databases[-1])

    def _take(self, state: bytes) -> None:
        try:
            found = _states.decode(state)
        except msgspec.DecodeError as error:
            raise damaged_tables(self._path, str(error)) from error
        self.journal, self.notes = found.journal, found.notes
        self._tallies = [[count, total] for count, total in found.tallies] or _no_tallies()

    def _convert(self) -> None:
        """Give every record its checksum, all in one commit: a crash before its end leaves the older format."""
        self._begin(write=True)
        transaction = self._transaction
        assert transaction is not None
        with translated(self._path):
            for table, database in enumerate(self._databases[:-1]):
                tally = self._tallies[table]
                with transaction.cursor(database) as cursor:
                    more = cursor.first()
                    while more:
                        key, value = cursor.item()
                        stored = with_checksum(table, key, value)
                        cursor.replace(key, stored)
                        tally[0] += 1
                        tally[1] += checksum_of(stored)
                        more = cursor.next()
        self.commit(self.journal, self.notes)

    def _begin(self, *, write: bool) -> None:
        """Put a transaction in place of the one there is, which has changed nothing."""
        transaction, self._transaction = self._transaction, None
        if transaction is not None:
            transaction.abort()
        with translated(self._path):
            self._transaction = self._environment.begin(write=write)
        self.writing = write


def _no_tallies() -> list[list[int]]:
    return [[0, 0] for _ in TABLES]
