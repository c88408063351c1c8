"""Traces: which blocks of which files a mount's readers touched first, in that order. A text file, one line each.

    {"penstock_trace": 1, "handle": "demo/photos:main", "top_hash": "6f…"}
    {"path": "train/cat/1.png", "blocks": [0, 1], "bytes": 4711}

`blocks` is the first block and how many; `bytes` is how many bytes these have. Paths are relative to the mountpoint;
bytes that are no UTF-8 are lone surrogates. A last line without its end was cut off by a crash and is none. Lines may
come twice: a later process of the same mount knows nothing of what an earlier one wrote.

Written by `penstock.vfs.ahead.trace_recorder`, read by `warm`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from penstock.errors import AccessError, FormatTooNewError, NotFoundError, UsageError

__all__ = ["Access", "Trace", "begin_trace", "encode_access", "encode_header"]

_VERSION = 1
_MOST_LINE = 1 << 20
_FIX = "Name a file that penstock mount --record-trace has written."


@dataclass(frozen=True, slots=True)
class Access:
    """Blocks `first` to `first + count` of a file, `size` bytes in all."""

    path: str
    first: int
    count: int
    size: int


def encode_header(handle: str, top_hash: bytes) -> bytes:
    """Return the first line."""
    return _line({"penstock_trace": _VERSION, "handle": handle, "top_hash": top_hash.hex()})


def encode_access(access: Access) -> bytes:
    """Return any other line."""
    return _line({"path": access.path, "blocks": [access.first, access.count], "bytes": access.size})


def _line(facts: dict[str, object]) -> bytes:
    return json.dumps(facts).encode("ascii") + b"\n"


class Trace:
    """A trace file; read through once when it is opened, so that all of it is known to be one.

    `accesses` is how many lines it has, `size` the sum of their bytes; `handle` and `top_hash` (64 hex digits) say what
    was mounted.
    """

    def __init__(self, path: str) -> None:
        """Open it. NotFoundError, AccessError: it cannot be read. UsageError: it is no trace, and where it is not.

        FormatTooNewError: a later Penstock has written it.
        """
        self.path = path
        try:
            with open(path, "rb") as stream:
                self.handle, self.top_hash = self._header(_lines(stream))
                self.accesses = self.size = 0
                for access in self._accesses(stream):
                    self.accesses += 1
                    self.size += access.size
        except FileNotFoundError as error:
            raise NotFoundError(f"there is no file {path}", fix=_FIX) from error
        except OSError as error:
            raise AccessError(f"{path} cannot be read", why=error.strerror or str(error)) from error

    def __iter__(self) -> Iterator[Access]:
        """Yield the accesses in order."""
        with open(self.path, "rb") as stream:
            next(_lines(stream))
            yield from self._accesses(stream)

    def _header(self, lines: Iterator[bytes]) -> tuple[str, str]:
        try:
            found = json.loads(next(lines, b""))
            version = found["penstock_trace"]
            if not isinstance(version, int):
                raise TypeError(version)
            if version > _VERSION:
                raise FormatTooNewError(
                    f"{self.path} is a trace of a later Penstock", why=f"version {version}", fix="Upgrade Penstock."
                )
            return str(found["handle"]), str(found["top_hash"])
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise UsageError(f"{self.path} is no trace", why="it does not begin like one", fix=_FIX) from error

    def _accesses(self, stream: BinaryIO) -> Iterator[Access]:
        for number, line in enumerate(_lines(stream), 2):
            try:
                found = json.loads(line)
                first, count = found["blocks"]
                access = Access(found["path"], first, count, found["bytes"])
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise self._bad(number) from error
            if not _is_sound(access):
                raise self._bad(number)
            yield access

    def _bad(self, number: int) -> UsageError:
        return UsageError(f"{self.path} is no trace", why=f"line {number} is none of a trace's", fix=_FIX)


def begin_trace(path: str) -> None:
    """Make the file of a new trace, empty. UsageError: there is one that is no trace. AccessError: it cannot be."""
    try:
        if os.path.exists(path) and os.path.getsize(path):
            Trace(path)  # an earlier one is replaced; anything else is not
        # O_NOFOLLOW: in a folder that all can write, another's link would choose which file is emptied.
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        os.close(os.open(path, flags, 0o644))
    except OSError as error:
        raise AccessError(
            f"the trace {path} cannot be written", why=error.strerror or str(error), fix="Name another file."
        ) from error
    except UsageError as error:
        raise UsageError(
            f"{path} is there, and is no trace", why="it would be overwritten", fix="Name a new file."
        ) from error


def _is_sound(access: Access) -> bool:
    numbers = (access.first, access.count, access.size)
    if not isinstance(access.path, str) or not all(type(each) is int and 0 <= each < 1 << 63 for each in numbers):
        return False
    try:
        return bool(access.path.encode("utf-8", "surrogateescape")) and access.count > 0
    except UnicodeEncodeError:
        return False


def _lines(stream: BinaryIO) -> Iterator[bytes]:
    """Yield whole lines; one that is too long comes cut, and so is no JSON."""
    while line := stream.readline(_MOST_LINE):
        if len(line) < _MOST_LINE and not line.endswith(b"\n"):
            return
        yield line
