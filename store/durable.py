"""Files and folders that outlive a power cut: what is synced, and in which order.

A file is written under a temporary name and synced, then gets its name, then the folder
that holds the name is synced; the same for every folder made on the way. Temporary files live in one reserved
folder at the root, in the same file system as the objects. All is reached from a descriptor of the root (`beneath`),
and the folder of temporary files has to belong to the user or to the owner of the root: whoever owns it could put
another file under a temporary name before that gets its own.

**Invariant:** a name in the store never shows a file that is not complete and synced.
**Invariant:** only who writes makes, renames or removes anything; what is swept are files of the very form that
`write_temporary` makes, in that folder, after a day.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import time
import uuid
from collections.abc import Callable

from penstock.errors import AccessError

from .base import Buffer
from .beneath import closing_folder, open_beneath

__all__ = [
    "STALE_AFTER",
    "TEMPORARY_FOLDER",
    "DurableFolders",
    "check_owner",
    "make_private",
    "make_root",
    "remove_stale",
    "write_all",
    "write_temporary",
]

TEMPORARY_FOLDER = ".penstock-tmp"
STALE_AFTER = 86_400.0  # seconds; no writer holds one buffer's temporary file for a day
_REMEMBERED_FOLDERS = 100_000
_FOLDER = os.O_RDONLY | os.O_DIRECTORY
_TEMPORARY_NAME = re.compile(r"[0-9]{1,10}-[0-9a-f]{32}")


def write_all(descriptor: int, body: Buffer) -> None:
    """Write all of `body`: one write(2) takes 2 GiB at most, and less on a file system that fills up."""
    rest = memoryview(body).cast("B")
    while rest:
        rest = rest[os.write(descriptor, rest) :]


class DurableFolders:
    """Makes folders below a root, and knows which ones need no more syncing. Folders are named as keys are.

    A folder that is there may have been made a moment ago by another process that has not synced it yet, so an empty
    one has the way to it synced, once in this process. In one that holds something, whoever put that there has done so
    before: nothing is named, and no folder made, in a folder that is not durable. The folder of temporary files need
    not outlive anything. Thread-safe: the set only forgets too much.
    """

    __slots__ = ("_durable",)

    def __init__(self) -> None:
        self._durable: set[str] = set()

    def open(self, root: int, folder: str) -> int:
        """Open `folder`, made with everything above it, below `root`, that is missing. Raises OSError."""
        if folder in self._durable:
            return open_beneath(root, folder, _FOLDER)
        above, _, name = folder.rpartition("/")
        if folder:
            with closing_folder(self.open(root, above)) as parent:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, dir_fd=parent)
                opened = open_beneath(parent, name, _FOLDER)
                try:
                    if folder != TEMPORARY_FOLDER and _is_empty(opened):
                        os.fsync(parent)
                except BaseException:
                    os.close(opened)
                    raise
        else:
            opened = open_beneath(root, "", _FOLDER)
        if len(self._durable) >= _REMEMBERED_FOLDERS:
            self._durable.clear()
        self._durable.add(folder)
        return opened

    def forget(self) -> None:
        """Someone removed a folder, and perhaps those above it: look again at all of them."""
        self._durable.clear()

    def prune(self, root: int, folder: str) -> None:
        """Remove `folder` and the folders above it, below the root, as far as they are empty."""
        while folder:
            above, _, name = folder.rpartition("/")
            try:
                with closing_folder(open_beneath(root, above, os.O_PATH | os.O_DIRECTORY)) as parent:
                    os.rmdir(name, dir_fd=parent)
            except OSError:
                return  # not empty, gone already, a symbolic link, a mount point: it can stay
            self._durable.discard(folder)
            folder = above


def _is_empty(folder: int) -> bool:
    with os.scandir(folder) as names:
        return next(names, None) is None


def make_private(path: str) -> None:
    """Make a directory, and what is missing above it, for its owner alone, whatever the umask. OSError."""
    above = os.path.dirname(path)
    if above and not os.path.isdir(above):
        make_private(above)
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        if not os.path.isdir(path):
            raise


def make_root(path: str) -> None:
    """Make the root, if need be. What lies above it is synced only where it had to be made: it is not ours."""
    try:
        os.mkdir(path)
    except FileExistsError:
        return
    except FileNotFoundError:
        make_root(os.path.dirname(path))
        with contextlib.suppress(FileExistsError):
            os.mkdir(path)
    with closing_folder(os.open(os.path.dirname(path), _FOLDER | os.O_CLOEXEC)) as parent:
        os.fsync(parent)


def check_owner(root: int, temporary: int, path: str) -> None:
    """Raise AccessError when the folder of temporary files is not to be trusted; `path` is for the message."""
    owner = os.fstat(temporary).st_uid
    if owner not in (os.geteuid(), os.fstat(root).st_uid):
        raise AccessError(
            f"cannot write to {os.path.dirname(path)}",
            why=f"{path} belongs to uid {owner}, who is neither this user nor the owner of the store",
            fix="Have it removed: nothing in it is needed",
        )


def write_temporary(folder: int, fill: Callable[[int], None]) -> str:
    """Create a file in `folder`, let `fill` write to its descriptor, sync it, and return its name."""
    name = f"{os.getpid()}-{uuid.uuid4().hex}"
    descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666, dir_fd=folder)
    try:
        try:
            fill(descriptor)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name, dir_fd=folder)
        raise
    return name


def remove_stale(folder: int, *, now: float | None = None) -> int:
    """Remove what crashed writers left in the temporary folder more than a day ago; return how many files.

    Only the user's own files, under names that `write_temporary` gives: whatever else is there is not ours.
    """
    limit = (time.time() if now is None else now) - STALE_AFTER
    removed = 0
    # A second sweeper at work, or a file that may not be removed, is no reason to fail to write.
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if not _TEMPORARY_NAME.fullmatch(entry.name):
                continue
            with contextlib.suppress(OSError):
                found = os.stat(entry.name, dir_fd=folder, follow_symlinks=False)
                if stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and found.st_mtime < limit:
                    os.unlink(entry.name, dir_fd=folder)
                    removed += 1
    return removed
