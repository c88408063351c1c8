"""How a file gets a name that must be free: create-if-absent, in whichever way the file system has.

| way | where |
|---|---|
| link(2) | ext4, XFS, Btrfs, ZFS, NFS and most others |
| renameat2(2) with RENAME_NOREPLACE | exFAT, FAT and NTFS of newer kernels, SMB |
| a lock, a look and rename(2) | what is left: FAT before Linux 6, many file systems in user space |

The first two are one step of the kernel's or of the server's. The lock (flock(2), which dies with its holder) keeps
apart only the writers of one machine: such a folder is not to be written from two. In each way the file is complete
before it has its name. Which way works is tried, not guessed: a file system may claim what it does not hold to.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import time
import uuid
from collections.abc import Callable

from penstock.errors import UsageError

__all__ = ["Naming", "find_naming"]

Naming = Callable[[int, str, int, str], None]
"""Give the file (a folder's descriptor, a name in it) another name (a folder, a name), or raise FileExistsError."""

_LOCK = "create.lock"
_LOCK_SECONDS = 30.0
_NOREPLACE = 1
_CANNOT = frozenset(
    {errno.EPERM, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTTY, errno.EMLINK, errno.ENOLCK, errno.EXDEV}
)
"""How file systems say that they do not have a way, each as it likes."""
_libc = ctypes.CDLL(None, use_errno=True)


def find_naming(folder: int, place: str) -> Naming:
    """Return the first way that works in the folder of temporary files; `place` is the store, for messages.

    UsageError: none does. OSError: nothing can be written there.
    """
    for naming in (_by_link, _by_rename, _by_lock):
        if _holds(naming, folder):
            return naming
    raise UsageError(
        f"{place} cannot be a store",
        why="its file system has neither hard links, nor a rename that replaces nothing, nor locks",
        fix="Use another file system, such as ext4, XFS, Btrfs or NFS",
    )


def _by_link(folder: int, name: str, target: int, wanted: str) -> None:
    os.link(name, wanted, src_dir_fd=folder, dst_dir_fd=target, follow_symlinks=False)


def _by_rename(folder: int, name: str, target: int, wanted: str) -> None:
    renameat2 = getattr(_libc, "renameat2", None)
    if renameat2 is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if renameat2(folder, os.fsencode(name), target, os.fsencode(wanted), _NOREPLACE):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), wanted)


def _by_lock(folder: int, name: str, target: int, wanted: str) -> None:
    lock = os.open(_LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666, dir_fd=folder)
    try:
        _wait_for(lock)
        try:
            os.stat(wanted, dir_fd=target, follow_symlinks=False)
        except FileNotFoundError:
            os.rename(name, wanted, src_dir_fd=folder, dst_dir_fd=target)
        else:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), wanted)
    finally:
        os.close(lock)  # and so unlocks


def _wait_for(lock: int) -> None:
    end = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            # Not the blocking form: a stopped process would keep everyone for ever.
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                raise OSError(errno.ETIMEDOUT, f"another process has held {_LOCK} for {_LOCK_SECONDS:.0f} s") from None
            time.sleep(0.002)
        else:
            return


def _holds(naming: Naming, folder: int) -> bool:
    """Whether `naming` names a file, and refuses a name that is taken. Leaves nothing behind."""
    stem = f"{os.getpid()}-{uuid.uuid4().hex}"
    names = [f"{stem[:-1]}{digit}" for digit in "012"]  # of the form that is swept, should this die
    first, second, wanted = names
    try:
        for name in (first, second):
            os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666, dir_fd=folder))
        try:
            naming(folder, first, folder, wanted)
        except OSError as error:
            if error.errno in _CANNOT:
                return False
            raise
        try:
            naming(folder, second, folder, wanted)
        except FileExistsError:
            return True
        return False
    finally:
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=folder)
