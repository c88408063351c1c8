"""Entries pinned by identity: files of which nobody has read a byte, only what their store says of them. Pure.

The hash of such an entry is made of its size and its ETag; of its version id, where the store gives no ETag. So a copy
with the same ETag is the same entry wherever it lies, and a version id that becomes known later changes no hash. It is
made in a context of its own: no content has it. docs/design/014 says why.
"""

from __future__ import annotations

import msgspec

from penstock.errors import UsageError

from .entry import MAX_SIZE, Extent, External, Kind, Metadata, TreeEntry
from .hashing import content_hash, identity_block_hash, identity_hash

__all__ = ["MAX_TAG", "hash_of_identity", "identity_block", "identity_entry", "identity_problem"]

MAX_TAG = 1024
"""Bytes of an ETag or a version id that an identity is made of, at most."""

_encode = msgspec.msgpack.Encoder().encode


def identity_problem(external: External) -> str:
    """Say why what is known of an object does not pin it; the empty string when it does."""
    if not external.uri.startswith("s3://"):
        return "only objects in S3 can be pinned by their identity"
    etag, version = external.etag, external.version_id
    if etag is not None and (etag.startswith("W/") or not etag.strip('"')):
        return "its ETag is weak or empty, and may stay the same when the bytes change"
    if etag is None and version in (None, "", "null"):
        return "the store gives it neither an ETag nor a version"
    if any(tag is not None and len(tag) > MAX_TAG // 4 and len(tag.encode()) > MAX_TAG for tag in (etag, version)):
        return f"its ETag or its version id has more than {MAX_TAG} bytes"
    return ""


def hash_of_identity(size: int, external: External) -> bytes:
    """Return the hash of an entry pinned by identity, which `identity_problem` has nothing to say of."""
    etag = external.etag
    return identity_hash(
        _encode((size, etag.strip('"'), None) if etag is not None else (size, None, external.version_id))
    )


def identity_entry(
    name: bytes, external: External, size: int, mtime_ns: int | None = None, metadata: Metadata = b""
) -> TreeEntry:
    """Return the entry of an object that was not read. UsageError: it cannot be pinned so.

    Of an empty object the content is known: its entry is that of any empty file.
    """
    if not 0 <= size <= MAX_SIZE:
        raise UsageError(f"{external.uri} cannot be an entry", why=f"a size of {size} bytes is out of bounds")
    if size == 0:
        return TreeEntry(name, Kind.FILE, 0, content_hash(b""), mtime_ns, metadata)
    if problem := identity_problem(external):
        raise UsageError(
            f"{external.uri} cannot be pinned by its identity",
            why=problem,
            fix="Have it read once: leave identity out.",
        )
    pinned = External(external.uri, external.version_id, external.etag, size)
    digest = hash_of_identity(size, pinned)
    return TreeEntry(name, Kind.FILE, size, digest, mtime_ns, metadata, extents=(Extent(pinned, 0, size),))


def identity_block(entry: TreeEntry, index: int) -> bytes:
    """Return what stands for a block of an entry pinned by identity where blocks of others go by their hash.

    It is of the address and all that pins the object, not of size and ETag alone: what an enemy's store gave out under
    a forged ETag is never taken for bytes of another object. It is no hash of content, and none has it.
    """
    found = entry.extents[0].object
    assert isinstance(found, External)
    return identity_block_hash(_encode((found.uri, found.version_id, found.etag, found.size, index)))
