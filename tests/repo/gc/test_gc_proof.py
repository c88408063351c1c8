"""What gc does on a store whose listings, times or refs cannot be trusted: it says so, and deletes nothing."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from servers.faultproxy import FaultProxy
from servers.faults import Status

from penstock.errors import ConflictError, IntegrityError
from penstock.progress import SILENT
from penstock.repo.bucket.leases import Lease, LeaseKind
from penstock.repo.fetch.request_counts import RequestCounts
from penstock.repo.gc.collect import GcReport, collect
from penstock.repo.refs.repository import VersionId
from penstock.repo.session.nodes import Nodes
from penstock.repo.settings.handle import parse_handle
from penstock.repo.verify.verification import verify
from penstock.repo.write.publish import Authorship
from penstock.store import Store, open_store
from penstock.store.base import Level, ObjectInfo
from penstock.store.local import LocalStore

World = Any  # see conftest

ME = Authorship("tester", "", "test")
EMPTY = (
    b'<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
    b"<Name>b</Name><KeyCount>0</KeyCount><MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated></ListBucketResult>"
)


def gc(store: Store, *, grace: float = -60, delete: bool = True, **options: Any) -> GcReport:
    """Collect; by default not even this second's objects are young."""
    return collect(store, Nodes(store, None, RequestCounts()).load, SILENT, grace=grace, delete=delete, **options)


def fill(world: World) -> None:
    """Make a branch, six tags and a branch that was deleted."""
    for number in range(6):
        report = world.push(world.plant({b"f": b"%d" % number * 100}, f"v{number}"))
        assert report.commit is not None
        world.make_tag(f"t{number}", VersionId(report.top_hash, report.commit), ME)
    world.push(world.plant({b"g": b"side" * 100}, "side"), "side")
    world.delete_branch("side", ME)


def is_sound(world: World) -> bool:
    names = ["main", *(f"t{number}" for number in range(6))]
    return all(verify(parse_handle(world.handle(name)), world.settings, SILENT, deep=True).is_sound for name in names)


class Bent(LocalStore):
    """A local store whose listings pass through `bend`, and whose folders through `hides`."""

    def __init__(self, world: World) -> None:
        super().__init__(world.folder / "store")

    def bend(self, found: Iterator[ObjectInfo]) -> Iterator[ObjectInfo]:
        return found

    def hides(self, folder: str) -> bool:
        return False

    def list(self, prefix: str = "", **options: Any) -> Iterator[ObjectInfo]:
        return self.bend(super().list(prefix, **options))

    def list_folders(self, prefix: str = "") -> Iterator[str]:
        return (name for name in super().list_folders(prefix) if not self.hides(f"{prefix}{name}/"))

    def list_level(self, prefix: str = "", **options: Any) -> Level:
        level = super().list_level(prefix, **options)
        return Level([name for name in level.folders if not self.hides(f"{prefix}{name}/")], level.objects)


class HidesFolders(Bent):
    """Shows a folder only if an object lies directly in it, as s3rver 3.7.1 does."""

    def hides(self, folder: str) -> bool:
        return not any(entry.is_file() for entry in os.scandir(os.path.join(self.path, folder)))


class HidesAllFolders(Bent):
    def hides(self, folder: str) -> bool:
        return True


class CutsOff(Bent):
    """Ends every listing after some objects, and says nothing about it."""

    most = 5

    def bend(self, found: Iterator[ObjectInfo]) -> Iterator[ObjectInfo]:
        return (info for _, info in zip(range(self.most), found, strict=False))


class CutsOffSooner(CutsOff):
    most = 2


class LiesAboutTime(Bent):
    def bend(self, found: Iterator[ObjectInfo]) -> Iterator[ObjectInfo]:
        return (dataclasses.replace(info, modified=0.0) for info in found)


class ListsBackwards(Bent):
    def bend(self, found: Iterator[ObjectInfo]) -> Iterator[ObjectInfo]:
        return reversed(list(found))


class ListsTheDead(Bent):
    """Lists probes that were deleted a moment ago, as a cache in between would."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.seen: dict[str, ObjectInfo] = {}

    def bend(self, found: Iterator[ObjectInfo]) -> Iterator[ObjectInfo]:
        for info in found:
            self.seen.setdefault(info.key, info)
            yield info

    def list(self, prefix: str = "", **options: Any) -> Iterator[ObjectInfo]:
        list(super().list(prefix, **options))
        return iter([info for key, info in sorted(self.seen.items()) if key.startswith(prefix)])


@pytest.mark.regress
@pytest.mark.parametrize(
    ("kind", "says"),
    [
        (HidesFolders, "by folder leaves out 'a'"),
        (HidesAllFolders, "by folder leaves out 'a'"),
        (CutsOffSooner, "leaves out"),
        (LiesAboutTime, "before it was"),
        (ListsBackwards, "not in order"),
    ],
)
@pytest.mark.parametrize("delete", [True, False])
def test_a_store_that_lists_wrongly_loses_nothing(
    world: World, kind: Callable[[World], LocalStore], says: str, delete: bool
) -> None:
    fill(world)
    keys = world.keys()
    with pytest.raises(IntegrityError, match=says):
        gc(kind(world), delete=delete)
    assert world.keys() == keys
    assert is_sound(world)


def test_a_listing_that_shows_what_was_deleted_is_not_trusted(world: World) -> None:
    fill(world)
    keys = world.keys()
    with pytest.raises(IntegrityError, match="which is not there"):
        gc(ListsTheDead(world))
    assert world.keys() == keys


@pytest.mark.regress
def test_a_listing_that_is_cut_off_in_silence_is_gone_on_with(world: World) -> None:
    """Seven tags, and five objects in an answer: without the last its version would be garbage."""
    fill(world)
    last = world.push(world.plant({b"z": b"last" * 100}, "last"), "side")
    world.make_tag("z", VersionId(last.top_hash, last.commit), ME)
    world.delete_branch("side", ME)
    report = gc(CutsOff(world))
    assert report.versions == 7
    assert is_sound(world)
    assert world.open("z", cached=False).top_hash == last.top_hash
    # Nor is what only looks like the end of the objects: what is missed is found by the next run.
    gc(world.store())
    assert gc(world.store()).garbage.objects == 0


@pytest.mark.parametrize("hidden", ["datasets/things/", "heads/main/", "heads/side/"])
def test_ways_of_listing_that_do_not_agree_are_not_trusted(world: World, hidden: str) -> None:
    """The probes are found; of the records themselves one way of listing lacks some."""

    class Partial(Bent):
        def hides(self, folder: str) -> bool:
            return folder.endswith(hidden) and "/probe/" not in folder

    fill(world)
    keys = world.keys()
    with pytest.raises(IntegrityError, match=rf"contradict each other.*{hidden[:-1]}"):
        gc(Partial(world))
    assert world.keys() == keys


def test_a_flat_listing_that_lacks_a_tag_is_not_trusted(world: World) -> None:
    class Partial(Bent):
        def bend(self, found: Iterator[ObjectInfo]) -> Iterator[ObjectInfo]:
            return (info for info in found if not info.key.endswith("/tags/t3"))

    fill(world)
    keys = world.keys()
    with pytest.raises(IntegrityError, match="contradict each other"):
        gc(Partial(world))
    assert world.keys() == keys


@pytest.mark.regress
def test_a_branch_is_asked_for_a_newer_record_than_is_listed(world: World) -> None:
    """A listing that is late: what main moved to last has no other name."""

    class Late(Bent):
        def bend(self, found: Iterator[ObjectInfo]) -> Iterator[ObjectInfo]:
            return (info for info in found if not info.key.endswith(f"main/{(1 << 64) - 1 - 6:016x}"))

    fill(world)
    world.push(world.plant({b"newest": b"n" * 100}, "newest"))
    keys = world.keys()
    with pytest.raises(IntegrityError, match="there when it is asked for by its name"):
        gc(Late(world))
    assert world.keys() == keys


def test_a_ref_that_an_earlier_run_saw_is_asked_for_by_its_name(world: World) -> None:
    """Whatever way is listed, a branch is hidden: only the notes know of it."""

    class Forgetful(Bent):
        def hides(self, folder: str) -> bool:
            return folder.endswith("heads/other/")

        def bend(self, found: Iterator[ObjectInfo]) -> Iterator[ObjectInfo]:
            return (info for info in found if "/heads/other/" not in info.key)

    fill(world)
    world.push(world.plant({b"other": b"o" * 100}, "other"), "other")
    gc(world.store(), grace=3600)
    keys = world.keys()
    for grace in (3600, -60):
        with pytest.raises(IntegrityError, match="heads/other/"):
            gc(Forgetful(world), grace=grace)
        assert world.keys() == keys
    # What was removed by hand is gone by its name as well.
    store = world.store()
    store.delete([key for key in keys if "/heads/other/" in key])
    assert gc(world.store()).garbage_versions > 0
    assert is_sound(world)


@pytest.mark.regress
def test_leases_that_a_listing_lacks_stop_it(world: World) -> None:
    """If it does not show the round's own lease, it may not show that of a push either."""

    class Blind(Bent):
        def bend(self, found: Iterator[ObjectInfo]) -> Iterator[ObjectInfo]:
            return (info for info in found if "/leases/" not in info.key)

    fill(world)
    keys = world.keys()
    with pytest.raises(IntegrityError, match="leases of those who write may be left out"):
        gc(Blind(world))
    assert world.keys() == keys


def test_a_version_that_a_lease_holds_is_asked_for_when_it_is_not_listed(world: World) -> None:
    class Partial(Bent):
        def bend(self, found: Iterator[ObjectInfo]) -> Iterator[ObjectInfo]:
            return (info for info in found if f"manifests/{lost.top_hash.hex()}" not in info.key)

    fill(world)
    lost = world.push(world.plant({b"h": b"held" * 100}, "held"), "side")
    world.delete_branch("side", ME)
    names = [lost.top_hash, b"\1" * 32]  # leases may name what is gone
    with Lease(world.store(), "things", LeaseKind.MOUNT, names):
        keys = [key for key in world.keys(".penstock/") if "/leases/" not in key]
        with pytest.raises(IntegrityError, match="when it is asked for by its name"):
            gc(Partial(world))
        assert [key for key in world.keys(".penstock/") if "/leases/" not in key] == keys
        gc(world.store())
        assert world.open(lost.top_hash.hex(), cached=False).top_hash == lost.top_hash


def test_a_lease_that_was_renewed_since_it_was_listed_is_not_removed(world: World) -> None:
    """Its holder woke up between the listing and the deletion."""

    class Wakes(Bent):
        def bend(self, found: Iterator[ObjectInfo]) -> Iterator[ObjectInfo]:
            for info in found:
                yield dataclasses.replace(info, modified=info.modified - 7200) if "/mount/" in info.key else info

    fill(world)
    with Lease(world.store(), "things", LeaseKind.MOUNT, seconds=3600) as lease:
        gc(Wakes(world))
        assert world.store().head(lease.key) is not None


@pytest.mark.regress
def test_a_clock_that_jumps_ends_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the probes the store's clock goes a day ahead: everybody's lease looks as if it had ended."""

    class Jumps(Bent):
        def put(self, key: str, body: Any) -> None:
            super().put(key, body)
            if "/leases/" in key:
                at = os.stat(os.path.join(self.path, key)).st_mtime + 86400
                os.utime(os.path.join(self.path, key), (at, at))

    fill(world)
    keys = world.keys()
    with pytest.raises(IntegrityError, match="clock has jumped"):
        gc(Jumps(world))
    assert world.keys() == keys


@pytest.mark.regress
def test_objects_without_any_ref_are_not_garbage_by_default(world: World) -> None:
    fill(world)
    store = world.store()
    store.delete([key for key in world.keys(".penstock/") if "/heads/" in key or "/tags/" in key])
    keys = world.keys()
    with pytest.raises(ConflictError, match="no branch and no tag"):
        gc(store)
    assert world.keys() == keys
    gc(store, without_refs=True)
    assert world.keys() == []
    assert gc(store).garbage.objects == 0  # nothing at all is no reason to complain


def test_probes_of_who_was_killed_are_removed_when_they_are_old(world: World) -> None:
    fill(world)
    store = world.store()
    old, young, foreign = (
        f".penstock/probe/{'0' * 32}/a/heads/main/{'f' * 16}",
        f".penstock/probe/{'1' * 32}",
        ".penstock/probe/keep",
    )
    for key in (old, young, foreign):
        store.put(key, b"x")
    for key in (old, foreign):
        at = store.head(key).modified - 2 * 86400
        os.utime(Path(world.folder, "store", key), (at, at))
    gc(store)
    assert world.keys(".penstock/probe/") == [young, foreign]


@pytest.mark.s3
@pytest.mark.regress
def test_an_s3_server_that_shows_no_common_prefixes(
    s3_world: World, fault_proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = s3_world
    fill(world)
    keys = world.keys()
    monkeypatch.setenv("AWS_ENDPOINT_URL", fault_proxy.endpoint)
    bent = fault_proxy.fail(
        fault=Status(200, body=EMPTY), match=lambda method, path: method == "GET" and "delimiter" in path, times=1000
    )
    with open_store(world.bucket) as store, pytest.raises(IntegrityError, match="by folder leaves out"):
        gc(store)
    assert bent.struck
    fault_proxy.heal()
    assert world.keys() == keys
    assert is_sound(world)
    with open_store(world.bucket) as store:
        assert gc(store).versions == 6
    assert is_sound(world)
