"""Names below a folder, reached by descriptors: no symbolic link on the way or at the end is ever followed.

Whoever can write into a folder can put a link there that leads anywhere, also between a look and a use. So every
component is opened by its own openat(2) with O_NOFOLLOW, from the descriptor of the one before it. (openat2(2) does it
in one call, but is missing before Linux 5.6 and forbidden in many containers.) Paths are relative, without empty, ``.``
or ``..`` components: keys. Only what the caller chose itself, the folder to begin at, may be a link. Thread-safe.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator

__all__ = ["READ", "closing_folder", "is_regular", "link_error", "look_beneath", "open_beneath", "open_root"]

READ = os.O_RDONLY | os.O_NONBLOCK
"""How to open a file for reading: a FIFO that someone put there must not hold the reader for ever."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_PASSED = os.O_PATH | os.O_DIRECTORY


def open_root(path: str) -> int:
    """Open the folder to begin at; links in its path are the caller's own choice."""
    return os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def open_beneath(root: int, path: str, flags: int) -> int:
    """Open what lies at `path` below `root`; an empty path is the root itself.

    OSError: ELOOP (`link_error`) when a symbolic link is on the way or at the end; FileNotFoundError,
    NotADirectoryError.
    """
    if not path:
        return os.open(".", flags | os.O_CLOEXEC, dir_fd=root)
    *folders, name = path.split("/")
    at = root
    try:
        for folder in folders:
            deeper = _open(at, folder, _PASSED)
            if at != root:
                os.close(at)
            at = deeper
        return _open(at, name, flags)
    finally:
        if at != root:
            os.close(at)


def look_beneath(root: int, path: str) -> os.stat_result:
    """Return what lstat(2) says of what lies at `path` below `root`. OSError as `open_beneath`."""
    folder, _, name = path.rpartition("/")
    if not folder:
        found = os.stat(name, dir_fd=root, follow_symlinks=False)
    else:
        with closing_folder(open_beneath(root, folder, _PASSED)) as parent:
            found = os.stat(name, dir_fd=parent, follow_symlinks=False)
    if stat.S_ISLNK(found.st_mode):
        raise link_error(path)
    return found


@contextlib.contextmanager
def closing_folder(descriptor: int) -> Iterator[int]:
    """Close a descriptor at the end of the block."""
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def is_regular(status: os.stat_result) -> bool:
    """Whether it is a regular file."""
    return stat.S_ISREG(status.st_mode)


def link_error(path: str) -> OSError:
    """Return the error that says that `path` is a symbolic link, or leads through one."""
    return OSError(errno.ELOOP, "it is, or leads through, a symbolic link, and those are not followed", path)


def _open(folder: int, name: str, flags: int) -> int:
    try:
        return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise link_error(name) from None
        # With O_DIRECTORY a link is "not a directory", as a file is.
        if error.errno == errno.ENOTDIR and stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            raise link_error(name) from None
        raise
