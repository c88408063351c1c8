"""The records of an overlay: tables whose changes outlive this process at once, and the machine when told.

LMDB commits with a sync, which is too slow for every change. So changes are made in a transaction that stays open, and
are appended to a journal, which the kernel keeps when this process dies. A *checkpoint* commits the transaction and
begins a new journal. Opening replays the journal; after a boot only up to its last mark, because a record may have
reached the disk without the data that it speaks of (docs/design/007-overlay.md).

Steps of a checkpoint: sync data; create journal n+1; commit, noting n+1 in the same transaction; remove journal n.
Which journal counts is said by the tables alone, so every moment between two steps is the one state or the other.

Threads: one thread, the event loop's, calls everything but `durable`, which blocks and is for others, and what
`Reader` has. `_lock` is held for microseconds, where the journal grows; `_syncing` for as long as a sync takes, and
is taken first. `sync_data` is called in either thread, by one at a time, and must need nothing of the loop.

**Invariant:** what `get` shows is what replaying the journal over the committed tables would give.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from penstock.cache.index_state import boot_id
from penstock.cache.locking import LockedFile
from penstock.errors import ConflictError, IntegrityError
from penstock.overlay.directory import Reserve, prepare_overlay_directory, remove_file, sync_file_system

from .checksum import Tally
from .damage_log import DamageLog, ways_out
from .journal import HEADER_BYTES, Journal, has_records, journal_numbers, journal_path
from .lmdb_tables import LmdbTables
from .schema import SUMS, TableChange
from .table_view import Reader

__all__ = ["DurableTables", "Reader"]

_LONG_BYTES = 8 << 20
_LEAST_LONG_BYTES = 1 << 20
_OLD_SECONDS = 5.0
_NOTES = 256
_LOCK_WAIT_SECONDS = 1.0
_FULL = (errno.ENOSPC, errno.EDQUOT)


class DurableTables:
    """The tables of one overlay directory, for one process at a time."""

    def __init__(
        self,
        directory: str,
        sync_data: Callable[[], None],
        settle_data: Callable[[], None] = lambda: None,
        *,
        boot: str | None = None,
        trusted: bool = False,
    ) -> None:
        """Open the overlay in `directory`, creating it as 0700.

        `sync_data` blocks until all data files written so far are on the disk, names and all; OSError when they are
        not. Data that an earlier process wrote is seen to here. `settle_data` blocks until what actions of
        `after_checkpoint` remove has gone. `boot` is for tests of power loss. `trusted`: a
        process that had looked through the tables had them open until now.

        ConflictError when another process has it; IntegrityError, FormatTooNewError, AccessError, UsageError; OSError.
        """
        prepare_overlay_directory(directory)
        self._directory = directory
        self._sync_data = sync_data
        self._settle_data = settle_data
        self._boot = boot or boot_id()
        self._reserve = Reserve(os.path.join(directory, "reserve"))
        self._lock = threading.Lock()
        self._syncing = threading.Lock()
        self._begun = self._done = 0
        self._marked = HEADER_BYTES
        self._changed_at: float | None = None
        self._journal_failed = False
        self._after: deque[Callable[[], None]] = deque()
        try:
            self._owner = LockedFile(os.path.join(directory, "lock"), exclusive=True, wait_seconds=_LOCK_WAIT_SECONDS)
        except BlockingIOError as error:
            raise ConflictError(
                f"the overlay {directory} is in use",
                why="another process has it open",
                fix="Unmount the mount that uses it, or name another overlay directory",
            ) from error
        try:
            self._tables = LmdbTables(os.path.join(directory, "index"), trusted=trusted)
        except BaseException:
            self._owner.close()
            raise
        try:
            self._open()
        except BaseException:
            self._tables.close()
            self._owner.close()
            raise

    @property
    def damage(self) -> DamageLog:
        """What was found to be damaged since it was opened."""
        return self._tables.damage

    def get(self, table: int, key: bytes) -> bytes | None:
        """Return the value of `key` in a table of `model`, or None. OSError, IntegrityError, as all that read."""
        return self._tables.get(table, key)

    def scan(self, table: int, start: bytes, prefix: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Yield keys and values from `start` on, in order, while keys begin with `prefix`.

        Changes may be made between two steps: what is read is up to 256 entries ahead, so an entry changed meanwhile
        may be seen as it was; none is skipped, none comes twice.
        """
        return self._tables.scan(table, start, prefix)

    def floor(self, table: int, key: bytes) -> tuple[bytes, bytes] | None:
        """Return the entry with the greatest key that is not beyond `key`, or None."""
        return self._tables.floor(table, key)

    def change(self, changes: Sequence[TableChange], note: bytes = b"", *, grows: bool = False) -> None:
        """Make changes, all or none; they outlive this process when this returns. `note`: see `recent_notes`.

        `grows`: something is made, which must not take what is reserved for removing things.
        OSError when the disk is full or fails: then nothing was changed.
        """
        if grows and not self._reserve.is_whole and not self._reserve.hold():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self._directory)
        try:
            self._change(changes, note)
        except OSError as error:
            # The journal of a full disk has a MiB at most; a new one begins with that again.
            if error.errno not in _FULL or not self._begin_journal_anew():
                raise
            self._change(changes, note)
        if note:
            self._notes.append(note)
        if self._changed_at is None:
            self._changed_at = time.monotonic()

    def _change(self, changes: Sequence[TableChange], note: bytes) -> None:
        with self._lock:
            journal = self._journal
            before = journal.length
            if self._tables.suspended:
                raise OSError(errno.EIO, "the overlay's tables could not be read again after a failed write")
            journal.append(changes, note)
            try:
                self._tables.apply(changes)
            except (OSError, IntegrityError):
                self._recover(before)
                raise

    def _begin_journal_anew(self) -> bool:
        """Commit what is in a journal that cannot grow; whether that went well.

        What waits for a checkpoint does not run: whoever makes a change may have written the data that it speaks of,
        which no record names yet.
        """
        if self._journal.is_empty or self._tables.suspended:
            return False
        try:
            with self._syncing:
                self._sync_all_data()
                self._commit_using_reserve()
        except OSError:
            return False
        finally:
            self._reserve.hold()
        return True

    def recent_notes(self) -> list[bytes]:
        """Return the notes of the last changes that had one, at most 256, oldest first, as found at opening."""
        return list(self._found_notes)

    def durable(self) -> None:
        """Return when all changes made before the call, and the data, survive a power loss. Blocks; thread-safe.

        Callers that wait at the same time share one sync. OSError when the disk fails or is full: nothing is
        promised then, and after a journal that failed to sync nothing is until a checkpoint has gone well.
        """
        # A sync that begins after this line covers this caller; one under way may have looked before.
        enough = self._begun + 1
        with self._syncing:
            if self._done >= enough:
                return
            self._begun += 1
            begun = self._begun
            self._sync()
            self._done = begun

    def needs_checkpoint(self) -> bool:
        """Whether a checkpoint is due: a long journal, or changes of some seconds ago.

        While a sync runs it can wait, up to a point: the loop would stand still for as long. Whoever runs
        `durable` in a thread just before leaves the checkpoint little to do.
        """
        length, long = self._journal.length, min(_LONG_BYTES, max(self._reserve.size // 2, _LEAST_LONG_BYTES))
        if self._syncing.locked() and length < 4 * long:
            return False
        if self._after and self._changed_at is None:
            return True  # committed already, for want of space
        if length > long or self._journal_failed or self._tables.suspended:
            return True
        return self._changed_at is not None and time.monotonic() - self._changed_at > _OLD_SECONDS

    def checkpoint(self) -> None:
        """Commit the tables, begin a new journal, run what waits for that.

        OSError when the disk is full or fails: nothing is lost, it is still in the journal.
        """
        try:
            with self._syncing:
                if self._tables.suspended:
                    self._recover()
                if self._tables.writing or self._journal_failed:
                    self._sync_all_data()
                    self._commit_using_reserve()
        except OSError as error:
            if error.errno not in _FULL or not self._after or self._tables.suspended:
                raise
            # The tables find no room, and what waits for them gives some back. The journal can promise as much.
            self.durable()
            self._run_what_waits()
            self._settle_data()
            self.checkpoint()
            return
        self._run_what_waits()
        self._reserve.hold()

    def hold_reserve(self) -> None:
        """Take back what was given up for a full disk, as far as that has room again."""
        self._reserve.hold()

    @property
    def frees_space(self) -> bool:
        """Whether something waits for a checkpoint, as what was removed does."""
        return bool(self._after)

    def _run_what_waits(self) -> None:
        while self._after:
            self._after.popleft()()

    def after_checkpoint(self, action: Callable[[], None]) -> None:
        """Run `action` in the loop's thread when the changes made before this call are committed.

        Forgotten when the process ends before: opening has to look for what it should have removed. When one
        raises, `checkpoint` does, and those behind it run at the next.
        """
        self._after.append(action)

    def snapshot(self) -> Reader:
        """Return a view of the tables as they are now, for any one thread; several may be open. Checkpoints first.

        A context manager; OSError as for `checkpoint`. While it is open the file grows with what is changed.
        """
        self.checkpoint()
        return self._tables.reader()

    def tallies(self) -> list[Tally]:
        """Return how many records each table should have, with the sum of their checksums; of a snapshot made now."""
        return self._tables.tallies()

    def clear(self) -> None:
        """Remove everything from all tables; durable when it returns. OSError: then nothing was removed."""
        with self._syncing:
            if self._tables.suspended:
                self._recover()
            # Now, not when the disk turns out to be full: what was dropped is in no journal to try again from.
            self._reserve.give_up()
            try:
                self._tables.drop()
                self._commit()
            except (OSError, IntegrityError):
                self._recover()
                raise
        self.checkpoint()

    def close(self, *, checkpoint: bool = True) -> None:
        """Checkpoint and close. OSError when the checkpoint fails: closed all the same, and the journal has it all.

        Without `checkpoint`, when data cannot be synced any more, it is left as a process that dies leaves it.
        """
        try:
            if checkpoint:
                self.checkpoint()
        finally:
            self._tables.close(note=checkpoint and not self._tables.suspended and self._journal.is_empty)
            self._journal.close()
            self._owner.close()

    def _open(self) -> None:
        self._notes = deque(self._tables.notes, maxlen=_NOTES)
        self._inherited = False
        if self._tables.journal == 0:
            if any(number > 1 or has_records(self._directory, number) for number in journal_numbers(self._directory)):
                raise self._damaged("its journal goes on from tables that are not there")
            self._journal = Journal(self._directory, 1, boot=self._boot)
            self._tables.commit(1, [])
        else:
            self._journal = self._open_journal(self._tables.journal)
        try:
            self._notes.extend(note for note in self._replay() if note)
            self._found_notes = tuple(self._notes)
            self._remove_strays()
            if self._journal.boot != self._boot:
                if not self._tables.was_closed:
                    # What was overwritten since the last mark may have reached the disk, and no record says so.
                    self._tables.drop([SUMS])
                # Records of this boot must not follow those of another: they would be replayed by its rule.
                self._commit_using_reserve()
            else:
                # Data that a process wrote before it died is known to nobody here by name.
                self._inherited = self._tables.journal > 1 or self._tables.writing
                self._changed_at = time.monotonic() if self._tables.writing else None
        except BaseException:
            self._journal.close()
            raise
        self._reserve.hold()

    def _open_journal(self, number: int) -> Journal:
        try:
            return Journal(self._directory, number)
        except FileNotFoundError as error:
            path = journal_path(self._directory, number)
            raise self._damaged(f"the tables go on with {path}, which is not there") from error

    def _replay(self) -> Iterator[bytes]:
        for changes, note in self._journal.replay(everything=self._journal.boot == self._boot):
            self._tables.apply(changes)
            yield note

    def _remove_strays(self) -> None:
        for number in journal_numbers(self._directory):
            if number > self._journal.number and has_records(self._directory, number):
                raise self._damaged(f"the tables go on with journal {self._journal.number}, and there is {number}")
            if number != self._journal.number:
                os.unlink(journal_path(self._directory, number))

    def _recover(self, journal_length: int | None = None) -> None:
        """Build the state anew from what is committed and the journal. When that fails nothing is shown."""
        try:
            if journal_length is not None:
                self._journal.cut(journal_length)
            self._tables.restart()
            if self._tables.journal != self._journal.number:
                # The commit that failed has taken effect all the same.
                self._swap(self._open_journal(self._tables.journal))
            deque(self._replay(), maxlen=0)
        except BaseException:
            self._tables.suspend()
            raise

    def _sync(self) -> None:
        """Sync data, mark the journal, sync it; under `_syncing`."""
        if self._journal_failed:
            raise OSError(errno.EIO, "the overlay's journal failed to sync")
        journal = self._journal
        with self._lock:
            covered = journal.changes_end
        self._sync_all_data()
        if covered == self._marked:
            return
        with self._lock:
            journal.mark(covered)
        try:
            journal.sync()
        except OSError:
            # The kernel reports a lost page once: a second sync that succeeds would prove nothing.
            self._journal_failed = True
            raise
        self._marked = covered

    def _sync_all_data(self) -> None:
        self._sync_data()
        if self._inherited:
            sync_file_system(self._directory)
            self._inherited = False

    def _commit_using_reserve(self) -> None:
        try:
            self._commit()
        except OSError as error:
            if error.errno not in _FULL or self._tables.suspended or not self._reserve.give_up():
                raise
            self._commit()

    def _commit(self) -> None:
        """Commit and begin a new journal; the data is on the disk. When it raises, the state is what it was."""
        fresh = Journal(self._directory, self._journal.number + 1, boot=self._boot)
        try:
            self._tables.commit(fresh.number, list(self._notes))
        except (OSError, IntegrityError):
            fresh.close()
            self._recover()
            if self._journal.number != fresh.number:
                remove_file(fresh.path)
                raise
        else:
            self._swap(fresh)

    def _swap(self, fresh: Journal) -> None:
        old, self._journal = self._journal, fresh
        self._marked = HEADER_BYTES
        self._changed_at = None
        self._journal_failed = False
        old.close()
        # One that stays is older than the tables say, and goes at the next opening.
        remove_file(old.path)
        self._journal.allocate_ahead()  # before the reserve is taken again, or somebody else has it

    def _damaged(self, why: str) -> IntegrityError:
        return IntegrityError(
            f"the overlay in {self._directory} is damaged",
            why=why,
            fix=ways_out(self._directory),
        )
