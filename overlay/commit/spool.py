"""Bytes that are written once and then read: in memory up to a bound, then in a temporary file without a name.

The folder for temporary files may be small, full or missing: then the file is in another one. One thread.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from typing import IO

from penstock.errors import PenstockError
from penstock.repo.settings.sizes import format_size

__all__ = ["Spool"]

_PIECE = 1 << 20


class Spool:
    """Keeps bytes. `folders` are tried, one after the other, when the user's one for temporary files has no room."""

    def __init__(self, folders: Sequence[str], *, in_memory: int = 32 << 20) -> None:
        self._folders: list[str | None] = [None, *folders]
        self._in_memory = in_memory
        self._held = bytearray()
        self._file: IO[bytes] | None = None
        self._length = 0
        """Of what is in the file."""
        self._at = 0

    def write(self, data: bytes) -> None:
        """Keep more bytes. PenstockError: no disk has room for them."""
        self._held += data
        if len(self._held) >= self._in_memory:
            self._spill()

    def _spill(self) -> None:
        refused: list[str] = []
        while True:
            try:
                if self._file is None:
                    self._file = self._open(refused)
                _write(self._file, self._held, self._length)
                self._length += len(self._held)
                self._held = bytearray()
                self._in_memory = _PIECE
                return
            except OSError as error:
                refused.append(error.strerror or str(error))
                if not self._folders:
                    raise self._no_room(refused) from error
                self._move(refused)

    def _open(self, refused: list[str]) -> IO[bytes]:
        while self._folders:
            folder = self._folders.pop(0)
            try:
                return tempfile.TemporaryFile(buffering=0, dir=folder)  # closed by `close`
            except OSError as error:
                refused.append(error.strerror or str(error))
        raise self._no_room(refused)

    def _move(self, refused: list[str]) -> None:
        """Go on in the next folder, with what is in the file."""
        old, self._file = self._file, None
        if old is None:
            return
        with old:
            new = self._open(refused)
            try:
                for start in range(0, self._length, _PIECE):
                    _write(new, os.pread(old.fileno(), min(_PIECE, self._length - start), start), start)
            except OSError as error:
                new.close()
                refused.append(error.strerror or str(error))
                raise self._no_room(refused) from error
            self._file = new

    def _no_room(self, refused: Sequence[str]) -> PenstockError:
        needed = 2 * (self._length + len(self._held))
        return PenstockError(
            "there is no room for temporary files",
            why="; ".join(dict.fromkeys(refused)),
            fix=f"Set TMPDIR to a folder with {format_size(needed)} or more, and try again.",
        )

    def rewind(self) -> None:
        """Read from the beginning."""
        self._at = 0

    def read(self, size: int) -> bytes:
        """Return the next bytes, fewer at the end."""
        parts: list[bytes] = []
        while size:
            if self._at < self._length:
                assert self._file is not None
                part = os.pread(self._file.fileno(), min(size, self._length - self._at), self._at)
                if not part:
                    raise PenstockError("a temporary file has lost its end", fix="Try again.")
            else:
                start = self._at - self._length
                part = bytes(self._held[start : start + size])
                if not part:
                    break
            parts.append(part)
            self._at += len(part)
            size -= len(part)
        return b"".join(parts)

    def close(self) -> None:
        """Forget all of it."""
        if self._file is not None:
            with suppress(OSError):
                self._file.close()


def _write(file: IO[bytes], data: bytes | bytearray, at: int) -> None:
    rest = memoryview(data)
    while rest:
        written = os.pwrite(file.fileno(), rest, at)
        at += written
        rest = rest[written:]
