"""A file that a process for decoding reads by asking the one that started it for bytes; and what it may use.

Such a process has nothing of a file but what it asks for, and its bounds are set before it reads a byte.
"""

from __future__ import annotations

import io
import resource
import sys
from collections.abc import Callable
from typing import Any, BinaryIO

from .probe_messages import WantedBytes, read_message, write_message

__all__ = ["AskedFile", "asker", "bound_process", "demuxing_options"]

_CONTAINERS = (
    "mov,matroska,avi,mpegts,mpeg,mpegvideo,ogg,flv,live_flv,asf,ivf,mxf,nut,h264,hevc,m4v,obu,gif,apng,dv,rm,wtv"
)
"""Containers that hold what they show. Playlists (HLS, DASH, concat) name other files and addresses."""


def demuxing_options() -> dict[str, str]:
    """Return what FFmpeg is told when it opens a file: neither other files nor addresses, whatever the file says."""
    return {"format_whitelist": _CONTAINERS, "protocol_whitelist": "none", "enable_drefs": "0"}


class AskedFile(io.RawIOBase):
    """The file, read by asking for it."""

    def __init__(self, size: int, fetch: Callable[[int, int], bytes]) -> None:
        self._size = size
        self._fetch = fetch
        self._at = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return where the next byte is read."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go elsewhere."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Read as much as is asked for, or less."""
        length = min(len(buffer), max(0, self._size - self._at))
        if length == 0:
            return 0
        part = self._fetch(self._at, length)
        buffer[: len(part)] = part
        self._at += len(part)
        return len(part)


def asker(source: BinaryIO, target: BinaryIO) -> Callable[[int, int], bytes]:
    """Return what asks for bytes of the file that is being looked into."""

    def fetch(offset: int, length: int) -> bytes:
        write_message(target, WantedBytes(offset, length))
        found: bytes | None = read_message(source, bytes)
        if found is None:
            sys.exit(0)
        return found

    return fetch


def bound_process(memory: int, cpu_seconds: int, file_size: int) -> None:
    """Bound what this process may use from now on, in bytes and seconds."""
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds))
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
