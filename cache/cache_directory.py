"""The cache directory: who may use it, the lock on its layout, its clock, and the list of its segments.

The directory itself is the truth about which segments exist and what they occupy: a file of the reserved size *is*
the reservation. So nothing can drift from it, and a crash between two steps leaves at worst a segment to reuse.

**Invariant:** segments and the index appear and disappear only under `layout()`, and the clock ticks each time.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from penstock.errors import AccessError, UsageError

from .disposal import is_environment, remove_environment
from .layout import PAGE
from .locking import LockedFile

__all__ = ["CacheDirectory", "Clock", "SegmentFile", "disk_usage", "prepare_directory"]

_LAYOUT_WAIT_SECONDS = 30.0
_OPEN = ".open"
_SEALED = ".sealed"


class SegmentFile(NamedTuple):
    """A segment in the directory. `size` in bytes; `sealed`: nobody will append to it again."""

    number: int
    path: str
    size: int
    sealed: bool


class Clock:
    """The number of the newest change of the layout, seen at once by every process that maps it."""

    def __init__(self, path: str) -> None:
        """Map the clock, creating it at 0; call it under the layout lock."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(descriptor).st_size < PAGE:
                # Extending keeps what is there; a mapping past the end of the file would be a SIGBUS.
                os.ftruncate(descriptor, PAGE)
            self.cell = memoryview(mmap.mmap(descriptor, PAGE)).cast("Q")
        finally:
            os.close(descriptor)

    def next(self, at_least: int = 0) -> int:
        """Return a number larger than any before and than `at_least`; under the layout lock."""
        return max(self.cell[0], at_least) + 1

    def tick(self, number: int) -> None:
        """Announce a change that is complete, under the number from `next`; under the layout lock."""
        self.cell[0] = number


class CacheDirectory:
    """Paths and primitives of one cache directory. Holds nothing open."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.index = os.path.join(root, "index-2")
        self.state = os.path.join(root, "state-2")
        self.users = os.path.join(root, "users.lock")
        self.clock = os.path.join(root, "clock")
        self._layout = os.path.join(root, "layout.lock")
        self._segments = os.path.join(root, "segments")
        self._old_index, self._old_state = os.path.join(root, "index"), os.path.join(root, "state")

    def prepare(self) -> None:
        """Make sure that the directory is there and private. AccessError, UsageError, or what the disk says."""
        prepare_directory(self.root)
        os.makedirs(self._segments, mode=0o700, exist_ok=True)

    def succeed(self) -> None:
        """Take over the index of the version before; under the layout lock, when no other process has either open.

        That version used LMDB's locks and this one has its own (`environment`), so they must not meet in one index.
        """
        if not is_environment(self._old_index):
            return  # there is none, or the folder is the user's own
        if not os.path.lexists(self.index):
            with contextlib.suppress(FileNotFoundError):
                os.rename(self._old_state, self.state)
            os.rename(self._old_index, self.index)
            return
        remove_environment(self._old_index)
        Path(self._old_state).unlink(missing_ok=True)

    @contextmanager
    def layout(self) -> Iterator[None]:
        """Hold the layout lock. BlockingIOError when another process keeps it for half a minute."""
        lock = LockedFile(self._layout, exclusive=True, wait_seconds=_LAYOUT_WAIT_SECONDS)
        try:
            yield
        finally:
            lock.close()

    def segments(self) -> list[SegmentFile]:
        """Return the segments there are, oldest first; other files are none of our business."""
        found = []
        with os.scandir(self._segments) as entries:
            for entry in entries:
                stem, suffix = os.path.splitext(entry.name)
                if suffix not in {_OPEN, _SEALED} or len(stem) != 16:
                    continue
                try:
                    number, size = int(stem, 16), entry.stat(follow_symlinks=False).st_size
                except (ValueError, FileNotFoundError):
                    continue
                found.append(SegmentFile(number, entry.path, size, suffix == _SEALED))
        return sorted(found)

    def empty(self) -> None:
        """Remove all segments and the index. OSError when the disk refuses that."""
        if not os.path.isdir(self._segments):
            return  # it never came to be: on a full disk not even the lock could be made
        with self.layout():
            for segment in self.segments():
                os.unlink(segment.path)
            for index in (self.index, self._old_index):
                with contextlib.suppress(OSError):  # it holds something else, which stays
                    remove_environment(index)

    def new_segment(self, number: int) -> str:
        """Return the path at which the segment `number` begins its life."""
        return os.path.join(self._segments, f"{number:016x}{_OPEN}")

    def mark_sealed(self, number: int) -> str:
        """Rename a segment that is open to its sealed name, and return that path."""
        stem = os.path.join(self._segments, f"{number:016x}")
        os.rename(stem + _OPEN, stem + _SEALED)
        return stem + _SEALED

    def open_segment(self, number: int) -> int | None:
        """Return a descriptor for reading the segment, or None when it is gone."""
        stem = os.path.join(self._segments, f"{number:016x}")
        # Sealed, open, and sealed once more: it may be renamed between the first two looks.
        for suffix in (_SEALED, _OPEN, _SEALED):
            try:
                return os.open(stem + suffix, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
        return None

    def modified(self, number: int) -> int | None:
        """Return when a segment was last written to, in ns; None when it is gone, or the disk fails."""
        stem = os.path.join(self._segments, f"{number:016x}")
        for suffix in (_SEALED, _OPEN, _SEALED):
            try:
                return os.stat(stem + suffix).st_mtime_ns
            except FileNotFoundError:
                continue
            except OSError:
                return None
        return None


def prepare_directory(path: str, what: str = "cache") -> bool:
    """Create `path` as 0700, or check that it is the user's own and closed to others' writing; whether it was made.

    `what` it is for stands in the errors: UsageError, AccessError; OSError.

    Refusing others' directories matters because the index is mapped: whoever can write it can crash its readers. A
    symbolic link is followed if it is the user's own; another's, in a folder that all can write, would choose for him.
    """
    _refuse_links_of_others(path, what)
    os.makedirs(Path(path).parent, exist_ok=True)
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        found = os.stat(path)
    else:
        return True
    if not stat.S_ISDIR(found.st_mode):
        raise UsageError(f"the {what} directory {path} is not a directory", fix="Remove it or name another directory")
    if found.st_uid != os.geteuid():
        raise AccessError(
            f"the {what} directory {path} belongs to another user",
            why=f"its owner is uid {found.st_uid}, this process runs as uid {os.geteuid()}",
            fix="Name a directory of your own",
        )
    if found.st_mode & 0o022:
        raise AccessError(
            f"the {what} directory {path} can be written by others",
            why=f"its mode is {stat.S_IMODE(found.st_mode):04o}",
            fix=f"Run: chmod 700 {path}",
        )
    return False


def _refuse_links_of_others(path: str, what: str) -> None:
    try:
        found = os.lstat(path)
    except OSError:
        return  # what follows says why
    if stat.S_ISLNK(found.st_mode) and found.st_uid not in (os.geteuid(), 0):
        raise AccessError(
            f"the {what} directory {path} is a symbolic link of another user's",
            why=f"uid {found.st_uid} has made it",
            fix="Name a directory of your own",
        )


def disk_usage(path: str) -> int:
    """Return the bytes that `path` and all below it take on disk, as du counts them."""
    total = 0
    pending = [path]
    while pending:
        folder = pending.pop()
        try:
            total += os.lstat(folder).st_blocks * 512
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
                    else:
                        total += os.lstat(entry.path).st_blocks * 512
        except OSError:
            # Evicted between the listing and the look; or no directory, or one that cannot be listed.
            continue
    return total
