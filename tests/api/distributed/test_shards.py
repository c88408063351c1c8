"""Shards of a version: all of it, each file once, no pack for two; and the same every time."""

from __future__ import annotations

import pickle
import random
from pathlib import Path

import pytest

import penstock
from penstock.errors import UsageError
from penstock.manifest.entry import Extent, Kind, TreeEntry
from penstock.repo.read.shard_files import numbered_files, record_of, shard_entries, shard_files
from penstock.repo.read.shard_plan import ShardFile, plan_shards, total_weight
from penstock.repo.write import data_pack


def pack(number: int) -> bytes:
    return number.to_bytes(32, "big")


def file(number: int, size: int, *packs: int) -> ShardFile:
    extents = tuple(Extent(pack(each), 0, size // max(1, len(packs))) for each in packs)
    return ShardFile(number, TreeEntry(b"f", Kind.FILE, size, b"", extents=extents))


def test_shards_have_each_file_once_and_no_pack_twice() -> None:
    chance = random.Random(3)
    for _ in range(50):
        files = []
        number = 1
        for _ in range(chance.randrange(60)):
            number += chance.choice((1, 1, 1, 2))  # a directory lies between
            packs = chance.choices(range(12), k=chance.choice((1, 1, 1, 2)))
            files.append(file(number, 0) if chance.random() < 0.1 else file(number, chance.randrange(2, 9000), *packs))
        count = chance.randrange(1, 8)
        planned = plan_shards(files, count, total_weight(len(files), sum(each.entry.size for each in files)))
        assert len(planned) <= count
        having = [
            [each for each in files if any(start <= each.number < stop for start, stop in shard.runs)]
            for shard in planned
        ]
        assert sorted(each.number for found in having for each in found) == [each.number for each in files]
        packs_of = [{extent.object for each in found for extent in each.entry.extents} for found in having]
        assert sum(map(len, packs_of)) == len(set().union(*packs_of))
        assert [shard.files for shard in planned] == list(map(len, having))
        assert [shard.bytes for shard in planned] == [sum(each.entry.size for each in found) for found in having]


def test_shards_are_about_equal_where_packs_are_small_and_of_a_large_pack_where_it_may_be_cut() -> None:
    files = [file(number, 1 << 20, number // 4) for number in range(400)]
    sizes = [each.bytes >> 20 for each in plan_shards(files, 4, 400 << 20)]
    assert sum(sizes) == 400
    assert max(sizes) <= 104
    one = [file(number, 1 << 20, 0) for number in range(400)]
    assert len(plan_shards(one, 4, 400 << 20)) == 1
    cut = plan_shards(one, 4, 400 << 20, whole=False)
    assert len(cut) == 4
    assert all(len(each.runs) == 1 for each in cut)


def test_between_files_of_a_sparse_plan_are_others() -> None:
    files = [file(1, 10, 0), file(2, 10, 0), file(5, 10, 0)]
    [shard] = plan_shards(files, 1, 30, sparse=True)
    assert shard.runs == ((1, 3), (5, 6))


def test_records_are_files_of_one_stem() -> None:
    assert record_of((b"a", b"cat.seg.png")) == record_of((b"a", b"cat.jpg")) == (b"a", b"cat")
    assert record_of((b"a", b".hidden")) == (b"a", b".hidden")
    assert record_of((b"a", b"cat")) == (b"a", b"cat")


def test_a_shard_travels_and_reads_its_files(things: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_pack, "most_packed", lambda: 8000)
    for path in things.rglob("*.bin"):
        path.write_bytes(path.read_bytes()[::-1])
    penstock.Dataset("demo/small-packs").push(things)
    (things / "0" / "00.bin").write_bytes(b"changed")
    penstock.Dataset("demo/small-packs").push(things)
    package = penstock.open("demo/small-packs")
    shards = package.shards(4)
    assert len(shards) == 4
    assert all(len(pickle.dumps(shard)) < 5000 for shard in shards)
    read = {}
    packs: list[set[str]] = []
    for shard in pickle.loads(pickle.dumps(shards)):
        entries = list(shard)
        assert (len(entries), len(shard)) == (shard.files, shard.files)
        packs.append({place.uri for entry in entries for place in entry.physical_keys})
        read.update({entry.key: data for entry, data in shard.read()})
    assert read == {path.relative_to(things).as_posix(): path.read_bytes() for path in things.rglob("*.bin")}
    assert sum(map(len, packs)) == len(set().union(*packs))
    assert [shard.runs for shard in package.shards(4)] == [shard.runs for shard in shards]
    with pytest.raises(UsageError, match="0 shards"):
        package.shards(0)


def test_numbers_lead_back_to_paths(things: Path) -> None:
    snapshot = penstock.open("demo/things")._snapshot
    files = list(numbered_files(snapshot))
    for start in range(0, len(files), 7):
        runs = [(files[start][0], files[-1][0] + 1)]
        assert [names for names, _ in shard_entries(snapshot, runs)] == [names for _, names, _ in files[start:]]
    assert [each.number for each in shard_files(files)] == [number for number, _, _ in files]
    assert not penstock.Package("demo/things/0").shards(3)[1:]


def test_nothing_has_no_shards(things: Path) -> None:
    penstock.Dataset("demo/nothing").create()
    assert penstock.open("demo/nothing").shards(3) == []
