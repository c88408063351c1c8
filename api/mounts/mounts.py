"""Versions shown as plain files: made, listed and ended. A process of its own serves each mount.

What was changed in a writable one is `Workspace`'s.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypedDict, Unpack

from penstock.api.handles import Handle, as_handle, bucket_for
from penstock.api.settings import Settings
from penstock.errors import PenstockError, UsageError
from penstock.mountpoint import mount as daemons
from penstock.mountpoint import unmount as ending
from penstock.mountpoint.control_client import ask
from penstock.mountpoint.control_messages import AccessLogAnswer, AccessLogRequest
from penstock.mountpoint.known_mounts import MountInfo, dead_mount, find_mount, list_mounts, mount_at
from penstock.mountpoint.mount_options import MountOptions
from penstock.mountpoint.mount_status import MountStatus
from penstock.mountpoint.replacement import replace_serving_process
from penstock.mountpoint.unmount import LeftChanges

__all__ = [
    "LeftChanges",
    "MountInfo",
    "MountKeywords",
    "UnmountReport",
    "dead_mount",
    "mount",
    "mount_at",
    "mount_foreground",
    "mounts",
    "record_accesses",
    "restart",
    "unmount",
    "unmounted_changes",
]


class MountKeywords(TypedDict, total=False):
    """How to mount. `uid` and `gid` own all files, by default yours; `allow_other` lets other users in.

    `umask`: permission bits that files lack, 0o022 by default. `writable`: changes are kept on this machine until they
    are committed, in the directory `overlay_directory`, or in the one of that mountpoint. `non_empty` mounts over a
    directory that has files. `record_trace`: a file that what readers touch first is written to, for `Package.warm`.
    `read_ahead_kib`: how far the kernel reads ahead, in KiB; 1024 by default. `log_format`: its log as lines of text,
    the default, or of JSON.
    """

    uid: int | None
    gid: int | None
    allow_other: bool
    umask: int | None
    writable: bool
    overlay_directory: str | None
    non_empty: bool
    record_trace: str | None
    read_ahead_kib: int
    log_format: Literal["text", "json"]


@dataclass(frozen=True, slots=True)
class UnmountReport:
    """What became of a mount. `ended`: its daemon has.

    If not, it goes when its last user is done, or serves on what it shows `elsewhere`: at other mountpoints, and in
    processes with mount namespaces of their own, in words.

    `changes` names what was changed in it and not committed: its mountpoint, or a directory; None when there is
    nothing. `trouble` is what kept that from being found out.
    """

    mountpoint: str
    ended: bool
    elsewhere: tuple[str, ...]
    changes: str | None
    trouble: PenstockError | None = None


def mount(
    name: str | Handle,
    directory: str | os.PathLike[str],
    *,
    also: Sequence[str] = (),
    settings: Settings | None = None,
    **options: Unpack[MountKeywords],
) -> MountInfo:
    """Show a version, or a directory of it, at a directory; return when the tree is readable.

    `name` is ``bucket/dataset[:ref][/subdir]``. The mount stays with the version that it names now. It outlives this
    process, until `unmount`. `also` are other buckets that have the dataset (`Dataset.mirror`): the nearest is read
    from, and another one when it fails.

    NotFoundError names what is near. ConflictError: something is mounted there. AccessError, IntegrityError,
    StoreUnreachableError, UsageError: each leaves nothing mounted.
    """
    handle, place = as_handle(name), os.fspath(directory)
    return daemons.mount(str(handle), place, _mirrored(settings, handle, also), MountOptions(**options))


def mount_foreground(
    name: str | Handle,
    directory: str | os.PathLike[str],
    *,
    also: Sequence[str] = (),
    settings: Settings | None = None,
    ready: Callable[[MountInfo], None] = lambda _: None,
    **options: Unpack[MountKeywords],
) -> None:
    """Do as `mount`, with this process as the daemon: return when it is unmounted, or after a signal to end.

    `ready` is called once the tree is readable. To be called from the main thread.
    """
    handle, place = as_handle(name), os.fspath(directory)
    daemons.mount_foreground(
        str(handle), place, _mirrored(settings, handle, also), MountOptions(**options), ready=ready
    )


def _mirrored(settings: Settings | None, handle: Handle, also: Sequence[str]) -> Settings:
    """Return settings by which other buckets are read from as well. UsageError: one of them is none of this dataset."""
    settings = settings or Settings.load()
    if not also:
        return settings
    address = settings.locate_bucket(handle.bucket)[0]
    names = []
    for text in also:
        other = bucket_for(text, handle.dataset)
        if other is None:
            raise UsageError(
                f"{text!r} is no other bucket of {handle.dataset!r}",
                why="a mirror has the name of the dataset, and all of its versions",
                fix=f"Name the bucket: --also {as_handle(text).bucket}",
            )
        if settings.locate_bucket(other)[0] != address:
            names.append(other)
    return replace(settings, also={**settings.also, address: tuple(dict.fromkeys(names))})


def mounts() -> list[MountInfo]:
    """Return all mounts of Penstock's that this process sees, in the order in which they were made.

    >>> import penstock
    >>> [info.mountpoint for info in penstock.mounts() if info.mountpoint == "/nowhere"]
    []
    """
    return list_mounts()


def unmounted_changes() -> list[LeftChanges]:
    """Return the changes of writable mounts that are not mounted now, and were not committed. Asks no store.

    Those of mounts with an ``overlay_directory`` of their own are found as well. What cannot be opened says why.
    """
    return ending.overlays_left()


def unmount(
    directory: str | os.PathLike[str], *, lazy: bool = False, force: bool = False, settings: Settings | None = None
) -> UnmountReport:
    """Unmount what Penstock has mounted at a directory, also what a dead mount has left behind.

    `lazy`: out of sight now, gone when its last user is done. `force`: now, whoever still uses it gets errors. What was
    changed and not committed stays on this machine.

    NotFoundError: nothing of ours is mounted there. ConflictError names who uses it. AccessError: it is another user's.
    """
    given = os.fspath(directory)
    settings = settings or Settings.load()
    place = find_mount(given, "umount").mountpoint
    info = next((found for found in list_mounts() if found.mountpoint == place), None)
    ended = ending.unmount(given, lazy=lazy, force=force)
    elsewhere = tuple(ending.mounts_left(info)) if not ended and info is not None else ()
    try:
        changes = ending.changes_left(info, settings) if ended and info is not None else None
    except PenstockError as error:  # it is unmounted, which is what was asked for
        return UnmountReport(place, ended, elsewhere, None, error)
    return UnmountReport(place, ended, elsewhere, changes)


def restart(directory: str | os.PathLike[str]) -> MountStatus:
    """Have the Penstock that is installed now serve a mount, without an unmount; return its status.

    Readers wait for a moment. NotFoundError: nothing is mounted there. ConflictError: a commit or a refresh is under
    way. PenstockError: no other process serves it within a minute.
    """
    return replace_serving_process(os.fspath(directory))


def record_accesses(directory: str | os.PathLike[str], on: bool) -> str | None:
    """Begin or end to write down every open and read in a mount; return the file that they go to, if any.

    NotFoundError: nothing is mounted there.
    """
    return ask(os.fspath(directory), AccessLogRequest(on), AccessLogAnswer).access_log
