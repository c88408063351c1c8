"""Record a trace of a mount: which blocks its readers touch first, in that order (`penstock.repo.warm.trace`).

On the event loop a read costs a look at a bitmap; what is new waits in a list until it is written, by a thread, after
INTERVAL at the latest: that much is lost when the process is killed. Neighbouring blocks of a file that are read one
after the other are one line.

**Invariant:** a trace never fails a reader: a disk that fails, or a trace of MOST bytes, ends the recording, and the
log says so. **Invariant:** memory is a bit for each file of the version and each block that was read of large ones, and
what waits.
"""

from __future__ import annotations

import logging
import os
import threading
from contextlib import suppress
from typing import Protocol

import trio

from penstock.errors import PenstockError
from penstock.manifest.entry import BLOCK_SIZE, TreeEntry, display_path
from penstock.manifest.tree import ROOT_INODE, Inode
from penstock.repo.warm.trace import Access, encode_access, encode_header
from penstock.vfs.source.source import Source
from penstock.vfs.source.workers import Workers

from .order_follower import patient_tree

__all__ = ["TraceRecorder", "record"]

_log = logging.getLogger(__name__)

INTERVAL = 1.0
_MOST = 1 << 30
_WAITING = 65536
"""Accesses that may wait to be written; more come only when the disk, or the store, is slower than readers."""


_Touched = tuple[Inode, TreeEntry, int, int]
"""A file, the first block and how many."""


class RecordedTrace(Protocol):
    """What can be recorded: calls `note` of its recorder, if it has one, whenever a file is read."""

    recorder: TraceRecorder | None


async def record(
    path: str,
    file_system: RecordedTrace,
    source: Source,
    workers: Workers,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Record what is read of a file system, until cancelled, in a file that `begin_trace` has made.

    Started as soon as nothing that is read from then on is missed.
    A process that serves a mount on goes on with the file of the one before it.
    """
    try:
        recorder = await workers.run(TraceRecorder, path, source)
    except OSError as error:
        _log.warning("no trace is recorded: %s: %s", path, error.strerror)
        task_status.started()
        return
    file_system.recorder = recorder
    task_status.started()
    try:
        while True:
            await trio.sleep(INTERVAL)
            await workers.run(recorder.write, recorder.take())
    finally:
        file_system.recorder = None
        recorder.close()


def _end_line(descriptor: int) -> None:
    """Cut off what a process that was killed has not finished writing."""
    size = os.fstat(descriptor).st_size
    tail = os.pread(descriptor, 1 << 16, max(0, size - (1 << 16)))
    os.ftruncate(descriptor, size - (len(tail) - (tail.rfind(b"\n") + 1)))


class TraceRecorder:
    """Writes the trace of one mount to a file that is there. `note` is for the event loop's thread only."""

    def __init__(self, path: str, source: Source) -> None:
        """Open the file. OSError."""
        self._source = source
        self._writing = threading.Lock()
        self._whole = bytearray(source.root.entries // 8 + 1)
        self._parts: dict[int, int] = {}  # of files with several blocks: a bit for each that was read
        self._waiting: list[_Touched] = []
        self._ended = False
        self._descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        try:
            _end_line(self._descriptor)
            if os.fstat(self._descriptor).st_size == 0:
                os.write(self._descriptor, encode_header(source.handle, source.top_hash))
            self._bytes = os.fstat(self._descriptor).st_size
        except OSError:
            os.close(self._descriptor)
            raise

    def note(self, inode: Inode, entry: TreeEntry, start: int, end: int) -> None:
        """Take note that bytes `start` to `end` of a file were read."""
        if self._ended or start >= end:
            return
        first, last = start // BLOCK_SIZE, (end - 1) // BLOCK_SIZE
        if entry.size <= BLOCK_SIZE:
            at, bit = divmod(inode - ROOT_INODE, 8)
            if not self._whole[at] & 1 << bit:
                self._whole[at] |= 1 << bit
                self._wait(inode, entry, 0)
            return
        seen = self._parts.get(inode, 0)
        wanted = (1 << last + 1) - (1 << first)
        if wanted & ~seen:
            self._parts[inode] = seen | wanted
            for block in range(first, last + 1):
                if not seen >> block & 1:
                    self._wait(inode, entry, block)

    def _wait(self, inode: Inode, entry: TreeEntry, block: int) -> None:
        if self._waiting:
            before, _, first, count = self._waiting[-1]
            if before == inode and block == first + count:
                self._waiting[-1] = (inode, entry, first, count + 1)
                return
        if len(self._waiting) >= _WAITING:
            self._end("it is written more slowly than files are read")
            return
        self._waiting.append((inode, entry, block, 1))

    def close(self) -> None:
        """Write the rest and end. Blocking; in the event loop's thread."""
        self.write(self.take())
        with self._writing:
            self._ended = True
            with suppress(OSError):  # what was written is there or it is not; nobody is left to be told
                os.close(self._descriptor)

    def take(self) -> list[_Touched]:
        """Return what waits to be written, and begin anew. In the event loop's thread."""
        waiting, self._waiting = self._waiting, []
        return waiting

    def write(self, waiting: list[_Touched]) -> None:
        """Write what `take` has returned. Blocking; any thread."""
        with self._writing:
            if not self._ended and waiting:
                self._write(waiting)

    def _write(self, waiting: list[_Touched]) -> None:
        tree = patient_tree(self._source)
        lines = bytearray()
        try:
            for inode, entry, first, count in waiting:
                size = min((first + count) * BLOCK_SIZE, entry.size) - first * BLOCK_SIZE
                lines += encode_access(Access(display_path(tree.path_of(inode)), first, count, size))
            if self._bytes + len(lines) > _MOST:
                self._end(f"it has {self._bytes} bytes")
                return
            self._bytes += len(lines)
            while lines:
                del lines[: os.write(self._descriptor, lines)]
        except OSError as error:
            self._end(error.strerror or str(error))
        except PenstockError as error:
            self._end(str(error))

    def _end(self, why: str) -> None:
        self._ended = True
        self._waiting.clear()
        _log.warning("the recording of the trace has ended: %s", why)
