"""Removing an index, and nothing but an index: the folder may be one that the user had for something else.

Whoever names a directory of theirs as the cache may have a folder ``index`` in it. So only the two files that LMDB
makes go, by the descriptor of a folder that is no symbolic link, and the folder when it is empty then.
"""

from __future__ import annotations

import os
from contextlib import suppress

__all__ = ["remove_environment"]

_FILES = ("data.mdb", "lock.mdb")


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
