"""Unmount: take the file system out of sight and see its daemon off. Needs neither pyfuse3 nor trio."""

from __future__ import annotations

import errno
import os
import time
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from penstock.errors import AccessError, ConflictError, PenstockError

from .control_client import answers
from .detach import MOUNT_TABLE, detach
from .kernel_mounts import KernelMount, kernel_mounts, top_mount
from .known_mounts import MountInfo, find_mount, is_dead, record_of
from .mount_records import MountRecord, live_records, sweep
from .overlay_notes import overlay_at, overlay_notes
from .processes import end, holders, other_namespaces, wait_for_end

if TYPE_CHECKING:
    from penstock.overlay.overlay import Overlay
    from penstock.overlay.tables.meta import Origin
    from penstock.repo.settings.settings import Settings

__all__ = ["LeftChanges", "changes_left", "mounts_left", "overlays_left", "unmount"]

_RETRY = 0.05
_PATIENCE = 1.0
"""Seconds in which a mount that is busy may become free: a process that has just ended still holds it."""
_SHOWN = 5
_SOON = 0.5
"""Seconds in which a daemon whose last mount has gone ends, as a rule."""
_LOOK = 5.0
"""Seconds that a store may take over each answer to whether anything has changed."""


def unmount(mountpoint: str, *, lazy: bool = False, force: bool = False, timeout: float = 10.0) -> bool:
    """Unmount what Penstock has mounted at a directory; True when its daemon has ended (or had before).

    Only what was named is unmounted: where another mount of it is left, a bind mount or in another mount namespace, the
    daemon serves that on: False then, and `mounts_left` tells which. A mount in use is a ConflictError that names who
    uses it. With `lazy` it is taken out of sight at once and the daemon serves on until the last user is done: False
    then. With `force` the daemon is ended as well, unless another mount of it is to be seen here, and who still uses
    the mount gets errors. `timeout` in seconds, for a daemon that does not answer to end before it is made to.
    NotFoundError: nothing of ours is mounted there. AccessError: it is another user's.
    """
    mount = find_mount(mountpoint, "umount")
    record = record_of(mount)
    # A dead mount serves nobody: whoever still stands in it keeps it from going no longer.
    _detach(mount, lazy=lazy or force or is_dead(mount))
    if record is None:
        sweep()
        return True
    if _seen_here(record):
        return False
    if force:
        return end(record.pid, record.started, timeout)
    if wait_for_end(record.pid, record.started, _SOON):
        return True
    if lazy or other_namespaces(record.device):
        return False
    if wait_for_end(record.pid, record.started, timeout - _SOON):
        return True
    # What keeps the kernel from ending the session cannot be seen from here, or the daemon hangs.
    return not answers(record) and end(record.pid, record.started, timeout)


def mounts_left(info: MountInfo) -> list[str]:
    """Return where else a mount is that was unmounted at one place, in words; none: nowhere, or its daemon has ended.

    Bind mounts, and processes in mount namespaces of their own.
    """
    record = next((each for each in live_records() if each.pid == info.pid), None)
    if record is None:
        return []
    return [each.mountpoint for each in _seen_here(record)] + [str(each) for each in other_namespaces(record.device)]


def _seen_here(record: MountRecord) -> list[KernelMount]:
    return [mount for mount in kernel_mounts() if mount.is_ours and mount.device == record.device]


def changes_left(info: MountInfo, settings: Settings) -> str | None:
    """Return what names the changes that a mount, which has ended, has left behind; None: all were committed.

    Its mountpoint, or the directory of its overlay where that is not the mountpoint's. PenstockError, OSError.
    """
    if info.overlay is None:
        return None
    # It takes its time, and few mounts are writable.
    from penstock.mountpoint.working_copy.overlay_directory import open_overlay
    from penstock.overlay.disk import directory_gone, disk_told

    gone = directory_gone(info.overlay)
    if gone is not None:
        raise gone
    try:
        with disk_told(info.overlay):
            overlay = open_overlay(info.overlay)
            try:
                if not overlay.is_dirty() or not _differs(overlay, settings):
                    return None
            finally:
                # Its daemon has written what the disk had room for: to look is to leave it so.
                overlay.close(keep_up=False)
    except ConflictError:  # it has been mounted again
        return None
    return info.mountpoint if info.overlay == overlay_at(info.mountpoint) else info.overlay


@dataclass(frozen=True, slots=True)
class LeftChanges:
    """Changes that nobody has mounted: where, in which overlay, and of what.

    `mountpoint` is None where no note says it: `overlay` names them then. `why`: what keeps them from being looked at.
    """

    mountpoint: str | None
    overlay: str
    handle: str | None
    why: str = ""


def overlays_left() -> list[LeftChanges]:
    """Return this user's overlays with changes that are not mounted. Opens each; asks no store."""
    from penstock.mountpoint.working_copy.overlay_directory import open_overlay
    from penstock.overlay.disk import directory_gone, disk_told

    open_now = {record.overlay for record in live_records()}
    found = []
    for note in overlay_notes():
        if note.overlay in open_now or not os.path.lexists(note.overlay):
            continue  # of a directory that is gone, so are the changes: whoever removed it knows
        try:
            if (gone := directory_gone(note.overlay)) is not None:
                raise gone
            with disk_told(note.overlay):
                overlay = open_overlay(note.overlay)
                try:
                    if overlay.origin is not None and overlay.is_dirty():
                        found.append(LeftChanges(note.mountpoint, note.overlay, overlay.origin.handle))
                finally:
                    overlay.close(keep_up=False)  # to look is to leave it as it is
        except ConflictError:  # it has just been mounted
            continue
        except PenstockError as error:
            found.append(LeftChanges(note.mountpoint, note.overlay, None, str(error)))
    return found


def _differs(overlay: Overlay, settings: Settings) -> bool:
    """Whether `status` would tell a difference: what was made and removed again is touched, and is none."""
    from penstock.mountpoint.working_copy.change_lines import list_changes
    from penstock.mountpoint.working_copy.overlay_directory import pin_of
    from penstock.repo.read.snapshot import open_snapshot
    from penstock.repo.settings.handle import parse_handle
    from penstock.repo.settings.remote import Remote

    origin: Origin | None = overlay.origin
    assert origin is not None  # it has been mounted
    bucket = parse_handle(origin.handle).bucket
    if "://" not in bucket and bucket not in settings.remotes:  # the name that it was mounted by is no longer known
        settings = replace(settings, remotes={**settings.remotes, bucket: Remote(name=bucket, url=origin.url)})
    try:
        with closing(open_snapshot(origin.handle, settings, pin=pin_of(origin), patience=_LOOK)) as version:
            sequence = overlay.counters.committed
            return next(list_changes(overlay.records, origin, sequence, version, every=False), None) is not None
    except PenstockError:  # nobody can tell without the store: then they are kept, which is true in any case
        return True


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
            if error.errno == errno.ENOENT:
                raise AccessError(
                    f"{mount.mountpoint} cannot be unmounted",
                    why=f"fusermount3 looks for it in {MOUNT_TABLE}, which is not there",
                    fix=f"As root: ln -s ../proc/self/mounts {MOUNT_TABLE}",
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
