"""Say what is whole in an overlay that nobody has mounted, and take that out of one that is damaged.

The bucket helps to name paths and has what was not changed of a file; without it, both do what can be done. Needs
neither pyfuse3 nor trio.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from penstock.errors import ConflictError, PenstockError, UsageError
from penstock.manifest.entry import BLOCK_SIZE, block_count
from penstock.mountpoint.known_mounts import record_at
from penstock.overlay.disk import disk_told
from penstock.overlay.inspection.inspection import inspect, rescue
from penstock.overlay.inspection.salvage import Salvage
from penstock.overlay.outcomes import CheckReport, Finding
from penstock.overlay.tables.meta import read_counters, read_origin
from penstock.overlay.tables.schema import InodeRecord, decode_entry
from penstock.overlay.tree.lower import Lower
from penstock.repo.read.snapshot import Snapshot, open_snapshot
from penstock.repo.settings.settings import Settings

from .overlay_directory import overlay_of, pin_of

__all__ = ["check_overlay", "rescue_overlay"]

_log = logging.getLogger(__name__)
Line = Callable[[Finding], None]


def check_overlay(path: str, settings: Settings, line: Line) -> CheckReport:
    """Give `line` what is damaged in the overlay in a directory. ConflictError: it is in use; OSError."""
    with disk_told(path), Salvage(path) as salvage, _version(salvage, settings) as (version, lower):
        del version
        for found in inspect(salvage.reader, salvage.content, lower, salvage.damaged, salvage.faults):
            line(found)
        return CheckReport(path, salvage.records)


def rescue_overlay(directory: str, to: str, settings: Settings, line: Line) -> str:
    """Write what was changed in an overlay and is whole below `to`; give `line` each; return the overlay's directory.

    UsageError: `to` has something in it; ConflictError: the overlay is mounted.
    """
    if record_at(directory) is not None:
        raise ConflictError(
            f"the overlay of {directory} is in use", why="it is mounted", fix=f"penstock umount {directory}"
        )
    path = overlay_of(directory)
    try:
        os.makedirs(to, mode=0o700, exist_ok=True)
        if os.listdir(to):
            raise UsageError(
                f"{to} is not empty", why="nothing there may be overwritten", fix="Name a directory that is not there."
            )
    except OSError as error:
        raise UsageError(f"{to} cannot be written to", why=error.strerror or str(error)) from error
    with disk_told(path), Salvage(path) as salvage, _version(salvage, settings) as (version, lower):
        for fault in salvage.faults:
            line(Finding("damaged", "", fault))
        committed = read_counters(salvage.reader).committed
        try:
            for found in rescue(salvage.reader, salvage.content, lower, committed, _lower_bytes(version), to):
                line(found)
        except OSError as error:
            raise PenstockError(
                f"not everything could be written to {to}", why=str(error), fix="Name a directory on another disk."
            ) from error
    return path


@contextmanager
def _version(salvage: Salvage, settings: Settings) -> Iterator[tuple[Snapshot | None, Lower | None]]:
    """Open the version that an overlay is over; None where it, or what the overlay says of it, cannot be read."""
    version: Snapshot | None = None
    lower: Lower | None = None
    try:
        origin = read_origin(salvage.reader)
        if origin is not None:
            version = open_snapshot(origin.handle, settings, pin=pin_of(origin))
            lower = Lower(origin.lower, salvage.reader, version.load, origin.metadata)
    except PenstockError as error:
        _log.warning("the version that the overlay is over cannot be read: %s", error)
    try:
        yield version, lower
    finally:
        if version is not None:
            version.close()


def _lower_bytes(version: Snapshot | None) -> Callable[[InodeRecord, int, int], bytes]:
    def read(record: InodeRecord, start: int, end: int) -> bytes:
        if version is None:
            raise PenstockError("the rest of the file is in its version", why="and that cannot be read")
        entry = decode_entry(record.entry)
        first, last = start // BLOCK_SIZE, block_count(end)
        data = b"".join(version.fetch_blocks(entry, first, last - first))
        return data[start - first * BLOCK_SIZE : end - first * BLOCK_SIZE]

    return read
