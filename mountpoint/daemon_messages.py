"""What a mount's daemon is told on its standard input, and what it answers on its standard output: a line each.

Both ends are of the same installation, so there is no version in it.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from penstock.error_form import ErrorForm, raise_form
from penstock.repo.settings.settings import Settings
from penstock.wire import decode_message

from .mount_options import MountOptions
from .mount_records import MountRecord

__all__ = ["DaemonAnswer", "MountFailed", "MountReady", "MountRequest", "decode_answer"]


class MountRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to mount where. `mountpoint` is absolute and without symlinks."""

    handle: str
    mountpoint: str
    settings: Settings
    options: MountOptions
    log: str | None


class MountReady(msgspec.Struct, frozen=True, tag="ready"):
    """The tree is readable."""

    record: MountRecord


class MountFailed(msgspec.Struct, frozen=True, tag="failed"):
    """It is not, and why."""

    error: ErrorForm


DaemonAnswer: TypeAlias = MountReady | MountFailed


def decode_answer(body: bytes) -> MountRecord:
    """Read a daemon's answer; raises the error that it met. NoMessageError: it is none."""
    answer: DaemonAnswer = decode_message(body, DaemonAnswer)
    if isinstance(answer, MountFailed):
        raise_form(answer.error)
    return answer.record
