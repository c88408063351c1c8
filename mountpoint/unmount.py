"""Unmount: take the file system out of sight and see its daemon off. Needs neither pyfuse3 nor trio."""

from __future__ import annotations

import errno
import time

from penstock.errors import AccessError, ConflictError, PenstockError

from .detach import detach
from .kernel_mounts import KernelMount, top_mount
from .known_mounts import MountInfo, find_mount, is_dead, record_of
from .processes import end, holders, wait_for_end
from .registry import sweep

__all__ = ["changes_left", "unmount"]

_RETRY = 0.05
_PATIENCE = 1.0
"""Seconds in which a mount that is busy may become free: a process that has just ended still holds it."""
_SHOWN = 5


def unmount(mountpoint: str, *, lazy: bool = False, force: bool = False, timeout: float = 10.0) -> bool:
    """Unmount what Penstock has mounted at a directory; True when its daemon has ended (or had before).

    A mount in use is a ConflictError that names who uses it. With `lazy` it is taken out of sight at once and the
    daemon serves on until the last user is done: False then. With `force` the daemon is ended as well, and who
    still uses the mount gets errors. `timeout` in seconds, for the daemon to end before it is made to.
    NotFoundError: nothing of ours is mounted there. AccessError: it is another user's.
    """
    mount = find_mount(mountpoint, "umount")
    record = record_of(mount)
    # A dead mount serves nobody: whoever still stands in it keeps it from going no longer.
    _detach(mount, lazy=lazy or force or is_dead(mount))
    if record is None:
        sweep()
        return True
    if force:
        return end(record.pid, record.started, timeout)
    ended = wait_for_end(record.pid, record.started, 0.5 if lazy else timeout)
    return ended or (not lazy and end(record.pid, record.started, timeout))


def changes_left(info: MountInfo) -> str | None:
    """Return what names the changes that a mount, which has ended, has left behind; None: all were committed.

    Its mountpoint, or the directory of its overlay where that is not the mountpoint's. PenstockError, OSError.
    """
    if info.overlay is None:
        return None
    from penstock.mountpoint.working_copy.overlay_directory import (  # takes its time, and few mounts are writable
        open_overlay,
        overlay_directory,
    )
    from penstock.overlay.disk import directory_gone, disk_told

    gone = directory_gone(info.overlay)
    if gone is not None:
        raise gone
    try:
        with disk_told(info.overlay):
            overlay = open_overlay(info.overlay)
            try:
                if not overlay.is_dirty():
                    return None
            finally:
                # Its daemon has written what the disk had room for: to look is to leave it so.
                overlay.close(keep_up=False)
    except ConflictError:  # it has been mounted again
        return None
    return info.mountpoint if info.overlay == overlay_directory(info.mountpoint) else info.overlay


def _detach(mount: KernelMount, *, lazy: bool) -> None:
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            return detach(mount.mountpoint, lazy=lazy)
        except OSError as error:
            if error.errno == errno.EBUSY:
                if time.monotonic() < until:
                    time.sleep(_RETRY)
                    continue
                raise _busy(mount) from error
            if error.errno == errno.EINVAL and top_mount(mount.mountpoint) != mount:
                return None  # somebody else has just unmounted it
            if error.errno == errno.EPERM:
                raise AccessError(
                    f"{mount.mountpoint} cannot be unmounted", why="another user mounted it", fix="Do it as root."
                ) from error
            raise PenstockError(f"{mount.mountpoint} cannot be unmounted", why=str(error.strerror)) from error


def _busy(mount: KernelMount) -> ConflictError:
    found = holders(mount)
    told = ", ".join(str(holder) for holder in found[:_SHOWN])
    if len(found) > _SHOWN:
        told += f" and {len(found) - _SHOWN} more"
    return ConflictError(
        f"{mount.mountpoint} is busy",
        why=f"in use by {told}" if told else "in use by a process that cannot be seen from here",
        fix=f"End them, or: penstock umount --lazy {mount.mountpoint}",
    )
