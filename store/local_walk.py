"""The objects below a folder, in byte order of their full keys.

Called by `local` only. Byte order of keys is not the order of a plain walk: ``a-b`` comes before ``a/b``, because
``-`` is before ``/``. Sorting the names of a folder with a ``/`` behind those of its folders gives it, so memory is
the names of one folder on each level. Names that cannot be keys (not UTF-8, control characters) are not objects.
Symbolic links are followed, but never into a folder that the walk stands in.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from .durable import TEMPORARY_FOLDER
from .keys import MAX_KEY_BYTES, is_key

__all__ = ["files", "has_objects", "subfolders", "walk"]

_FolderId = tuple[int, int]


def walk(root: str, prefix: str, start_after: str) -> Iterator[tuple[str, os.stat_result]]:
    """Yield (key, stat) of every object whose key starts with `prefix` and is after `start_after`.

    What vanishes meanwhile is left out. Raises OSError, PermissionError above all.
    """
    above, _, beginning = prefix.rpartition("/")
    folder = os.path.join(root, above) if above else root
    base = above + "/" if above else ""
    after = start_after.encode("utf-8", "surrogatepass")
    yield from _walk(folder, base, beginning, after, ())


def _walk(
    folder: str, base: str, beginning: str, after: bytes, above: tuple[_FolderId, ...]
) -> Iterator[tuple[str, os.stat_result]]:
    try:
        status = os.stat(folder)
        identity = (status.st_dev, status.st_ino)
        if identity in above:
            return
        names = _names(folder, top=not base)
    except (FileNotFoundError, NotADirectoryError):
        return
    for raw in names:
        name = raw.decode()
        if not name.startswith(beginning):
            continue
        key = base + name
        encoded = key.encode()
        if name.endswith("/"):
            # Below a folder of a longer name there is no key; and somebody may have put folders without end there.
            if len(encoded) < MAX_KEY_BYTES and (encoded > after or after.startswith(encoded)):
                yield from _walk(os.path.join(folder, name[:-1]), key, "", after, (*above, identity))
        elif encoded > after and is_key(key):
            try:
                status = os.stat(os.path.join(folder, name))
            except FileNotFoundError:
                continue
            if stat.S_ISREG(status.st_mode):
                yield key, status


def _names(folder: str, *, top: bool) -> list[bytes]:
    """Return the names of files and, with a slash behind them, of folders, sorted as bytes."""
    names: list[bytes] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if not is_key(entry.name) or (top and entry.name == TEMPORARY_FOLDER):
                continue
            name = entry.name.encode()
            names.append(name + b"/" if entry.is_dir() else name)
    names.sort()
    return names


def subfolders(root: str, prefix: str) -> list[str]:
    """Return the names of the folders directly below `prefix` (empty, or ending in a slash), in byte order."""
    try:
        names = _names(os.path.join(root, prefix), top=not prefix)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [name.decode() for name in sorted(name[:-1] for name in names if name.endswith(b"/"))]


def files(root: str, prefix: str) -> Iterator[tuple[str, os.stat_result]]:
    """Yield (key, stat) of the objects directly below `prefix` (empty, or ending in a slash)."""
    folder = os.path.join(root, prefix)
    try:
        names = _names(folder, top=not prefix)
    except (FileNotFoundError, NotADirectoryError):
        return
    for raw in names:
        key = prefix + raw.decode()
        if not key.endswith("/") and is_key(key):
            try:
                status = os.stat(os.path.join(root, key))
            except FileNotFoundError:
                continue
            if stat.S_ISREG(status.st_mode):
                yield key, status


def has_objects(root: str, prefix: str) -> bool:
    """Say whether any key starts with `prefix`."""
    return next(walk(root, prefix, ""), None) is not None
