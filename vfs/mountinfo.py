"""What is mounted, as the kernel tells it in /proc/self/mountinfo (proc_pid_mountinfo(5)). Never touches a mount.

The table is the truth about mounts; state files (`registry`) only add to it. A mount whose daemon is dead is in
it like any other.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

__all__ = ["FSTYPE", "KernelMount", "enclosing", "fs_name", "kernel_mounts", "top_mount"]

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


def kernel_mounts(table: str = "/proc/self/mountinfo") -> list[KernelMount]:
    """Return all mounts that this process sees, in the order they were mounted."""
    with open(table, "rb") as stream:
        return [_parse(line.rstrip(b"\n")) for line in stream]


def _parse(line: bytes) -> KernelMount:
    fields = line.split(b" ")
    tail = fields[fields.index(b"-", 6) + 1 :]
    major, minor = fields[2].split(b":")
    return KernelMount(_text(fields[4]), (int(major), int(minor)), _text(tail[0]), _text(tail[1]))


def _text(field: bytes) -> str:
    return os.fsdecode(_OCTAL.sub(lambda match: bytes([int(match.group(1), 8)]), field))


def top_mount(mountpoint: str) -> KernelMount | None:
    """Return what is mounted at a path (absolute, without symlinks); of several mounts, the one on top."""
    return next((found for found in reversed(kernel_mounts()) if found.mountpoint == mountpoint), None)


def enclosing(path: str) -> KernelMount | None:
    """Return the mount of Penstock's that a path lies in, at any depth."""
    inside = [
        found
        for found in kernel_mounts()
        if found.is_ours and (path == found.mountpoint or path.startswith(found.mountpoint.rstrip("/") + "/"))
    ]
    return max(inside, key=lambda found: len(found.mountpoint), default=None)


def fs_name(handle: str) -> str:
    """Return a handle as the source of a mount: printable ASCII, the rest percent-encoded as in a URL."""
    return "".join(
        chr(byte) if 33 <= byte < 127 and byte not in b'\\,"' else f"%{byte:02X}"
        for byte in handle.encode("utf-8", "surrogateescape")
    )
