"""Sparse files: what a commit makes of their holes, and how soon it ends."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from views.bucket import LocalBucket, write_tree
from views.edited import Edited
from views.memory import Made

from penstock.errors import CancelledError
from penstock.manifest.entry import BLOCK_SIZE
from penstock.overlay.content.file_content import FileContent
from penstock.progress import ProgressMeter
from penstock.repo.read.snapshot import open_snapshot

SIZE = 200 * BLOCK_SIZE + 77
PIECES = {0: b"begin", 3 * BLOCK_SIZE - 2: b"here", 150 * BLOCK_SIZE + 5: b"there", 199 * BLOCK_SIZE: b"end"}


@pytest.fixture
def edited(tmp_path: Path) -> Iterator[Edited]:
    bucket = LocalBucket(tmp_path)
    write_tree(tmp_path / "source", {b"a": Made(b"first")})
    bucket.push(tmp_path / "source")
    found = Edited(bucket, tmp_path / "overlay")
    yield found
    found.close()


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Take note of how much is read of changed files, piece by piece."""
    found: list[int] = []
    read_file = FileContent.read_file

    def noted(self: FileContent, inode: int, record: Any, start: int, end: int, *rest: Any) -> bytes:
        found.append(end - start)
        return read_file(self, inode, record, start, end, *rest)

    monkeypatch.setattr(FileContent, "read_file", noted)
    return found


def test_a_hole_is_not_read_and_the_version_is_the_one_of_a_push(
    edited: Edited, reads: list[int], tmp_path: Path
) -> None:
    edited.create("sparse")
    edited.truncate("sparse", SIZE)
    with open(tmp_path / "source" / "sparse", "wb") as stream:
        stream.truncate(SIZE)
        for at, data in PIECES.items():
            edited.write("sparse", at, data)
            stream.seek(at)
            stream.write(data)
    report = edited.commit()
    assert sum(reads) < 8 * BLOCK_SIZE
    assert report.bytes_uploaded < 40 * BLOCK_SIZE
    assert edited.origin.manifest.top_hash == edited.bucket.push(tmp_path / "source", "demo/pushed").top_hash
    reads.clear()
    grown = SIZE + 5 * BLOCK_SIZE
    edited.truncate("sparse", grown)
    os.truncate(tmp_path / "source" / "sparse", grown)
    edited.commit()
    assert sum(reads) < 2 * BLOCK_SIZE
    assert edited.origin.manifest.top_hash == edited.bucket.push(tmp_path / "source", "demo/pushed").top_hash
    with (
        closing(open_snapshot("demo/data", edited.bucket.settings, cached=False)) as version,
        open(tmp_path / "source" / "sparse", "rb") as stream,
    ):
        for block in version.read(version.find("sparse")):
            assert block == stream.read(len(block))
        assert not stream.read()


def test_a_commit_of_one_large_file_ends_where_its_owner_asks(edited: Edited, monkeypatch: pytest.MonkeyPatch) -> None:
    meter = ProgressMeter()
    count = 0
    read_file = FileContent.read_file

    def cancelling(self: FileContent, *arguments: Any) -> bytes:
        nonlocal count
        count += 1
        meter.cancel()
        return read_file(self, *arguments)

    edited.create("large")
    edited.write("large", 0, bytes(range(256)) * (10 * BLOCK_SIZE // 256))
    monkeypatch.setattr(FileContent, "read_file", cancelling)
    with pytest.raises(CancelledError):
        edited.commit(progress=meter)
    assert count == 1
    monkeypatch.undo()
    assert edited.commit().files == 1
