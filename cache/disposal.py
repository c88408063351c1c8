"""Removing an index, and nothing but an index: the folder may be one that the user had for something else.

Whoever names a directory of theirs as the cache may have a folder ``index`` in it. So only the two files that LMDB
makes go, by the descriptor of a folder that is no symbolic link, and the folder when it is empty then.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress

__all__ = ["is_environment", "remove_environment"]

_FILES = ("data.mdb", "lock.mdb")


def is_environment(path: str) -> bool:
    """Whether a folder, no symbolic link to one, holds an LMDB environment and nothing else."""
    try:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        if error.errno == errno.ELOOP:
            return False
        raise
    try:
        names = os.listdir(folder)
    finally:
        os.close(folder)
    return _FILES[0] in names and set(names) <= set(_FILES)


def remove_environment(path: str) -> None:
    """Remove an LMDB environment, if there is one. OSError: it is none, or holds something else, which stays."""
    try:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        for name in _FILES:
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=folder)
    finally:
        os.close(folder)
    os.rmdir(path)
