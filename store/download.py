"""An object of any size into an open file: the first piece by one request, the others several at a time, checked.

**Invariant:** what is there when it returns is one state of the object, of the size that the store said, and where the
store gives a checksum of the whole (an ETag that is an MD5), of that checksum. Memory: one piece for each thread.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import Executor

from penstock.errors import IntegrityError

from .base import ByteRange, ObjectInfo, Store

__all__ = ["PIECE_SIZE", "download_object"]

PIECE_SIZE = 16 << 20
_STEP = 1 << 20


def download_object(
    store: Store,
    key: str,
    descriptor: int,
    *,
    version_id: str | None = None,
    pool: Executor | None = None,
    advance: Callable[[int], object] = lambda _: None,
) -> ObjectInfo:
    """Write an object into an open, empty file, and return what the store says of it. `advance` is told of bytes.

    NotFoundError: there is none. ConflictError: it changed meanwhile. IntegrityError: it is not what its checksum
    says, or of another size. Raises OSError of the file.
    """
    begun = store.begin(key, PIECE_SIZE, version_id=version_id)
    info = begun.info
    _write(descriptor, begun.data, 0)
    advance(len(begun.data))

    def piece(offset: int) -> None:
        wanted = ByteRange(offset, min(PIECE_SIZE, info.size - offset))
        data = store.get(key, wanted, version_id=version_id, etag=info.etag)
        _write(descriptor, data, offset)
        advance(len(data))

    offsets = range(len(begun.data), info.size, PIECE_SIZE)
    for _ in pool.map(piece, offsets) if pool is not None and len(offsets) > 1 else map(piece, offsets):
        pass
    size = os.fstat(descriptor).st_size
    if size != info.size:
        raise _damaged(store, key, f"{size} bytes came, and it has {info.size}")
    if begun.md5 is not None and _md5(descriptor, begun.data, size) != begun.md5:
        raise _damaged(store, key, f"what came has not the checksum {begun.md5.hex()}")
    return info


def _write(descriptor: int, data: bytes, offset: int) -> None:
    rest = memoryview(data)
    while rest:
        written = os.pwrite(descriptor, rest, offset)
        rest, offset = rest[written:], offset + written


def _md5(descriptor: int, beginning: bytes, size: int) -> bytes:
    hasher = hashlib.md5(beginning, usedforsecurity=False)
    for offset in range(len(beginning), size, _STEP):
        hasher.update(os.pread(descriptor, _STEP, offset))
    return hasher.digest()


def _damaged(store: Store, key: str, why: str) -> IntegrityError:
    return IntegrityError(f"{store.url}/{key} arrived damaged", why=why, fix="Fetch it again.")
