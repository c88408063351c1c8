"""Mounts of Penstock in the kernel's table of mounts (`store.mount_table`), which looking at never touches.

The table is the truth about mounts; state files (`mount_records`) only add to it. A mount whose daemon is dead is in
it like any other.
"""

from __future__ import annotations

from penstock.store.mount_table import FSTYPE, SUBTYPE, KernelMount, kernel_mounts

__all__ = ["FSTYPE", "SUBTYPE", "KernelMount", "enclosing", "fs_name", "kernel_mounts", "top_mount"]


def top_mount(mountpoint: str) -> KernelMount | None:
    """Return what is mounted at a path (absolute, without symlinks); of several mounts, the one on top."""
    return next((found for found in reversed(kernel_mounts()) if found.mountpoint == mountpoint), None)


def enclosing(path: str) -> KernelMount | None:
    """Return the mount of Penstock's that a path lies in, at any depth."""
    inside = [found for found in kernel_mounts() if found.is_ours and found.holds(path)]
    return max(inside, key=lambda found: len(found.mountpoint), default=None)


def fs_name(handle: str) -> str:
    """Return a handle as the source of a mount: printable ASCII, the rest percent-encoded as in a URL."""
    return "".join(
        chr(byte) if 33 <= byte < 127 and byte not in b'\\,"' else f"%{byte:02X}"
        for byte in handle.encode("utf-8", "surrogateescape")
    )
