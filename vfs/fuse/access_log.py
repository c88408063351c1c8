"""A log of every open and read of a mount, while somebody wants it: JSON, one line each, bounded by rotation.

    {"time": 1763721000.25, "op": "read", "path": "a/b", "offset": 0, "size": 4096, "hit": true, "ms": 0.2}

`size` is what was given, `hit` whether the cache had all of it when it was asked for, `ms` how long it took; a read
that failed has an `error`. Paths are within the mount; bytes that are no UTF-8 are lone surrogates, as in all of our
JSON. Lines are written in the order in which requests end. Used from the event loop's thread only.
"""

from __future__ import annotations

import json
import logging
import os
import time

__all__ = ["AccessLog"]

_log = logging.getLogger(__name__)

_MOST = 16 << 20
"""Bytes after which a log is put aside, as PATH.1, and a new one begun."""


class AccessLog:
    """An open log. OSError on construction when it cannot be written; a disk that fails later ends it silently."""

    def __init__(self, path: str, most: int = _MOST) -> None:
        self.path = path
        self._most = most
        self._open()

    def _open(self) -> None:
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        # By the line: who turned it on looks at it while it grows.
        self._stream = open(descriptor, "w", encoding="ascii", buffering=1)  # noqa: SIM115  # open until `close`
        self._size = os.fstat(descriptor).st_size

    def write(
        self,
        op: str,
        path: bytes,
        *,
        begun: float,
        offset: int | None = None,
        size: int | None = None,
        hit: bool | None = None,
        error: str | None = None,
    ) -> None:
        """Write a line; `begun` is when the request came, by `time.monotonic`."""
        facts = {
            "time": round(time.time(), 6),
            "op": op,
            "path": os.fsdecode(path),
            "offset": offset,
            "size": size,
            "hit": hit,
            "ms": round((time.monotonic() - begun) * 1e3, 3),
            "error": error,
        }
        line = json.dumps({name: value for name, value in facts.items() if value is not None}) + "\n"
        if self._stream.closed:
            return
        try:
            if self._size and self._size + len(line) > self._most:
                self._stream.close()
                os.replace(self.path, f"{self.path}.1")
                self._open()
            self._size += self._stream.write(line)
        except OSError as failure:
            _log.warning("the access log %s ends: %s", self.path, failure.strerror)
            self.close()

    def close(self) -> None:
        """End it."""
        try:
            self._stream.close()
        except OSError as error:
            _log.warning("the access log %s is cut off: %s", self.path, error.strerror)
