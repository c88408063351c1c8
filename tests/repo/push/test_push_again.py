"""What a second push uploads: only what the bucket does not have, on this machine and on any other."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from penstock.cache import LocationIndex
from penstock.manifest.entry import BLOCK_SIZE, Kind
from penstock.manifest.hashing import content_hash
from penstock.repo.bucket.object_keys import data_key
from penstock.repo.push.file_reader import PACKED_SIZE, PIECE_SIZE

World = Any  # see conftest

SMALL = {b"%d/%d" % (number % 7, number): b"content %d" % number for number in range(50)}


def uploaded(report: Any) -> tuple[int, int]:
    return report.bytes_uploaded, report.objects_uploaded


def test_nothing_changed(world: World) -> None:
    directory = world.plant({**SMALL, b"large": random.Random(1).randbytes(PACKED_SIZE + 5)})
    first = world.push(directory, message="first")
    before = world.keys()
    again = world.push(directory, message="again")
    assert again.commit is None
    assert again.top_hash == first.top_hash
    assert (*uploaded(again), again.metadata_bytes_uploaded, again.metadata_objects_uploaded) == (0, 0, 0, 0)
    assert (again.files, again.bytes) == (first.files, first.bytes)
    # Nor on another machine, which knows of nothing.
    other = world.push(directory, settings=world.machine("other"))
    assert (other.commit, *uploaded(other), other.metadata_bytes_uploaded) == (None, 0, 0, 0)
    assert world.keys() == before


@pytest.mark.parametrize("machine", ["here", "other"])
def test_files_that_move(world: World, machine: str) -> None:
    large = random.Random(2).randbytes(PIECE_SIZE + 5)
    directory = world.plant({**SMALL, b"large": large, b"middle": large[: 2 * BLOCK_SIZE + 9]})
    world.push(directory)
    os.rename(f"{directory}/0", f"{directory}/moved")
    os.rename(f"{directory}/1/1", f"{directory}/elsewhere")
    os.rename(f"{directory}/large", f"{directory}/2/larger")
    os.rename(f"{directory}/middle", f"{directory}/2/middle")
    moved = world.push(directory, settings=world.machine(machine))
    assert uploaded(moved) == (0, 0)
    assert moved.commit is not None
    assert moved.top_hash == world.hash(directory)
    snapshot = world.open(cached=False)
    assert b"".join(snapshot.read(snapshot.find("2/larger"))) == large
    assert b"".join(snapshot.read(snapshot.find("2/middle"))) == large[: 2 * BLOCK_SIZE + 9]
    assert b"".join(snapshot.read(snapshot.find("moved/7"))) == b"content 7"


def test_a_byte_of_a_large_file(world: World) -> None:
    size = 100 << 20
    directory = world.plant({})
    path = Path(directory, "large")
    with open(path, "wb") as file:
        file.truncate(size)
        for at in range(0, size, BLOCK_SIZE):
            file.seek(at)
            file.write(at.to_bytes(8, "big"))
    assert world.push(directory).bytes_uploaded == size
    with open(path, "r+b") as file:
        file.seek(57 * BLOCK_SIZE + 123)
        file.write(b"!")
    changed = world.push(directory, settings=world.machine("other"))
    assert uploaded(changed) == (BLOCK_SIZE, 1)
    assert changed.top_hash == world.hash(directory)
    # Appending sends the tail alone; so does cutting.
    with open(path, "ab") as file:
        file.write(b"tail")
    assert uploaded(world.push(directory)) == (4, 1)
    with open(path, "ab") as file:
        file.write(b" and more")
    assert uploaded(world.push(directory)) == (13, 1)
    with open(path, "r+b") as file:
        file.truncate(90 * BLOCK_SIZE + 5)
    assert uploaded(world.push(directory)) == (5, 1)
    snapshot = world.open(cached=False)
    entry = snapshot.find("large")
    assert len(entry.extents) <= 8
    with open(path, "rb") as file:
        assert all(block == file.read(BLOCK_SIZE) for block in snapshot.read(entry))
        assert file.read() == b""
    assert world.rebuilt_top_hash(snapshot) == world.hash(directory)


def test_a_file_changed_in_many_places_is_sent_whole(world: World) -> None:
    """Else it would end in thousands of extents, each of which costs every later read a request."""
    directory = world.plant({b"large": random.Random(3).randbytes(PIECE_SIZE)})
    world.push(directory)
    with open(f"{directory}/large", "r+b") as file:
        for block in range(0, 32, 2):
            file.seek(block * BLOCK_SIZE)
            file.write(b"changed")
    assert uploaded(world.push(directory)) == (PIECE_SIZE, 1)
    assert len(world.open().find("large").extents) == 1


def test_a_file_that_grows_through_every_form(world: World) -> None:
    body = random.Random(4).randbytes(PIECE_SIZE + BLOCK_SIZE + 1)
    directory = world.plant({})
    expected = {
        1: 1,
        BLOCK_SIZE: BLOCK_SIZE,
        PACKED_SIZE: PACKED_SIZE,
        PACKED_SIZE + 1: 1,
        PIECE_SIZE: PIECE_SIZE - PACKED_SIZE,
        PIECE_SIZE + BLOCK_SIZE + 1: BLOCK_SIZE + 1,
    }
    for size, sent in expected.items():
        Path(directory, "file").write_bytes(body[:size])
        report = world.push(directory)
        assert report.bytes_uploaded == sent
        snapshot = world.open(cached=False)
        assert b"".join(snapshot.read(snapshot.find("file"))) == body[:size]
        assert report.top_hash == world.hash(directory)


def test_contents_that_are_there_twice_go_once(world: World) -> None:
    source = random.Random(5)
    small, middle, large = (source.randbytes(size) for size in (900, 3 << 20, PIECE_SIZE + 3))
    content = {
        **{b"small%d" % number: small for number in range(5)},
        **{b"middle%d" % number: middle for number in range(3)},
        **{b"large%d" % number: large for number in range(2)},
    }
    directory = world.plant(content)
    assert world.push(directory).bytes_uploaded == len(small) + len(middle) + len(large)
    assert world.read_back(world.open()) == content
    # Other datasets of the bucket have it as well.
    assert uploaded(world.push(directory, dataset="others")) == (0, 0)


def test_contents_of_an_earlier_pack_are_found_in_the_same_push(world: World) -> None:
    source = random.Random(6)
    content = {b"a%02d" % number: source.randbytes(4 << 20) for number in range(10)}
    content |= {b"z%02d" % number: content[b"a%02d" % number] for number in range(10)}
    report = world.push(world.plant(content))
    assert uploaded(report) == (40 << 20, 2)
    assert world.read_back(world.open()) == content


def test_eight_thousand_small_files_are_a_few_objects(world: World) -> None:
    source = random.Random(7)
    sizes = [source.randrange(100, 9000) for _ in range(8000)]
    content = {b"%03d/%04d" % (number % 173, number): source.randbytes(size) for number, size in enumerate(sizes)}
    directory = world.plant(content)
    report = world.push(directory)
    assert report.bytes_uploaded == sum(sizes)
    assert report.objects_uploaded == 2  # packs of 32 MiB
    assert report.metadata_objects_uploaded == 1
    assert uploaded(world.push(directory)) == (0, 0)


def test_a_new_branch_and_an_older_state(world: World) -> None:
    one = world.plant({b"a": b"1", b"b": b"2"}, "one")
    two = world.plant({b"a": b"1", b"b": b"3"}, "two")
    first, second = world.push(one), world.push(two)
    back = world.push(one)
    assert (back.top_hash, uploaded(back)) == (first.top_hash, (0, 0))
    assert back.commit not in (None, first.commit)
    branched = world.push(two, "other")
    assert (branched.top_hash, uploaded(branched)) == (second.top_hash, (0, 0))
    assert world.repository().commit(branched.commit).parents == ()
    assert world.repository().commit(back.commit).parents == (second.commit,)


# The index of places is a hint, whatever is in it.


def index_of(world: World) -> tuple[LocationIndex, bytes]:
    index = LocationIndex(world.settings.cache_directory, world.settings.cache_size)
    return index, content_hash(world.store().url.encode())


def test_an_index_that_names_a_deleted_object(world: World) -> None:
    directory = world.plant({b"a": b"first content"})
    world.push(directory)
    (key,) = world.keys(".penstock/data/")
    world.store().delete([key])
    os.rename(f"{directory}/a", f"{directory}/b")
    report = world.push(directory)
    assert uploaded(report) == (13, 1)
    assert world.read_back(world.open(cached=False)) == {b"b": b"first content"}


def test_an_index_that_names_places_past_the_end(world: World) -> None:
    directory = world.plant({b"a": b"first content"})
    world.push(directory)
    (key,) = world.keys(".penstock/data/")
    world.store().put(key, b"first")
    os.rename(f"{directory}/a", f"{directory}/b")
    assert uploaded(world.push(directory)) == (13, 1)
    assert world.read_back(world.open(cached=False)) == {b"b": b"first content"}


def test_an_index_full_of_wrong_places(world: World) -> None:
    """Values that were entered for other contents, cut, or made up, are not believed."""
    world.push(world.plant({b"a": b"content of a", b"b": b"content of b"}))
    index, namespace = index_of(world)
    value_of_a = index.get(namespace, content_hash(b"content of a"))
    assert value_of_a is not None
    moved = {b"c": b"content of b", b"d": b"content of c", b"e": b"content of e", b"f": b"content of f"}
    poison = {
        b"content of b": value_of_a,
        b"content of c": value_of_a[:-1] + b"\0",
        b"content of e": value_of_a[:10],
        b"content of f": bytes(len(value_of_a)),
    }
    index.put_many(namespace, [(content_hash(body), value) for body, value in poison.items()])
    index.close()
    shutil.rmtree(world.folder / "data")
    report = world.push(world.plant(moved))
    assert report.bytes_uploaded == 4 * 12
    assert world.read_back(world.open(cached=False)) == moved


def test_an_index_of_another_bucket_is_another(world: World, new_world: Any) -> None:
    directory = world.plant({b"a": b"1"})
    world.push(directory)
    (world.folder / "second").mkdir()
    second = new_world(world.folder / "second")
    assert uploaded(second.push(directory, settings=world.settings)) == (1, 1)


def test_the_tree_is_read_for_moved_files_once_and_only_elsewhere(world: World) -> None:
    """Whoever pushed a version knows its places; another machine reads its tree for that once."""
    directory = world.plant({b"%d" % number: b"content %d" % number for number in range(100)})
    world.push(directory)
    top_hash = world.open().top_hash

    def is_marked(settings: Any) -> bool:
        index = LocationIndex(settings.cache_directory, settings.cache_size)
        try:
            return index.get(content_hash(world.store().url.encode()), content_hash(b"entered" + top_hash)) is not None
        finally:
            index.close()

    other = world.machine("other")
    assert is_marked(world.settings)
    assert not is_marked(other)
    world.push(directory, settings=other)
    assert not is_marked(other)  # nothing was looked for
    os.rename(f"{directory}/5", f"{directory}/five")
    assert uploaded(world.push(directory, settings=other)) == (0, 0)
    assert is_marked(other)


def test_an_index_that_is_damaged(world: World) -> None:
    """Nothing but speed is lost."""
    directory = world.plant(SMALL)
    world.push(directory)
    database = Path(world.settings.cache_directory, "locations", "index-2", "data.mdb")
    assert database.stat().st_size > 0
    database.write_bytes(bytes(database.stat().st_size))
    Path(directory, "new").write_bytes(b"new")
    os.rename(f"{directory}/0/7", f"{directory}/moved")
    report = world.push(directory)
    assert report.bytes_uploaded <= sum(map(len, SMALL.values())) + 3
    found = world.read_back(world.open())
    assert (found[b"new"], found[b"moved"], len(found)) == (b"new", b"content 7", len(SMALL) + 1)


def test_an_executable_bit_alone(world: World) -> None:
    directory = world.plant({b"a": b"1"})
    first = world.push(directory)
    os.chmod(f"{directory}/a", 0o755)
    second = world.push(directory)
    assert uploaded(second) == (0, 0)
    assert second.top_hash != first.top_hash
    assert world.open().find("a").kind is Kind.EXECUTABLE
    assert len(world.keys(data_key(content_hash(b"1")))) == 1
