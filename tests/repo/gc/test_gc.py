"""Garbage collection: what is needed stays, what is not goes, on a local store and on the real S3 server."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path
from typing import Any

import pytest
from servers.faultproxy import FaultProxy
from servers.faults import Status

from penstock.errors import AccessError, IntegrityError
from penstock.progress import SILENT, ProgressMeter, StageState
from penstock.repo.bucket.leases import Lease, LeaseKind
from penstock.repo.fetch.request_counts import RequestCounts
from penstock.repo.gc.collect import GcReport, collect
from penstock.repo.push.push import push_in_place
from penstock.repo.refs.repository import VersionId
from penstock.repo.session.nodes import Nodes
from penstock.repo.settings.handle import parse_handle
from penstock.repo.verify.verification import verify
from penstock.repo.write.publish import Authorship
from penstock.store.base import Buffer
from penstock.store.local import LocalStore

World = Any  # see conftest

DENIED = b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"
ME = Authorship("tester", "", "test")
_random = random.Random(4)
LARGE = _random.randbytes(40 << 20)


def gc(world: World, *, grace: float = 0.0, delete: bool = True, **options: Any) -> GcReport:
    store = world.store()
    return collect(store, Nodes(store, None, RequestCounts()).load, SILENT, grace=grace, delete=delete, **options)


def settle(world: World) -> None:
    """Wait until the store's clock shows another second: what was written before is older than now."""
    store = world.store()

    def clock() -> float:
        store.put("clock", b"")
        return float(store.head("clock").modified)

    before = clock()
    deadline = time.monotonic() + 60
    while clock() < before + 1:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    store.delete(["clock"])


def is_sound(world: World, ref: str | None = None, dataset: str = "things") -> bool:
    handle = parse_handle(world.handle(ref, dataset))
    return verify(handle, world.machine("verifier"), SILENT, deep=True).is_sound


def content(number: int) -> dict[bytes, Any]:
    """Return a tree that has something in common with its neighbours, and something of its own."""
    return {b"same/%d" % index: b"same %d" % index for index in range(30)} | {
        b"own/%d" % number: b"own %d" % number,
        b"large": _random.randbytes((1 << 20) + number),
    }


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.s3)])
def any_world(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue("world" if request.param == "local" else "s3_world")


def test_nothing_goes_where_a_newer_penstock_may_keep_versions(world: World) -> None:
    world.push(world.plant(content(1), "one"))
    store = world.store()
    store.put(".penstock/datasets/things/releases/v1", b"record")
    keys = world.keys(".penstock/")
    with pytest.raises(IntegrityError, match=r"releases/v1.*Upgrade Penstock"):
        gc(world)
    assert world.keys(".penstock/") == keys


def test_what_nothing_leads_to_goes_and_the_rest_stays(any_world: World) -> None:
    world = any_world
    first = world.push(world.plant(content(1), "one"), tag="v1")
    kept = world.push(world.plant(content(2), "two"))
    lost = world.push(world.plant(content(3), "three"), "side")
    other = world.push(world.plant(content(4), "four"), dataset="others")
    world.delete_branch("side", ME)
    settle(world)
    keys = set(world.keys(".penstock/"))
    told = gc(world, delete=False)
    assert set(world.keys(".penstock/")) == keys
    assert (told.datasets, told.versions, told.garbage_versions, told.deleted.objects) == (2, 3, 1, 0)
    report = gc(world)
    assert report.garbage == report.deleted == told.garbage
    assert report.stopped == ""
    gone = keys - set(world.keys(".penstock/"))
    assert len(gone) == report.deleted.objects
    assert {f".penstock/datasets/things/commits/{lost.commit.hex()}"} <= gone
    assert {f".penstock/datasets/things/manifests/{lost.top_hash.hex()}"} <= gone
    assert not any("/heads/" in key or "/tags/" in key for key in gone)
    assert is_sound(world)
    assert is_sound(world, "v1")
    assert is_sound(world, first.commit.hex())
    assert is_sound(world, dataset="others")
    assert (world.open().top_hash, world.open(dataset="others").top_hash) == (kept.top_hash, other.top_hash)
    assert gc(world).garbage.objects == 0
    # What shared its files with others is whole when it is pushed once more.
    assert world.push(world.plant(content(3), "three-again"), "side").bytes_uploaded > 0
    assert is_sound(world, "side")


def test_what_is_young_is_kept(any_world: World) -> None:
    world = any_world
    world.push(world.plant(content(1), "one"))
    world.push(world.plant(content(2), "two"), "side")
    world.delete_branch("side", ME)
    settle(world)
    report = gc(world, grace=3600)
    assert report.deleted.objects == report.garbage.objects == 0
    assert (report.versions, report.garbage_versions) == (2, 0)
    # Something that no record leads to at all: an upload that was cut off.
    key = ".penstock/data/" + "ab/" + "ab" * 32
    world.store().put(key, b"cut off")
    report = gc(world, grace=3600)
    assert (report.grace.objects, report.grace.bytes, report.deleted.objects) == (1, 7, 0)
    settle(world)
    report = gc(world)
    assert report.deleted.objects >= 1
    assert world.keys(key) == []
    assert is_sound(world)


def test_a_rollback_can_be_taken_back_for_as_long_as_the_grace_period(world: World) -> None:
    """What counts is when the branch left the version, not when it came to it."""
    first = world.push(world.plant(content(1), "one"))
    second = world.push(world.plant(content(2), "two"))
    age(world, 7200)
    world.reset_branch("main", VersionId(first.top_hash, first.commit), ME)
    assert gc(world, grace=3600).deleted.objects == 0
    world.reset_branch("main", VersionId(second.top_hash, second.commit), ME)
    world.reset_branch("main", VersionId(first.top_hash, first.commit), ME)
    age(world, 7200)
    assert gc(world, grace=3600).garbage_versions == 1
    assert is_sound(world)


@pytest.mark.regress
def test_what_a_run_without_grace_deleted_is_not_missed_by_the_next_one(world: World) -> None:
    """The branch was at that version not long ago; but that it is gone harms nobody."""
    world.push(world.plant(content(1), "one"))
    world.push(world.plant(content(2), "two"), "side")
    world.delete_branch("side", ME)
    settle(world)
    assert gc(world).garbage_versions == 1
    assert gc(world, grace=3600).versions == 1
    assert is_sound(world)


def age(world: World, seconds: float) -> None:
    """Make everything in a local bucket older."""
    for path in (world.folder / "store" / ".penstock").rglob("*"):
        if path.is_file():
            modified = path.stat().st_mtime - seconds
            os.utime(path, (modified, modified))


def test_versions_that_leases_hold_are_kept(any_world: World) -> None:
    world = any_world
    world.push(world.plant(content(1), "one"))
    lost = world.push(world.plant(content(2), "two"), "side")
    other = world.push(world.plant(content(3), "three"), "side")
    world.delete_branch("side", ME)
    settle(world)
    store = world.store()
    with (
        Lease(store, "things", LeaseKind.MOUNT, [other.top_hash]) as mount,
        Lease(store, "things", LeaseKind.OVERLAY, [lost.commit]),
    ):
        report = gc(world)
        assert (report.versions, report.stopped) == (3, "")
        assert is_sound(world, lost.commit.hex())
        assert is_sound(world, other.top_hash.hex())
        mount.hold([])
        gc(world)
        assert is_sound(world, lost.commit.hex())
        assert world.keys(f".penstock/datasets/things/manifests/{other.top_hash.hex()}") == []
    assert gc(world).versions == 1
    assert is_sound(world)


def test_nothing_is_deleted_while_somebody_writes(world: World) -> None:
    world.push(world.plant(content(1), "one"))
    world.push(world.plant(content(2), "two"), "side")
    world.delete_branch("side", ME)
    settle(world)
    with Lease(world.store(), "things", LeaseKind.COMMIT):
        report = gc(world, patience=0.3)
        assert "a commit to 'things' is at work on" in report.stopped
        assert (report.deleted.objects, report.garbage_versions) == (0, 1)
    # Killed, its lease has ended by now: it is removed, and no reason to wait.
    Lease(world.store(), "things", LeaseKind.PUSH, seconds=-60).take().close(keep=True)
    report = gc(world)
    assert report.deleted.objects == report.garbage.objects > 0
    assert world.keys(".penstock/leases/") == []


def test_data_that_datasets_share_stays_as_long_as_one_needs_it(world: World) -> None:
    directory = world.plant({b"large": LARGE[: 2 << 20]})
    world.push(directory)
    world.push(directory, dataset="others")
    world.delete_branch("main", force=True, dataset="others")
    settle(world)
    assert gc(world).garbage_versions == 1
    assert is_sound(world)
    world.delete_branch("main", ME, force=True)
    settle(world)
    gc(world)
    assert [key for key in world.keys(".penstock/") if "/heads/" not in key] == []


def test_files_registered_in_place_are_never_touched(world: World) -> None:
    directory = world.plant({b"a": b"1", b"b": b"2" * 3_000_000})
    push_in_place(directory, parse_handle(world.handle()), world.settings, ME, SILENT)
    assert is_sound(world)
    world.delete_branch("main", ME, force=True)
    settle(world)
    assert gc(world).deleted.objects > 0
    assert Path(directory, "a").read_bytes() == b"1"
    assert Path(directory, "b").stat().st_size == 3_000_000


def test_foreign_objects_stay(world: World) -> None:
    world.push(world.plant({b"a": b"1"}))
    foreign = ["own/file", ".penstock/data/ab/short", ".penstock/data/README", ".penstock/nodes/" + "a" * 64]
    for key in foreign:
        world.store().put(key, b"x")
    settle(world)
    gc(world)
    assert set(foreign) <= set(world.keys())


def test_damage_stops_it_before_anything_is_deleted(world: World) -> None:
    world.push(world.plant(content(1), "one"))
    world.push(world.plant(content(2), "two"), "side")
    world.delete_branch("side", ME)
    world.push(world.plant(content(3), "three"))
    settle(world)
    for key in world.keys(".penstock/nodes/"):
        world.store().put(key, b"damaged" + world.store().get(key)[7:])
    age(world, 10)
    keys = world.keys()
    with pytest.raises(IntegrityError):
        gc(world)
    assert world.keys() == keys


def test_each_node_is_visited_once_however_many_versions_share_it(world: World) -> None:
    """A hundred versions of a tree of many nodes cost little more than one."""
    tree = {b"d%d/%d" % (number // 50, number): b"%d" % number for number in range(1000)}
    directory = world.plant(tree)
    world.push(directory)
    one = ProgressMeter()
    store = world.store()
    collect(store, Nodes(store, None, RequestCounts()).load, one, grace=0)
    for number in range(10):
        Path(directory, "changed").write_bytes(b"%d" % number)
        world.push(directory)
    all_of_them, counters = ProgressMeter(), RequestCounts()
    report = collect(store, Nodes(store, None, counters).load, all_of_them, grace=0)
    assert report.versions == 11
    assert one.states()[0] == StageState("marking", 1020, None, "items")
    assert all_of_them.states()[0].done <= 1020 + 10 * 21


def test_a_clock_that_is_wrong_deletes_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.push(world.plant(content(1), "one"))
    world.push(world.plant(content(2), "two"), "side")
    world.delete_branch("side", ME)
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 10 * 365 * 86400)
    keys = world.keys()
    for grace in (3600, 0):
        with pytest.raises(IntegrityError, match="clock"):
            gc(world, grace=grace)
    assert world.keys() == keys


def test_whoever_may_only_read_is_told_what_would_go(world: World) -> None:
    class ReadOnly(LocalStore):
        def put(self, key: str, body: Buffer) -> None:
            raise AccessError(f"{key} may not be written")

    world.push(world.plant(content(1), "one"))
    world.push(world.plant(content(2), "two"), "side")
    world.delete_branch("side", ME)
    settle(world)
    store = ReadOnly(world.folder / "store")
    load = Nodes(store, None, RequestCounts()).load
    assert collect(store, load, SILENT, grace=0).garbage_versions == 1
    with pytest.raises(AccessError):
        collect(store, load, SILENT, grace=0, delete=True)


@pytest.mark.s3
def test_credentials_that_may_not_delete(
    s3_world: World, fault_proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = s3_world
    world.push(world.plant(content(1), "one"))
    world.push(world.plant(content(2), "two"), "side")
    world.delete_branch("side", ME)
    settle(world)
    monkeypatch.setenv("AWS_ENDPOINT_URL", fault_proxy.endpoint)
    fault = fault_proxy.fail(
        fault=Status(403, body=DENIED), match=lambda method, _: method in ("POST", "DELETE"), times=1000
    )
    with pytest.raises(AccessError):
        gc(world)
    assert fault.struck
    fault_proxy.heal()
    assert is_sound(world)
    gc(world)
    assert gc(world).garbage.objects == 0
    assert is_sound(world)
