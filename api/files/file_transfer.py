"""One file on its way between this machine and where files are kept: as a value, and as a line of the log."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Literal

__all__ = ["FileTransfer", "is_logged", "log_transfer"]

_log = logging.getLogger("penstock.files")


@dataclass(frozen=True, slots=True)
class FileTransfer:
    """A file that was fetched or sent, or after a dry run would be. `size` in bytes; None: not known yet.

    `row`: the number of a row, from 0, where there are rows.
    """

    direction: Literal["download", "upload"]
    name: str
    source: str
    target: str
    size: int | None = None
    row: int | None = None


def is_logged() -> bool:
    """Whether lines of transfers go anywhere: where they do not, many small ones need not be made."""
    return _log.isEnabledFor(logging.INFO)


def log_transfer(transfer: FileTransfer, *, dry_run: bool = False) -> FileTransfer:
    """Write a line to the logger ``penstock.files``, and return the transfer."""
    verb = f"would {transfer.direction}" if dry_run else f"{transfer.direction}ed"
    row = f"row {transfer.row}: " if transfer.row is not None else ""
    size = f" ({transfer.size} bytes)" if transfer.size is not None else ""
    _log.info("%s%s %s: %s to %s%s", row, verb, transfer.name, transfer.source, transfer.target, size)
    return transfer
