"""Kernel settings of one mount that FUSE's handshake cannot reach: files in /sys, where the system permits.

The handshake can only lower how far the kernel reads ahead. Reading ahead one block at a time (128 KiB by default)
makes one request of eight, and 1.6 GB/s of 0.9 for what is cached.
"""

from __future__ import annotations

import logging

__all__ = ["tune"]

_log = logging.getLogger(__name__)


def tune(device: tuple[int, int], read_ahead_kib: int) -> None:
    """Set read-ahead (in KiB) of the mount on `device`, best effort."""
    major, minor = device
    path = f"/sys/class/bdi/{major}:{minor}/read_ahead_kb"
    try:
        with open(path, "w", encoding="ascii") as stream:
            stream.write(str(read_ahead_kib))
    except OSError as error:
        # Needs root: without it the mount is only slower.
        _log.info("%s stays as it is: %s", path, error.strerror)
