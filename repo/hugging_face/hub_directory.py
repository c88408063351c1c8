"""Which files of a directory are the data set's: of a clone, of a snapshot in the cache of the hub, of `save_to_disk`.

In a snapshot files are links to where their bytes lie, ``blobs`` of the same repository's folder in the cache. Those
are followed, and no other link that leads out of the directory: what lies elsewhere on this machine is no data set.
(https://huggingface.co/docs/hub/local-cache has the layout.)
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass

from penstock.errors import IntegrityError, NotFoundError, UsageError

__all__ = ["HubDirectory", "find_directory", "walk_files"]

_LEFT_OUT = frozenset((".git", ".cache", ".locks", ".no_exist", ".penstock"))
_COMMIT = re.compile(r"[0-9a-f]{40}")
_POINTER = b"version https://git-lfs.github.com/spec/v1\n"
_LARGEST_POINTER = 1024


@dataclass(frozen=True, slots=True)
class HubDirectory:
    """Where the files lie, and what the cache of the hub says of them: whose they are, and of which commit.

    `blobs` is where links in it may lead, None: nowhere.
    """

    path: str
    repository: str | None = None
    commit: str | None = None
    blobs: str | None = None


def find_directory(path: str) -> HubDirectory:
    """Say what a directory is: a repository's folder in the cache, a snapshot in it, or the data set itself.

    NotFoundError, UsageError: it is not there, no directory, or a repository of something else, or without a snapshot.
    """
    top = os.path.abspath(path)
    if not os.path.isdir(top):
        if os.path.lexists(top):
            raise UsageError(f"{path!r} is no directory", fix="Name a data set's directory.")
        raise NotFoundError(f"no directory {path!r}", fix="Name a data set's directory.")
    above = os.path.dirname(top)
    if os.path.basename(above) == "snapshots" and _repository(os.path.dirname(above)) is not None:
        return _snapshot(os.path.dirname(above), os.path.basename(top))
    name = os.path.basename(top)
    if not os.path.isdir(os.path.join(top, "snapshots")) or not os.path.isdir(os.path.join(top, "blobs")):
        return HubDirectory(top)
    if _repository(top) is None:
        raise UsageError(f"{path!r} holds no data set", why=f"the hub's cache calls those datasets--…, not {name!r}")
    snapshots = sorted(os.listdir(os.path.join(top, "snapshots")))
    try:
        with open(os.path.join(top, "refs", "main"), encoding="ascii") as file:
            chosen = file.read(_LARGEST_POINTER).strip()
    except (OSError, UnicodeDecodeError):
        chosen = snapshots[0] if len(snapshots) == 1 else ""
    if chosen not in snapshots:
        raise UsageError(
            f"{path!r} does not say which snapshot is meant",
            why=f"there are {len(snapshots)}, and refs/main names none of them",
            fix="Name one: " + os.path.join(path, "snapshots", snapshots[0] if snapshots else "COMMIT"),
        )
    return _snapshot(top, chosen)


def _repository(folder: str) -> str | None:
    name = os.path.basename(folder)
    return name.removeprefix("datasets--").replace("--", "/") if name.startswith("datasets--") else None


def _snapshot(folder: str, name: str) -> HubDirectory:
    commit = name if _COMMIT.fullmatch(name) else None
    blobs = os.path.realpath(os.path.join(folder, "blobs"))
    return HubDirectory(os.path.join(folder, "snapshots", name), _repository(folder), commit, blobs)


def walk_files(directory: HubDirectory) -> Iterator[tuple[str, str]]:
    """Yield the key of each file, and its path, in an order that is the same each time.

    UsageError: a link leads out of it, a name is not UTF-8. IntegrityError: a file is a pointer of Git LFS, whose
    content was not fetched.
    """
    inside = os.path.realpath(directory.path) + os.sep
    stack = [("", directory.path)]
    while stack:
        prefix, folder = stack.pop()
        with os.scandir(folder) as listing:
            found = sorted(listing, key=lambda each: each.name)
        folders: list[tuple[str, str]] = []
        for each in found:
            if not prefix and each.name in _LEFT_OUT:
                continue
            key = f"{prefix}{each.name}"
            if each.is_dir(follow_symlinks=False):
                folders.append((f"{key}/", each.path))
                continue
            real = os.path.realpath(each.path)
            if each.is_symlink() and not _is_allowed(real, inside, directory.blobs):
                raise UsageError(
                    f"{key!r} is a link that leads out of the data set",
                    why=f"it leads to {real!r}",
                    fix="Put the file there, or take the link out.",
                )
            if os.path.getsize(real) <= _LARGEST_POINTER:
                with open(real, "rb") as file:
                    if file.read(len(_POINTER)) == _POINTER:
                        raise IntegrityError(
                            f"{key!r} has not been fetched",
                            why="it is a pointer of Git LFS, in the place of the content",
                            fix="Run `git lfs pull` in the clone.",
                        )
            yield key, real
        stack += reversed(folders)


def _is_allowed(real: str, inside: str, blobs: str | None) -> bool:
    return os.path.isfile(real) and (real.startswith(inside) or (blobs is not None and os.path.dirname(real) == blobs))
