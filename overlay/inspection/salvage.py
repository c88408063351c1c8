"""What is whole in the tables of an overlay that nobody has open, put into tables of its own in a temporary folder.

The overlay itself is only read: its pages without LMDB (`pages`), pages that nothing leads to, then its journal as far
as that is whole. Blocking; one thread.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from penstock.cache.index_state import boot_id
from penstock.cache.locking import LockedFile
from penstock.errors import ConflictError, PenstockError
from penstock.overlay.content.file_content import FileContent
from penstock.overlay.disk import FULL
from penstock.overlay.tables.checksum import CHECKSUM_BYTES
from penstock.overlay.tables.closed_note import was_closed
from penstock.overlay.tables.journal import journal_numbers, read_journal
from penstock.overlay.tables.lmdb_tables import LmdbTables
from penstock.overlay.tables.pages import Pages
from penstock.overlay.tables.schema import SUMS, TABLES, TableChange
from penstock.overlay.tables.table_view import Reader

__all__ = ["Salvage"]

_BATCH = 4096


class _Salvaged(LmdbTables):
    """Tables of what is whole. They are nobody's but this process's, so a change harms nothing."""

    def change(self, changes: Sequence[TableChange], note: bytes = b"", *, grows: bool = False) -> None:
        """Make changes."""
        del note, grows
        self.apply(changes)


class Salvage:
    """The whole records of the overlay in `directory`: `reader` has them, `content` its bytes. A context manager.

    `faults` says in words what is wrong with the tables, `damaged` which records do not match their checksums.
    """

    def __init__(self, directory: str) -> None:
        """Read all of it. ConflictError: it is in use. FormatTooNewError. OSError."""
        self.faults: list[str] = []
        self.damaged: list[tuple[int, bytes]] = []
        self.records = 0
        self._same_boot = False
        with ExitStack() as stack:
            try:
                owner = LockedFile(os.path.join(directory, "lock"), exclusive=True, wait_seconds=1.0)
            except BlockingIOError as error:
                raise ConflictError(
                    f"the overlay {directory} is in use",
                    why="another process has it open",
                    fix="Unmount the mount that uses it.",
                ) from error
            stack.callback(owner.close)
            place = stack.enter_context(tempfile.TemporaryDirectory(prefix="penstock-salvage-"))
            self._tables = _Salvaged(os.path.join(place, "index"))
            stack.callback(self._tables.close)
            try:
                self._fill(directory)
                self._tables.commit(1, [])
            except OSError as error:
                if error.errno not in FULL:
                    raise
                raise PenstockError(
                    "there is no room for temporary files",
                    why=f"{place}: {error.strerror}",
                    fix="Set TMPDIR to a folder with as much room as the overlay's tables take, and try again.",
                ) from error
            self.reader: Reader = stack.enter_context(self._tables.reader())
            self.content = FileContent(directory, self._tables, lambda _: None)
            stack.callback(self.content.close)
            self._open = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def _fill(self, directory: str) -> None:
        index = os.path.join(directory, "index")
        with Pages(index) as pages:
            end = CHECKSUM_BYTES if pages.has_checksums else 0
            for table in range(len(TABLES)):
                batch: list[TableChange] = []
                for key, value, whole in pages.records(table):
                    if not whole:
                        self.damaged.append((table, key))
                        continue
                    batch.append(TableChange(table, key, value[: len(value) - end]))
                    if len(batch) == _BATCH:
                        self._tables.apply(batch)
                        batch = []
                self._tables.apply(batch)
            for table, key, value in pages.strays():
                if self._tables.get(table, key) is None:
                    self._tables.apply([TableChange(table, key, value[:-CHECKSUM_BYTES])])
            self.faults += pages.found
            known = {table for table, _ in self.damaged}
            for table, missing in enumerate(pages.missing(self._tables.tallies())):
                if missing and table not in known:
                    self.faults.append(f"{missing} records of the table {TABLES[table].decode()} are missing")
            self._replay(directory, pages.journal)
        if not self._same_boot and not was_closed(index):
            self._tables.drop([SUMS])  # they may be older than the bytes: see `sums`
        self.records = sum(count for count, _ in self._tables.tallies())

    def _replay(self, directory: str, number: int) -> None:
        """Go on with the journal that the tables speak of; of another one it is not known what it goes on from."""
        numbers = journal_numbers(directory)
        if number not in numbers:
            if number or numbers:
                self.faults.append("its journal is not the one that the tables go on with")
            return
        changes, fault, self._same_boot = read_journal(directory, number, boot_id())
        for each in changes:
            self._tables.apply(each)
        if fault:
            self.faults.append(fault)
