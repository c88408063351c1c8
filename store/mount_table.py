"""What is mounted, as the kernel tells it in /proc/self/mountinfo (proc_pid_mountinfo(5)). Never touches a mount.

To look at a path may wait for a server that is gone, or for this very process; to look it up here does not.
"""

from __future__ import annotations

import os
import re
import select
import threading
from dataclasses import dataclass

__all__ = ["FSTYPE", "SUBTYPE", "KernelMount", "kernel_mounts", "mount_of", "network_disk", "network_of"]

SUBTYPE = "penstock"
FSTYPE = f"fuse.{SUBTYPE}"
_TABLE = "/proc/self/mountinfo"
_NETWORK = frozenset(
    {"9p", "afs", "beegfs", "ceph", "cifs", "coda", "davfs", "gfs2", "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "ocfs2"}
    | {"orangefs", "pvfs2", "smb3", "smbfs", "vboxsf"}
)
_LOCAL_FUSE = frozenset({"fuse-overlayfs", "mergerfs", "gocryptfs", "encfs", "bindfs", "lxcfs", "ntfs-3g"})
_OCTAL = re.compile(rb"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class KernelMount:
    """One line of the table. `device` is (major, minor); `source` is what mount(8) shows first.

    `root`: the directory of the file system that is mounted there, from its own root: `/`, but of some bind mounts.
    """

    mountpoint: str
    device: tuple[int, int]
    fstype: str
    source: str
    root: str = "/"

    @property
    def is_ours(self) -> bool:
        """Whether it is a mount of Penstock's, of any user's."""
        return self.fstype == FSTYPE

    @property
    def is_fuse(self) -> bool:
        """Whether a program serves it, which may not answer."""
        return self.fstype in ("fuse", "fuseblk") or self.fstype.startswith("fuse.")

    def holds(self, path: str) -> bool:
        """Whether a path, absolute and without symlinks, is the mountpoint or lies below it."""
        return path == self.mountpoint or path.startswith(self.mountpoint.rstrip("/") + "/")


def kernel_mounts(table: str = _TABLE) -> list[KernelMount]:
    """Return all mounts that this process sees, in the order they were mounted."""
    with open(table, "rb") as stream:
        return [_parse(line.rstrip(b"\n")) for line in stream]


class _WatchedTable:
    """The table as it is now, read anew only when the kernel says that it has changed: by poll(2), see proc(5).

    Reading it takes the kernel 80 us, and it is looked up for every file that is read where it lies. Thread-safe; what
    a forked child inherits it opens anew, because what the kernel has said to one of them the other is not told.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pid = -1
        self._descriptor = -1
        self._poll = select.poll()
        self._mounts: list[KernelMount] = []

    def mounts(self) -> list[KernelMount]:
        """Return all mounts. OSError."""
        with self._lock:
            if self._pid != os.getpid():
                self._begin()
            elif not self._poll.poll(0):
                return self._mounts
            os.lseek(self._descriptor, 0, os.SEEK_SET)
            body = bytearray()
            while part := os.read(self._descriptor, 1 << 16):
                body += part
            self._mounts = [_parse(line) for line in bytes(body).split(b"\n") if line]
            return self._mounts

    def _begin(self) -> None:
        descriptor = os.open(_TABLE, os.O_RDONLY | os.O_CLOEXEC)
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor, self._pid = descriptor, os.getpid()
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLPRI)


_watched = _WatchedTable()
os.register_at_fork(after_in_child=lambda: setattr(_watched, "_lock", threading.Lock()))


def mount_of(path: str) -> KernelMount | None:
    """Return the mount that a path lies in (absolute, without symlinks): the deepest, and of several the last."""
    found = None
    for each in _watched.mounts():
        if each.holds(path) and (found is None or len(each.mountpoint) >= len(found.mountpoint)):
            found = each
    return found


def network_disk(directory: str) -> str:
    """Return the type of the file system that a directory lies on if other machines may have it too, else nothing."""
    try:
        device = os.stat(directory).st_dev
        mounts = kernel_mounts()
    except OSError:
        return ""
    found = (os.major(device), os.minor(device))
    return network_of(next((each.fstype for each in mounts if each.device == found), ""))


def network_of(fstype: str) -> str:
    """Return a type of file system, without its `fuse.`, if other machines may have the disk too, else nothing."""
    if fstype in _NETWORK:
        return fstype
    family, _, program = fstype.partition(".")
    return program if family == "fuse" and program and program not in _LOCAL_FUSE else ""


def _parse(line: bytes) -> KernelMount:
    fields = line.split(b" ")
    tail = fields[fields.index(b"-", 6) + 1 :]
    major, minor = fields[2].split(b":")
    return KernelMount(_text(fields[4]), (int(major), int(minor)), _text(tail[0]), _text(tail[1]), _text(fields[3]))


def _text(field: bytes) -> str:
    return os.fsdecode(_OCTAL.sub(lambda match: bytes([int(match.group(1), 8)]), field))
