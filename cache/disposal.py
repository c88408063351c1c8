"""Removing an index, and nothing but an index: the folder may be one that the user had for something else.

Whoever names a directory of theirs as the cache may have a folder ``index`` in it. So a folder goes only if it holds
the two files that LMDB makes and nothing else, and is no symbolic link.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

__all__ = ["is_environment", "remove_environment"]

_DATA = "data.mdb"
_FILES = frozenset({_DATA, "lock.mdb"})


def is_environment(path: str) -> bool:
    """Whether there is a folder with an LMDB environment in it and nothing else. OSError: the disk does not say."""
    try:
        with _opened(path) as folder:
            names = set(os.listdir(folder))
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return False
        raise
    return _DATA in names and names <= _FILES


def remove_environment(path: str) -> None:
    """Remove an LMDB environment, if there is one. OSError: it is none, or holds something else; all stays then."""
    try:
        with _opened(path) as folder:
            if not set(os.listdir(folder)) <= _FILES:
                raise OSError(errno.ENOTEMPTY, "it holds something else than an index", path)
            for name in _FILES:
                with suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        return
    os.rmdir(path)


@contextmanager
def _opened(path: str) -> Iterator[int]:
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield folder
    finally:
        os.close(folder)
