"""What all mounts of this machine say of themselves, asked side by side: for `penstock top` and for Prometheus.

A mount that does not answer keeps nobody waiting for longer than `_PATIENCE`, and its report says what is wrong.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from penstock.errors import PenstockError
from penstock.mountpoint.control_client import ask
from penstock.mountpoint.control_messages import StatusRequest
from penstock.mountpoint.known_mounts import MountInfo, list_mounts
from penstock.mountpoint.mount_status import MountStatus

__all__ = ["MountReport", "mount_report", "mount_reports"]

_PATIENCE = 3.0
_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class MountReport:
    """One mount: its `status`, or the `trouble` that kept it from telling; exactly one of them is None."""

    mountpoint: str
    status: MountStatus | None
    trouble: PenstockError | None = None


def mount_report(directory: str | os.PathLike[str]) -> MountReport:
    """Return what the mount at a directory says. NotFoundError: nothing is mounted there; else as `ask`."""
    status = ask(os.fspath(directory), StatusRequest(), MountStatus)
    return MountReport(status.mountpoint, status)


def mount_reports() -> list[MountReport]:
    """Return what each mount says that this process sees, bind mounts left out, in the order they were mounted."""
    found = [info for info in list_mounts() if info.bind_of is None]
    if not found:
        return []
    with ThreadPoolExecutor(min(_AT_ONCE, len(found)), "penstock-report") as pool:
        return list(pool.map(_report, found))


def _report(info: MountInfo) -> MountReport:
    try:
        status = ask(info.mountpoint, StatusRequest(), MountStatus, timeout=_PATIENCE)
    except PenstockError as error:
        return MountReport(info.mountpoint, None, error)
    return MountReport(info.mountpoint, status)
