"""Whether a mount can work, looked at before anything is started, so that the error says what to do about it."""

from __future__ import annotations

import fcntl
import logging
import os
import pwd
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from penstock.errors import AccessError, ConflictError, NotFoundError, PenstockError, UsageError

from .detach import MOUNT_TABLE, detach
from .kernel_mounts import KernelMount, top_mount
from .known_mounts import is_dead
from .mount_options import MountOptions

__all__ = ["check_fuse", "check_mountpoint", "claimed", "mount_failure", "other_users_allowed"]

_log = logging.getLogger(__name__)

_DEVICE = "/dev/fuse"
_EXTRA = ("pyfuse3", "trio")
"""What the extra `mount` brings along, which the daemon imports."""
_CONFIGURATION = "/etc/fuse.conf"
_CONTAINER = "In a container, start it with --device /dev/fuse --cap-add SYS_ADMIN."
_CAP_SYS_ADMIN = 21


def check_fuse(options: MountOptions) -> None:
    """Raise AccessError when this machine or user cannot mount FUSE file systems, UsageError without the extra."""
    missing = [name for name in _EXTRA if find_spec(name) is None]
    if missing:
        raise UsageError(
            "mounting takes more than is installed",
            why=f"{' and '.join(missing)} {'are' if len(missing) > 1 else 'is'} missing: all else works without",
            fix="pip install 'penstock[mount]', with gcc, pkg-config and libfuse3's headers (libfuse3-dev)",
        )
    if os.geteuid() == 0:
        if not _is_capable():
            raise AccessError(
                "mounting is not permitted", why="root lacks the capability CAP_SYS_ADMIN here", fix=_CONTAINER
            )
    elif shutil.which("fusermount3") is None:
        raise AccessError(
            "mounting is not permitted",
            why="only root mounts without fusermount3, and that is not installed",
            fix="Install it: apt install fuse3",
        )
    elif not _has_name():
        user = f"{os.geteuid()}:{os.getegid()}"
        raise AccessError(
            "mounting is not permitted",
            why=f"fusermount3 mounts for users with a name, and user {os.geteuid()} has none here",
            fix=f"As root: echo penstock:x:{user}::{os.environ.get('HOME') or '/'}:/bin/sh >> /etc/passwd",
        )
    elif not os.path.exists(MOUNT_TABLE):  # minimal systems and chroots lack it
        raise AccessError(
            "mounting is not permitted",
            why=f"there is no {MOUNT_TABLE}: fusermount3 would mount, and never unmount what it does not find there",
            fix=f"As root: ln -s ../proc/self/mounts {MOUNT_TABLE}",
        )
    elif options.allow_other and not other_users_allowed():
        raise AccessError(
            "--allow-other is not permitted",
            why=f"{_CONFIGURATION} does not say user_allow_other",
            fix=f"As root: echo user_allow_other >> {_CONFIGURATION}",
        )
    try:
        os.close(os.open(_DEVICE, os.O_RDWR | os.O_CLOEXEC))
    except FileNotFoundError as error:
        raise AccessError(
            f"there is no {_DEVICE}", why="the kernel has no FUSE loaded", fix=f"As root: modprobe fuse. {_CONTAINER}"
        ) from error
    except PermissionError as error:
        raise AccessError(
            f"{_DEVICE} cannot be opened", why=str(error.strerror), fix=f"As root: chmod 666 {_DEVICE}. {_CONTAINER}"
        ) from error
    except OSError as error:
        raise AccessError(
            f"{_DEVICE} cannot be opened", why=str(error.strerror), fix=f"As root: modprobe fuse. {_CONTAINER}"
        ) from error


def _has_name() -> bool:
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError:
        return False
    return True


def _is_capable() -> bool:
    with open("/proc/self/status", encoding="ascii", errors="replace") as stream:
        mask = next(line.split()[1] for line in stream if line.startswith("CapEff:"))
    return bool(int(mask, 16) >> _CAP_SYS_ADMIN & 1)


def other_users_allowed(configuration: str = _CONFIGURATION) -> bool:
    """Whether users other than root may let others into their mounts."""
    try:
        with open(configuration, encoding="utf-8", errors="replace") as stream:
            return any(line.strip() == "user_allow_other" for line in stream)
    except OSError:
        return False


def check_mountpoint(mountpoint: str, cache_directory: Path, options: MountOptions) -> str:
    """Return the absolute path, without symlinks, of a directory that can be mounted on.

    What a killed daemon left mounted there is unmounted first. NotFoundError, UsageError, AccessError,
    ConflictError when a mount of ours is there and alive.
    """
    # The last component is not followed before it is known not to be a mount: a dead one answers nothing.
    path = os.path.abspath(mountpoint)
    path = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
    _clear(path)
    if os.path.islink(path):
        path = os.path.realpath(path)
        _clear(path)
    try:
        facts = os.stat(path)
        empty = stat.S_ISDIR(facts.st_mode) and not os.listdir(path)
    except FileNotFoundError as error:
        raise NotFoundError(f"there is no directory {mountpoint}", fix=f"Make it: mkdir -p {mountpoint}") from error
    except PermissionError as error:
        raise AccessError(f"{mountpoint} cannot be used", why="you may not look into it") from error
    except OSError as error:
        raise AccessError(f"{mountpoint} cannot be used", why=str(error.strerror)) from error
    if not stat.S_ISDIR(facts.st_mode):
        raise UsageError(f"{mountpoint} is not a directory", fix="Name a directory to mount on.")
    _check_cache(path, cache_directory)
    if not empty and not options.non_empty:
        raise UsageError(
            f"{mountpoint} is not empty",
            why="a mount would hide what is in it",
            fix="Name an empty directory, or mount over it with --non-empty.",
        )
    if os.geteuid() != 0 and not os.access(path, os.W_OK):
        raise AccessError(f"{mountpoint} is not yours to mount on", why="you may not write to it")
    return path


def _clear(path: str) -> None:
    """Unmount what a dead daemon left at a path; ConflictError when the mount there is alive."""
    while (found := top_mount(path)) is not None and found.is_ours:
        if not is_dead(found):
            raise _mounted_already(found)
        try:
            detach(path, lazy=True)
        except OSError as error:
            raise AccessError(
                f"{path} holds the mount of a daemon that is gone",
                why=f"unmounting it failed: {error.strerror}",
                fix=f"As root: umount -l {path}",
            ) from error


def _mounted_already(mount: KernelMount) -> ConflictError:
    return ConflictError(
        f"{mount.mountpoint} is mounted already",
        why=f"it shows {mount.source}",
        fix=f"penstock umount {mount.mountpoint}",
    )


@contextmanager
def claimed(path: str) -> Iterator[None]:
    """Keep other mounts by Penstock off a directory until this one is there; ConflictError when one was quicker."""
    # The lock is on the directory below: what is opened before the mount stays what it was.
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConflictError(
                f"{path} is being mounted on by another process", fix="penstock mounts shows when it is done."
            ) from error
        except OSError:
            _log.debug("%s lies where there are no locks", path)
        found = top_mount(path)
        if found is not None and found.is_ours:
            raise _mounted_already(found)
        yield
    finally:
        os.close(descriptor)


def _check_cache(path: str, cache_directory: Path) -> None:
    cache = os.path.realpath(cache_directory)
    for inner, outer in ((path, cache), (cache, path)):
        if os.path.commonpath([inner, outer]) == outer:
            raise UsageError(
                f"{path} cannot be mounted on",
                why=f"the block cache is in {cache}, and one would lie in the other",
                fix="Name another directory, or another cache with --cache-dir.",
            )


def mount_failure(mountpoint: str, told: str) -> PenstockError:
    """Return the error for a mount that the kernel or libfuse refused; `told` is what libfuse wrote."""
    why = "; ".join(line.strip() for line in told.splitlines() if line.strip()) or "libfuse does not say why"
    denied = "permitted" in why or "denied" in why
    return (AccessError if denied else PenstockError)(
        f"{mountpoint} could not be mounted", why=why, fix=_CONTAINER if denied else ""
    )
