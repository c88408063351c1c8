"""The objects below a folder, in byte order of their full keys.

Byte order of keys is not the order of a plain walk: ``a-b`` comes before ``a/b``, because
``-`` is before ``/``. Sorting the names of a folder with a ``/`` behind those of its folders gives it, so memory is
the names of one folder on each level, and a descriptor each. Names that cannot be keys (not UTF-8, control characters)
are not objects. A symbolic link that a listing would have to show ends it with an error: it is not followed, and were
it left out, what lies behind it would seem to be gone.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from typing import NamedTuple

from .beneath import closing_folder, is_regular, link_error, open_beneath
from .durable import TEMPORARY_FOLDER
from .keys import MAX_KEY_BYTES, is_key

__all__ = ["files", "has_objects", "subfolders", "walk"]

_FOLDER = os.O_RDONLY | os.O_DIRECTORY
_GONE = (FileNotFoundError, NotADirectoryError)


class _Name(NamedTuple):
    """A name in a folder, as it is sorted: with a slash behind it when it is a folder's."""

    raw: bytes
    is_link: bool


def walk(root: int, prefix: str, start_after: str) -> Iterator[tuple[str, os.stat_result]]:
    """Yield (key, stat) of every object below `root` whose key starts with `prefix` and is after `start_after`.

    What vanishes meanwhile is left out. Raises OSError, PermissionError above all, and ELOOP for a symbolic link.
    """
    above, _, beginning = prefix.rpartition("/")
    after = start_after.encode("utf-8", "surrogatepass")
    yield from _walk(root, above, above + "/" if above else "", beginning, after)


def _walk(parent: int, folder: str, base: str, beginning: str, after: bytes) -> Iterator[tuple[str, os.stat_result]]:
    try:
        descriptor = open_beneath(parent, folder, _FOLDER)
    except _GONE:
        return
    with closing_folder(descriptor):
        # A heap, because most who list want the first name or two: of 10,000 moves of a branch, the newest.
        names = os.listdir(descriptor)
        if beginning:
            names = [name for name in names if name.startswith(beginning)]
        heapify(names)
        while names:
            name = heappop(names)
            if name.endswith("/"):
                yield from _walk(descriptor, name[:-1], base + name, "", after)
                continue
            if not is_key(name) or (not base and name == TEMPORARY_FOLDER):
                continue
            key = base + name
            encoded = key.encode()
            below = encoded + b"/"
            # Below a folder of a longer name there is no key; and somebody may have put folders without end there.
            has_keys = len(below) < MAX_KEY_BYTES and (below > after or after.startswith(below))
            if encoded <= after and not has_keys:
                continue
            found = _look(descriptor, name)
            if found is None:
                continue
            if stat.S_ISDIR(found.st_mode):
                if has_keys:
                    heappush(names, name + "/")
            elif encoded > after and is_key(key):
                if stat.S_ISLNK(found.st_mode):
                    raise link_error(key)
                if is_regular(found):
                    yield key, found


def _names(folder: int, *, top: bool) -> list[_Name]:
    """Return the names of files and, with a slash behind them, of folders, sorted as bytes."""
    names: list[_Name] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if not is_key(entry.name) or (top and entry.name == TEMPORARY_FOLDER):
                continue
            name = entry.name.encode()
            is_folder = entry.is_dir(follow_symlinks=False)
            names.append(_Name(name + b"/" if is_folder else name, entry.is_symlink()))
    names.sort()
    return names


def _look(folder: int, name: str) -> os.stat_result | None:
    """Return what lstat(2) says of a name; None when it is gone."""
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def subfolders(root: int, prefix: str) -> list[str]:
    """Return the names of the folders directly below `prefix` (empty, or ending in a slash), in byte order."""
    try:
        with closing_folder(open_beneath(root, prefix[:-1], _FOLDER)) as folder:
            names = _names(folder, top=not prefix)
    except _GONE:
        return []
    for raw, is_link in names:
        if is_link:
            raise link_error(prefix + raw.decode())
    return [name.decode() for name in sorted(raw[:-1] for raw, _ in names if raw.endswith(b"/"))]


def files(root: int, prefix: str) -> Iterator[tuple[str, os.stat_result]]:
    """Yield (key, stat) of the objects directly below `prefix` (empty, or ending in a slash)."""
    try:
        descriptor = open_beneath(root, prefix[:-1], _FOLDER)
    except _GONE:
        return
    with closing_folder(descriptor):
        for raw, is_link in _names(descriptor, top=not prefix):
            key = prefix + raw.decode()
            if key.endswith("/") or not is_key(key):
                continue
            if is_link:
                raise link_error(key)
            found = _look(descriptor, raw.decode())
            if found is not None and is_regular(found):
                yield key, found


def has_objects(root: int, prefix: str) -> bool:
    """Say whether any key starts with `prefix`."""
    return next(walk(root, prefix, ""), None) is not None
