"""Damaged data, through a real bucket and cache: a clear failure, and never a wrong byte."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
from views.bucket import LocalBucket

from penstock.errors import IntegrityError
from penstock.repo.read.snapshot import Snapshot, open_snapshot
from penstock.vfs.files.errnos import errno_of
from penstock.vfs.files.filesystem import ReadOnlyFileSystem
from penstock.vfs.source.workers import Workers

CONTENT = random.Random(3).randbytes(5_120_000)  # five blocks, no two alike


@pytest.fixture
def pushed(tmp_path: Path) -> LocalBucket:
    source = tmp_path / "source"
    source.mkdir()
    (source / "file.bin").write_bytes(CONTENT)
    bucket = LocalBucket(tmp_path)
    bucket.push(source)
    return bucket


def read_everything(snapshot: Snapshot) -> tuple[dict[int, bytes], list[Exception]]:
    """Read block by block; return what could be read by offset, and what went wrong."""
    found: dict[int, bytes] = {}
    failures: list[Exception] = []

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            fs = ReadOnlyFileSystem(snapshot, nursery, Workers())
            attributes = await fs.lookup(1, b"file.bin")
            assert attributes is not None
            handle = await fs.open(attributes.inode, os.O_RDONLY)
            for offset in range(0, len(CONTENT), 1 << 20):
                try:
                    found[offset] = bytes(await fs.read(handle, offset, 1 << 20))
                except IntegrityError as error:
                    failures.append(error)
            nursery.cancel_scope.cancel()

    trio.run(main)
    return found, failures


def flip(path: Path, at: int) -> None:
    with path.open("r+b") as stream:
        stream.seek(at)
        byte = stream.read(1)
        stream.seek(at)
        stream.write(bytes([byte[0] ^ 1]))


DAMAGES: dict[str, Callable[[Path], None]] = {
    "flipped": lambda path: flip(path, (2 << 20) + 17),
    "truncated": lambda path: os.truncate(path, (2 << 20) + 17),
    "emptied": lambda path: os.truncate(path, 0),
    "garbage": lambda path: path.write_bytes(os.urandom(len(CONTENT))) and None,
    "gone": lambda path: path.unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_in_the_bucket_is_a_failure_and_never_a_wrong_byte(pushed: LocalBucket, damage: str) -> None:
    (data,) = pushed.data_objects()
    data.chmod(0o644)
    DAMAGES[damage](data)
    snapshot = open_snapshot("demo/data", pushed.settings)
    found, failures = read_everything(snapshot)
    snapshot.close()
    assert failures
    assert {errno_of(failure, "read") for failure in failures} == {errno.EIO}
    assert all(part == CONTENT[offset : offset + (1 << 20)] for offset, part in found.items())
    if damage == "flipped":
        assert len(found) >= 3  # the blocks before and behind it are good


def test_what_was_repaired_can_be_read_without_a_new_mount(pushed: LocalBucket) -> None:
    (data,) = pushed.data_objects()
    data.chmod(0o644)
    flip(data, 5)
    snapshot = open_snapshot("demo/data", pushed.settings)
    assert read_everything(snapshot)[1]
    flip(data, 5)
    found, failures = read_everything(snapshot)
    snapshot.close()
    assert not failures
    assert b"".join(found[offset] for offset in sorted(found)) == CONTENT


def test_damage_in_the_cache_is_mended_from_the_bucket(pushed: LocalBucket) -> None:
    first = open_snapshot("demo/data", pushed.settings)
    assert not read_everything(first)[1]
    first.close()
    segments = [path for path in Path(pushed.settings.cache_directory).rglob("*") if path.stat().st_size > len(CONTENT)]
    damaged = 0
    for path in segments:
        body = path.read_bytes()
        at = body.find(CONTENT[:4096])
        if at >= 0:
            flip(path, at + 100)
            damaged += 1
    assert damaged
    second = open_snapshot("demo/data", pushed.settings)
    found, failures = read_everything(second)
    fetched = second.counters()["bytes_fetched"]
    second.close()
    assert not failures
    assert b"".join(found[offset] for offset in sorted(found)) == CONTENT
    assert 1 << 20 <= fetched < len(CONTENT)
