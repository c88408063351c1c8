"""The directory of an overlay on local disk: whose it is, space kept back in it, and its file system's sync.

Used by `records` only.
"""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from pathlib import Path

from penstock.cache.directory import prepare_directory

__all__ = ["Reserve", "prepare_overlay_directory", "remove_file", "sync_directory", "sync_file_system"]

_LEAST_RESERVED, _MOST_RESERVED = 1 << 19, 16 << 20


class Reserve:
    """A file that only takes space. It is given up for the commit after which a full disk can be emptied.

    `size` is a sixteenth of the disk, at most 16 MiB and at least half of one.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._held = False
        facts = os.statvfs(Path(path).parent)
        self.size = min(_MOST_RESERVED, max(_LEAST_RESERVED, facts.f_blocks * facts.f_frsize >> 4))

    def hold(self) -> None:
        """Take the space, when the disk has twice as much; else do without."""
        if self._held:
            return
        with suppress(OSError):
            free = os.statvfs(Path(self._path).parent)
            if free.f_bavail * free.f_frsize < 2 * self.size:
                return
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, self.size)
                self._held = True
            finally:
                os.close(descriptor)

    def give_up(self) -> bool:
        """Free the space; whether there was any."""
        self._held = False
        return remove_file(self._path)

    def bytes_on_disk(self) -> int:
        """Return what it takes."""
        try:
            return os.stat(self._path).st_blocks * 512
        except FileNotFoundError:
            return 0


def prepare_overlay_directory(directory: str) -> None:
    """Create the directory as 0700, or check that it is the user's own and closed to others' writing.

    AccessError, UsageError, OSError.
    """
    if prepare_directory(directory, "overlay"):
        sync_directory(str(Path(directory).parent))


def remove_file(path: str) -> bool:
    """Remove a file that may stay if it must; whether it is gone now."""
    try:
        os.unlink(path)
    except OSError:
        return False
    return True


def sync_directory(path: str) -> None:
    """Write the names in a directory to the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file_system(path: str) -> None:
    """Write all of the file system that `path` lies in to the disk: syncfs(2), which the standard library lacks."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(descriptor) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), path)
    finally:
        os.close(descriptor)
