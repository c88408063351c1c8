"""Signals as something that poll(2) waits for. Of the main thread only."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterable
from contextlib import suppress
from types import TracebackType
from typing import Any

__all__ = ["Signals"]


class Signals:
    """While it is entered, signals of these numbers do nothing but wait here to be taken."""

    def __init__(self, numbers: Iterable[signal.Signals]) -> None:
        self._numbers = tuple(numbers)
        self._before: dict[signal.Signals, Any] = {}
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._wakeup_before = -1

    def __enter__(self) -> Signals:
        self._wakeup_before = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for number in self._numbers:
            # What Python ran before poll(2) was restarted is not needed: the byte in the socket is.
            self._before[number] = signal.signal(number, lambda *_: None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)
        signal.set_wakeup_fd(self._wakeup_before)
        self._reader.close()
        self._writer.close()

    def fileno(self) -> int:
        """Return a descriptor that is readable while there are signals to take."""
        return self._reader.fileno()

    def take(self) -> list[signal.Signals]:
        """Return the signals that have come since the last time, in their order."""
        with suppress(BlockingIOError):
            return [signal.Signals(byte) for byte in self._reader.recv(4096) if byte in self._numbers]
        return []
