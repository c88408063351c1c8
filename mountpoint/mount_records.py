"""State files: what a mount's daemon says of itself, for `mounts` and `umount`. One JSON file a daemon.

They lie in the user's state folder, with the control sockets: a runtime directory is removed when its user has logged
out, and is another one, or none, under cron(8) and su(1). A file is written when the tree is readable, again when
another process serves it, and removed when the daemon ends. One that a killed daemon left is ignored, and swept by the
next mount. What lives is told by boot, process id and start time; of other machines and containers that share the
folder, whose processes are not to be seen here, by a lock on the file, which its daemon holds.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
from contextlib import suppress

import msgspec

from penstock.errors import AccessError
from penstock.repo.settings.user_folders import make_user_folder
from penstock.wire import NoMessageError, decode_message, encode_message

from .kernel_mounts import kernel_mounts
from .processes import boot_id, start_time

__all__ = [
    "MountRecord",
    "Registration",
    "access_log_path",
    "control_path",
    "dead_record",
    "live_records",
    "log_path",
    "moved_path",
    "sweep",
]


_MOST_RECORD = 1 << 20


class MountRecord(msgspec.Struct, frozen=True):
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
    boot: str = ""
    """The boot that `pid` and `started` are of."""
    why: str = ""
    """What the mount died of, where its daemon could still tell."""


def _directory() -> str:
    """Return the directory of state files, made if need be. AccessError: it is not safely ours."""
    path = make_user_folder("state", "mounts")
    fix = "Set XDG_STATE_HOME to a directory that only you may write to."
    try:
        for each, others in ((os.path.dirname(path), 0o002), (path, 0o022)):
            facts = os.lstat(each)
            if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.geteuid() or facts.st_mode & others:
                raise AccessError(f"{each} is not safe to use", why="it is not a directory of yours alone", fix=fix)
    except OSError as error:
        raise AccessError("mounts cannot be registered", why=str(error), fix=fix) from error
    return path


def _stem(pid: int, started: int) -> str:
    """Return what the paths of a daemon's files begin with: unlike those of another machine's daemons."""
    return os.path.join(_directory(), f"{pid}-{started}")


class Registration:
    """The state file of this process's mount. OSError, AccessError: it cannot be written."""

    def __init__(self, record: MountRecord) -> None:
        self._stem = _stem(record.pid, record.started)
        self._descriptor = -1
        self.update(record)

    def update(self, record: MountRecord) -> None:
        """Write it anew, whole or not at all."""
        draft = f"{self._stem}.json.new"
        with open(draft, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as stream:
            stream.write(encode_message(record))
        descriptor = os.open(draft, os.O_RDWR | os.O_CLOEXEC)
        with suppress(OSError):  # on a disk without locks: it is known by its process alone
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.rename(draft, f"{self._stem}.json")
        self.let_go()
        self._descriptor = descriptor

    def end(self) -> None:
        """Remove it, the control socket, and what a refresh has left."""
        _remove(self._stem)
        self.let_go()

    def let_go(self) -> None:
        """Leave the file as a process that dies does."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1


def _remove(stem: str) -> None:
    for ending in (".json", ".json.new", ".sock"):
        with suppress(FileNotFoundError):
            os.unlink(stem + ending)
    shutil.rmtree(f"{stem}.moved", ignore_errors=True)


def control_path(pid: int) -> str:
    """Return the path of the control socket of the daemon with this process id, which lives."""
    return f"{_stem(pid, start_time(pid) or 0)}.sock"


def moved_path(pid: int) -> str:
    """Return the directory that says what a read-only mount was moved to by a refresh; it is there only then."""
    return f"{_stem(pid, start_time(pid) or 0)}.moved"


def live_records() -> list[MountRecord]:
    """Return the state of this user's daemons that are alive, as far as their processes are to be seen here."""
    return [record for _, record in _records() if record is not None and _lives(record)]


def dead_record(device: tuple[int, int]) -> MountRecord | None:
    """Return what the daemon of a mount that is dead has left; None: nothing, or it lives."""
    found = (record for _, record in _records() if record is not None and record.device == device)
    return next((record for record in found if record.boot == boot_id() and not _lives(record)), None)


def sweep() -> None:
    """Remove what dead daemons left, but for those whose mount is still to be seen: it says what that was."""
    devices = {mount.device for mount in kernel_mounts() if mount.is_ours}
    for path, record in _records():
        if record is not None and (_lives(record) or (record.boot == boot_id() and record.device in devices)):
            continue
        if not _is_held(path):
            _remove(path.removesuffix(".json"))


def _lives(record: MountRecord) -> bool:
    return record.boot == boot_id() and start_time(record.pid) == record.started


def _is_held(path: str) -> bool:
    """Whether a daemon that is not to be seen from here holds its state file."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False


def _records() -> list[tuple[str, MountRecord | None]]:
    directory = _directory()
    found = []
    for name in sorted(os.listdir(directory)):
        path = os.path.join(directory, name)
        if name.endswith(".json"):
            found.append((path, _read(path)))
    return found


def _read(path: str) -> MountRecord | None:
    """Return what a state file says, as far as this version knows it; None when it is none, or gone."""
    try:
        with open(path, "rb") as stream:
            record: MountRecord = decode_message(stream.read(_MOST_RECORD), MountRecord)
            return record
    except (OSError, NoMessageError):
        return None


def log_path(mountpoint: str) -> str:
    """Return the path of the log of mounts at a mountpoint; its directory is there then."""
    name = mountpoint.strip("/").replace("/", "-")[-150:] or "root"
    return os.path.join(make_user_folder("log", "mounts"), f"{name}.log")


def access_log_path(mountpoint: str) -> str:
    """Return the path of the log of accesses, beside the other one."""
    return log_path(mountpoint).removesuffix(".log") + ".access.log"
