"""Which mounts there are: what the kernel has, joined with what the daemons say of themselves."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, replace

from penstock.errors import AccessError, NotFoundError, PenstockError

from .kernel_mounts import KernelMount, enclosing, kernel_mounts, top_mount
from .mount_records import MountRecord, dead_record, live_records

__all__ = [
    "MountInfo",
    "dead_mount",
    "find_mount",
    "info_of",
    "is_dead",
    "list_mounts",
    "mount_at",
    "record_at",
    "record_of",
]


@dataclass(frozen=True, slots=True)
class MountInfo:
    """One mount. All but `mountpoint`, `handle` and `alive` are None when its daemon is dead or another user's.

    `handle` is then as mount(8) shows it. `since` is ISO 8601 in UTC; hashes are hex; `log` is a path.
    `offline`: it was mounted from memory, since its store could not be reached.
    `pid` is the daemon's, which supervises the process `worker_pid` that serves the files and has replaced it
    `restarts` times. `overlay`: where a writable mount keeps its changes; None when it is read-only. `cache`: what is
    to be said of its block cache, empty when all is well with that.
    `refused`: why they could not have been committed when it was mounted. `bind_of`: of a bind mount, the directory
    that it shows, as it is called in the mount that it was made of. `why`: of a dead mount, what it died of; what its
    daemon has left says the rest, if it is to be found.
    """

    mountpoint: str
    handle: str
    alive: bool
    pid: int | None = None
    bucket_url: str | None = None
    dataset: str | None = None
    top_hash: str | None = None
    commit: str | None = None
    since: str | None = None
    log: str | None = None
    offline: bool | None = None
    worker_pid: int | None = None
    restarts: int | None = None
    overlay: str | None = None
    cache: str | None = None
    refused: str | None = None
    bind_of: str | None = None
    why: str | None = None


def info_of(record: MountRecord) -> MountInfo:
    """Return what is known of a mount from its daemon's record."""
    return MountInfo(
        record.mountpoint,
        record.handle,
        True,
        record.pid,
        record.bucket_url,
        record.dataset,
        record.top_hash,
        record.commit,
        record.since,
        record.log,
        record.offline,
        record.worker_pid,
        record.restarts,
        record.overlay,
        record.cache,
        record.refused,
    )


def record_of(mount: KernelMount) -> MountRecord | None:
    """Return the record of a mount's daemon; None when it is dead or another user's."""
    try:
        records = live_records()
    except AccessError:  # no place for records: then there are none
        return None
    return next((record for record in records if record.device == mount.device), None)


def record_at(directory: str) -> MountRecord | None:
    """Return the record of the daemon that has to be asked about a directory; None: there is none that lives.

    That of the mount there, or the one which has the overlay open that lies there or was made for mounts there: it may
    be mounted elsewhere by now, or out of sight. AccessError: there is a mount, and its daemon is not to be found.
    """
    beside, place = _places(directory)
    found = top_mount(place)
    if found is not None and found.is_ours:
        record = record_of(found)
        if record is None and not is_dead(found):
            raise AccessError(
                f"the mount at {found.mountpoint} cannot be asked",
                why="it is another user's, or was made with another HOME or XDG_STATE_HOME",
                fix="Ask as the user who mounted it.",
            )
        return record
    try:
        records = live_records()
    except AccessError:
        return None
    return next((each for each in records if each.overlay and beside in (each.mountpoint, each.overlay)), None)


def _places(directory: str) -> tuple[str, str]:
    """Return a path without symlinks above its last component, and where a mount there would be."""
    path = os.path.abspath(directory)
    beside = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
    ours = {found.mountpoint for found in kernel_mounts() if found.is_ours}
    return beside, next((each for each in (path, beside) if each in ours), None) or os.path.realpath(beside)


def is_dead(mount: KernelMount) -> bool:
    """Whether the daemon of a mount of ours is gone."""
    if record_of(mount) is not None:
        return False
    try:
        # Not stat(2): the kernel remembers attributes for ever, also when nobody is left to ask.
        os.statvfs(mount.mountpoint)
    except OSError as error:
        return error.errno in (errno.ENOTCONN, errno.ECONNABORTED)
    return False


def find_mount(mountpoint: str, command: str) -> KernelMount:
    """Return the mount at a path, following symlinks only where that cannot touch a mount that does not answer.

    NotFoundError: nothing of ours is mounted there; of a place inside a mount it says how to call `command`.
    """
    _, place = _places(mountpoint)
    found = top_mount(place)
    if found is not None and found.is_ours:
        return found
    if found is not None:
        raise NotFoundError(f"{mountpoint} is no mount of Penstock's", why=f"{found.fstype} is mounted there")
    around = enclosing(place)
    raise NotFoundError(
        f"nothing is mounted at {mountpoint}",
        why=f"it lies inside the mount at {around.mountpoint}" if around else "",
        fix=f"penstock {command} {around.mountpoint}" if around else "penstock mounts lists what is mounted.",
    )


def list_mounts() -> list[MountInfo]:
    """Return all mounts of Penstock's that this process sees, in the order they were mounted, bind mounts too."""
    ours = [mount for mount in kernel_mounts() if mount.is_ours]
    found = []
    for mount in ours:
        record = record_of(mount)
        info = info_of(record) if record is not None else _info_without_daemon(mount)
        home = record.mountpoint if record is not None else ""
        found.append(replace(info, mountpoint=mount.mountpoint, bind_of=_bind_of(mount, ours, home)))
    return found


def _info_without_daemon(mount: KernelMount) -> MountInfo:
    if not is_dead(mount):
        return MountInfo(mount.mountpoint, mount.source, True)
    try:
        left = dead_record(mount.device)
    except AccessError:
        left = None
    if left is None:
        return MountInfo(mount.mountpoint, mount.source, False, why="its daemon was killed, or it failed")
    why = left.why or f"its daemon, process {left.pid}, was killed, or it failed"
    return replace(info_of(left), alive=False, pid=None, worker_pid=None, why=why)


def dead_mount(info: MountInfo) -> PenstockError:
    """Return what to say of a mount that is dead."""
    place = info.mountpoint
    again = f"penstock umount {place}; penstock mount {'-w ' if info.overlay else ''}{info.handle} {place}"
    log = f"its log is {info.log}; " if info.log is not None else ""
    kept = ", and what was changed is kept" if info.overlay else ""
    return PenstockError(f"the mount at {place} is dead", why=info.why or "", fix=f"{log}{again}{kept}")


def mount_at(directory: str) -> MountInfo | None:
    """Return the mount at a directory, also one that is dead; None: there is none."""
    _, place = _places(directory)
    return next((each for each in reversed(list_mounts()) if each.mountpoint == place), None)


def _bind_of(mount: KernelMount, ours: list[KernelMount], home: str) -> str | None:
    """Return the directory that a bind mount shows; None: it is the mount itself, at `home` or moved from there."""
    whole = [each.mountpoint for each in ours if each.device == mount.device and each.root == "/"]
    first = home if home in whole or not whole else whole[0]
    if mount.root == "/" and mount.mountpoint == first:
        return None
    return os.path.join(first or mount.source, mount.root.strip("/")).rstrip("/")
