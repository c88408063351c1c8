"""umount2(2), by root directly and by others through fusermount3(1). Knows nothing of daemons."""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess

__all__ = ["MOUNT_TABLE", "detach"]

MOUNT_TABLE = "/etc/mtab"
"""Where fusermount3 looks whose mount it is: without it, it mounts for users, and never unmounts for them."""

_MNT_DETACH = 2
_UMOUNT_NOFOLLOW = 8
_DEADLINE = 30.0


def detach(mountpoint: str, *, lazy: bool) -> None:
    """Unmount what is on top at a path; `lazy`: take it out of sight now, and let who uses it go on.

    OSError: EBUSY, EPERM (another user mounted it), EINVAL (nothing is mounted there), ENOENT (there is no table of
    mounts to look in), EIO for whatever else fusermount3 says.
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
        raise OSError(_number_of(told), told or os.strerror(errno.EIO), mountpoint)


def _number_of(told: str) -> int:
    if f"open {MOUNT_TABLE}" in told:
        return errno.ENOENT
    if f"not found in {MOUNT_TABLE}" in told:  # which lists it with another user's id, or not at all
        return errno.EPERM
    return next(
        (number for number in (errno.EBUSY, errno.EPERM, errno.EINVAL) if os.strerror(number) in told), errno.EIO
    )
