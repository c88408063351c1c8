"""What is there twice, by the hashes of trees: whole directories, many places, trees that name themselves."""

from __future__ import annotations

import hashlib
import random
import tempfile
from collections import defaultdict
from collections.abc import Iterator

import pytest
from trees.million import FileSink

from penstock.errors import AccessError
from penstock.manifest.build import TreeBuilder
from penstock.manifest.entry import Extent, Kind, NodeRef, TreeEntry
from penstock.manifest.hashing import content_hash
from penstock.repo.similarity.record_sort import RecordSort
from penstock.repo.similarity.same_content import MOST_PATHS, SameContent, TreeSide, same_content


@pytest.fixture
def sink() -> Iterator[FileSink]:
    with tempfile.TemporaryFile() as file:
        yield FileSink(file)


def tree(sink: FileSink, files: dict[bytes, bytes]) -> NodeRef:
    builder = TreeBuilder(sink)
    here: list[bytes] = []
    for path in sorted(files, key=lambda path: path.split(b"/")):
        *folders, name = path.split(b"/")
        while here != folders[: len(here)]:
            builder.leave()
            here.pop()
        for folder in folders[len(here) :]:
            builder.enter(folder)
            here.append(folder)
        body = files[path]
        digest = content_hash(body)
        extents = (Extent(digest, 0, len(body)),) if body else ()
        builder.add(TreeEntry(name, Kind.FILE, len(body), digest, 1, extents=extents))
    for _ in here:
        builder.leave()
    return builder.finish()


def told(found: SameContent) -> tuple[bool, list[list[str]]]:
    return found.is_directory, [[b"/".join(path).decode() for path in side] for side in found.paths]


def test_directories_are_told_as_wholes_and_files_by_their_paths(sink: FileSink) -> None:
    root = tree(
        sink,
        {b"a/x/1": b"one", b"a/x/2": b"two", b"b/y/1": b"one", b"b/y/2": b"two", b"c": b"one", b"e": b"", b"f": b""},
    )
    found = sorted(map(told, same_content([TreeSide(root, sink.load)])))
    assert found == [(False, [["c", "a/x/1"]]), (True, [["a", "b"]])] or found == [
        (False, [["c", "a/x/1"]]),
        (True, [["a/x", "b/y"]]),
    ]


def test_of_two_sides_only_what_both_have(sink: FileSink) -> None:
    first = tree(sink, {b"a": b"one", b"b": b"one", b"c": b"three", b"d/e": b"four"})
    second = tree(sink, {b"z": b"one", b"y": b"five", b"x": b"five", b"w/d/e": b"four"})
    found = sorted(map(told, same_content([TreeSide(first, sink.load), TreeSide(second, sink.load)])))
    assert found == [(False, [["a", "b"], ["z"]]), (True, [["d"], ["w/d"]])]
    (whole,) = same_content([TreeSide(first, sink.load), TreeSide(first, sink.load)])
    assert (whole.counts, told(whole)) == ((1, 1), (True, [[""], [""]]))


def test_it_finds_what_a_plain_table_finds(sink: FileSink) -> None:
    chance = random.Random(5)
    files = {b"%02d/%04d" % (chance.randrange(20), n): b"%d" % chance.randrange(700) for n in range(2000)}
    places = defaultdict(set)
    for path, body in files.items():
        places[content_hash(body)].add(path)
    expected = {digest: paths for digest, paths in places.items() if len(paths) > 1}
    found = {
        each.digest: {b"/".join(path) for path in each.paths[0]}
        for each in same_content([TreeSide(tree(sink, files), sink.load)])
    }
    assert found == expected


def test_many_places_are_counted_and_the_first_are_named(sink: FileSink) -> None:
    files = {b"%05d" % number: b"same" for number in range(MOST_PATHS + 5)}
    (found,) = same_content([TreeSide(tree(sink, files), sink.load)])
    assert found.counts == (MOST_PATHS + 5,)
    assert [path[0] for path in found.paths[0]] == sorted(files)[:MOST_PATHS]


def test_a_tree_that_names_the_same_directories_over_and_over_is_looked_at_once(sink: FileSink) -> None:
    ref = tree(sink, {b"f": b"one"})
    for _ in range(40):  # 2**40 files
        builder = TreeBuilder(sink)
        for name in (b"left", b"right"):
            builder.add(TreeEntry(name, Kind.DIRECTORY, ref.size, ref.hash, directory=ref))
        ref = builder.finish()
    assert ref.entries > 1 << 40
    sink.loads = 0
    found = list(same_content([TreeSide(ref, sink.load)]))
    assert len(found) == 40
    assert sink.loads < 2000
    assert all(each.is_directory and len(each.paths[0]) == 2 for each in found)


def test_records_come_in_order_from_many_runs() -> None:
    records = [hashlib.sha256(b"%d" % number).digest()[: number % 33] for number in range(5000)]
    with RecordSort(most=10_000) as sort:
        for at in range(0, 5000, 7):
            sort.add(records[at : at + 7])
        assert list(sort) == sorted(records)


def test_a_full_disk_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def write(self, body: bytes) -> int:
            raise OSError(28, "No space left on device")

        def close(self) -> None: ...

    monkeypatch.setattr("penstock.repo.similarity.record_sort.tempfile.TemporaryFile", lambda **_: Full())
    with RecordSort(most=1) as sort, pytest.raises(AccessError, match="No space left"):
        sort.add([b"x"])
