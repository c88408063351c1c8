"""Hashes of content: the same however the bytes arrive, and the ones that the format defines."""

from __future__ import annotations

from itertools import pairwise

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st
from trees.strategies import quick

from penstock.manifest.entry import BLOCK_SIZE, PAGE_BLOCKS, block_count
from penstock.manifest.hashing import (
    ContentHasher,
    commit_id,
    content_hash,
    file_hash,
    hash_of_blocks,
    index_hash,
    leaf_hash,
    page_hash,
    pages_of,
    top_hash,
)

_EDGES = [0, 1, BLOCK_SIZE - 1, BLOCK_SIZE, BLOCK_SIZE + 1, 2 * BLOCK_SIZE, 3 * BLOCK_SIZE + 5]
_NOISE = blake3(b"noise").digest(3 * BLOCK_SIZE + 5)


def _by_the_book(data: bytes) -> tuple[bytes, bytes]:
    if len(data) <= 1048576:
        return blake3(data).digest(), b""
    blocks = [blake3(data[at : at + 1048576]).digest() for at in range(0, len(data), 1048576)]
    pages = [b"".join(blocks[at : at + 1024]) for at in range(0, len(blocks), 1024)]
    above = b"".join(blake3(page, derive_key_context="penstock 1 page").digest() for page in pages)
    whole = blake3(len(data).to_bytes(8, "little") + above, derive_key_context="penstock 1 file").digest()
    return whole, b"".join(blocks)


@quick
@given(
    st.sampled_from(_EDGES),
    st.lists(st.integers(0, len(_NOISE)) | st.sampled_from(_EDGES), max_size=6),
    st.sampled_from([bytes, bytearray, memoryview]),
)
def test_pieces_of_any_size_hash_alike(size: int, cuts: list[int], form: type) -> None:
    data = _NOISE[:size]
    hasher = ContentHasher()
    edges = [0, *sorted(min(cut, size) for cut in cuts), size]
    for start, end in pairwise(edges):
        hasher.update(form(data[start:end]))
    assert hasher.size == size
    assert hasher.finish() == _by_the_book(data)


@pytest.mark.parametrize("size", _EDGES)
def test_pieces_that_end_at_the_edges_of_blocks(size: int) -> None:
    for first in _EDGES:
        for second in _EDGES:
            hasher = ContentHasher()
            for start, end in pairwise([0, *sorted((min(first, size), min(second, size))), size]):
                hasher.update(_NOISE[start:end])
            assert hasher.finish() == _by_the_book(_NOISE[:size])


def test_pages_hold_1024_blocks() -> None:
    for count in (2, PAGE_BLOCKS - 1, PAGE_BLOCKS, PAGE_BLOCKS + 1, 2 * PAGE_BLOCKS, 2 * PAGE_BLOCKS + 1):
        size = count * BLOCK_SIZE
        blocks = blake3(b"b").digest(32 * count)
        pages = list(pages_of(blocks))
        assert [len(page) // 32 for page in pages[:-1]] == [PAGE_BLOCKS] * (len(pages) - 1)
        assert b"".join(pages) == blocks
        assert hash_of_blocks(size, blocks) == file_hash(size, b"".join(map(page_hash, pages)))
        assert block_count(size) == count
        assert block_count(size + 1) == count + 1


def test_every_purpose_has_a_hash_of_its_own() -> None:
    data = b"x" * 64
    found = [content_hash(data), *(make(data) for make in (leaf_hash, index_hash, page_hash, top_hash, commit_id))]
    found.append(file_hash(0, data))
    assert len(set(found)) == len(found)
    assert hash_of_blocks(5, data) != hash_of_blocks(6, data)
    assert content_hash(b"").hex() == "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
