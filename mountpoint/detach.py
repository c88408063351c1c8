"""umount2(2), by root directly and by others through fusermount3(1). Knows nothing of daemons."""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess

__all__ = ["detach"]

_MNT_DETACH = 2
_UMOUNT_NOFOLLOW = 8
_DEADLINE = 30.0


def detach(mountpoint: str, *, lazy: bool) -> None:
    """Unmount what is on top at a path; `lazy`: take it out of sight now, and let who uses it go on.

    OSError: EBUSY, EPERM, EINVAL (nothing is mounted there).
    """
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        flags = _UMOUNT_NOFOLLOW | (_MNT_DETACH if lazy else 0)
        if libc.umount2(os.fsencode(mountpoint), flags) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), mountpoint)
        return
    command = ["fusermount3", "-u", *(["-z"] if lazy else []), "--", mountpoint]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=_DEADLINE,
            env={**os.environ, "LC_ALL": "C"},
        )
    except subprocess.TimeoutExpired as error:
        raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT), mountpoint) from error
    if done.returncode != 0:
        told = done.stderr.decode("utf-8", "replace").strip()
        number = next(
            (number for number in (errno.EBUSY, errno.EPERM, errno.EINVAL) if os.strerror(number) in told), errno.EPERM
        )
        raise OSError(number, told or os.strerror(number), mountpoint)
