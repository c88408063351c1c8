"""Patterns of dependencies: what they may stand for, and what a walk finds. `**` stands for any number of names.

A name that begins with a dot is meant only by a segment that does, as in a shell. Pointer files are never meant: they
stand for data that lies beside them, and change with the registry's history where the data does not.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Callable, Iterator
from functools import lru_cache

from penstock.errors import AccessError

__all__ = ["expand", "fixed_part", "is_pattern", "may_touch"]

_POINTER = ".penstock"


def is_pattern(path: str) -> bool:
    """Whether a path is a pattern."""
    return any(sign in path for sign in "*?[")


def fixed_part(path: str) -> str:
    """Return the folder above the first name of a pattern that is one; the path itself where none is."""
    names = path.split("/")
    fixed = next((at for at, name in enumerate(names) if is_pattern(name)), len(names))
    return "/".join(names[:fixed])


@lru_cache(4096)
def _matcher(segment: str) -> Callable[[str], bool]:
    if not is_pattern(segment):
        return segment.__eq__
    match = re.compile(fnmatch.translate(segment), re.DOTALL).match
    if segment.startswith("."):
        return lambda name: match(name) is not None
    return lambda name: not name.startswith(".") and match(name) is not None


def may_touch(pattern: str, path: str) -> bool:
    """Whether a pattern may stand for a path, for something below it, or for a directory above it."""
    return _may_touch(tuple(pattern.split("/")), tuple(path.split("/")))


def _may_touch(pattern: tuple[str, ...], path: tuple[str, ...]) -> bool:
    for segment, name in zip(pattern, path, strict=False):
        if segment == "**":
            return True
        if not _matcher(segment)(name):
            return False
    return True


def expand(root: str, pattern: str) -> Iterator[str]:
    """Yield the paths from `root` that a pattern stands for, in the order of their names. No link is followed.

    A path that is no pattern is yielded when something is there. AccessError: a directory may not be read.
    """
    yield from _expand(root, "", tuple(pattern.split("/")))


def _expand(root: str, above: str, segments: tuple[str, ...]) -> Iterator[str]:
    first, rest = segments[0], segments[1:]
    if first == "**":
        yield from _deep(root, above, rest or ("*",))
        return
    if not is_pattern(first):
        path = f"{above}/{first}" if above else first
        if os.path.lexists(os.path.join(root, path)):
            if rest:
                yield from _expand(root, path, rest)
            else:
                yield path
        return
    matches = _matcher(first)
    for name, is_folder in _listing(root, above):
        if not matches(name) or name.endswith(_POINTER):
            continue
        path = f"{above}/{name}" if above else name
        if not rest:
            yield path
        elif is_folder:
            yield from _expand(root, path, rest)


def _deep(root: str, above: str, rest: tuple[str, ...]) -> Iterator[str]:
    yield from _expand(root, above, rest)
    for name, is_folder in _listing(root, above):
        if is_folder and not name.startswith("."):
            yield from _deep(root, f"{above}/{name}" if above else name, rest)


def _listing(root: str, folder: str) -> list[tuple[str, bool]]:
    try:
        with os.scandir(os.path.join(root, folder)) as entries:
            return sorted((each.name, each.is_dir(follow_symlinks=False)) for each in entries)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise AccessError(f"{folder or '.'!r} cannot be listed", why=error.strerror or str(error)) from error
