"""What a mount's daemon does when it is asked over its control socket: status, access log, announcements.

A new command is one entry in `table`. Runs on the event loop; what may block goes to a thread.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

import msgspec
import trio

from penstock.errors import AccessError
from penstock.mountpoint.control_messages import (
    AccessLogAnswer,
    AccessLogRequest,
    AnnounceRequest,
    ReadersAnswer,
    ReadersRequest,
    StatusRequest,
)
from penstock.mountpoint.mount_status import MountStatus, SlowFile
from penstock.vfs.fuse.access_log import AccessLog
from penstock.vfs.fuse.operations import FuseOperations
from penstock.vfs.source.workers import Workers

from .announcements import Announcements
from .control_socket import ControlCommand
from .vitals import Vitals

__all__ = ["MountCommands"]

_log = logging.getLogger(__name__)

_SLOWEST = 5
_NAMES_WITHIN = 0.5
"""Seconds in which paths are to be found, which may take nodes from the store."""


class MountCommands:
    """The commands of one mount.

    `access_log` is where accesses go when they are asked for; `is_dirty` says whether there are changes.
    """

    def __init__(
        self,
        vitals: Vitals,
        operations: FuseOperations,
        workers: Workers,
        access_log: str,
        announcements: Announcements,
        is_dirty: Callable[[], bool],
    ) -> None:
        self._vitals = vitals
        self._operations = operations
        self._workers = workers
        self._access_log = access_log
        self._announcements = announcements
        self._is_dirty = is_dirty

    def table(self) -> dict[type[msgspec.Struct], ControlCommand]:
        """Return the commands by the classes of their requests."""
        return {
            StatusRequest: self._status,
            AccessLogRequest: self._switch_access_log,
            AnnounceRequest: self._announcements.take,
            ReadersRequest: self._read_by,
        }

    async def _status(self, _: object, __: int) -> MountStatus:
        log = self._operations.access_log
        slowest: list[SlowFile] = []
        damaged: list[str] = []
        with trio.move_on_after(_NAMES_WITHIN):  # a store that does not answer is what one asks the status for
            for path, seconds in await self._operations.slowest_files(_SLOWEST):
                slowest.append(SlowFile(os.fsdecode(path), round(seconds, 3)))
            for path, why in await self._operations.damaged_files():
                damaged.append(f"{os.fsdecode(path)} cannot be read: {why}")
        return await self._workers.run(self._vitals.status, log.path if log is not None else None, slowest, damaged)

    async def _switch_access_log(self, request: AccessLogRequest, _: int) -> AccessLogAnswer:
        log = self._operations.access_log
        if request.on and log is None:
            try:
                self._operations.access_log = log = AccessLog(self._access_log)
            except OSError as error:
                raise AccessError(f"{self._access_log} cannot be written", why=error.strerror or str(error)) from error
            _log.info("accesses are written to %s", log.path)
        elif not request.on and log is not None:
            self._operations.access_log = None
            log.close()
            _log.info("accesses are not written any more")
        return AccessLogAnswer(self._access_log if request.on else None)

    async def _read_by(self, request: ReadersRequest, _: int) -> ReadersAnswer:
        readers = self._operations.readers
        versions = readers.versions(request.process, request.started) if readers is not None else []
        return ReadersAnswer(versions, self._is_dirty())
