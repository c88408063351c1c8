"""What a commit costs: objects written and bytes read, in a version of many entries and in files of many blocks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from views.bucket import LocalBucket
from views.edited import Edited
from views.writing import publish

from penstock.manifest.build import TreeBuilder
from penstock.manifest.entry import BLOCK_SIZE, Extent, Kind, TreeEntry
from penstock.manifest.hashing import content_hash, hash_of_blocks
from penstock.manifest.records import Manifest
from penstock.progress import SILENT
from penstock.repo.bucket import object_keys
from penstock.repo.bucket.promises import Promises
from penstock.repo.refs.repository import Repository
from penstock.repo.write.node_pack import NodePackWriter
from penstock.repo.write.publish import Authorship
from penstock.store.base import ByteRange
from penstock.store.local import LocalStore

BLOCKS = 10_240
FOLDERS, FILES = 200, 1000
BLOCK = bytes(BLOCK_SIZE)


class Cost(NamedTuple):
    """Keys written, and bytes of each object read."""

    written: list[str]
    read: list[tuple[str, int]]

    def folders(self) -> list[str]:
        return [key.split("/")[1] for key in self.written]

    def bytes_of(self, folder: str) -> int:
        return sum(size for key, size in self.read if key.split("/")[1] == folder)


@pytest.fixture
def bucket(tmp_path: Path) -> LocalBucket:
    """A bucket with 200,000 small files, and a file of 10 GiB that is the same block over and over."""
    made = LocalBucket(tmp_path)
    store = LocalStore(os.fspath(made.directory))
    small, block = content_hash(b"x"), content_hash(BLOCK)
    store.put(object_keys.data_key(small), b"x")
    store.put(object_keys.data_key(block), BLOCK)
    sink = NodePackWriter(store.put)
    builder = TreeBuilder(sink)
    hashes = block * BLOCKS
    size = BLOCKS * BLOCK_SIZE
    extents = tuple(Extent(block, 0, BLOCK_SIZE) for _ in range(BLOCKS))
    builder.add_file(TreeEntry(b"big", Kind.FILE, size, hash_of_blocks(size, hashes), extents=extents), hashes)
    for folder in range(FOLDERS):
        builder.enter(b"f%03d" % folder)
        for number in range(FILES):
            builder.add(TreeEntry(b"%04d" % number, Kind.FILE, 1, small, extents=(Extent(small, 0, 1),)))
        builder.leave()
    root = builder.finish()
    sink.flush()
    publish(Repository(store, "data"), Manifest(sink.located(root)), Authorship("me", "", "push"))
    return made


@pytest.fixture
def edited(bucket: LocalBucket, tmp_path: Path) -> Iterator[Edited]:
    found = Edited(bucket, tmp_path / "overlay")
    assert not Promises(bucket.settings).probe(found.version.repository.store)  # as one commit a day does
    yield found
    found.close()


@pytest.fixture
def cost(monkeypatch: pytest.MonkeyPatch) -> Cost:
    found = Cost([], [])
    put, create, get = LocalStore.put, LocalStore.create, LocalStore.get

    def counted_put(store: LocalStore, key: str, body: bytes) -> None:
        found.written.append(key)
        put(store, key, body)

    def counted_create(store: LocalStore, key: str, body: bytes) -> bool:
        found.written.append(key)
        return create(store, key, body)

    def counted_get(store: LocalStore, key: str, byte_range: ByteRange | None = None, **options: Any) -> bytes:
        body = get(store, key, byte_range, **options)
        found.read.append((key, len(body)))
        return body

    monkeypatch.setattr(LocalStore, "put", counted_put)
    monkeypatch.setattr(LocalStore, "create", counted_create)
    monkeypatch.setattr(LocalStore, "get", counted_get)
    return found


def test_one_byte_of_ten_gigabytes(edited: Edited, cost: Cost) -> None:
    edited.write("big", 5 << 30, b"!")
    assert cost.bytes_of("data") == 0
    report = edited.commit()
    assert (report.objects_uploaded, report.bytes_uploaded) == (1, BLOCK_SIZE)
    assert cost.folders() == ["leases", "data", "nodes", "datasets", "datasets", "datasets"]
    assert cost.bytes_of("data") == BLOCK_SIZE
    entry = edited.version.repository.manifest(report.top_hash).root
    assert entry.size == BLOCKS * BLOCK_SIZE + FOLDERS * FILES


def test_a_small_file_among_many(edited: Edited, cost: Cost) -> None:
    edited.create("f100/new", b"new")
    edited.commit()
    assert sorted(cost.folders()) == ["data", "datasets", "datasets", "datasets", "leases", "nodes"]
    assert cost.bytes_of("nodes") < 1_000_000
    assert cost.bytes_of("data") == 0
    cost.written.clear()
    cost.read.clear()
    edited.write("f100/0007", 0, b"y")
    edited.commit()
    assert sorted(cost.folders()) == ["data", "datasets", "datasets", "datasets", "leases", "nodes"]
    assert cost.bytes_of("nodes") < 1_000_000


def test_a_directory_that_moves_sends_no_data(edited: Edited, cost: Cost) -> None:
    edited.rename("f100", "f050/moved")
    report = edited.commit()
    assert (report.files, report.objects_uploaded) == (0, 0)
    assert sorted(cost.folders()) == ["datasets", "datasets", "datasets", "leases", "nodes"]
    assert cost.bytes_of("nodes") < 1_000_000


def test_many_small_files_share_a_pack(edited: Edited, cost: Cost) -> None:
    edited.mkdir("many")
    for number in range(500):
        edited.create(f"many/{number}", b"%d" % number * 100)
    report = edited.commit()
    assert (report.files, report.objects_uploaded) == (500, 1)
    assert len(cost.written) == 6
    # What is there already is found by its content: nothing is sent for a copy.
    for number in range(500):
        edited.create(f"f001/copy{number}", b"%d" % number * 100)
    assert edited.commit().objects_uploaded == 0


def test_a_commit_that_is_done_again_sends_nothing_twice(edited: Edited, cost: Cost) -> None:
    edited.create("new", b"new" * 1000)
    edited.write("big", 0, b"!")
    first = edited.committing()
    first.begin()
    assert first.build(SILENT)
    first.close()  # it does not land
    assert first.report.objects_uploaded == 1
    cost.written.clear()
    report = edited.commit()
    assert (report.objects_uploaded, report.metadata_objects_uploaded) == (0, 0)
    assert cost.folders() == ["leases", "datasets", "datasets", "datasets"]


def test_scattered_changes_are_few_objects(edited: Edited, cost: Cost) -> None:
    for number in range(0, 40, 2):
        edited.write("big", number * BLOCK_SIZE, b"%d" % number)
    report = edited.commit()
    assert (report.objects_uploaded, report.bytes_uploaded) == (1, 20 * BLOCK_SIZE)
    assert len(cost.written) == 6
