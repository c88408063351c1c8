"""The objects below a folder, in byte order of their full keys.

Byte order of keys is not the order of a plain walk: ``a-b`` comes before ``a/b``, because
``-`` is before ``/``. Sorting the names of a folder with a ``/`` behind those of its folders gives it, so memory is
the names of one folder on each level, and a descriptor each. Names that cannot be keys (not UTF-8, control characters)
are not objects. A symbolic link that a listing would have to show ends it with an error: it is not followed, and were
it left out, what lies behind it would seem to be gone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
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
        for raw, is_link in _names(descriptor, top=not base):
            name = raw.decode()
            if not name.startswith(beginning):
                continue
            key = base + name
            encoded = key.encode()
            if name.endswith("/"):
                # Below a folder of a longer name there is no key; and somebody may have put folders without end there.
                if len(encoded) < MAX_KEY_BYTES and (encoded > after or after.startswith(encoded)):
                    yield from _walk(descriptor, name[:-1], key, "", after)
            elif encoded > after and is_key(key):
                if is_link:
                    raise link_error(key)
                found = _look(descriptor, name)
                if found is not None:
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
    """Return what lstat(2) says of an object; None when there is none of that name."""
    try:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return found if is_regular(found) else None


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
            if found is not None:
                yield key, found


def has_objects(root: int, prefix: str) -> bool:
    """Say whether any key starts with `prefix`."""
    return next(walk(root, prefix, ""), None) is not None
