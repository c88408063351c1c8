"""The data files of changed files: sparse, one for each inode and generation that wrote to it.

They lie in data/<two hex digits>/<inode>.<generation>, in hex. The digits are bits 8 to 15 of the inode, so that files
made one after the other share a folder: ext4 makes them ten times as fast as in ever another one. What of their bytes
counts is not said here but in RANGES. A bounded number of them is open at a time.

All of it is thread-safe. `_lock` guards the register of open files and what is to be synced, and is held for an
open(2) at most; `_syncing` is held for as long as a sync takes, and is taken first.

**Invariant:** a descriptor is closed only when nobody uses it. A file is in `_unsynced` from the end of a write until
a sync that began after it, so that `sync` covers every write that ended before it was called.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress
from types import TracebackType

from penstock.errors import IntegrityError

from .libc import punch_hole, reserve, sync_file_system

__all__ = ["DataFiles"]

_OPEN_FILES = 512
_MANY = 24
"""From so many files on, one sync of the whole file system is quicker: on ext4 each sync of a file is a commit."""

_Key = tuple[int, int]


class _Opened:
    """An open data file, with the number of its users. `stale`: it goes with the last of them."""

    __slots__ = ("_lock", "descriptor", "stale", "users")

    def __init__(self, descriptor: int, lock: threading.Lock) -> None:
        self.descriptor = descriptor
        self.users = 0
        self.stale = False
        self._lock = lock

    def __enter__(self) -> int:
        return self.descriptor

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self.users -= 1
            if self.stale and not self.users:
                os.close(self.descriptor)

    def retire(self) -> None:
        """Close it, now or after its last user; under the lock, and out of the register."""
        self.stale = True
        if not self.users:
            os.close(self.descriptor)


class DataFiles:
    """The data files below `directory`/data. Offsets and lengths are bytes."""

    def __init__(self, directory: str, *, open_files: int = _OPEN_FILES) -> None:
        """Make the directory when it is missing. OSError."""
        self._root = os.path.join(directory, "data")
        self._limit = open_files
        self._lock = threading.Lock()
        self._syncing = threading.Lock()
        self._opened: OrderedDict[_Key, _Opened] = OrderedDict()
        self._unsynced: set[_Key] = set()
        self._new_names: set[str] = set()
        try:
            os.mkdir(self._root, 0o700)
            self._new_names.add(directory)
        except FileExistsError:
            pass
        # Held open, so that syncfs reports what failed at any time since.
        self._descriptor = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def write(self, key: _Key, offset: int, data: bytes | bytearray | memoryview) -> None:
        """Write all of it, to a file that is made when it is missing. OSError: a part of it may have been written."""
        rest = memoryview(data)
        with self._use(key, create=True) as descriptor:
            try:
                while rest:
                    written = os.pwrite(descriptor, rest, offset)
                    offset += written
                    rest = rest[written:]
            finally:
                self._note(key)

    def punch(self, key: _Key, start: int, end: int) -> None:
        """Have [start, end) read as zeros and take no space; the file is made when it is missing. OSError."""
        with self._use(key, create=True) as descriptor:
            try:
                punch_hole(descriptor, start, end - start)
                if os.fstat(descriptor).st_size < end:
                    os.ftruncate(descriptor, end)
            finally:
                self._note(key)

    def reserve(self, key: _Key, start: int, end: int) -> None:
        """Take space for [start, end) on disk; the file is made when it is missing. OSError: EOPNOTSUPP, ENOSPC."""
        with self._use(key, create=True) as descriptor:
            reserve(descriptor, start, end - start)

    def read(self, key: _Key, start: int, end: int) -> bytes:
        """Return the bytes of [start, end). IntegrityError when the file, or a part of it, is gone; OSError."""
        try:
            use = self._use(key)
        except FileNotFoundError as error:
            raise self._lost(key, "it is missing") from error
        with use as descriptor:
            data = os.pread(descriptor, end - start, start)
            while len(data) < end - start:
                at = start + len(data)
                more = os.pread(descriptor, end - at, at)
                if not more:
                    raise self._lost(key, f"it ends before byte {at}")
                data += more
        return data

    def cut(self, key: _Key, size: int) -> None:
        """Give back the space beyond `size`; nothing when the file is missing. OSError."""
        try:
            use = self._use(key)
        except FileNotFoundError:
            return
        with use as descriptor:
            # Also when the file is no longer than that: space may be reserved beyond its end.
            os.ftruncate(descriptor, min(size, os.fstat(descriptor).st_size))

    def remove(self, key: _Key) -> None:
        """Remove a file, when it is there; whoever reads it may finish. Nobody may write it meanwhile. OSError."""
        self._forget(key)
        with suppress(FileNotFoundError):
            os.unlink(self._path(key))  # not under the lock: it takes its time
        self._forget(key)  # a sync may have opened it once more

    def _forget(self, key: _Key) -> None:
        with self._lock:
            opened = self._opened.pop(key, None)
            if opened is not None:
                opened.retire()
            self._unsynced.discard(key)

    def sync(self) -> None:
        """Return when all that was written before the call is on the disk, names included. Blocks; any thread.

        OSError when the disk fails; what could not be synced is tried again by the next call.
        """
        with self._syncing:
            with self._lock:
                files, self._unsynced = self._unsynced, set()
                folders, self._new_names = self._new_names, set()
            try:
                if len(files) + len(folders) >= _MANY:
                    sync_file_system(self._descriptor)
                else:
                    self._sync_each(files, folders)
            except BaseException:
                with self._lock:
                    self._unsynced |= files
                    self._new_names |= folders
                raise

    def names(self) -> Iterator[_Key]:
        """Yield inode and generation of each file there is. OSError."""
        for entry in self._entries():
            inode, _, generation = entry.name.partition(".")
            yield int(inode, 16), int(generation, 16)

    def usage(self) -> int:
        """Return the bytes that all files take on disk; looks at each of them. Any thread. OSError."""
        total = 0
        for entry in self._entries():
            try:
                total += entry.stat(follow_symlinks=False).st_blocks * 512
            except FileNotFoundError:
                continue
        return total

    def close(self) -> None:
        """Close all files, once each is out of use."""
        with self._syncing, self._lock:
            while self._opened:
                self._opened.popitem()[1].retire()
            if self._descriptor >= 0:
                os.close(self._descriptor)
            self._descriptor = -1

    def _use(self, key: _Key, *, create: bool = False) -> _Opened:
        """Return an open file that is closed at the end of the `with` at the earliest. FileNotFoundError, OSError."""
        with self._lock:
            opened = self._opened.get(key)
            if opened is None:
                opened = self._opened[key] = _Opened(self._open(key, create=create), self._lock)
                if len(self._opened) > self._limit:
                    self._opened.popitem(last=False)[1].retire()
            else:
                self._opened.move_to_end(key)
            opened.users += 1
            return opened

    def _open(self, key: _Key, *, create: bool) -> int:
        path = self._path(key)
        try:
            return os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            if not create:
                raise
        folder = os.path.dirname(path)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_CREAT, 0o600)
        except FileNotFoundError:
            os.mkdir(folder, 0o700)
            self._new_names.add(self._root)
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_CREAT, 0o600)
        self._new_names.add(folder)
        return descriptor

    def _note(self, key: _Key) -> None:
        with self._lock:
            self._unsynced.add(key)

    def _sync_each(self, files: set[_Key], folders: set[str]) -> None:
        for key in files:
            try:
                use = self._use(key)
            except FileNotFoundError:
                # Removed meanwhile: nobody asks for its bytes any more.
                continue
            with use as descriptor:
                os.fdatasync(descriptor)
        for folder in folders:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def _entries(self) -> Iterator[os.DirEntry[str]]:
        with os.scandir(self._root) as folders:
            for folder in folders:
                with os.scandir(folder.path) as entries:
                    yield from entries

    def _path(self, key: _Key) -> str:
        inode, generation = key
        return f"{self._root}/{inode >> 8 & 0xFF:02x}/{inode:x}.{generation:x}"

    def _lost(self, key: _Key, why: str) -> IntegrityError:
        return IntegrityError(
            f"the overlay has lost bytes of {self._path(key)}",
            why=why,
            fix="`penstock status` shows what was changed; `penstock discard` gives up the changes of a file",
        )
