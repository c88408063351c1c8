"""Versions made by edits: from files, bytes and other versions, over a base, landed with a check for conflicts."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from penstock.errors import ConflictError, MergeConflictError, NotFoundError, UsageError
from penstock.manifest.entry import Extent, External, Kind, TreeEntry
from penstock.manifest.hashing import content_hash
from penstock.manifest.update import Edit
from penstock.repo.history.log import find_published
from penstock.repo.push.edits import EditsReport, GivenBytes, LocalFiles, VersionEdit, land_edits
from penstock.repo.refs.repository import VersionId
from penstock.repo.write import pack_queue

World = Any  # see conftest

BASE = {b"a": b"a", b"b": b"b", b"d/x": b"x", b"d/y": b"y"}
LARGE = bytes(range(256)) * (5 << 12)
"""Five MiB: more than what shares a pack."""


def land(world: World, edits: Iterable[VersionEdit], base: VersionId | None = None, **more: Any) -> EditsReport:
    with world.writer(more.pop("branch", "main"), tag=more.pop("tag", None)) as writer:
        return land_edits(writer, base, edits, **more)


def pushed(world: World, content: dict[bytes, Any] = BASE, name: str = "base") -> VersionId:
    world.push(world.plant(content, name))
    found: VersionId = world.repository().resolve()
    return found


def test_edits_over_a_base(world: World) -> None:
    base = pushed(world)
    side = world.push(world.plant({b"far/away": b"borrowed" * 100}, "side"), "side")
    borrowed = world.open("side").find("far/away")
    path = world.plant({b"file": b"of the disk", b"large": LARGE}, "disk")
    report = land(
        world,
        [
            LocalFiles().find((b"a",), os.path.join(path, "file"), b'{"label":1}'),
            Edit((b"b",), None),
            Edit((b"d",), TreeEntry(b"d", Kind.DIRECTORY, metadata=b'{"what":"d"}')),
            GivenBytes((b"d", b"w"), b"given", Kind.EXECUTABLE),
            Edit((b"d", b"z"), replace_name(borrowed, b"z")),
            LocalFiles().find((b"large",), os.path.join(path, "large")),
            GivenBytes((b"large2",), LARGE[1:]),
        ],
        base,
        tag="v1",
        metadata=b'{"title":"edited"}',
    )
    snapshot = world.open("v1", cached=False)
    assert world.read_back(snapshot) == {
        b"a": b"of the disk",
        b"d/w": world.Executable(b"given"),
        b"d/x": b"x",
        b"d/y": b"y",
        b"d/z": b"borrowed" * 100,
        b"large": LARGE,
        b"large2": LARGE[1:],
    }
    assert snapshot.find("a").metadata == b'{"label":1}'
    assert snapshot.find("d").metadata == b'{"what":"d"}'
    assert snapshot.manifest.metadata == b'{"title":"edited"}'
    assert world.rebuilt_top_hash(snapshot) != side.top_hash
    assert report.landed.published.commit == world.repository().resolve().commit
    # Five MiB twice, and what is small in one pack: what other versions have is not sent.
    assert (report.data.objects, report.data.bytes) == (3, 2 * len(LARGE) - 1 + len(b"of the disk" + b"given"))
    assert world.keys(".penstock/leases/") == []


def replace_name(entry: TreeEntry, name: bytes) -> TreeEntry:
    return msgspec.structs.replace(entry, name=name)


def test_edits_of_nothing_equal_a_push(world: World) -> None:
    report = land(world, [GivenBytes(tuple(path.split(b"/")), body) for path, body in BASE.items()])
    assert report.landed.manifest.top_hash == world.hash(world.plant(BASE))
    again = land(world, [GivenBytes(tuple(path.split(b"/")), body) for path, body in BASE.items()])
    assert (again.landed.changed, again.data.objects) == (False, 0)
    assert world.repository().refs.head("main").number == 0


def test_an_unchanged_file_and_unchanged_blocks_are_not_sent_again(world: World) -> None:
    base = pushed(world, {b"large": LARGE, b"small": b"small"})
    changed = LARGE[: 3 << 20] + b"!" + LARGE[(3 << 20) + 1 :]
    report = land(world, [GivenBytes((b"large",), changed), GivenBytes((b"small",), b"small")], base)
    assert report.data.bytes == 1 << 20
    assert world.read_back(world.open(cached=False)) == {b"large": changed, b"small": b"small"}


def test_addresses_are_entries_as_they_are(world: World) -> None:
    there = External("s3://elsewhere/key", "version")
    entry = TreeEntry(b"far", Kind.FILE, 3, content_hash(b"far"), extents=(Extent(there, 0, 3),))
    report = land(world, [Edit((b"far",), entry), GivenBytes((b"near",), b"n")])
    assert world.open(cached=False).find("far").extents[0].object == there
    assert report.data.bytes == 1


def test_others_edits_are_merged_and_conflicts_named(world: World) -> None:
    base = pushed(world)
    others = land(world, [GivenBytes((b"a",), b"theirs")], base)
    mine = land(world, [GivenBytes((b"b",), b"mine")], base)
    assert mine.landed.merged_with == others.landed.published.commit
    assert world.read_back(world.open(cached=False)) == {**BASE, b"a": b"theirs", b"b": b"mine"}
    before = world.repository().refs.head("main")
    with pytest.raises(MergeConflictError) as caught:
        land(world, [GivenBytes((b"a",), b"mine")], base, tag="no")
    assert "a: " in caught.value.candidates[0]
    assert (world.repository().refs.head("main"), world.repository().refs.tag("no")) == (before, None)


def test_bad_edits_change_nothing(world: World) -> None:
    base = pushed(world)
    world.make_tag("v1", world_published(world))
    refs, folder = world.repository().refs, world.plant({b"file": b"1"}, "disk")
    gone = LocalFiles().find((b"a",), os.path.join(folder, "file"))
    os.unlink(os.path.join(folder, "file"))
    for edits, error in (
        ([Edit((b"nothing",), None)], NotFoundError),
        ([GivenBytes((b"b",), b""), GivenBytes((b"a",), b"")], UsageError),
        ([GivenBytes((b"a", b"below"), b"")], ConflictError),
        ([GivenBytes((b"..",), b"")], UsageError),
        ([gone], ConflictError),
    ):
        with pytest.raises(error):
            land(world, edits, base)
    with pytest.raises(ConflictError, match="'v1'"):
        land(world, [GivenBytes((b"a",), b"new")], base, tag="v1")
    with pytest.raises(NotFoundError, match="no file"):
        LocalFiles().find((b"a",), os.path.join(folder, "none"))
    with pytest.raises(UsageError, match="is no file"):
        LocalFiles().find((b"a",), folder)
    assert (refs.head("main").number, world.keys(".penstock/leases/")) == (0, [])
    assert world.read_back(world.open(cached=False)) == BASE


def world_published(world: World) -> Any:
    return find_published(world.repository(), None)


def test_a_base_that_is_gone_is_seen_before_anything_is_sent(world: World) -> None:
    base = pushed(world)
    keys = world.keys()
    with pytest.raises(Exception, match="is missing"):
        land(world, [GivenBytes((b"a",), b"new")], replace(base, commit=bytes(32)))
    assert world.keys() == keys


def test_memory_does_not_grow_with_the_number_of_edits(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """But for what waits for its pack, of which so many may be."""
    monkeypatch.setattr(pack_queue, "_MOST_WAITING", 50)

    def edits(count: int) -> Iterator[VersionEdit]:
        for number in range(count):
            yield GivenBytes((b"d%03d" % (number // 100), b"f%05d" % number), b"%d" % number)

    def peak(count: int) -> int:
        tracemalloc.start()
        try:
            land(world, edits(count), branch=f"of{count}")
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    land(world, edits(2_500), branch="first")  # the interpreter keeps tuples for another time
    few, many = peak(200), peak(1_400)
    # 1,200 entries held would be more than 600 KB; what is held of nodes that are packed is compressed.
    assert many - few < 300_000, (few, many)
