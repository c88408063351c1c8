"""Several buckets of one data set: the nearest answers, another one when it fails or has other bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from penstock.errors import NotFoundError, StoreUnreachableError
from penstock.repo.bucket.nearest_store import NearestStore
from penstock.repo.mirror.mirror import mirror_dataset
from penstock.repo.read.snapshot import open_snapshot
from penstock.repo.session.bucket_session import open_session
from penstock.store.base import ByteRange, ObjectInfo
from penstock.store.local import LocalStore

World = Any  # see conftest

DATA = ".penstock/data/ab/" + "ab" * 32
RECORD = ".penstock/datasets/things/manifests/" + "cd" * 32


class Fickle(LocalStore):
    """Answers, or does not; and says what it was asked for."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.down = False
        self.asked: list[str] = []

    def get(self, key: str, byte_range: ByteRange | None = None, **options: Any) -> bytes:
        self.asked.append(key)
        if self.down:
            raise StoreUnreachableError("it is down")
        return super().get(key, byte_range, **options)

    def list(self, prefix: str = "", **options: Any) -> Any:
        if self.down:
            raise StoreUnreachableError("it is down")
        return super().list(prefix, **options)

    def head(self, key: str) -> ObjectInfo | None:
        if self.down:
            raise StoreUnreachableError("it is down")
        return super().head(key)


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Fickle, Fickle]:
    stores = Fickle(tmp_path / "one"), Fickle(tmp_path / "two")
    for store in stores:
        store.put(DATA, b"0123456789")
        store.put(RECORD, b"record")
    return stores


def asked(*stores: Fickle) -> list[int]:
    counts = [len(store.asked) for store in stores]
    for store in stores:
        store.asked.clear()
    return counts


def test_one_that_does_not_answer_is_left_alone_for_a_while(pair: tuple[Fickle, Fickle]) -> None:
    one, two = pair
    store = NearestStore(one, [two])
    one.down = True
    for offset in range(5):
        assert store.get(DATA, ByteRange(offset, 3)) == b"0123456789"[offset : offset + 3]
    # Its first question is the measure, which is no `get`.
    assert asked(one, two) == [0, 5]
    one.down, two.down = False, True
    assert store.get(DATA, ByteRange(7, 3)) == b"789"
    one.down = True
    with pytest.raises(StoreUnreachableError):
        store.get(DATA, ByteRange(8, 2))


def test_who_asks_the_same_again_is_answered_by_the_other(pair: tuple[Fickle, Fickle]) -> None:
    one, two = pair
    store = NearestStore(one, [two])
    store.get(DATA, ByteRange(0, 4))
    first = asked(one, two)
    store.get(DATA, ByteRange(0, 4))
    assert sorted(first) == [0, 1]
    assert asked(one, two) == first[::-1]
    store.get(DATA, ByteRange(5, 5))
    assert asked(one, two) == first
    store.get(DATA, ByteRange(6, 2))  # what is in it was not as it should be
    assert asked(one, two) == first[::-1]


def test_what_one_has_not_comes_from_the_other_but_records_are_the_firsts(pair: tuple[Fickle, Fickle]) -> None:
    one, two = pair
    store = NearestStore(one, [two])
    one.delete([DATA, RECORD])
    assert store.get(DATA) == b"0123456789"
    # Whether an object may be built on, and what a branch leads to, is the first bucket's to say.
    assert store.head(DATA) is None
    with pytest.raises(NotFoundError):
        store.get(RECORD)
    one.down = True
    assert store.get(RECORD) == b"record"
    assert [info.key for info in store.list(".penstock/datasets/", limit=5)] == [RECORD]
    one.down = False
    store.put(DATA, b"new")
    assert (one.get(DATA), two.get(DATA)) == (b"new", b"0123456789")


@pytest.mark.parametrize("turn", [0, 1])
def test_a_version_is_read_though_either_bucket_is_damaged(
    world: World, tmp_path: Path, new_world: Callable[[Path], World], turn: int
) -> None:
    (tmp_path / "there").mkdir()
    there = new_world(tmp_path / "there")
    content = {b"large": b"x" * (5 << 20)} | {b"%d" % number: b"%d" % number for number in range(50)}
    world.push(world.plant(content))
    with (
        open_session(world.bucket, world.settings, cached=False) as source,
        open_session(there.bucket, there.settings, cached=False) as target,
    ):
        mirror_dataset(source, target, "things")
    settings = replace(world.settings, also={world.bucket: (there.bucket,)})
    keys = world.keys(".penstock/data/") + world.keys(".penstock/nodes/")
    for number, key in enumerate(keys):
        damaged = (world, there)[(number + turn) % 2].store()
        body = bytearray(damaged.get(key))
        body[len(body) // 2] ^= 1
        damaged.put(key, bytes(body))
    for _ in range(2):
        snapshot = open_snapshot(world.handle(), settings, cached=False)
        try:
            assert world.read_back(snapshot) == content
        finally:
            snapshot.close()
