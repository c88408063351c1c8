"""Blocks to regions, as values."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from penstock.manifest.entry import BLOCK_SIZE, Extent, Kind, TreeEntry
from penstock.manifest.hashing import ContentHasher, content_hash
from penstock.repo.fetch.region_plan import GAP, RegionPlanner, pieces_of
from penstock.repo.fetch.regions import Region, RegionPiece


def piece(offset: int, length: int, label: object = None) -> RegionPiece:
    return RegionPiece(content_hash(repr(label or (offset, length)).encode()), offset, length)


def gathered(pieces: list[tuple[bytes, RegionPiece]], most: int) -> list[Region]:
    gatherer = RegionPlanner(most)
    regions = [region for found, each in pieces if (region := gatherer.add(found, each)) is not None]
    return regions + gatherer.flush()


def test_what_follows_is_one_region() -> None:
    pieces = [piece(at * 100, 100) for at in range(10)]
    assert gathered([(b"o", each) for each in pieces], 1000) == [Region(b"o", tuple(pieces))]
    assert [len(region.pieces) for region in gathered([(b"o", each) for each in pieces], 450)] == [4, 4, 2]


def test_small_gaps_are_fetched_and_large_ones_are_not() -> None:
    near = [piece(0, 10), piece(10 + GAP, 10)]
    far = [piece(0, 10), piece(11 + GAP, 10)]
    assert len(gathered([(b"o", each) for each in near], 1 << 20)) == 1
    assert len(gathered([(b"o", each) for each in far], 1 << 20)) == 2


def test_jumping_between_objects_does_not_end_regions() -> None:
    pieces = [(b"ab"[number % 2 : number % 2 + 1], piece(number * 10, 10)) for number in range(20)]
    assert sorted(len(region.pieces) for region in gathered(pieces, 1 << 20)) == [10, 10]


def test_a_block_is_taken_once() -> None:
    """Files of the same content refer to one place, which tree order comes back to."""
    pieces = [(b"o", piece(0, 10)), (b"o", piece(10, 10)), (b"o", piece(0, 10)), (b"o", piece(20, 10))]
    assert [len(region.pieces) for region in gathered(pieces, 1 << 20)] == [3]


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 50), st.integers(1, 9)), max_size=60), st.integers(9, 90))
def test_every_block_is_in_one_region_and_regions_keep_their_rules(
    blocks: list[tuple[int, int, int]], most: int
) -> None:
    pieces = [(bytes([found]), piece(at * 10, length, (found, at))) for found, at, length in blocks]
    regions = gathered(pieces, most)
    expected = {(found, each.digest) for found, each in pieces}
    assert {(region.object, each.digest) for region in regions for each in region.pieces} == expected
    assert sum(len(region.pieces) for region in regions) == len(expected)
    for region in regions:
        assert region.length <= most
        ends = [each.offset + each.length for each in region.pieces]
        assert all(end <= later.offset for end, later in zip(ends, region.pieces[1:], strict=False))


def test_blocks_of_a_large_file() -> None:
    data = random.Random(1).randbytes(2 * BLOCK_SIZE + 5)
    hasher = ContentHasher()
    hasher.update(data)
    digest, blocks = hasher.finish()
    hashes = [blocks[at : at + 32] for at in range(0, len(blocks), 32)]
    # The middle block lies in two objects: it is no part of any region.
    extents = (Extent(b"a" * 32, 7, BLOCK_SIZE + 100), Extent(b"b" * 32, 0, BLOCK_SIZE - 95))
    entry = TreeEntry(b"f", Kind.FILE, len(data), digest, extents=extents, blocks=blocks)
    found = list(pieces_of(entry, lambda _, index: hashes[index]))
    assert found == [
        (b"a" * 32, RegionPiece(hashes[0], 7, BLOCK_SIZE)),
        (b"b" * 32, RegionPiece(hashes[2], BLOCK_SIZE - 100, 5)),
    ]
    empty = TreeEntry(b"e", Kind.FILE, 0, content_hash(b""))
    assert list(pieces_of(empty, lambda _, index: b"")) == []
