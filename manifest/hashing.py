"""What is hashed, and how. BLAKE3 throughout; every purpose but plain content has a key-derivation context.

A file of at most one block is the plain BLAKE3 of its bytes, so its hash is also its block's. A larger one is the
hash of the hashes of its blocks, in pages: an edit then costs the blocks it touched and one page, where a flat
hash would mean reading the whole file again (docs/design/001).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from blake3 import blake3

from .entry import BLOCK_SIZE, PAGE_BLOCKS, block_count

__all__ = [
    "HASH_SIZE",
    "ContentHasher",
    "commit_id",
    "content_hash",
    "document_hash",
    "documented_leaf_hash",
    "documented_top_hash",
    "file_hash",
    "hash_of_blocks",
    "identified_leaf_hash",
    "identity_block_hash",
    "identity_hash",
    "index_hash",
    "leaf_hash",
    "page_hash",
    "pages_of",
    "top_hash",
    "zero_block_hash",
    "zero_page_hash",
]

HASH_SIZE = 32
_PAGE_BYTES = PAGE_BLOCKS * HASH_SIZE


def content_hash(data: bytes | bytearray | memoryview) -> bytes:
    """Plain BLAKE3: of a block, a data object, a node pack, a frame, a symlink's target."""
    return blake3(data).digest()


def leaf_hash(logical: bytes) -> bytes:
    """Hash the logical part of a leaf."""
    return blake3(logical, derive_key_context="penstock 1 leaf").digest()


def documented_leaf_hash(logical: bytes) -> bytes:
    """Hash the logical part of a leaf with documents."""
    return blake3(logical, derive_key_context="penstock 2 leaf").digest()


def identified_leaf_hash(logical: bytes) -> bytes:
    """Hash the logical part of a leaf with entries pinned by identity."""
    return blake3(logical, derive_key_context="penstock 3 leaf").digest()


def identity_hash(logical: bytes) -> bytes:
    """Hash what a store says of an object: see `identity`. No content has this hash."""
    return blake3(logical, derive_key_context="penstock 3 identity").digest()


def identity_block_hash(where: bytes) -> bytes:
    """Hash what stands for a block that nobody has read: of this program alone, no part of the format."""
    return blake3(where, derive_key_context="penstock identity block").digest()


def document_hash(body: bytes) -> bytes:
    """Hash a document: metadata, as canonical JSON, that is too much for a leaf."""
    return blake3(body, derive_key_context="penstock 2 document").digest()


def index_hash(logical: bytes) -> bytes:
    """Hash the logical part of an index node."""
    return blake3(logical, derive_key_context="penstock 1 index").digest()


def page_hash(hashes: bytes) -> bytes:
    """Hash one page: the joined hashes of up to PAGE_BLOCKS blocks."""
    return blake3(hashes, derive_key_context="penstock 1 page").digest()


@cache
def zero_block_hash() -> bytes:
    """Return the hash of a whole block of zeros."""
    return content_hash(bytes(BLOCK_SIZE))


@cache
def zero_page_hash() -> bytes:
    """Return the hash of a whole page of such blocks."""
    return page_hash(zero_block_hash() * PAGE_BLOCKS)


def file_hash(size: int, page_hashes: bytes) -> bytes:
    """Hash a file of more than one block: its size and the joined hashes of its pages."""
    return blake3(size.to_bytes(8, "little") + page_hashes, derive_key_context="penstock 1 file").digest()


def top_hash(logical: bytes) -> bytes:
    """Hash what a manifest contains: see `records.Manifest.logical`."""
    return blake3(logical, derive_key_context="penstock 1 manifest").digest()


def documented_top_hash(logical: bytes) -> bytes:
    """Hash what a manifest contains whose metadata is a document."""
    return blake3(logical, derive_key_context="penstock 2 manifest").digest()


def commit_id(body: bytes) -> bytes:
    """Hash a commit record as it is stored."""
    return blake3(body, derive_key_context="penstock 1 commit").digest()


def pages_of(blocks: bytes) -> Iterator[bytes]:
    """Cut joined block hashes into pages."""
    for start in range(0, len(blocks), _PAGE_BYTES):
        yield blocks[start : start + _PAGE_BYTES]


def hash_of_blocks(size: int, blocks: bytes) -> bytes:
    """Hash a file from the joined hashes of its two or more blocks."""
    return file_hash(size, b"".join(page_hash(page) for page in pages_of(blocks)))


class ContentHasher:
    """Hash a file as its bytes go by, in pieces of any size; the last call is `finish`.

    Memory: 32 bytes a block.
    """

    def __init__(self) -> None:
        self._block = blake3()
        self._room = BLOCK_SIZE
        self._blocks = bytearray()
        self.size = 0

    def update(self, data: bytes | bytearray | memoryview) -> None:
        """Take the next bytes of the file."""
        view = memoryview(data)
        self.size += len(view)
        while len(view) > 0:
            if self._room == 0:
                self._close_block()
            part = view[: self._room]
            self._block.update(part)
            self._room -= len(part)
            view = view[len(part) :]

    def _close_block(self) -> None:
        self._blocks += self._block.digest()
        self._block = blake3()
        self._room = BLOCK_SIZE

    def finish(self) -> tuple[bytes, bytes]:
        """Return the file's hash, and the joined hashes of its blocks (empty for a file of at most one)."""
        if self.size <= BLOCK_SIZE:
            return self._block.digest(), b""
        self._close_block()
        blocks = bytes(self._blocks)
        assert len(blocks) == HASH_SIZE * block_count(self.size)
        return hash_of_blocks(self.size, blocks), blocks
