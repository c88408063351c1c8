"""fallocate(2) and syncfs(2), which the standard library lacks."""

from __future__ import annotations

import ctypes
import os

__all__ = ["punch_hole", "sync_file_system"]

_KEEP_SIZE = 1
_PUNCH_HOLE = 2

_libc = ctypes.CDLL(None, use_errno=True)
_fallocate = _libc.fallocate
_fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
_syncfs = _libc.syncfs
_syncfs.argtypes = (ctypes.c_int,)


def punch_hole(descriptor: int, start: int, length: int) -> None:
    """Have these bytes read as zeros, and take no space; the file's size stays. OSError."""
    _check(_fallocate(descriptor, _KEEP_SIZE | _PUNCH_HOLE, start, length))


def sync_file_system(descriptor: int) -> None:
    """Write all of a file system to disk. OSError, which Linux reports from 5.8 on."""
    _check(_syncfs(descriptor))


def _check(result: int) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
