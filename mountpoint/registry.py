"""State files: what a mount's daemon says of itself, for `mounts` and `umount`. One JSON file a daemon.

They lie in the user's runtime directory, which nobody else may look into, and are gone after a reboot as the mounts
are. A file is written when the tree is readable, again when another process serves it, and removed when the daemon
ends. One that a killed daemon left is recognised by its process's id and start time, ignored, and swept by the next
mount.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import warnings
from contextlib import suppress
from dataclasses import asdict, dataclass

import platformdirs

from penstock.errors import AccessError

from .processes import start_time

__all__ = [
    "MountRecord",
    "access_log_path",
    "control_path",
    "live_records",
    "log_path",
    "moved_path",
    "register",
    "sweep",
    "unregister",
]


@dataclass(frozen=True, slots=True)
class MountRecord:
    """A daemon and its mount. Hashes in hex; `since` in ISO 8601; `device` is (major, minor).

    `pid` is the supervisor's, `worker_pid` that of the process that serves now; `restarts` counts those before it.
    """

    pid: int
    started: int
    mountpoint: str
    device: tuple[int, int]
    handle: str
    bucket_url: str
    dataset: str
    top_hash: str
    commit: str | None
    since: str
    log: str | None
    control: str | None = None
    """Path of the socket on which the process that serves answers."""
    offline: bool = False
    """Whether it was mounted from memory, without its store."""
    worker_pid: int = 0
    restarts: int = 0
    overlay: str | None = None
    """The directory of a writable mount's changes."""
    cache: str = ""
    """What is to be said of the block cache, when it was mounted."""
    refused: str | None = None
    """Why a commit of them would have been refused when it was mounted."""


def _directory() -> str:
    """Return the directory of state files, made if need be. AccessError: it is not safely ours."""
    with warnings.catch_warnings():
        # Where nobody sets XDG_RUNTIME_DIR (root, containers) a folder in /tmp does; the user need not hear of it.
        warnings.simplefilter("ignore")
        path = os.path.join(platformdirs.user_runtime_dir("penstock"), "mounts")
    fix = "Set XDG_RUNTIME_DIR to a directory that only you may use."
    try:
        os.makedirs(os.path.dirname(os.path.dirname(path)), mode=0o700, exist_ok=True)
        for each in (os.path.dirname(path), path):
            with suppress(FileExistsError):
                os.mkdir(each, 0o700)
            facts = os.lstat(each)
            # The runtime directory may lie in /tmp, where anybody can make it first.
            if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.geteuid() or facts.st_mode & 0o022:
                raise AccessError(f"{each} is not safe to use", why="it is not a directory of yours alone", fix=fix)
    except OSError as error:
        raise AccessError("mounts cannot be registered", why=str(error), fix=fix) from error
    return path


def _path(record: MountRecord) -> str:
    return os.path.join(_directory(), f"{record.pid}.json")


def register(record: MountRecord) -> None:
    """Write a daemon's state file, whole or not at all."""
    path = _path(record)
    draft = f"{path}.new"
    with open(draft, "w", encoding="ascii", opener=lambda name, flags: os.open(name, flags, 0o600)) as stream:
        json.dump(asdict(record), stream)
    os.rename(draft, path)


def unregister(record: MountRecord) -> None:
    """Remove a daemon's state file, its control socket, and what a refresh has left."""
    for path in (_path(record), record.control):
        if path is not None:
            with suppress(FileNotFoundError):
                os.unlink(path)
    shutil.rmtree(moved_path(record.pid), ignore_errors=True)


def control_path(pid: int) -> str:
    """Return the path of the control socket of the daemon with this process id."""
    return os.path.join(_directory(), f"{pid}.sock")


def moved_path(pid: int) -> str:
    """Return the directory that says what a read-only mount was moved to by a refresh; it is there only then."""
    return os.path.join(_directory(), f"{pid}.moved")


def live_records() -> list[MountRecord]:
    """Return the state of this user's daemons that are alive."""
    return [record for _, record in _records() if record is not None and start_time(record.pid) == record.started]


def sweep() -> None:
    """Remove what dead daemons left."""
    for path, record in _records():
        if record is None or start_time(record.pid) != record.started:
            for left in (path, path.removesuffix(".json") + ".sock"):
                with suppress(FileNotFoundError):
                    os.unlink(left)
            shutil.rmtree(path.removesuffix(".json") + ".moved", ignore_errors=True)


def _records() -> list[tuple[str, MountRecord | None]]:
    directory = _directory()
    found = []
    for name in sorted(os.listdir(directory)):
        path = os.path.join(directory, name)
        if name.endswith(".json"):
            found.append((path, _read(path)))
    return found


def _read(path: str) -> MountRecord | None:
    """Return what a state file says; None when it is none of this version's, or gone."""
    try:
        with open(path, encoding="ascii") as stream:
            values = json.load(stream)
        major, minor = values.pop("device")
        return MountRecord(**values, device=(major, minor))
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def log_path(mountpoint: str) -> str:
    """Return the path of the log of mounts at a mountpoint; its directory is there then."""
    name = mountpoint.strip("/").replace("/", "-")[-150:] or "root"
    directory = os.path.join(platformdirs.user_log_dir("penstock"), "mounts")
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
    except OSError as error:
        raise AccessError(
            "the mount's log cannot be written", why=str(error), fix="Set XDG_STATE_HOME to a directory of yours."
        ) from error
    return os.path.join(directory, f"{name}.log")


def access_log_path(mountpoint: str) -> str:
    """Return the path of the log of accesses, beside the other one."""
    return log_path(mountpoint).removesuffix(".log") + ".access.log"
