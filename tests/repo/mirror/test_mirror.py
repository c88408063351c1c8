"""A dataset in two buckets: the same hashes and history, brought once, one way, and held against what it should be."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from penstock.errors import ConflictError, IntegrityError, NotFoundError
from penstock.manifest.hashing import content_hash
from penstock.progress import SILENT
from penstock.repo.bucket.leases import leases
from penstock.repo.mirror.mirror import MirrorOutcome, mirror_dataset
from penstock.repo.push.push import push_in_place
from penstock.repo.session.bucket_session import open_session
from penstock.repo.settings.handle import parse_handle
from penstock.repo.settings.trust import Trust
from penstock.repo.verify.verification import verify
from penstock.repo.write.publish import Authorship
from penstock.store.base import Store

World = Any  # see conftest

ME = Authorship("tester", "", "test")
FIRST = {b"a": b"1", b"d/e/f": b"2", b"large": bytes(5 << 20), b"empty": None} | {
    b"many/%04d" % number: b"%d" % number for number in range(300)
}


def mirror(world: World, there: World, **options: Any) -> MirrorOutcome:
    with (
        open_session(world.bucket, world.settings, cached=False) as source,
        open_session(there.bucket, there.settings, cached=False) as target,
    ):
        return mirror_dataset(source, target, "things", **options)


def refs(world: World) -> dict[str, bytes | None]:
    found = world.repository().refs
    heads = {name: head.record.commit for name in found.branches() if (head := found.head(name)) is not None}
    return heads | {f"tag {name}": record.commit for name in found.tags() if (record := found.tag(name)) is not None}


def is_sound(world: World, ref: str) -> bool:
    return verify(parse_handle(world.handle(ref)), world.settings, SILENT, deep=True).is_sound


def objects(world: World) -> set[str]:
    return {key for key in world.keys(".penstock/") if "/heads/" not in key}


@pytest.fixture
def there(tmp_path: Path, new_world: Callable[[Path], World]) -> World:
    """Return a second bucket, on a machine of its own."""
    (tmp_path / "there").mkdir()
    return new_world(tmp_path / "there")


def fill(world: World) -> None:
    world.push(world.plant(FIRST, "one"), tag="v1", message="one")
    world.push(world.plant(FIRST | {b"a": b"new", b"many/0007": b"other"}, "two"), message="two")
    world.make_branch("side", world.repository().resolve("v1"))
    world.push(world.plant({b"side": b"s" * 100}, "three"), "side", message="three")


def check_the_same(world: World, there: World) -> None:
    assert refs(there) == refs(world)
    for ref in ("main", "v1", "side"):
        here, copy = world.open(ref), there.open(ref, cached=False)
        assert (copy.top_hash, copy.commit_id) == (here.top_hash, here.commit_id)
        assert is_sound(there, ref)
    assert there.read_back(there.open("main")) == world.read_back(world.open("main"))


def test_all_of_it_is_there_and_brought_once(world: World, there: World) -> None:
    fill(world)
    done = mirror(world, there)
    assert sorted(done.branches) == ["main", "side"]
    assert (done.tags, done.versions) == (["v1"], 3)
    check_the_same(world, there)
    assert objects(there) == objects(world)
    assert leases(there.store()) == leases(world.store()) == []
    again = mirror(world, there)
    assert again == MirrorOutcome()
    # What is new is all that is brought, and all that is looked at.
    world.push(world.plant(FIRST | {b"a": b"newest"}, "four"), message="four")
    more = mirror(world, there)
    assert (more.branches, more.versions, more.objects) == (["main"], 1, 2)
    check_the_same(world, there)


def test_a_mirror_of_a_mirror_is_the_same_again(world: World, there: World, tmp_path: Path, new_world: Any) -> None:
    fill(world)
    mirror(world, there)
    (tmp_path / "third").mkdir()
    third = new_world(tmp_path / "third")
    mirror(there, third)
    check_the_same(world, third)


def test_a_branch_alone_comes_with_what_led_to_it(world: World, there: World) -> None:
    fill(world)
    assert mirror(world, there, branch="side").versions == 2
    assert refs(there) == {"side": world.open("side").commit_id}
    assert is_sound(there, "side")
    with pytest.raises(NotFoundError):
        mirror(world, there, branch="nowhere")
    assert mirror(world, there).versions == 1
    check_the_same(world, there)


def test_it_follows_a_branch_that_goes_back_and_one_that_is_deleted(world: World, there: World) -> None:
    fill(world)
    mirror(world, there)
    world.reset_branch("main", world.repository().resolve("v1"))
    world.delete_branch("side", ME)
    assert sorted(mirror(world, there).branches) == ["main", "side"]
    assert refs(there) == refs(world)
    assert mirror(world, there) == MirrorOutcome()


@pytest.mark.parametrize("kind", ["ahead", "own branch", "own tag", "other"])
def test_a_destination_with_a_history_of_its_own_is_refused_and_left(world: World, there: World, kind: str) -> None:
    fill(world)
    if kind != "other":
        mirror(world, there)
    if kind == "own branch":
        there.push(there.plant({b"x": b"1"}, "own"), "mine")
    elif kind == "own tag":
        there.make_tag("mine", there.repository().resolve("v1"))
    else:
        there.push(there.plant({b"x": b"1"}, "own"))
    world.push(world.plant(FIRST | {b"a": b"newest"}, "four"))
    before, shown = there.keys(), refs(there)
    with pytest.raises(ConflictError, match="history of its own") as refused:
        mirror(world, there)
    assert ("mine" if "own" in kind else "main") in refused.value.why
    assert (there.keys(), refs(there)) == (before, shown)


def test_the_bucket_itself_is_no_mirror_and_a_dataset_has_to_be_there(world: World, there: World) -> None:
    with pytest.raises(NotFoundError, match="things"):
        mirror(world, there)
    assert there.keys() == []
    fill(world)
    with pytest.raises(ConflictError, match="is the bucket"):
        mirror(world, world)


def test_damage_in_the_source_goes_no_further(world: World, there: World) -> None:
    fill(world)
    for prefix in (".penstock/data/", ".penstock/nodes/"):
        key = world.keys(prefix)[0]
        whole = world.store().get(key)
        world.store().put(key, bytes([whole[0] ^ 1]) + whole[1:])
        with pytest.raises(IntegrityError, match=key):
            mirror(world, there)
        assert refs(there) == {}
        for kept in there.keys(prefix):  # what an earlier try has brought of it is whole
            assert content_hash(there.store().get(kept)).hex() == kept.rpartition("/")[2]
        world.store().put(key, whole)
    mirror(world, there)
    check_the_same(world, there)


def test_files_in_place_stay_where_they_are_or_are_brought(world: World, there: World, tmp_path: Path) -> None:
    directory = world.plant({b"a": b"in place", b"large": b"x" * (5 << 20), b"none": b""}, "outside")
    settings = replace(world.settings, trust=Trust(local=(directory,)))
    push_in_place(directory, parse_handle(world.handle()), settings, ME, SILENT)
    world.settings = there.settings = settings
    top = world.open(cached=False).top_hash
    done = mirror(world, there)
    assert (done.elsewhere, done.brought) == (2, 0)
    assert there.keys(".penstock/data/") == []
    assert there.open(cached=False).find("a").extents == world.open(cached=False).find("a").extents
    (tmp_path / "fourth").mkdir()
    fourth = type(there)(tmp_path / "fourth")
    fourth.settings = settings
    brought = mirror(world, fourth, bring=True)
    assert brought.brought == 2
    for path in Path(directory).iterdir():
        path.unlink()
    assert fourth.open(cached=False).top_hash == top
    assert fourth.read_back(fourth.open(cached=False))[b"large"] == b"x" * (5 << 20)
    fourth.close()


class _Counting:
    """Counts what is asked of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.asked: list[str] = []

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if name in ("get", "head", "list", "put", "create", "list_folders", "list_level", "delete", "copy"):
            self.asked.append(name)
        return found


@contextmanager
def counted(*worlds: World) -> Iterator[list[_Counting]]:
    from penstock.repo.session.bucket_session import BucketSession
    from penstock.repo.settings.bucket_setup import BucketSetup

    with ExitStack() as stack:
        stores = [_Counting(world.store()) for world in worlds]
        sessions = [
            stack.enter_context(BucketSession(BucketSetup.of(world.bucket, world.settings), cached=False, store=store))  # type: ignore[arg-type]
            for world, store in zip(worlds, stores, strict=True)
        ]
        mirror_dataset(*sessions, "things")
        yield stores


@pytest.mark.s3
def test_on_the_real_server_it_copies_by_itself_and_nothing_new_is_two_requests(
    s3_world: World, there: World, gateway: Any
) -> None:
    gateway.make_bucket("mirrored")
    there.bucket = "s3://mirrored"
    fill(s3_world)
    done = mirror(s3_world, there)
    assert done.server_bytes > 5 << 20
    check_the_same(s3_world, there)
    with counted(s3_world, there) as stores:
        assert [store.asked for store in stores] == [["list"], ["list"]]
    # What a server copies is read, too, when that is asked for.
    key = s3_world.keys(".penstock/data/")[0]
    s3_world.push(s3_world.plant({b"b": b"z" * 3000}, "five"))
    new = next(each for each in s3_world.keys(".penstock/data/") if each not in set(there.keys()) and each != key)
    s3_world.store().put(new, b"y" * 3000)
    with pytest.raises(IntegrityError, match=new):
        mirror(s3_world, there, deep=True)
    assert new not in set(there.keys())


@pytest.mark.s3
def test_from_a_directory_to_s3_and_back(world: World, s3_world: World, there: World) -> None:
    fill(world)
    mirror(world, s3_world)
    check_the_same(world, s3_world)
    mirror(s3_world, there)
    check_the_same(world, there)
    with counted(world, s3_world) as stores:
        assert len(stores[1].asked) <= 3


def test_a_branch_is_followed_until_the_end_is_asked_for(world: World, there: World) -> None:
    from penstock.api.datasets.dataset import Dataset

    fill(world)
    end = threading.Event()
    reports = Dataset(world.handle(), world.settings).follow_mirror(there.bucket, branch="main", every=0.01, end=end)
    assert next(reports).versions == 2
    world.push(world.plant({b"a": b"more"}, "five"))
    assert next(reports).versions == 1
    assert refs(there) == {"main": world.open().commit_id}
    end.set()
    assert list(reports) == []
