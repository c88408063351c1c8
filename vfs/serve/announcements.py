"""What a mount does with an announcement that comes over its control socket: paths to inodes, inodes to the follower.

`AnnounceRequest` is answered by `AnnounceAnswer`: the first N paths were found within a few seconds, the others are to
be sent again, `at` N more. An announcement with a path that is no file is refused, and dropped.
"""

from __future__ import annotations

import os
import posixpath
import time
from array import array
from collections.abc import Sequence
from typing import NamedTuple

from penstock.errors import NotFoundError, PenstockError, UsageError
from penstock.manifest.entry import Kind, NodeRef, TreeEntry, split_path
from penstock.manifest.tree import ROOT_INODE, Inode, Tree
from penstock.mountpoint.control_messages import AnnounceAnswer, AnnounceRequest
from penstock.vfs.ahead.order_follower import OrderFollower, patient_tree
from penstock.vfs.source.source import Source
from penstock.vfs.source.workers import Workers

__all__ = ["Announcements", "find_files"]

_PATIENCE = 2.0
"""Seconds for one part: well below what the control socket gives a client, also when nodes come from the store."""
_SHOWN = 5
_MOST_LINKS = 40


class _Found(NamedTuple):
    inodes: array[int]
    size: int
    taken: int


class Announcements:
    """Takes the announcements of one mount."""

    def __init__(self, source: Source, follower: OrderFollower, workers: Workers) -> None:
        self._source = source
        self._follower = follower
        self._workers = workers

    async def take(self, request: AnnounceRequest, _: int) -> AnnounceAnswer:
        """Answer a request. NotFoundError: paths that are not there, by name; UsageError: what is no path at all."""
        if not all(map(_is_path, request.paths)):
            raise UsageError("this is no announcement", why="a path in it is no text that a path can be")
        try:
            found = await self._workers.run(find_files, self._source, request.paths, _PATIENCE)
        except PenstockError:
            self._follower.drop(request.client)
            raise
        complete = request.last and found.taken == len(request.paths)
        self._follower.add(request.client, request.token, request.at, found.inodes, found.size, last=complete)
        return AnnounceAnswer(found.taken)


def _is_path(text: str) -> bool:
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return False
    return True


def find_files(source: Source, paths: Sequence[str], patience: float) -> _Found:
    """Return the inodes of the first of some paths, as many as are found in `patience` seconds, at least one. Blocking.

    A symlink within the version is taken for the file that it leads to. NotFoundError: names the first few that are
    not there; UsageError: one is no file.
    """
    until = time.monotonic() + patience
    tree = patient_tree(source)
    folders: dict[str, tuple[Inode, NodeRef] | None] = {}
    inodes: array[int] = array("Q")
    absent: list[str] = []
    size = taken = 0
    for path in paths:
        found = _find(tree, path, folders)
        taken += 1
        if found is None:
            absent.append(path)
        elif not found[1].is_file:
            raise UsageError(f"{path!r} was announced, and is no file")
        else:
            inodes.append(found[0])
            size += found[1].size
        if time.monotonic() > until:
            break
    if absent:
        more = f" and {len(absent) - _SHOWN} more" if len(absent) > _SHOWN else ""
        raise NotFoundError(
            f"{', '.join(map(repr, absent[:_SHOWN]))}{more} was announced, and is not in the version",
            fix="Announce files of the mounted version only.",
        )
    return _Found(inodes, size, taken)


def _find(tree: Tree, path: str, folders: dict[str, tuple[Inode, NodeRef] | None]) -> tuple[Inode, TreeEntry] | None:
    """Return what is at a path; None: nothing, or something outside. `folders` are known from paths before it."""
    for _ in range(_MOST_LINKS):
        folder, _, name = path.rpartition("/")
        if folder not in folders:
            folders[folder] = _folder(tree, folder)
        known = folders[folder]
        if known is None or not name:
            return None
        found = tree.lookup(*known, os.fsencode(name))
        if found is None or found[1].kind is not Kind.SYMLINK:
            return found
        target = os.fsdecode(found[1].target)
        path = posixpath.normpath(posixpath.join(folder, target))
        if target.startswith("/") or path.startswith(".."):
            return None
    return None


def _folder(tree: Tree, path: str) -> tuple[Inode, NodeRef] | None:
    if not path:
        return ROOT_INODE, tree.root
    try:
        inode, entry = tree.resolve(split_path(os.fsencode(path)))
    except NotFoundError:
        return None
    return (inode, entry.directory) if entry.directory is not None else None
