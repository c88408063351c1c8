"""A quilt registry in a store: `.quilt/named_packages/NAME/POINTER` has a top hash, `.quilt/packages/HASH` a manifest.

A pointer is named by the second in which it was made, or `latest`. Blocking.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from penstock.errors import IntegrityError, NotFoundError
from penstock.store.base import ByteRange, Store

from .manifest import MAX_LINE, QuiltManifest

__all__ = ["QuiltRegistry", "QuiltRevision"]

_NAMED = ".quilt/named_packages/"
_PACKAGES = ".quilt/packages/"
_NAME = re.compile(r"[\w-]+/[\w-]+", re.ASCII)
_HASH = re.compile(r"[0-9a-f]{64}")
_TIME = re.compile(r"[0-9]{1,12}")
_WINDOW = 4 << 20
_MOST_REVISIONS = 1_000_000


@dataclass(frozen=True, slots=True)
class QuiltRevision:
    """A package as it was at a time: seconds since 1970."""

    name: str
    time: int
    top_hash: str


class QuiltRegistry:
    """The packages of a bucket, or of a directory, that quilt3 was told to use as a registry."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def names(self) -> list[str]:
        """Return the names of all packages, in order."""
        return [
            name
            for space in self._store.list_folders(_NAMED)
            for folder in self._store.list_folders(f"{_NAMED}{space}/")
            if _NAME.fullmatch(name := f"{space}/{folder}")
        ]

    def revisions(self, name: str) -> list[QuiltRevision]:
        """Return the history of a package, the oldest first. NotFoundError: there is no such package."""
        found = []
        for info in self._store.list(self._folder(name)):
            pointer = info.key.removeprefix(self._folder(name))
            if _TIME.fullmatch(pointer):
                found.append(QuiltRevision(name, int(pointer), self._pointer(info.key)))
            if len(found) > _MOST_REVISIONS:
                raise IntegrityError(f"{name!r} has too many revisions", why=f"the most is {_MOST_REVISIONS}")
        if not found:
            raise NotFoundError(f"no quilt package {name!r} in {self._store.url}")
        return sorted(found, key=lambda revision: revision.time)

    def tags(self, name: str) -> dict[str, str]:
        """Return what else points to a revision, by name: `latest`, which is not always the newest."""
        folder = self._folder(name)
        pointers = (info.key for info in self._store.list(folder))
        return {key.removeprefix(folder): self._pointer(key) for key in pointers if not _is_time(key)}

    def open(self, top_hash: str) -> QuiltManifest:
        """Open a manifest. NotFoundError: it is not there. IntegrityError: its header is malformed."""
        if not _HASH.fullmatch(top_hash):
            raise IntegrityError(f"{top_hash[:80]!r} is no top hash of quilt")
        return QuiltManifest(self._lines(_PACKAGES + top_hash), top_hash)

    def _folder(self, name: str) -> str:
        if not _NAME.fullmatch(name):
            raise NotFoundError(f"no quilt package {name[:80]!r}", why="a name is two words with a slash between them")
        return f"{_NAMED}{name}/"

    def _pointer(self, key: str) -> str:
        body = bytes(self._store.get(key, limit=4096)).decode("ascii", "replace").strip()
        if not _HASH.fullmatch(body):
            raise IntegrityError(f"{key} in {self._store.url} holds no top hash", why=repr(body[:80]))
        return body

    def _lines(self, key: str) -> Iterator[bytes]:
        info = self._store.head(key)
        if info is None:
            raise NotFoundError(
                f"no manifest {key} in {self._store.url}", fix="The registry has lost it: restore it from a copy."
            )
        rest = b""
        for start in range(0, info.size, _WINDOW):
            body = rest + bytes(self._store.get(key, ByteRange(start, min(_WINDOW, info.size - start))))
            *lines, rest = body.split(b"\n")
            yield from lines
            if len(rest) > MAX_LINE:
                break
        if rest:
            yield rest


def _is_time(key: str) -> bool:
    return _TIME.fullmatch(key.rpartition("/")[2]) is not None
