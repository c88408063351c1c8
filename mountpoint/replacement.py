"""Have the program that is installed now serve a mount that an older one serves, without an unmount.

The process that serves is asked to end, and its supervisor starts another of what lies in its place by then; readers
wait for a moment and see nothing else. The supervisor itself stays what it was.
"""

from __future__ import annotations

import os
import signal
import time

from penstock.errors import ConflictError, PenstockError

from .control_client import ask, record_to_ask
from .control_messages import StatusRequest
from .mount_records import MountRecord
from .mount_status import MountStatus

__all__ = ["replace_serving_process"]

_LOOK = 0.1


def replace_serving_process(mountpoint: str, timeout: float = 60.0) -> MountStatus:
    """Return the status of the mount at a directory once another process serves it; `timeout` in seconds.

    NotFoundError: nothing is mounted there. ConflictError: it is at work on a commit, a refresh or a discard.
    PenstockError: no other process serves it in time; the supervisor goes on trying, and gives up in the end.
    """
    record = record_to_ask(mountpoint)
    before = _status(mountpoint)
    if before is not None and before.busy:
        raise ConflictError(f"{record.mountpoint} is busy with a {before.busy}", fix="Try again when it is over.")
    _end(record)
    until = time.monotonic() + timeout
    while time.monotonic() < until:
        time.sleep(_LOOK)
        record_to_ask(mountpoint)  # raises when the supervisor has given up
        found = _status(mountpoint)
        if found is not None and found.worker_pid != record.worker_pid:
            return found
    raise PenstockError(
        f"no other process serves {record.mountpoint}",
        why=f"it has been waited for {timeout:g} s",
        fix=f"Its log is {record.log}",
    )


def _status(mountpoint: str) -> MountStatus | None:
    """Ask the mount; None: what serves it does not answer, or is of another protocol."""
    try:
        return ask(mountpoint, StatusRequest(), MountStatus)
    except PenstockError:
        return None


def _end(record: MountRecord) -> None:
    """Ask the process that serves to end. Only the supervisor's own child: process ids come again."""
    try:
        descriptor = os.pidfd_open(record.worker_pid)
    except ProcessLookupError:  # it has died, and is being replaced
        return
    try:
        with open(f"/proc/{record.worker_pid}/stat", "rb") as stream:
            parent = int(stream.read().rpartition(b")")[2].split()[1])
        if parent == record.pid:
            signal.pidfd_send_signal(descriptor, signal.SIGTERM)
    except (FileNotFoundError, ProcessLookupError):
        return
    finally:
        os.close(descriptor)
