"""From which mounts this process has read: asked of their daemons. Blocking; needs neither pyfuse3 nor trio."""

from __future__ import annotations

import os
from dataclasses import dataclass

from penstock.errors import PenstockError

from .control_client import ask
from .control_messages import ReadersAnswer, ReadersRequest
from .mount_records import live_records
from .processes import start_time

__all__ = ["MountRead", "reads_of_this_process"]

_PATIENCE = 2.0


@dataclass(frozen=True, slots=True)
class MountRead:
    """A version that was read through a mount. `changed`: the mount had changes that are in no version."""

    mountpoint: str
    handle: str
    bucket: str
    dataset: str
    top_hash: str
    commit: str | None
    changed: bool


def reads_of_this_process() -> tuple[list[MountRead], list[str]]:
    """Return what this process, and those that it has started, read through this user's mounts; and which do not say.

    A mount whose serving process was replaced knows of what was read since.
    """
    found: list[MountRead] = []
    silent: list[str] = []
    try:
        records = live_records()
    except PenstockError:  # nowhere to look: then nothing is mounted by this user
        return [], []
    mine = os.getpid()
    request = ReadersRequest(mine, start_time(mine) or 0)
    for record in records:
        try:
            answer = ask(record.mountpoint, request, ReadersAnswer, timeout=_PATIENCE)
        except PenstockError:
            silent.append(record.mountpoint)
            continue
        where = record.mountpoint, record.handle, record.bucket_url, record.dataset
        found += [MountRead(*where, top_hash, commit, answer.changed) for top_hash, commit in answer.versions]
    return found, silent
