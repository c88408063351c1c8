"""What comes of reading a file, in a process of its own that can be given up: bytes, or the error's text."""

from __future__ import annotations

import subprocess
from pathlib import Path

from penstock.vfs.controlling import ask
from penstock.vfs.mounts import MountInfo
from penstock.vfs.status import resident_bytes

__all__ = ["EIO", "read_within", "resident"]

EIO = "Input/output error"


def read_within(seconds: float, path: Path) -> bytes | str:
    """Return the bytes of a file, or the text of the error; fails when neither is there in time."""
    done = subprocess.run(["cat", path], capture_output=True, check=False, timeout=seconds, env={"LC_ALL": "C"})
    return done.stdout if done.returncode == 0 else done.stderr.decode().strip().rpartition(": ")[2]


def resident(info: MountInfo) -> int:
    """Return the bytes of memory that all processes of a mount take."""
    found = ask(info.mountpoint, "status", timeout=30)
    return resident_bytes(info.pid or 0) + int(found["memory"]["worker"]) + int(found["memory"]["fetchers"])
