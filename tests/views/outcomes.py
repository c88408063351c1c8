"""What comes of reading a file, in a process of its own that can be given up; what a mount says of itself meanwhile."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from penstock.errors import PenstockError
from penstock.mountpoint.control_client import ask
from penstock.mountpoint.control_messages import StatusRequest
from penstock.mountpoint.known_mounts import MountInfo
from penstock.mountpoint.mount_status import MountStatus
from penstock.vfs.serve.vitals import resident_bytes

__all__ = ["EIO", "read_within", "resident", "status_of"]

EIO = "Input/output error"


def read_within(seconds: float, path: Path) -> bytes | str:
    """Return the bytes of a file, or the text of the error; fails when neither is there in time."""
    done = subprocess.run(["cat", path], capture_output=True, check=False, timeout=seconds, env={"LC_ALL": "C"})
    return done.stdout if done.returncode == 0 else done.stderr.decode().strip().rpartition(": ")[2]


def status_of(info: MountInfo, seconds: float = 30) -> MountStatus:
    """Ask a mount for its status; again while a process that was killed has left a socket that nobody listens on."""
    end = time.monotonic() + seconds
    while True:
        try:
            return ask(info.mountpoint, StatusRequest(), MountStatus, timeout=seconds)
        except PenstockError:
            if time.monotonic() > end:
                raise
        time.sleep(0.02)


def resident(info: MountInfo) -> int:
    """Return the bytes of memory that all processes of a mount take."""
    found = status_of(info)
    return resident_bytes(info.pid or 0) + int(found.memory.worker) + int(found.memory.fetchers)
