"""The bytes of changed files on disk, by inode and generation: sparse files, of which a bounded number is open.

The first MiB of a file lies in data/heads/<group>.<generation>, with those of the 63 other inodes of its group
(`shared_heads`). What comes after it lies in data/<two hex digits>/<inode>.<generation>, at its own offset; the digits
are bits 8 to 15 of the inode. All numbers are in hex, that of a group is the inode without its last six bits. Where the
disk cannot give back a part of a file, and in overlays that were made before there were heads, there is no data/heads,
and all of a file lies in its own.

What of these bytes counts is not said here but in RANGES.

All of it is thread-safe, but that bytes of an inode are changed by one thread at a time. `_lock` guards the register of
open files and what is to be synced, and is held for an open(2) at most; `_syncing` is held for as long as a sync takes,
and is taken first.

**Invariant:** a descriptor is closed only when nobody uses it. A file is in `_unsynced` from the end of a write until
a sync that began after it, so that `sync` covers every write that ended before it was called.
"""

from __future__ import annotations

import errno
import os
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from types import TracebackType

from penstock.errors import IntegrityError
from penstock.manifest.entry import MAX_SIZE

from .libc import punch_hole, sync_file_system
from .shared_heads import GROUP_BYTES, HEAD_BYTES, Key, group_of, has_holes, place_of, with_data

__all__ = ["DataFiles"]

_HEADS = "heads"
_OPEN_FILES = 512
_MANY = 24
"""From so many files on, one sync of the whole file system is quicker: on ext4 each sync of a file is a commit."""


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
    """The data files below `directory`/data. Keys are inode and generation; offsets and lengths are bytes."""

    def __init__(self, directory: str, *, open_files: int = _OPEN_FILES) -> None:
        """Make the directory when it is missing. OSError."""
        self._root = os.path.join(directory, "data")
        self._heads = os.path.join(self._root, _HEADS)
        self._limit = open_files
        self._lock = threading.Lock()
        self._syncing = threading.Lock()
        self._opened: OrderedDict[Key, _Opened] = OrderedDict()
        self._unsynced: set[Key] = set()
        self._new_names: set[str] = set()
        try:
            os.mkdir(self._root, 0o700)
        except FileExistsError:
            self._head_bytes = HEAD_BYTES if os.path.isdir(self._heads) else 0
        else:
            self._new_names.add(directory)
            self._head_bytes = self._begin()
        # Held open, so that syncfs reports what failed at any time since.
        self._descriptor = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def _begin(self) -> int:
        """Return how much of each file lies with others: decided while there is none."""
        if not os.path.isdir(self._heads):
            # Not in data/: a crash in between may leave the file that it is tried with.
            if not has_holes(os.path.dirname(self._root)):
                return 0
            os.mkdir(self._heads, 0o700)
        self._new_names.add(self._root)
        return HEAD_BYTES

    @cached_property
    def largest(self) -> int:
        """The most bytes that a file of this disk may have: found out by making one without content. OSError."""
        with tempfile.TemporaryFile(buffering=0, dir=os.path.dirname(self._root)) as stream:
            low, high = 0, MAX_SIZE
            while low < high:
                middle = (low + high + 1) // 2
                try:
                    os.ftruncate(stream.fileno(), middle)
                except OSError as error:
                    if error.errno not in (errno.EFBIG, errno.EINVAL):
                        raise
                    high = middle - 1
                else:
                    low = middle
        return low

    def write(self, key: Key, offset: int, data: bytes | bytearray | memoryview) -> None:
        """Write all of it, to files that are made when they are missing. OSError: a part may have been written."""
        rest = memoryview(data)
        for file, at, length in self._places(key, offset, offset + len(rest)):
            part, rest = rest[:length], rest[length:]
            with self._use(file, create=True) as descriptor:
                try:
                    while part:
                        written = os.pwrite(descriptor, part, at)
                        at += written
                        part = part[written:]
                finally:
                    self._note(file)

    def read(self, key: Key, start: int, end: int) -> bytes:
        """Return the bytes of [start, end). IntegrityError when a file, or its end, is gone; OSError."""
        return b"".join(self._read(*place) for place in self._places(key, start, end))

    def _read(self, file: Key, at: int, length: int) -> bytes:
        try:
            use = self._use(file)
        except FileNotFoundError as error:
            raise self._lost(file, "it is missing") from error
        with use as descriptor:
            data = os.pread(descriptor, length, at)
            while len(data) < length:
                more = os.pread(descriptor, length - len(data), at + len(data))
                if not more:
                    raise self._lost(file, f"it ends before byte {at + len(data)}")
                data += more
        return data

    def cut(self, key: Key, size: int) -> None:
        """Give back the space beyond `size`; nothing when there are no files. OSError."""
        if size < self._head_bytes:
            self._give_back(key, size)
        with suppress(FileNotFoundError), self._use(key) as descriptor:
            # Also when the file is no longer than that: space may be reserved beyond its end.
            os.ftruncate(descriptor, min(size, os.fstat(descriptor).st_size))

    def remove(self, key: Key) -> None:
        """Remove all bytes of a key; whoever reads them may finish. Nobody may write them meanwhile. OSError.

        The key may be a group's: then those of all its members' heads.
        """
        if key[0] >= 0 and self._head_bytes:
            self._give_back(key, 0)
        self._forget(key)  # first: the last to close a removed file frees its space, and closes it under the lock
        with suppress(FileNotFoundError):
            os.unlink(self._path(key))  # not under the lock: it takes its time
        self._forget(key)  # a sync may have opened it once more

    def _give_back(self, key: Key, size: int) -> None:
        """Free the space of a head beyond `size`, unless the overlay was moved to a disk that cannot."""
        ((file, at, length),) = self._places(key, size, self._head_bytes)
        try:
            with self._use(file) as descriptor:
                punch_hole(descriptor, at, length)
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise

    def _forget(self, key: Key) -> None:
        with self._lock:
            opened = self._opened.pop(key, None)
            if opened is not None:
                opened.retire()
            self._unsynced.discard(key)

    def clear(self) -> None:
        """Remove all files, while nobody uses any. OSError."""
        try:
            for entry in self._entries():
                os.unlink(entry.path)
        finally:
            # Also when some could not be removed: what is written next must not go to one that was.
            with self._lock:
                while self._opened:
                    self._opened.popitem()[1].retire()
                self._unsynced.clear()
        with self._lock:
            self._head_bytes = self._begin()

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

    def names(self) -> Iterator[Key]:
        """Yield the keys of all that there may be bytes of, and of groups of heads, some of them twice. OSError."""
        for entry in self._entries():
            number, _, generation = entry.name.partition(".")
            if os.path.dirname(entry.path) != self._heads:
                yield int(number, 16), int(generation, 16)
                continue
            group = -1 - int(number, 16), int(generation, 16)
            yield group
            with suppress(FileNotFoundError), open(entry.path, "rb") as stream:
                yield from with_data(stream.fileno(), group)

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

    def _places(self, key: Key, start: int, end: int) -> tuple[tuple[Key, int, int], ...]:
        """Return where the bytes of [start, end) lie, in order: file, offset, length."""
        border = self._head_bytes
        if start >= border:
            return ((key, start, end - start),)
        group, at = group_of(key), place_of(key) + start
        if end <= border:
            return ((group, at, end - start),)
        return ((group, at, border - start), (key, border, end - border))

    def _use(self, key: Key, *, create: bool = False) -> _Opened:
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

    def _open(self, key: Key, *, create: bool) -> int:
        path = self._path(key)
        try:
            return os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            if not create:
                raise
        descriptor = self._make(path)
        if key[0] < 0:
            try:
                # Its whole length at once: beyond the end of a file XFS takes 64 KiB for each write, and what was
                # reserved there is not given back by punching it.
                os.ftruncate(descriptor, GROUP_BYTES)
            except OSError:
                os.close(descriptor)
                raise
        return descriptor

    def _make(self, path: str) -> int:
        folder = os.path.dirname(path)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_CREAT, 0o600)
        except FileNotFoundError:
            os.mkdir(folder, 0o700)
            self._new_names.add(self._root)
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_CREAT, 0o600)
        self._new_names.add(folder)
        return descriptor

    def _note(self, key: Key) -> None:
        with self._lock:
            self._unsynced.add(key)

    def _sync_each(self, files: set[Key], folders: set[str]) -> None:
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

    def _path(self, key: Key) -> str:
        number, generation = key
        if number < 0:
            return f"{self._heads}/{-1 - number:x}.{generation:x}"
        return f"{self._root}/{number >> 8 & 0xFF:02x}/{number:x}.{generation:x}"

    def _lost(self, key: Key, why: str) -> IntegrityError:
        return IntegrityError(
            f"the overlay has lost bytes of {self._path(key)}",
            why=why,
            fix="`penstock status` shows what was changed; `penstock discard` gives up the changes of a file",
        )
