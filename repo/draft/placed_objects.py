"""Bytes of a version as objects of their own below a prefix of its bucket, one a file: what people find by its name.

Local files are put there, objects of the same server copied by it. What is there already with the same content stays.
An object with other content stays as well, unless the bucket keeps versions: other versions of a dataset may point to
it, so the new one gets the beginning of its hash behind its name.

**Invariant:** an entry points to an object only by the version or ETag under which its content was seen to be there.
Threads of a pool do the sending; the decisions about one object are made by one of them.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote

from penstock.errors import ConflictError, UsageError
from penstock.manifest.entry import External, TreeEntry, display_path
from penstock.manifest.hashing import ContentHasher
from penstock.progress import Stage
from penstock.repo.push.local_path import file_error, open_path
from penstock.store.base import Buffer, ByteRange, ObjectInfo, Store
from penstock.store.keys import is_key
from penstock.store.s3.etags import same_etag

from .draft_tree import Path
from .packed_data import changed_since

__all__ = ["ObjectPlaces", "Placed"]

_READ = 8 << 20
_MOST = 5 << 30
_TRIES = 3


@dataclass(frozen=True, slots=True)
class Placed:
    """Where a file's bytes are now. `sent`: bytes that went there; `copied`: whether the server copied them."""

    external: External
    sent: int = 0
    copied: bool = False


class ObjectPlaces:
    """Puts objects below `prefix` of a store. `uploading` is told the bytes."""

    def __init__(self, store: Store, prefix: str, uploading: Stage) -> None:
        self._store = store
        self._prefix = prefix.strip("/")
        self._uploading = uploading

    def key_of(self, path: Path) -> str:
        """Return the key for a file. UsageError: it cannot be one."""
        key = "/".join(filter(None, (self._prefix, display_path(path))))
        if not is_key(key) or key.startswith(".penstock"):
            raise UsageError(
                f"{key!r} cannot be the key of an object",
                why="a key is up to 1024 bytes of UTF-8 without control characters, and not in .penstock/",
                fix="Rename the entry, or push the data without a prefix: then no key is made of its name.",
            )
        return key

    def address_of(self, key: str) -> str:
        """Return the address of an object as entries have it."""
        return f"{self._store.url.rstrip('/')}/{quote(key)}"

    def put_file(self, path: Path, entry: TreeEntry, place: bytes) -> Placed:
        """Put a local file there. ConflictError: it is not what the entry says; AccessError: it cannot be read."""
        if entry.size > _MOST:
            raise UsageError(
                f"{display_path(path)!r} is too large to be one object",
                why=f"it has {entry.size} bytes, and one request takes {_MOST}",
                fix="Push the data without a prefix: then large files are cut.",
            )
        try:
            descriptor = open_path(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError as error:
            raise file_error(place, error) from error
        try:
            before = os.fstat(descriptor)
            if before.st_size != entry.size:
                raise changed_since(place)
            with mmap.mmap(descriptor, entry.size, prot=mmap.PROT_READ) as body:
                view = memoryview(body)
                try:
                    if _hash(lambda at, length: view[at : at + length], entry.size) != entry.hash:
                        raise changed_since(place)
                    placed = self.put_bytes(path, entry, view)
                finally:
                    view.release()
            after = os.fstat(descriptor)
            if (after.st_size, after.st_mtime_ns, after.st_ctime_ns) != (
                before.st_size,
                before.st_mtime_ns,
                before.st_ctime_ns,
            ):
                raise changed_since(place)
        finally:
            os.close(descriptor)
        return placed

    def put_bytes(self, path: Path, entry: TreeEntry, body: Buffer) -> Placed:
        """Put the content of an entry there, which was held against its hash."""

        def write(key: str, over: bool) -> bool:
            if over:
                self._store.put(key, body)
                return True
            return self._store.create(key, body)

        placed = self._place(path, entry, write)
        self._uploading.advance(entry.size)
        return placed

    def copy(self, path: Path, entry: TreeEntry, found: External, source: Store, source_key: str) -> Placed:
        """Have the server copy the object that an entry points to as a whole. ConflictError: it changed."""

        def write(key: str, over: bool) -> bool:  # noqa: ARG001  # the server has no create-if-absent for copies
            self._store.copy(source, source_key, key, source_version_id=found.version_id)
            if found.version_id is None:
                now = source.head(source_key)
                if now is None or now.size != entry.size or not same_etag(now.etag, found.etag):
                    raise ConflictError(
                        f"{found.uri} changed since it was added",
                        why="it has another ETag",
                        fix="Add it again, and build the manifest anew.",
                    )
            return True

        placed = self._place(path, entry, write, etag=found.etag)
        return Placed(placed.external, 0, copied=bool(placed.sent))

    def _place(
        self, path: Path, entry: TreeEntry, write: Callable[[str, bool], bool], etag: str | None = None
    ) -> Placed:
        key = self.key_of(path)
        for name in (key, f"{key}~{entry.hash.hex()[:12]}"):
            for _ in range(_TRIES):
                there = self._store.head(name)
                if there is not None and self._holds(there, entry, etag):
                    return Placed(self._external(there))
                if there is not None and there.version_id in (None, "null"):
                    break  # taken, and what is there must stay
                if write(name, there is not None):
                    now = self._store.head(name)
                    if now is None or now.size != entry.size:
                        raise self._moved(name)
                    return Placed(self._external(now), entry.size)
        raise self._moved(key)

    def _holds(self, there: ObjectInfo, entry: TreeEntry, etag: str | None) -> bool:
        """Whether an object has the content of an entry; read, unless ETags of one server tell."""
        if there.size != entry.size:
            return False
        if etag is not None and there.etag is not None and "-" not in etag and same_etag(etag, there.etag):
            return True

        def get(at: int, length: int) -> bytes:
            wanted = ByteRange(at, length)
            return self._store.get(there.key, wanted, version_id=there.version_id, etag=there.etag, checked=True)

        return _hash(get, entry.size) == entry.hash

    def _external(self, there: ObjectInfo) -> External:
        return External(self.address_of(there.key), there.version_id, there.etag)

    def _moved(self, key: str) -> ConflictError:
        return ConflictError(
            f"{key!r} in {self._store.url} changed while it was being written",
            why="somebody else writes objects of that name",
            fix="Choose another prefix.",
        )


def _hash(read: Callable[[int, int], Buffer], size: int) -> bytes:
    hasher = ContentHasher()
    for at in range(0, size, _READ):
        hasher.update(read(at, min(_READ, size - at)))
    return hasher.finish()[0]
