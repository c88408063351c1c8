"""Files and folders that outlive a power cut: what is synced, and in which order.

Called by `local` only. A file is written under a temporary name and synced, then gets its name, then the folder
that holds the name is synced; the same for every folder made on the way. Temporary files live in one reserved
folder at the root, in the same file system as the objects.

**Invariant:** a name in the store never shows a file that is not complete and synced.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
import uuid
from collections.abc import Callable

from .base import Buffer

__all__ = [
    "STALE_AFTER",
    "TEMPORARY_FOLDER",
    "DurableFolders",
    "remove_stale",
    "sync_folder",
    "write_all",
    "write_temporary",
]

TEMPORARY_FOLDER = ".penstock-tmp"
STALE_AFTER = 86_400.0  # seconds; no writer holds one buffer's temporary file for a day
_REMEMBERED_FOLDERS = 100_000


def sync_folder(path: str) -> None:
    """Make the names in the folder durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_all(descriptor: int, body: Buffer) -> None:
    """Write all of `body`: one write(2) takes 2 GiB at most, and less on a file system that fills up."""
    rest = memoryview(body).cast("B")
    while rest:
        rest = rest[os.write(descriptor, rest) :]


class DurableFolders:
    """Makes folders below a root, and knows which ones need no more syncing.

    A folder that is there may have been made a moment ago by another process that has not synced it yet, so the
    first use of each folder syncs the way to it, once in this process. Thread-safe: the set only forgets too much.
    """

    __slots__ = ("_durable", "_root")

    def __init__(self, root: str) -> None:
        self._root = root
        self._durable: set[str] = set()

    def ensure(self, folder: str) -> None:
        """Make `folder`, which is the root or below it, and everything above it that is missing. Raises OSError."""
        if folder in self._durable:
            return
        parent = os.path.dirname(folder)
        if folder != self._root:
            self.ensure(parent)
            made = _make(folder)
        else:
            made = _make_with_parents(folder)
        if made or folder != self._root:
            sync_folder(parent)
        if len(self._durable) >= _REMEMBERED_FOLDERS:
            self._durable.clear()
        self._durable.add(folder)

    def forget(self) -> None:
        """Someone removed a folder, and perhaps those above it: look again at all of them."""
        self._durable.clear()

    def prune(self, folder: str) -> None:
        """Remove `folder` and the folders above it, below the root, as far as they are empty."""
        while folder != self._root:
            try:
                os.rmdir(folder)
            except OSError:
                return  # not empty, gone already, a symbolic link, a mount point: it can stay
            self._durable.discard(folder)
            folder = os.path.dirname(folder)


def _make(folder: str) -> bool:
    """Make one folder; False when it is there. A file of that name is an error."""
    try:
        os.mkdir(folder)
    except FileExistsError:
        if not stat.S_ISDIR(os.stat(folder).st_mode):  # FileNotFoundError: someone removed it just now
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), folder) from None
        return False
    return True


def _make_with_parents(folder: str) -> bool:
    """Make the root. What lies above it is synced only where it had to be made: it is not ours."""
    try:
        return _make(folder)
    except FileNotFoundError:
        parent = os.path.dirname(folder)
        if _make_with_parents(parent):
            sync_folder(os.path.dirname(parent))
        return _make(folder)


def write_temporary(folder: str, fill: Callable[[int], None]) -> str:
    """Create a file in `folder`, let `fill` write to its descriptor, sync it, and return its path."""
    path = os.path.join(folder, f"{os.getpid()}-{uuid.uuid4().hex}")
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        try:
            fill(descriptor)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(path)
        raise
    return path


def remove_stale(folder: str, *, now: float | None = None) -> int:
    """Remove what crashed writers left in the temporary folder more than a day ago; return how many files."""
    limit = (time.time() if now is None else now) - STALE_AFTER
    removed = 0
    # A store that may only be read, or a second sweeper at work, is no reason to fail to open.
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.stat(follow_symlinks=False).st_mtime < limit:
                with contextlib.suppress(OSError):
                    os.unlink(entry.path)
                    removed += 1
    return removed
