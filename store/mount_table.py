"""What is mounted, as the kernel tells it in /proc/self/mountinfo (proc_pid_mountinfo(5)). Never touches a mount.

To look at a path may wait for a server that is gone, or for this very process; to look it up here does not.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import lru_cache

__all__ = ["FSTYPE", "SUBTYPE", "KernelMount", "kernel_mounts", "mount_of"]

SUBTYPE = "penstock"
FSTYPE = f"fuse.{SUBTYPE}"
_OCTAL = re.compile(rb"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class KernelMount:
    """One line of the table. `device` is (major, minor); `source` is what mount(8) shows first."""

    mountpoint: str
    device: tuple[int, int]
    fstype: str
    source: str

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


def kernel_mounts(table: str = "/proc/self/mountinfo") -> list[KernelMount]:
    """Return all mounts that this process sees, in the order they were mounted."""
    with open(table, "rb", buffering=0) as stream:
        return list(_parsed(stream.readall()))


def mount_of(path: str, mounts: list[KernelMount] | None = None) -> KernelMount | None:
    """Return the mount that a path lies in (absolute, without symlinks): the deepest, and of several the last."""
    found = None
    for each in kernel_mounts() if mounts is None else mounts:
        if each.holds(path) and (found is None or len(each.mountpoint) >= len(found.mountpoint)):
            found = each
    return found


@lru_cache(maxsize=1)
def _parsed(body: bytes) -> tuple[KernelMount, ...]:
    """Read the table; it is looked at for every file that is read where it lies, and hardly ever changes."""
    return tuple(_parse(line) for line in body.split(b"\n") if line)


def _parse(line: bytes) -> KernelMount:
    fields = line.split(b" ")
    tail = fields[fields.index(b"-", 6) + 1 :]
    major, minor = fields[2].split(b":")
    return KernelMount(_text(fields[4]), (int(major), int(minor)), _text(tail[0]), _text(tail[1]))


def _text(field: bytes) -> str:
    return os.fsdecode(_OCTAL.sub(lambda match: bytes([int(match.group(1), 8)]), field))
