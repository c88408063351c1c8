"""Put damaged data objects back from a directory that still has the files: found by hash, whatever their names.

An object is rebuilt from what the bucket still has of it and from blocks of local files, and is written only if the
whole has the hash that names it. A push cannot do that: an object of the right size counts as there.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import BinaryIO, NamedTuple

from penstock.errors import AccessError, IntegrityError, NotFoundError, UsageError
from penstock.manifest.entry import BLOCK_SIZE, Kind, TreeEntry, block_count
from penstock.manifest.hashing import content_hash
from penstock.repo.bucket import object_keys
from penstock.repo.push.directory_walk import LocalFile, walk_directory
from penstock.repo.push.local_path import open_path
from penstock.store.base import ByteRange, Store

from .damage import Damages
from .deep_check import BlockHash, block_parts

__all__ = ["Repair"]

_LARGEST = 256 << 20
"""Bytes of an object that is rebuilt in memory; Penstock writes none above 32 MiB."""


class _Need(NamedTuple):
    """A part of a block that belongs into an object."""

    block: bytes
    start: int
    length: int
    offset: int


class _Place(NamedTuple):
    """Where a block lies in a local file."""

    path: bytes
    offset: int
    length: int


class Repair:
    """One repair: `want` every file of the version, then `run`. UsageError, NotFoundError: no such directory."""

    def __init__(self, directory: str, store: Store) -> None:
        self._source = walk_directory(directory, lambda _: None)
        self._store = store
        self._needs: dict[bytes, list[_Need]] = {}
        self._places: dict[bytes, _Place] = {}

    def want(self, entry: TreeEntry, block_hash: BlockHash, damages: Damages) -> None:
        """Note which blocks of a file lie in damaged data objects."""
        if all(extent.object not in damages.objects for extent in entry.extents):
            return
        for index in range(block_count(entry.size)):
            start = 0
            for part in block_parts(entry, index):
                if isinstance(part.object, bytes) and damages.is_mendable(part.object):
                    try:
                        digest = block_hash(entry, index)
                    except (IntegrityError, AccessError):
                        break  # nobody knows what the block was
                    self._needs.setdefault(part.object, []).append(_Need(digest, start, part.length, part.offset))
                start += part.length

    def run(self, damages: Damages) -> None:
        """Look through the directory, and rebuild what can be."""
        self._find({need.block for needs in self._needs.values() for need in needs})
        for digest, needs in self._needs.items():
            damages.objects[digest].repaired = self._rebuild(digest, needs)

    def _find(self, wanted: set[bytes]) -> None:
        for step in self._source:
            if isinstance(step, LocalFile) and step.kind is not Kind.SYMLINK:
                try:
                    self._find_in(step.path, wanted)
                except OSError as error:
                    name = os.fsdecode(step.path)
                    raise UsageError(f"cannot read {name!r}", why=error.strerror or str(error)) from error

    def _find_in(self, path: bytes, wanted: set[bytes]) -> None:
        with _opened(path) as file:
            offset = 0
            while block := file.read(BLOCK_SIZE):
                digest = content_hash(block)
                if digest in wanted:
                    self._places.setdefault(digest, _Place(path, offset, len(block)))
                offset += len(block)

    def _rebuild(self, digest: bytes, needs: list[_Need]) -> bool:
        there = self._rest_of(digest)
        needed = max(need.offset + need.length for need in needs)
        if max(needed, len(there)) > _LARGEST:
            return False
        # What other versions have in the object is known from the object alone, and so may its length be.
        for size in sorted({needed, len(there)}):
            body = bytearray(size)
            body[: min(size, len(there))] = there[:size]
            for need in needs:
                place = self._places.get(need.block)
                block = _read(place) if place is not None else b""
                if len(block) >= need.start + need.length and need.offset + need.length <= size:
                    body[need.offset : need.offset + need.length] = block[need.start : need.start + need.length]
            if content_hash(body) == digest:
                self._store.put(object_keys.data_key(digest), body)
                return True
        return False

    def _rest_of(self, digest: bytes) -> bytes:
        try:
            return self._store.get(object_keys.data_key(digest), ByteRange(0, _LARGEST), checked=True)
        except NotFoundError:
            return b""


def _opened(path: bytes) -> BinaryIO:
    """Open a regular file, and nothing that has taken its place since it was listed. OSError."""
    descriptor = open_path(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no regular file any more", path)
    return open(descriptor, "rb")


def _read(place: _Place) -> bytes:
    try:
        with _opened(place.path) as file:
            file.seek(place.offset)
            return file.read(place.length)
    except OSError:
        return b""  # changed meanwhile: the hash of the whole decides
