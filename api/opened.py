"""What this process has opened: versions, files of them that were meant, orders in which they are given out.

Kept in memory for `penstock.stamp`, bounded, and never asked for anything else. Any thread; a forked child goes on with
what its parent had.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["OpenedFiles", "OpenedVersion", "files_opened", "left_out", "note_files", "note_version", "versions_opened"]

_MOST = 10_000


class OpenedVersion(NamedTuple):
    """A version: how it was named, where its bucket is, and which one it is, in hex. `subdir` is a directory of it."""

    handle: str
    bucket: str
    dataset: str
    top_hash: str
    commit: str | None
    subdir: str


class OpenedFiles(NamedTuple):
    """Files of a version: those that a filter (an expression, or a function by name) leaves; `digest` says which.

    `order` is how they are given out: shuffle, seed, rank, ranks, drop_last; None: nobody has said.
    """

    version: OpenedVersion
    files: int
    filter: str | None
    function: str | None
    digest: str
    order: tuple[bool, int, int, int, bool] | None


_lock = threading.Lock()
_versions: dict[OpenedVersion, None] = {}
_files: dict[OpenedFiles, Sequence[int]] = {}
_left_out = 0


def note_version(version: OpenedVersion) -> None:
    """Take note of a version that was opened."""
    global _left_out
    with _lock:
        if len(_versions) < _MOST:
            _versions[version] = None
        elif version not in _versions:
            _left_out += 1


def note_files(files: OpenedFiles, mark: Sequence[int]) -> None:
    """Take note of files that were meant; the first number of `mark` is the epoch, when it is asked."""
    global _left_out
    with _lock:
        if files in _files or len(_files) < _MOST:
            _files[files] = mark
        else:
            _left_out += 1


def versions_opened() -> list[OpenedVersion]:
    """Return the versions that were opened."""
    with _lock:
        return list(_versions)


def files_opened() -> list[tuple[OpenedFiles, int]]:
    """Return the files that were meant, each with the epoch that is gone through."""
    with _lock:
        return [(files, int(mark[0])) for files, mark in _files.items()]


def left_out() -> int:
    """Return how many were not noted, because there were too many."""
    return _left_out


def _after_fork_in_child() -> None:
    global _lock
    _lock = threading.Lock()  # another thread of the parent may have held it


os.register_at_fork(after_in_child=_after_fork_in_child)
