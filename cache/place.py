"""What kind of disk a directory lies on, as the kernel's table of mounts has it."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["file_system_of", "network_disk"]

_NETWORK = frozenset(
    {"9p", "afs", "beegfs", "ceph", "cifs", "coda", "davfs", "gfs2", "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "ocfs2"}
    | {"orangefs", "pvfs2", "smb3", "smbfs", "vboxsf"}
)
_LOCAL_FUSE = frozenset({"fuse-overlayfs", "mergerfs", "gocryptfs", "encfs", "bindfs", "lxcfs", "ntfs-3g"})


def network_disk(directory: str) -> str:
    """Return the type of the file system that a directory lies on if other machines may have it too, else nothing."""
    try:
        table = Path("/proc/self/mountinfo").read_bytes()
        device = os.stat(directory).st_dev
    except OSError:
        return ""
    kind = file_system_of(table, os.major(device), os.minor(device))
    if kind in _NETWORK:
        return kind
    family, _, program = kind.partition(".")
    return program if family == "fuse" and program and program not in _LOCAL_FUSE else ""


def file_system_of(table: bytes, major: int, minor: int) -> str:
    """Return the type of the file system with this device number in a mountinfo table; empty when it has none."""
    wanted = b"%d:%d" % (major, minor)
    for line in table.splitlines():
        fields = line.split(b" ")
        if len(fields) > 2 and fields[2] == wanted and b"-" in fields:
            # Optional fields end at the dash; the type follows it.
            at = fields.index(b"-") + 1
            return fields[at].decode("ascii", "replace") if at < len(fields) else ""
    return ""
