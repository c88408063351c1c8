"""How to mount: a value that the command line makes and the daemon is sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["MountOptions"]


@dataclass(frozen=True, slots=True)
class MountOptions:
    """`uid` and `gid` own all files, by default the mounting user's; `allow_other` lets other users in.

    `non_empty` mounts over a directory that has files. `read_ahead_kib`: how far the kernel reads ahead, in KiB (one
    block by default; set where the system permits it). `umask`: permission bits that files lack, 0o022 by default.
    `record_trace`: the file that what readers touch first is written to. `writable`: changes are kept in an overlay,
    in the directory `overlay_directory`, or in the one of that mountpoint.
    `log_format`: how the mount's log is written, as lines of text or of JSON.
    """

    uid: int | None = None
    gid: int | None = None
    allow_other: bool = False
    non_empty: bool = False
    read_ahead_kib: int = 1024
    umask: int | None = None
    writable: bool = False
    overlay_directory: str | None = None
    record_trace: str | None = None
    log_format: Literal["text", "json"] = "text"
