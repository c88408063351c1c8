"""The directory of an overlay on local disk: whose it is, space kept back in it, and its file system's sync."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from pathlib import Path

from penstock.cache.cache_directory import prepare_directory

__all__ = ["Reserve", "prepare_overlay_directory", "remove_file", "sync_directory", "sync_file_system"]

_LEAST_RESERVED, _MOST_RESERVED = 1 << 19, 16 << 20
_LEFT = 1 << 16
_UNIT = 4096


class Reserve:
    """A file that only takes space. It is given up for the commit after which a full disk can be emptied.

    `size` is a sixteenth of the disk, at most 16 MiB and at least half of one. What a commit did not need of it is
    taken back at once; while it is not whole, the disk is full to whoever wants to make something.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._held = 0
        facts = os.statvfs(Path(path).parent)
        self.size = min(_MOST_RESERVED, max(_LEAST_RESERVED, facts.f_blocks * facts.f_frsize >> 4))

    @property
    def is_whole(self) -> bool:
        """Whether all of it is held."""
        return self._held == self.size

    def hold(self) -> bool:
        """Take the space, or as much as the disk has; whether that is all of it."""
        if self.is_whole:
            return True
        with suppress(OSError):
            facts = os.statvfs(Path(self._path).parent)
            size = min(self.size, (facts.f_bavail * facts.f_frsize + self._held - _LEFT) // _UNIT * _UNIT)
            if size <= self._held:
                return False
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, size)
                self._held = size
            finally:
                os.close(descriptor)
        return self.is_whole

    def give_up(self) -> bool:
        """Free the space; whether there was any."""
        self._held = 0
        return remove_file(self._path)


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
