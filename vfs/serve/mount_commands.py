"""What a mount's daemon does when it is asked over its control socket: status, metrics, access log, announcements.

A new command is one entry in `table`. Runs on the event loop; what may block goes to a thread.
"""

from __future__ import annotations

import logging

from penstock.errors import AccessError, UsageError
from penstock.vfs.fuse.access_log import AccessLog
from penstock.vfs.fuse.operations import FuseOperations
from penstock.vfs.source.workers import Workers

from .announcements import Announcements
from .control_socket import ControlArguments, ControlCommand
from .metrics import prometheus_text
from .vitals import Vitals

__all__ = ["MountCommands"]

_log = logging.getLogger(__name__)


class MountCommands:
    """The commands of one mount. `access_log` is where accesses go when they are asked for."""

    def __init__(
        self,
        vitals: Vitals,
        operations: FuseOperations,
        workers: Workers,
        access_log: str,
        announcements: Announcements,
    ) -> None:
        self._vitals = vitals
        self._operations = operations
        self._workers = workers
        self._access_log = access_log
        self._announcements = announcements

    def table(self) -> dict[str, ControlCommand]:
        """Return the commands by name."""
        return {
            "status": self._status,
            "metrics": self._metrics,
            "access-log": self._switch_access_log,
            "announce": self._announcements.take,
        }

    async def _status(self, _: ControlArguments) -> dict[str, object]:
        log = self._operations.access_log
        return await self._workers.run(self._vitals.status, log.path if log is not None else None)

    async def _metrics(self, arguments: ControlArguments) -> dict[str, object]:
        return {"text": prometheus_text(await self._status(arguments))}

    async def _switch_access_log(self, arguments: ControlArguments) -> dict[str, object]:
        on = arguments.get("on")
        if not isinstance(on, bool):
            raise UsageError("the access log is turned on or off", why=f"{on!r} is neither")
        log = self._operations.access_log
        if on and log is None:
            try:
                self._operations.access_log = log = AccessLog(self._access_log)
            except OSError as error:
                raise AccessError(f"{self._access_log} cannot be written", why=error.strerror or str(error)) from error
            _log.info("accesses are written to %s", log.path)
        elif not on and log is not None:
            self._operations.access_log = None
            log.close()
            _log.info("accesses are not written any more")
        return {"access_log": self._access_log if on else None}
