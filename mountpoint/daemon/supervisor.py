"""Keep a mount alive: hold its FUSE session while the process that serves it comes and goes.

The session ends when the last descriptor of it is closed, so one is kept here. When the serving process dies, the
kernel is told to send again what it had not answered (`device`), and the next process goes on with that: whoever
reads waits, and sees nothing else. A version does not change and handles need no memory (`file_handles`), so there is
nothing that the next process would have to know, but for what the first one left here: the version that it serves.

This process answers no request, opens no store and no cache, and has no threads: there is next to nothing in it that
could fail. **Invariant:** it never touches the mounted tree, so that it never waits for the process it watches.

The end always comes: SIGTERM unmounts; while that is refused because the mount is in use, files go on being served
for a grace period, and as well where a bind mount of it is left; then the mount is taken out of sight and whoever still
uses it gets errors. Without a signal, the end is the kernel's: when the last mount of the session is gone, wherever it
was, and the last file closed.
**Invariant:** the mountpoint is unmounted only while it is this mount that is on top of it.

It runs in the main thread: of a daemon, or of a mount in the foreground.
"""

from __future__ import annotations

import errno
import logging
import os
import select
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import msgspec

from penstock.error_form import error_of
from penstock.errors import AccessError, PenstockError
from penstock.mountpoint.daemon_messages import MountRequest
from penstock.mountpoint.detach import detach
from penstock.mountpoint.kernel_mounts import kernel_mounts, top_mount
from penstock.mountpoint.mount_records import MountRecord, Registration, sweep

from .device import can_resend, is_disconnected, resend
from .restart_policy import Faults, Restarts
from .serving_process import ServingProcess
from .signals import Signals
from .spawn import spawn
from .supervisor_link import Failed, Mounted, Moved, Serving, Start

__all__ = ["supervise"]

_log = logging.getLogger(__name__)

_GRACE = 5.0
"""Seconds for which a mount in use is served on after SIGTERM."""
_RETRY = 0.2
_LOOK = 1.0
"""Seconds between looks at whether the kernel is still there; only matters when the serving process hangs.

Not poll(2) on the descriptor: it would wake this process up for every request that the other one serves.
"""
_LAST_GRACE = 4.0
"""Seconds in which a serving process that was asked to end does so."""
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def supervise(
    request: MountRequest, ready: Callable[[MountRecord], None], first: tuple[int, socket.socket] | None = None
) -> None:
    """Mount, and return when the mount is gone. `ready` is called when it is readable.

    `first` is what `spawn` gave, when it was called already. Any of `penstock.errors`: before it was readable, or
    because the serving processes died one after the other. KeyboardInterrupt: SIGINT before it was readable.
    """
    with Signals(_SIGNALS) as signals:
        supervisor = _Supervisor(request, ready, signals)
        try:
            supervisor.run(ServingProcess(*(first or spawn())))
        finally:
            supervisor.end()


@dataclass(frozen=True, slots=True)
class _Session:
    """What a serving process needs to go on with. `descriptor` is this process's own."""

    descriptor: int
    device: tuple[int, int]
    greeting: bytes
    pin: bytes


class _Supervisor:
    """One mount on its way from mounting to the end."""

    def __init__(self, request: MountRequest, ready: Callable[[MountRecord], None], signals: Signals) -> None:
        self._request = request
        self._ready = ready
        self._signals = signals
        self._restarts = Restarts()
        self._faults = Faults()
        self._set_aside = ""
        self._process: ServingProcess | None = None
        self._session: _Session | None = None
        self._record: MountRecord | None = None
        self._registration: Registration | None = None
        self._start_at = 0.0
        self._leave_by: float | None = None
        self._told: PenstockError | None = None
        self._given_up = False

    def run(self, first: ServingProcess) -> None:
        """Mount, and see one serving process after the other off until the mount is gone."""
        self._start(first)
        while not self._is_over():
            self._wait()
            for number in self._signals.take():
                self._on_signal(number)
            if self._process is not None:
                status = self._process.status()
                self._hear(self._process)  # after the look at whether it lives: then it has said all
                if status is not None:
                    self._on_death(self._process, status)
            if self._process is None and time.monotonic() >= self._start_at and not self._is_over():
                self._start(ServingProcess(*spawn()))

    def end(self) -> None:
        """Leave nothing behind: no state file, no mount, no process.

        But a mount that was given up stays, dead, until it is unmounted: whoever reads there gets errors. Without it he
        would find an empty directory, and take that for what was mounted. What is registered says why.
        """
        if self._registration is not None and self._given_up:
            self._registration.let_go()
        elif self._registration is not None:
            self._registration.end()
        if not self._given_up and self._is_mounted():
            with suppress(OSError):  # it was unmounted meanwhile
                detach(self._request.mountpoint, lazy=True)
        if self._process is not None:
            self._process.end(_LAST_GRACE)
        if self._session is not None:
            os.close(self._session.descriptor)

    def _start(self, process: ServingProcess) -> None:
        self._process = process
        request, level, session = self._request, _log.getEffectiveLevel(), self._session
        if session is None or self._record is None:
            sweep()  # before this mount's own socket is there
            process.send(Start(request, level, os.getpid()))
            return
        self._record = msgspec.structs.replace(self._record, worker_pid=process.pid, restarts=self._restarts.total)
        self._register(self._record)
        start = Start(request, level, os.getpid(), session.greeting, session.pin, self._record, self._set_aside)
        process.send(start, session.descriptor)

    def _wait(self) -> None:
        """Wait until something has happened, or is to be done."""
        poll = select.poll()
        poll.register(self._signals.fileno(), select.POLLIN)
        timeout = _LOOK if self._leave_by is None else _RETRY
        if self._process is not None:
            for descriptor in self._process.descriptors():
                poll.register(descriptor, select.POLLIN)
        else:
            timeout = min(timeout, max(0.0, self._start_at - time.monotonic()))
        poll.poll(timeout * 1000)

    def _is_over(self) -> bool:
        if self._session is not None and is_disconnected(self._session.descriptor):
            return True
        return self._leave_by is not None and self._has_left(self._leave_by)

    def _has_left(self, deadline: float) -> bool:
        """Try to unmount; True when that is done, or must be done the hard way."""
        if time.monotonic() >= deadline:
            if self._is_anywhere():
                _log.warning("%s is still in use: its users get errors from now on", self._request.mountpoint)
            return True
        if self._is_mounted():
            try:
                detach(self._request.mountpoint, lazy=False)
            except OSError as error:
                if error.errno != errno.EBUSY:
                    _log.warning("unmounting failed: %s", error.strerror)
                return error.errno != errno.EBUSY
        return not self._is_anywhere()

    def _on_signal(self, number: signal.Signals) -> None:
        if self._record is None:
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            raise PenstockError(f"{self._request.handle} was not mounted", why=f"{number.name} came first")
        now = time.monotonic()
        if self._leave_by is None:
            _log.info("%s: unmounting", number.name)
            self._leave_by = now + _GRACE
        else:  # a second signal: at once, then
            self._leave_by = now

    def _hear(self, process: ServingProcess) -> None:
        for message, descriptor in process.received():
            if isinstance(message, Mounted):
                assert descriptor is not None
                self._session = _Session(descriptor, message.device, message.greeting, message.pin)
            elif isinstance(message, Serving) and message.record is not None:
                self._on_ready(message.record)
            elif isinstance(message, Moved):
                self._on_move(message)
            elif isinstance(message, Failed):
                self._on_failure(message)

    def _on_ready(self, record: MountRecord) -> None:
        self._record = record
        try:
            self._registration = Registration(record)
        except OSError as error:
            raise PenstockError(
                f"{record.mountpoint} could not be registered",
                why=str(error),
                fix="Make room there, or set XDG_STATE_HOME to another directory of yours.",
            ) from error
        _log.info("mounted %s at %s, version %s", record.handle, record.mountpoint, record.top_hash)
        self._ready(record)  # last: whoever waits for it may look at the log at once

    def _on_move(self, message: Moved) -> None:
        assert self._record is not None  # only a mount that is served moves
        self._record = msgspec.structs.replace(
            self._record, handle=message.handle, top_hash=message.top_hash, commit=message.commit
        )
        self._register(self._record)
        _log.info("%s is at version %s now", self._record.mountpoint, message.top_hash)

    def _register(self, record: MountRecord) -> None:
        """Write the record anew; on a disk that is full now, what it said before stands."""
        assert self._registration is not None  # there is one since files can be read
        try:
            self._registration.update(record)
        except (OSError, AccessError) as error:
            _log.warning("what is registered of %s is out of date: %s", record.mountpoint, error)

    def _on_failure(self, message: Failed) -> None:
        error = error_of(message.error)
        if self._record is None:
            raise error
        self._told = error
        _log.error("the serving process gave up: %s", error)

    def _on_death(self, process: ServingProcess, status: str) -> None:
        process.end(0)
        self._process = None
        if self._session is None or self._record is None:
            raise PenstockError(
                f"{self._request.handle} was not mounted", why=f"the process that should serve it ended with {status}"
            )
        if is_disconnected(self._session.descriptor):
            return
        at = self._restarts.next(time.monotonic())
        if at is None:
            _log.error("giving up: the processes that serve %s die one after the other", self._request.mountpoint)
            why = f"the processes that served it died one after the other, the last one with {status}"
            why = f"{why}: {self._told}" if self._told is not None else why
            self._given_up = True
            self._register(msgspec.structs.replace(self._record, why=why))
            raise PenstockError(
                f"{self._request.mountpoint} was given up",
                why=why,
                fix=f"penstock umount {self._request.mountpoint}, and mount it again; the log tells what they died of",
            )
        _log.warning("the serving process %d ended with %s; starting another", process.pid, status)
        self._set_aside = ""
        if self._faults.note(time.monotonic(), fault=process.at_fault()):
            self._set_aside = f"the process that served the mount ended with {status}, and so did the one before it"
            _log.warning("the block cache is left alone for a while: %s", self._set_aside)
        self._start_at = at
        if can_resend(self._session.greeting):
            # Before the next process reads: what it is at work on must not be sent to it again.
            resend(self._session.descriptor)

    def _is_mounted(self) -> bool:
        found = top_mount(self._request.mountpoint)
        if found is None or not found.is_ours:
            return False
        # Without a session: what the first process mounted before it died. Nobody else may mount there until then.
        return self._session is None or found.device == self._session.device

    def _is_anywhere(self) -> bool:
        """Whether this mount is to be seen at any place: where it was mounted, or by a bind mount."""
        return self._session is not None and any(found.device == self._session.device for found in kernel_mounts())
