"""What a commit has read can be read again without the store."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from views.bucket import LocalBucket
from views.edited import Edited

from penstock.manifest.entry import BLOCK_SIZE
from penstock.manifest.hashing import content_hash
from penstock.overlay.commit.kept_blocks import KeptBlocks


@pytest.fixture
def edited(tmp_path: Path) -> Edited:
    bucket = LocalBucket(tmp_path)
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "large").write_bytes(os.urandom(4 * BLOCK_SIZE))
    bucket.push(tree)
    return Edited(bucket, tmp_path / "overlay")


def test_what_was_committed_is_in_the_cache(edited: Edited) -> None:
    for number in range(200):
        edited.create(f"new{number}", b"%d" % number * 100)
    edited.write("large", 2 * BLOCK_SIZE, b"!")
    before = edited.read("large")
    edited.commit()
    fetched = edited.version.counters()["bytes_fetched"]
    assert [edited.read(f"new{number}") for number in range(200)] == [b"%d" % number * 100 for number in range(200)]
    assert edited.read("large") == before
    assert edited.version.counters()["bytes_fetched"] == fetched
    edited.close()


def test_a_dry_run_leaves_the_cache_as_it_was(edited: Edited) -> None:
    edited.create("new", b"new")
    edited.commit(dry_run=True)
    assert edited.version.cached_block(content_hash(b"new")) is None
    edited.commit()
    assert edited.version.cached_block(content_hash(b"new")) is not None
    edited.close()


def test_no_more_is_kept_than_it_may() -> None:
    put: list[tuple[bytes, bytes]] = []

    def take(blocks: Sequence[tuple[bytes, bytes]]) -> None:
        put.extend(blocks)

    kept = KeptBlocks(take, 2 * BLOCK_SIZE)
    blocks = [bytes([number]) * BLOCK_SIZE for number in range(4)]
    for number, block in enumerate(blocks):
        kept.add(bytes([number]), block)
    kept.flush()
    assert [block for _, block in put] == blocks[:2]


def test_many_are_put_together() -> None:
    calls: list[int] = []
    kept = KeptBlocks(lambda blocks: calls.append(len(blocks)), BLOCK_SIZE)
    for number in range(300):
        kept.add(number.to_bytes(2, "big"), b"x")
    kept.flush()
    kept.flush()
    assert calls == [128, 128, 44]
