"""Versions that land on a branch which moved meanwhile: merged when they may be, refused by path when not."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from servers.faultproxy import FaultProxy
from servers.faults import Fault, FlipRequestByte, Reset, Status

from penstock.errors import MergeConflictError, UsageError
from penstock.manifest.merge import Side
from penstock.manifest.records import Manifest
from penstock.repo.bucket.leases import LeaseKind
from penstock.repo.refs.repository import Repository, VersionId
from penstock.repo.session.bucket_session import open_session
from penstock.repo.write import landing
from penstock.repo.write.landing import Landed
from penstock.repo.write.publish import Authorship
from penstock.repo.write.version_writer import VersionWriter
from penstock.store.base import Buffer
from penstock.store.local import LocalStore

World = Any  # see conftest

WHO = Authorship("tester", "landed", "commit")
BASE = {b"a": b"a", b"b": b"b", b"d/x": b"x", b"d/y": b"y", b"e": None}


class Scene:
    """A dataset at a base version, and versions made from it that are in the bucket but on no branch to land on."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.repository: Repository = world.repository()
        self.base: bytes = world.push(world.plant(BASE, "base")).commit
        self.made = 0

    def version(self, changes: dict[bytes, Any], without: tuple[bytes, ...] = ()) -> Manifest:
        """Return the base with these changes."""
        self.made += 1
        content = {path: item for path, item in {**BASE, **changes}.items() if path not in without}
        report = self.world.push(self.world.plant(content, f"made{self.made}"), f"made{self.made}")
        return self.repository.manifest(report.top_hash)

    def land(self, manifest: Manifest, **more: Any) -> Landed:
        where = more.pop("repository", self.repository)
        branch, base = more.pop("branch", "main"), more.pop("base", self.base)
        with (
            open_session(self.world.bucket, self.world.settings) as session,
            VersionWriter(session, where, LeaseKind.COMMIT, WHO, branch=branch) as writer,
        ):
            writer.hold()
            return writer.land(base, manifest, **more)

    def content(self, ref: str | None = None) -> dict[bytes, Any]:
        found: dict[bytes, Any] = self.world.read_back(self.world.open(ref, cached=False))
        return found


@pytest.fixture
def scene(world: World) -> Scene:
    return Scene(world)


def test_on_a_branch_that_has_not_moved(scene: Scene) -> None:
    manifest = scene.version({b"a": b"new"})
    landed = scene.land(manifest)
    assert (landed.merged_with, landed.manifest, landed.changed) == (None, manifest, True)
    commit = scene.repository.commit(landed.published.commit)
    assert (commit.parents, commit.message) == ((scene.base,), "landed")
    assert scene.content() == {**BASE, b"a": b"new"}


def test_disjoint_changes_are_merged(scene: Scene) -> None:
    first = scene.land(scene.version({b"a": b"first", b"d/new": b"1"}, (b"b",)))
    mine = scene.version({b"d/x": b"second", b"f/g": b"2"}, (b"e",))
    second = scene.land(mine)
    assert second.merged_with == first.published.commit
    assert second.manifest.top_hash == second.published.top_hash != mine.top_hash
    assert scene.content() == {
        b"a": b"first",
        b"d/new": b"1",
        b"d/x": b"second",
        b"d/y": b"y",
        b"f/g": b"2",
    }
    # Linear: the only parent is the version that it landed on.
    assert scene.repository.commit(second.published.commit).parents == (first.published.commit,)
    assert scene.repository.manifest(second.published.top_hash) == second.manifest
    assert scene.world.rebuilt_top_hash(scene.world.open()) == second.published.top_hash


def test_the_same_change_is_no_conflict_and_no_version(scene: Scene) -> None:
    first = scene.land(scene.version({b"a": b"same"}))
    again = scene.land(scene.version({b"a": b"same"}))
    assert (again.changed, again.published) == (False, first.published)
    assert scene.repository.refs.head("main").number == 1  # type: ignore[union-attr]


def test_a_conflict_names_the_paths_and_changes_nothing(scene: Scene) -> None:
    scene.land(scene.version({b"a": b"1", b"d/x": b"1", b"c": b"free"}))
    mine = scene.version({b"a": b"2", b"g": b"free"}, (b"d/x", b"d/y"))
    before = set(scene.world.keys())
    with pytest.raises(MergeConflictError) as caught:
        scene.land(mine)
    assert caught.value.what == "2 paths have changed here and on main"
    assert caught.value.candidates == (
        "a: modified on main, modified here",
        "d: changed below on main, deleted here (d/x)",
    )
    assert "--ours" in caught.value.fix
    assert "--branch" in caught.value.fix
    assert set(scene.world.keys()) == before


def test_many_conflicts_are_counted(scene: Scene) -> None:
    scene.land(scene.version({b"many/%03d" % number: b"1" for number in range(30)}))
    with pytest.raises(MergeConflictError) as caught:
        scene.land(scene.version({b"many/%03d" % number: b"2" for number in range(30)}))
    assert caught.value.what.startswith("30 paths")
    assert len(caught.value.candidates) == 21
    assert caught.value.candidates[-1] == "and 10 more"


@pytest.mark.parametrize("side", Side)
def test_conflicts_that_are_settled(scene: Scene, side: Side) -> None:
    scene.land(scene.version({b"a": b"branch", b"c": b"free"}))
    landed = scene.land(scene.version({b"a": b"mine"}, (b"b",)), choose=lambda path: side)
    assert landed.changed
    expected = {Side.OURS: b"branch", Side.THEIRS: b"mine"}[side]
    assert scene.content() == {b"a": expected, b"c": b"free", b"d/x": b"x", b"d/y": b"y", b"e": None}


def test_a_branch_that_is_new_or_was_deleted(scene: Scene) -> None:
    manifest = scene.version({b"a": b"new"})
    landed = scene.land(manifest, branch="side")
    assert scene.repository.commit(landed.published.commit).parents == (scene.base,)
    assert landed.merged_with is None
    assert scene.content("side") == {**BASE, b"a": b"new"}
    scene.world.push(str(scene.world.folder / "base"), tag="v1")
    with pytest.raises(UsageError, match="'v1' is a tag"):
        scene.land(manifest, branch="v1")


def test_what_was_made_from_nothing_lands_beside_what_is_there(scene: Scene) -> None:
    report = scene.world.push(scene.world.plant({b"other": b"1", b"a": b"a"}, "alone"), "alone")
    landed = scene.land(scene.repository.manifest(report.top_hash), base=None)
    assert landed.merged_with == scene.base
    assert scene.content() == {**BASE, b"other": b"1"}


def test_a_branch_that_was_reset_meanwhile(scene: Scene) -> None:
    """What was changed since the base lands, and nothing of what the branch no longer has."""
    second = scene.land(scene.version({b"a": b"second"}))
    third = scene.version({b"a": b"second", b"d/x": b"third"})
    first = VersionId(scene.repository.commit(scene.base).top_hash, scene.base)
    assert scene.world.reset_branch("main", first, WHO) == second.published
    landed = scene.land(third, base=second.published.commit)
    assert scene.content() == {**BASE, b"d/x": b"third"}
    assert scene.repository.commit(landed.published.commit).parents == (scene.base,)


def test_metadata_of_versions_merges(scene: Scene) -> None:
    plain = scene.version({})
    scene.land(Manifest(plain.root, b'{"title":"one"}'))
    landed = scene.land(Manifest(plain.root, b'{"size":2}'))
    assert landed.manifest.metadata == b'{"size":2,"title":"one"}'
    with pytest.raises(MergeConflictError) as caught:
        scene.land(Manifest(plain.root, b'{"title":"two"}'))
    assert caught.value.candidates == ("the version's metadata: modified on main, modified here",)
    chosen = scene.land(Manifest(plain.root, b'{"title":"two"}'), choose=lambda path: Side.THEIRS)
    assert chosen.manifest.metadata == b'{"title":"two"}'


class MeetingStore(LocalStore):
    """A local store where the first moves of a branch wait for each other."""

    barrier: threading.Barrier
    met = False

    def create(self, key: str, body: Buffer) -> bool:
        if "/heads/main/" in key and not self.met:
            self.met = True
            self.barrier.wait(60)
        return super().create(key, body)


def test_committers_at_once_all_land(scene: Scene) -> None:
    count = 5
    versions = [scene.version({b"file%d" % number: b"%d" % number}) for number in range(count)]
    MeetingStore.barrier = threading.Barrier(count)
    stores = [MeetingStore(str(scene.world.folder / "store")) for _ in versions]
    with ThreadPoolExecutor(count) as pool:
        jobs = [
            pool.submit(scene.land, manifest, repository=Repository(store, "things"))
            for manifest, store in zip(versions, stores, strict=True)
        ]
        landed = [job.result(120) for job in jobs]
    assert scene.content() == {**BASE, **{b"file%d" % number: b"%d" % number for number in range(count)}}
    assert scene.repository.refs.head("main").number == count  # type: ignore[union-attr]
    assert sum(each.merged_with is None for each in landed) == 1
    seen, at = [], scene.repository.refs.head("main").record.commit  # type: ignore[union-attr]
    while at:
        seen.append(at)
        parents = scene.repository.commit(at).parents
        assert len(parents) <= 1
        at = parents[0] if parents else None
    assert {each.published.commit for each in landed} | {scene.base} == set(seen)


def test_one_who_is_overtaken_for_ever_is_told(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landing, "_PAUSE", 0.0)

    class RacingStore(LocalStore):
        turns = 0

        def create(self, key: str, body: Buffer) -> bool:
            if "/heads/main/" in key:
                RacingStore.turns += 1
                scene.land(versions[RacingStore.turns])
            return super().create(key, body)

    versions = [scene.version({b"turn%d" % number: b"1"}) for number in range(11)]
    racing = Repository(RacingStore(str(scene.world.folder / "store")), "things")
    with pytest.raises(Exception, match="moved meanwhile") as caught:
        scene.land(versions[0], repository=racing)
    assert type(caught.value).__name__ == "ConflictError"
    assert RacingStore.turns == 10
    assert scene.land(versions[0]).changed  # what was sent is of use to the next try


FAULTS: dict[str, Fault] = {
    "slow down": Status(503),
    "reset before": Reset(),
    "lost answer": Reset(after_forward=True),
    "damaged on the way up": FlipRequestByte(5),
}


@pytest.mark.s3
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("part", ["/nodes/", "/manifests/", "/commits/", "/heads/main/"])
def test_a_landing_through_a_bad_line(
    s3_world: World, fault_proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch, part: str, fault: str
) -> None:
    """A write whose answer is lost is known for one's own: nothing lands twice."""
    scene = Scene(s3_world)
    scene.land(scene.version({b"a": b"first"}))
    mine = scene.version({b"d/x": b"second"})
    monkeypatch.setenv("AWS_ENDPOINT_URL", fault_proxy.endpoint)
    through = s3_world.repository()
    armed = fault_proxy.fail(fault=FAULTS[fault], match=lambda method, path: method == "PUT" and part in path)
    landed = scene.land(mine, repository=through)
    assert armed.struck == 1
    assert landed.changed
    assert scene.content() == {**BASE, b"a": b"first", b"d/x": b"second"}
    head = scene.repository.refs.head("main")
    assert head is not None
    assert (head.number, head.record.commit) == (2, landed.published.commit)


@pytest.mark.s3
def test_committers_at_once_on_s3(s3_world: World) -> None:
    scene = Scene(s3_world)
    versions = [scene.version({b"file%d" % number: b"%d" % number}) for number in range(3)]
    repositories = [s3_world.repository() for _ in versions]
    with ThreadPoolExecutor(3) as pool:
        jobs = [
            pool.submit(scene.land, manifest, repository=repository)
            for manifest, repository in zip(versions, repositories, strict=True)
        ]
        assert all(job.result(100).changed for job in jobs)
    assert scene.content() == {**BASE, **{b"file%d" % number: b"%d" % number for number in range(3)}}
