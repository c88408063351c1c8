"""Bring a directory to what a version has: only what is not there is fetched, along the packs, and verified.

The version and the directory are walked side by side (`pairs`). Files that are there are hashed; of a large one only
the blocks that differ are fetched. What is missing is gathered over many files and brought by few large requests
(`delivery`); when the blocks of a batch have come, they are synced together, and its files get their names.

**Invariant:** no name shows a file that is not whole; what was cut off is gone on with by the next run.
**Invariant:** a file that is damaged in the store, or refused by it, stops no other; it is named, and not written.

One thread decides and gives names (the caller's); others hash, fetch and write.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from penstock.errors import AccessError, ConflictError, IntegrityError
from penstock.manifest.entry import BLOCK_SIZE, Kind, TreeEntry, display_path
from penstock.manifest.hashing import content_hash
from penstock.progress import Stage
from penstock.repo.fetch.memory import shares
from penstock.repo.push.local_tree import threads
from penstock.repo.read.block_plan import REQUEST
from penstock.repo.read.snapshot import Snapshot

from .choice import REQUESTS, Choice
from .copy_verification import checked_pairs
from .delivery import Batch, CopiedFile, Delivery, write_at
from .local_directory import LocalDirectory, Names, Staging
from .pairs import Pair, State, equal_blocks, is_blocking, pairs

__all__ = ["CopyReport", "CopyStep", "CopyTask", "Placed"]

_BATCH_BYTES = 128 << 20
_BATCH_BLOCKS = 8192
"""What is fetched and synced together: one sync(2) for so much, and two of them in memory as plans."""
_REASONS = 100


class CopyStep(NamedTuple):
    """What happens to a path: ``fetched`` (was not there), ``replaced``, ``mode`` (executable or not), ``removed``."""

    path: str
    what: Literal["fetched", "replaced", "mode", "removed"]


@dataclass(slots=True)
class CopyReport:
    """What came of it. Files count with symlinks; `bytes` are of all files meant, `bytes_written` those of files made.

    `bytes_fetched` came from the store in `gets` requests; the rest was there, or in the cache. `lost` are files that
    were not made, `damaged` of them because the store does not have them as they were, the others because it refuses
    them, as archived objects; `reasons` says of the first hundred what is wrong.
    """

    files: int = 0
    bytes: int = 0
    fetched: int = 0
    replaced: int = 0
    modes: int = 0
    removed: int = 0
    bytes_written: int = 0
    bytes_fetched: int = 0
    gets: int = 0
    lost: int = 0
    damaged: int = 0
    reasons: list[str] = field(default_factory=list)


Placed = Callable[[Names, TreeEntry], None]
"""Is told a file or symlink that has come into its place, or got its mode, right after that."""


class CopyTask:
    """One run over one directory: `run` does it."""

    def __init__(
        self,
        snapshot: Snapshot,
        directory: LocalDirectory,
        choice: Choice,
        stage: Stage,
        *,
        requests: int = REQUESTS,
        delete: bool = False,
        dry_run: bool = False,
        tell: Callable[[CopyStep], None] | None = None,
        found: Iterator[tuple[Pair, State]] | None = None,
        placed: Placed | None = None,
    ) -> None:
        """With `found`, that is what is to be done, and nothing else is looked at."""
        self.report = CopyReport()
        self._snapshot = snapshot
        self._directory = directory
        self._choice = choice
        self._stage = stage
        self._requests = max(1, min(requests, shares().fetching // REQUEST))
        self._delete = delete
        self._dry_run = dry_run
        self._tell = tell
        self._found = found
        self._placed = placed
        self._portion = REQUEST

    def run(self) -> CopyReport:
        """Do it. Raises as `LocalDirectory` and the store do; what is in place by then stays."""
        before = self._snapshot.counters()
        if self._dry_run:
            self._look()
        else:
            self._copy()
        if self._delete:
            self._remove_extras()
        after = self._snapshot.counters()
        self.report.gets = after["gets"] - before["gets"]
        self.report.bytes_fetched = after["bytes_fetched"] - before["bytes_fetched"]
        return self.report

    def _pairs(self) -> Iterator[Pair]:
        return pairs(self._snapshot.tree, self._snapshot.root, self._directory, self._choice)

    def _checked(self, pool: ThreadPoolExecutor) -> Iterator[tuple[Pair, State]]:
        """Yield what the version has, in order, with what is here of it."""
        found = self._found
        if found is None:
            found = checked_pairs(self._snapshot, self._directory, self._choice, pool)
        for pair, state in found:
            if pair.entry is not None:
                yield pair, state

    def _count(self, pair: Pair, state: State) -> bool:
        """Count an entry; whether there is anything to do for it."""
        entry = pair.entry
        assert entry is not None
        if entry.directory is None:
            self.report.files += 1
            self.report.bytes += entry.size if entry.is_file else 0
        if is_blocking(pair) and not self._delete:
            what = "directory" if entry.directory is None else "file, or something else,"
            raise ConflictError(
                f"{self._directory.told(pair.names)!r} is in the way",
                why=f"a {what} is there, where the version has {'a directory' if entry.directory else 'a file'}",
                fix="Move it away, or have `penstock sync --delete` remove it.",
            )
        if state is State.SAME and entry.is_file:
            self._stage.advance(entry.size)
        return state is not State.SAME

    def _note(self, pair: Pair, state: State) -> None:
        """Take note of what is done to a path, directories aside."""
        assert pair.entry is not None
        if state is State.OTHER_MODE:
            self.report.modes += 1
            self._told(pair.names, "mode")
        elif pair.entry.directory is None:
            self._note_file(pair.names, pair.entry, "fetched" if pair.status is None else "replaced")

    def _note_file(self, names: Names, entry: TreeEntry, what: Literal["fetched", "replaced"]) -> None:
        if what == "fetched":
            self.report.fetched += 1
        else:
            self.report.replaced += 1
        self.report.bytes_written += entry.size if entry.is_file else 0
        self._told(names, what)

    def _told(self, names: Names, what: Literal["fetched", "replaced", "mode", "removed"]) -> None:
        if self._tell is not None:
            self._tell(CopyStep(display_path(names), what))

    def _look(self) -> None:
        with ThreadPoolExecutor(threads(), "penstock-check") as pool:
            for pair, state in self._checked(pool):
                if self._count(pair, state):
                    self._note_blocking(pair)
                    self._note(pair, state)

    def _note_blocking(self, pair: Pair) -> None:
        """Take note that what a directory takes the place of goes; of what a file does, that it is replaced says so."""
        if is_blocking(pair) and pair.entry is not None and pair.entry.directory is not None:
            self.report.removed += 1
            self._told(pair.names, "removed")

    def _remove_extras(self) -> None:
        for pair in self._pairs():
            if pair.entry is None:
                self.report.removed += 1
                self._told(pair.names, "removed")
                if not self._dry_run:
                    self._directory.remove(pair.names)

    # ------------------------------------------------------------------ copying

    def _copy(self) -> None:
        staging = self._directory.staging()
        pool = ThreadPoolExecutor(threads(), "penstock-check")
        delivery = Delivery(self._snapshot, self._directory, staging, self._stage, self._requests, self._lose)
        batches: deque[Batch] = deque()
        done = False
        try:
            self._run(staging, pool, delivery, batches)
            done = True
        finally:
            delivery.stop()
            jobs = [job for batch in batches for job in batch.jobs if not job.cancel()]
            pool.shutdown(wait=False, cancel_futures=True)
            _leave(staging, jobs, keep_partial=not done)

    def _run(self, staging: Staging, pool: ThreadPoolExecutor, delivery: Delivery, batches: deque[Batch]) -> None:
        batches.append(Batch())
        for file, missing in self._prepared(staging, pool):
            if not missing:
                batches[-1].want_nothing(file)
            for index in missing:
                batches[-1].want(file, index)
                self._send_full(staging, delivery, batches)
            self._send_full(staging, delivery, batches)
        self._send(delivery, batches)
        while batches:
            self._settle(staging, batches)

    def _send_full(self, staging: Staging, delivery: Delivery, batches: deque[Batch]) -> None:
        """Have a portion fetched if there is one; if the batch is full, begin another: the one before is settled then.

        Portions grow, so that the first request waits for few files, and the later ones are long.
        """
        batch = batches[-1]
        is_full = batch.bytes >= _BATCH_BYTES or batch.count >= _BATCH_BLOCKS
        if batch.bytes_left >= self._portion or is_full:
            self._send(delivery, batches)
            self._portion = min(2 * self._portion, _BATCH_BYTES)
        if is_full:
            if len(batches) > 1:
                self._settle(staging, batches)
            batches.append(Batch())

    def _send(self, delivery: Delivery, batches: deque[Batch]) -> None:
        *earlier, batch = batches
        delivery.send(batch, earlier)

    def _prepared(self, staging: Staging, pool: ThreadPoolExecutor) -> Iterator[tuple[CopiedFile, Sequence[int]]]:
        """Do what needs no bytes from the store; yield the files that are to be made, with the blocks they lack."""
        for pair, state in self._checked(pool):
            if not self._count(pair, state):
                continue
            entry = pair.entry
            assert entry is not None
            if is_blocking(pair):
                self._note_blocking(pair)
                self._directory.remove(pair.names)
            if entry.directory is not None:
                self._directory.make_folder(pair.names)
            elif state is State.OTHER_MODE:
                self._directory.set_executable(pair.names, executable=entry.kind is Kind.EXECUTABLE)
                self._note(pair, state)
                self._told_placed(pair.names, entry)
            elif entry.kind is Kind.SYMLINK:
                self._directory.make_link(pair.names, entry.target, staging)
                self._note(pair, state)
                self._told_placed(pair.names, entry)
            else:
                file = CopiedFile(pair)
                yield file, self._begin(staging, file)

    def _begin(self, staging: Staging, file: CopiedFile) -> Sequence[int]:
        """Begin a file; return the blocks that have to come: of a large one, those that are nowhere here."""
        entry = file.entry
        if not file.is_large:
            file.name = staging.unused_name()
            if not entry.size:
                with self._directory.explained("write", file.names):
                    staging.write(file.name, memoryview(b""), file.mode, entry.mtime_ns)
            return range(file.left)
        with self._directory.explained("write", file.names):
            identity = b"\0".join((b"/".join(file.names), bytes((entry.kind,)), entry.hash))
            file.name = staging.partial_name(content_hash(identity))
            partial_file = staging.open_partial(file.name, file.mode)
            try:
                missing = self._fill(partial_file, file)
            finally:
                os.close(partial_file)
            file.left = len(missing)
            if not missing:
                staging.finish(file.name, entry.mtime_ns)
        return missing

    def _fill(self, target: int, file: CopiedFile) -> list[int]:
        """Keep what an earlier run has brought, take what the file that is there has; return what is missing."""
        entry, known_hash = file.entry, self._snapshot.known_hash
        has_some = os.fstat(target).st_size > 0
        os.ftruncate(target, entry.size)
        blocks = equal_blocks(target, entry, known_hash) if has_some else (False for _ in range(file.left))
        missing = [index for index, is_equal in enumerate(blocks) if not is_equal]
        self._stage.advance(entry.size - _size_of(entry, missing))
        old = self._directory.open_file(file.names) if missing else None
        if old is None:
            return missing
        left = []
        try:
            for index in missing:
                data = os.pread(old, min(BLOCK_SIZE, entry.size - index * BLOCK_SIZE), index * BLOCK_SIZE)
                if content_hash(data) == known_hash(entry, index):  # of what is written, not of what was there before
                    write_at(target, memoryview(data), index * BLOCK_SIZE)
                    self._stage.advance(len(data))
                else:
                    left.append(index)
        finally:
            os.close(old)
        return left

    def _lose(self, file: CopiedFile, error: IntegrityError | AccessError) -> None:
        """Take note that a file cannot be had. Any thread, one at a time."""
        self.report.lost += 1
        self.report.damaged += isinstance(error, IntegrityError)
        if len(self.report.reasons) < _REASONS:
            self.report.reasons.append(f"{display_path(file.names)}: {error}")

    def _settle(self, staging: Staging, batches: deque[Batch]) -> None:
        """Wait for the oldest batch; have what it brought be on disk, and give its files their names."""
        batch = batches[0]
        for job in batch.jobs:
            job.result()
        if batch.whole:
            with self._directory.explained("write into", ()):
                staging.sync([file.name for file in batch.whole])
        while batch.whole:
            file = batch.whole.popleft()
            self._directory.put(file.names, staging, file.name)
            self._note_file(file.names, file.entry, file.change)
            self._told_placed(file.names, file.entry)
        batches.popleft()

    def _told_placed(self, names: Names, entry: TreeEntry) -> None:
        if self._placed is not None:
            self._placed(names, entry)


def _size_of(entry: TreeEntry, blocks: Sequence[int]) -> int:
    return sum(min(BLOCK_SIZE, entry.size - index * BLOCK_SIZE) for index in blocks)


def _leave(staging: Staging, jobs: Sequence[Future[None]], *, keep_partial: bool) -> None:
    """Clear the folder of unfinished files, and close it when nobody writes into it any more.

    After Ctrl-C a request may be on its way for as long as its deadline is; nobody waits for it.
    """
    staging.clear(keep_partial=keep_partial)
    staging.leave()

    def end() -> None:
        wait(jobs)
        staging.clear(keep_partial=keep_partial)
        staging.leave()
        staging.close()

    if any(not job.done() for job in jobs):
        threading.Thread(target=end, name="penstock-leave", daemon=True).start()
    else:
        staging.close()
