"""Regions: what one ranged GET brings, and the blocks that it is cut into. Fetched, checked, kept in the cache.

A region is a range of one object with blocks in it, in order, not overlapping; what lies between them is thrown away.
Used in the process that serves a mount and in the processes that fetch for it (`fetch_pool`). Blocking, thread-safe.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec

from penstock.errors import ConflictError, IntegrityError, NotFoundError
from penstock.manifest.entry import External
from penstock.manifest.hashing import content_hash
from penstock.repo.bucket import object_keys
from penstock.store.base import ByteRange, Store

from .hedged_call import HedgedCalls
from .request_counts import RequestCounts

__all__ = ["RESTORE", "ReadExternal", "Region", "RegionPiece", "RegionReader", "describe_object"]

ReadExternal = Callable[[External, ByteRange], bytes]
"""Reads a range of an object that does not belong to the bucket, by its own deadline: `Externals.get`."""

_T = TypeVar("_T")

RESTORE = "Restore the object from a copy of the bucket."
_REGISTER = "Restore the object as it was, or make a version of what is there now, by a push with --in-place."


class RegionPiece(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A block in a region: its hash, where it begins in the object, its length in bytes."""

    digest: bytes
    offset: int
    length: int


class Region(msgspec.Struct, frozen=True, array_like=True):
    """Blocks that lie close together in one object. Never empty."""

    object: bytes | External
    pieces: tuple[RegionPiece, ...]

    @property
    def is_outside(self) -> bool:
        """Whether the object is not one of the bucket's own."""
        return isinstance(self.object, External)

    @property
    def is_identity(self) -> bool:
        """Whether no hash says what the bytes are, only the store: `digest` of a piece is then `identity_block`."""
        return isinstance(self.object, External) and self.object.size is not None

    @property
    def offset(self) -> int:
        """Where the first block begins."""
        return self.pieces[0].offset

    @property
    def length(self) -> int:
        """Bytes from the begin of the first block to the end of the last."""
        return self.pieces[-1].offset + self.pieces[-1].length - self.offset


def describe_object(store: Store, found: bytes | External) -> str:
    """Return the address of an object that holds a file's bytes, as a person would write it."""
    if isinstance(found, bytes):
        return f"{store.url.rstrip('/')}/{object_keys.data_key(found)}"
    return f"{found.uri}?versionId={found.version_id}" if found.version_id else found.uri


class RegionReader:
    """Reads regions of the objects of one bucket, and of those that entries point to elsewhere.

    With `racing`, what is late is asked for a second time.
    """

    def __init__(
        self, store: Store, read_external: ReadExternal, counters: RequestCounts, racing: HedgedCalls | None = None
    ) -> None:
        self._store = store
        self._read_external = read_external
        self._counters = counters
        self._racing = racing

    def read_into(self, region: Region, memory: memoryview) -> list[memoryview]:
        """Return the blocks of a region of the bucket's own, checked, as parts of `memory`, which is as long.

        Nothing is asked for twice. Raises as `read`.
        """
        assert isinstance(region.object, bytes)
        key = object_keys.data_key(region.object)
        count = self._bring(region.object, lambda: self._store.get_into(key, region.offset, memory))
        self._count(region.object, region.offset, region.length, count)
        return self._checked(region, memory)

    def read(self, region: Region) -> list[memoryview]:
        """Return the blocks of a region, checked.

        Of an object that is pinned by its identity the store answers for version and ETag; nothing more is known of it.
        Else a block that is not what its hash says is fetched once more: the fault may have been on the way. Then, and
        for an object that is gone or has changed, IntegrityError; AccessError and StoreUnreachableError from the store.
        """
        if self._racing is None:
            return self._read(region)
        return self._racing.call(region.length, lambda: self._read(region))

    def _read(self, region: Region) -> list[memoryview]:
        body = memoryview(self._get(region.object, region.offset, region.length))
        if region.is_identity:
            starts = [piece.offset - region.offset for piece in region.pieces]
            return [body[at : at + piece.length] for at, piece in zip(starts, region.pieces, strict=True)]
        return self._checked(region, body)

    def _checked(self, region: Region, body: memoryview) -> list[memoryview]:
        blocks = []
        for piece in region.pieces:
            at = piece.offset - region.offset
            block = body[at : at + piece.length]
            if content_hash(block) != piece.digest:
                block = memoryview(self._get(region.object, piece.offset, piece.length))
                if content_hash(block) != piece.digest:
                    raise IntegrityError(
                        f"bytes {piece.offset} to {piece.offset + piece.length} of "
                        f"{self.describe(region.object)} are not what was written",
                        why="they have another hash",
                        fix=RESTORE,
                    )
                self._counters.add(corrupt_answers=1)
            blocks.append(block)
        return blocks

    def describe(self, found: bytes | External) -> str:
        """Return the address of an object, for messages."""
        return describe_object(self._store, found)

    def get(self, found: bytes | External, offset: int, length: int) -> bytes:
        """Return a range of an object, whole, but for the caller to check by its hash. Raises as `read`."""
        if self._racing is None:
            return self._get(found, offset, length)
        return self._racing.call(length, lambda: self._get(found, offset, length))

    def _get(self, found: bytes | External, offset: int, length: int) -> bytes:
        wanted = ByteRange(offset, length)

        def get() -> bytes:
            if isinstance(found, bytes):
                return self._store.get(object_keys.data_key(found), wanted, checked=True)
            return self._read_external(found, wanted)

        body = self._bring(found, get)
        self._count(found, offset, length, len(body))
        return body

    def _bring(self, found: bytes | External, get: Callable[[], _T]) -> _T:
        try:
            return get()
        except (NotFoundError, ConflictError) as error:
            # Which way it has changed only the store's own reason says.
            why = f"{error.what}: {error.why}" if error.why else error.what
            fix = error.fix or (RESTORE if isinstance(found, bytes) else _REGISTER)
            raise IntegrityError(f"{self.describe(found)} cannot be read", why=why, fix=fix) from error

    def _count(self, found: bytes | External, offset: int, length: int, came: int) -> None:
        """Count an answer. IntegrityError when it is short."""
        self._counters.add(gets=1, bytes_fetched=came)
        if came != length:
            raise IntegrityError(
                f"{self.describe(found)} cannot be read",
                why=f"it ends before byte {offset + length}",
                fix=RESTORE,
            )
