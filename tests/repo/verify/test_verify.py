"""Verify: each kind of damage is found, named with the paths that it affects, and mended where that is possible."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from penstock.errors import IntegrityError, NotFoundError, UsageError
from penstock.manifest.entry import BLOCK_SIZE
from penstock.progress import SILENT
from penstock.repo.push.push import push_in_place
from penstock.repo.settings.handle import parse_handle
from penstock.repo.verify.damage import DamageKind
from penstock.repo.verify.verification import VersionReport, verify
from penstock.repo.write.publish import Authorship

World = Any  # see conftest

MIB = 1 << 20
ME = Authorship("tester", "", "test")
_random = random.Random(7)
LARGE = _random.randbytes(40 * MIB + 5)
CONTENT: dict[bytes, Any] = {b"large": LARGE, b"empty": b"", b"copy/large": LARGE} | {
    b"d%d/%d" % (number % 3, number): _random.randbytes(1000 + number) for number in range(60)
}


def check(world: World, ref: str | None = None, *, deep: bool = True, repair: str | None = None) -> VersionReport:
    return verify(parse_handle(world.handle(ref)), world.settings, SILENT, deep=deep, repair=repair)


def spoil(world: World, key: str, change: Callable[[bytes], bytes]) -> None:
    store = world.store()
    store.put(key, change(store.get(key)))


def flip(at: int) -> Callable[[bytes], bytes]:
    return lambda body: body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]


def data_keys(world: World) -> dict[int, str]:
    """Return the data objects by size: the two pieces of the large file, and the pack of the small ones."""
    return {found.size: found.key for found in world.store().list(".penstock/data/")}


FIRST, SECOND = 32 * MIB, 8 * MIB + 5
SMALL = sum(1000 + number for number in range(60))


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.s3)])
def any_world(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue("world" if request.param == "local" else "s3_world")


def test_damage_is_found_named_and_mended(any_world: World) -> None:
    world = any_world
    directory = world.plant(CONTENT)
    world.push(directory)
    sound = check(world)
    assert (sound.is_sound, sound.damages, sound.objects) == (True, [], 3)
    # Content that lies at one place is read once.
    assert sound.bytes_read == len(LARGE) + SMALL
    keys = data_keys(world)
    spoil(world, keys[FIRST], flip(3 * MIB + 17))
    spoil(world, keys[SECOND], lambda body: body[:-1])
    world.store().delete([keys[SMALL]])
    found = {damage.address.rpartition("/")[2]: damage for damage in check(world).damages}
    names = {size: key.rpartition("/")[2] for size, key in keys.items()}
    assert {size: found[name].kind for size, name in names.items()} == {
        FIRST: DamageKind.CORRUPT,
        SECOND: DamageKind.TRUNCATED,
        SMALL: DamageKind.MISSING,
    }
    assert found[names[FIRST]].paths == found[names[SECOND]].paths == ["large", "copy/large"]
    assert (found[names[SMALL]].affected, len(found[names[SMALL]].paths)) == (60, 20)
    # Without reading, what has its size passes.
    assert {damage.kind for damage in check(world, deep=False).damages} == {DamageKind.TRUNCATED, DamageKind.MISSING}
    # A push does not look at bytes that are there, and a repair does.
    report = check(world, repair=directory)
    assert report.is_sound
    assert [damage.repaired for damage in report.damages] == [True] * 3
    assert check(world).damages == []
    assert world.read_back(world.open(cached=False)) == CONTENT


def test_only_the_files_that_a_flipped_byte_belongs_to_are_named(world: World) -> None:
    world.push(world.plant(CONTENT))
    entry = world.open().find("d1/31")
    spoil(world, data_keys(world)[SMALL], flip(entry.extents[0].offset))
    (damage,) = check(world).damages
    assert (damage.affected, damage.paths) == (1, ["d1/31"])


def test_the_cache_is_not_asked(world: World) -> None:
    world.push(world.plant(CONTENT))
    world.read_back(world.open())
    spoil(world, data_keys(world)[SMALL], flip(5))
    assert not check(world).is_sound
    for key in world.keys(".penstock/nodes/"):
        spoil(world, key, flip(30))
    assert not check(world, deep=False).is_sound


@pytest.mark.parametrize("gone", [False, True], ids=["damaged", "missing"])
def test_directories_whose_nodes_are_lost_are_named_and_the_rest_is_checked(world: World, gone: bool) -> None:
    directory = world.plant({b"d%d/%d" % (number % 3, number): b"%d" % number for number in range(60)})
    world.push(directory)
    (first,) = world.keys(".penstock/nodes/")
    Path(directory, "d1", "new").write_bytes(b"new")
    world.push(directory)
    (second,) = set(world.keys(".penstock/nodes/")) - {first}
    # d0 and d2 lie in the first pack; the root and d1 in the second.
    if gone:
        world.store().delete([first])
    else:
        ref = world.open().find("d2").directory
        spoil(world, first, flip(ref.location.offset + 40))
    (damage,) = check(world).damages
    assert damage.address.endswith(first)
    assert damage.kind is (DamageKind.MISSING if gone else DamageKind.UNREADABLE)
    assert damage.paths == (["d0/", "d2/"] if gone else ["d2/"])
    assert damage.affected == 20 * len(damage.paths)
    assert check(world, repair=directory).is_sound is False
    assert second in world.keys(".penstock/nodes/")


def test_pages_of_block_hashes(world: World) -> None:
    directory = world.plant({b"huge": bytes(range(256)) * (34 * MIB // 256), b"other": b"1"})
    world.push(directory)
    snapshot = world.open()
    (page,) = snapshot.find("huge").pages
    (key,) = world.keys(".penstock/nodes/")
    spoil(world, key, flip(page.location.offset + 20))
    (damage,) = check(world).damages
    assert damage.address.endswith(key)
    assert damage.paths == ["huge"]


def test_what_other_versions_have_in_an_object_is_not_lost_by_a_repair(world: World) -> None:
    """The pack holds files of a version that the directory has not; what is left of the object makes it whole."""
    world.push(world.plant(CONTENT), tag="v1")
    smaller = {path: body for path, body in CONTENT.items() if not path.startswith(b"d2/")}
    directory = world.plant(smaller, "smaller")
    world.push(directory)
    spoil(world, data_keys(world)[SMALL], flip(world.open().find("d0/30").extents[0].offset))
    assert not check(world, "v1").is_sound
    assert check(world, repair=directory).is_sound
    assert check(world, "v1").is_sound
    # But where that is gone too nothing is written that would only look whole.
    world.store().delete([data_keys(world)[SMALL]])
    report = check(world, repair=directory)
    assert [damage.repaired for damage in report.damages] == [False]
    assert SMALL not in data_keys(world)


def test_a_file_in_pieces(world: World) -> None:
    """Edits in place leave a file in several objects, one block maybe in two of them."""
    directory = world.plant({b"large": LARGE})
    world.push(directory)
    with open(Path(directory, "large"), "r+b") as file:
        file.seek(5 * BLOCK_SIZE)
        file.write(b"edited")
        file.seek(0, 2)
        file.write(b"appended")
    world.push(directory)
    assert len(world.open().find("large").extents) > 2
    assert check(world).is_sound
    for key in world.keys(".penstock/data/"):
        spoil(world, key, flip(0))
    report = check(world)
    assert {damage.kind for damage in report.damages} == {DamageKind.CORRUPT}
    assert all(damage.paths == ["large"] for damage in report.damages)


def test_files_registered_in_place(world: World) -> None:
    directory = world.plant({b"a": b"1" * 1000, b"b": b"2" * 1000, b"c": b"3" * 1000, b"d": b"4"})
    push_in_place(directory, parse_handle(world.handle()), world.settings, ME, SILENT)
    assert check(world).is_sound
    Path(directory, "a").unlink()
    Path(directory, "b").write_bytes(b"2")
    Path(directory, "c").write_bytes(b"x" * 1000)
    for deep in (False, True):
        damages = check(world, deep=deep).damages
        found = {damage.paths[0]: damage.kind for damage in damages}
        expected = {"a": DamageKind.MISSING, "b": DamageKind.TRUNCATED}
        assert found == (expected | {"c": DamageKind.CORRUPT} if deep else expected)
    assert not check(world, repair=directory).is_sound
    assert not Path(directory, "a").exists()


def test_many_objects_are_listed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.repo.verify.verification._HEADS", 1)
    world.push(world.plant(CONTENT))
    assert check(world, deep=False).is_sound
    keys = data_keys(world)
    world.store().delete([keys[FIRST]])
    spoil(world, keys[SECOND], lambda body: body[:-1])
    found = {damage.kind for damage in check(world, deep=False).damages}
    assert found == {DamageKind.MISSING, DamageKind.TRUNCATED}


def test_records(world: World) -> None:
    report = world.push(world.plant({b"a": b"1"}))
    with pytest.raises(NotFoundError):
        check(world, "nosuch")
    with pytest.raises(UsageError):
        verify(parse_handle(world.handle("main") + "/sub"), world.settings, SILENT)
    with pytest.raises(NotFoundError):
        check(world, repair=str(world.folder / "nosuch"))
    spoil(world, f".penstock/datasets/things/commits/{report.commit.hex()}", flip(40))
    with pytest.raises(IntegrityError):
        check(world)
