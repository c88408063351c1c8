"""Pushes that meet on one branch, tags that are taken, and branches that are not what was expected."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from views.writing import unleased

from penstock.errors import ConflictError, NotFoundError, PenstockError, UsageError
from penstock.progress import SILENT
from penstock.repo.push.push import push
from penstock.repo.refs.refs import write_id
from penstock.repo.session import bucket_session
from penstock.repo.settings.handle import parse_handle
from penstock.repo.write.publish import Authorship
from penstock.store.base import Buffer
from penstock.store.local import LocalStore

World = Any  # see conftest


class MeetingStore(LocalStore):
    """A local store where the moves of a branch wait for each other, so that they come at the same moment."""

    barrier: threading.Barrier

    def create(self, key: str, body: Buffer) -> bool:
        if "/heads/" in key:
            self.barrier.wait(60)
        return super().create(key, body)


def attempt(world: World, directory: str, **more: Any) -> Any:
    try:
        return world.push(directory, **more)
    except PenstockError as error:
        return error


@pytest.mark.parametrize("existing", [False, True])
def test_of_two_pushes_at_once_one_wins(world: World, monkeypatch: pytest.MonkeyPatch, existing: bool) -> None:
    if existing:
        world.push(world.plant({b"old": b"0"}, "old"))
    contents = {b"a": b"1"}, {b"b": b"2"}
    directories = [world.plant(content, f"data{number}") for number, content in enumerate(contents)]
    MeetingStore.barrier = threading.Barrier(2)
    with monkeypatch.context() as patched, ThreadPoolExecutor(2) as pool:
        patched.setattr(bucket_session, "open_store", lambda url, options: MeetingStore(str(world.folder / "store")))
        results = list(pool.map(lambda directory: attempt(world, directory), directories))
    losers = [result for result in results if isinstance(result, ConflictError)]
    winners = [result for result in results if not isinstance(result, BaseException)]
    assert (len(losers), len(winners)) == (1, 1)
    assert "moved meanwhile" in losers[0].what
    assert world.open().top_hash == winners[0].top_hash
    assert world.repository().refs.head("main").number == int(existing)
    lost = directories[results.index(losers[0])]
    again = world.push(lost)
    assert (again.bytes_uploaded, again.top_hash) == (0, world.hash(lost))
    commit = world.repository().commit(world.open().commit_id)
    assert commit.parents == (winners[0].commit,)


def test_many_pushes_at_once_on_branches_of_their_own(world: World) -> None:
    directories = [world.plant({b"a": b"%d" % number}, f"data{number}") for number in range(6)]
    with ThreadPoolExecutor(6) as pool:
        reports = list(
            pool.map(lambda number: world.push(directories[number], f"branch{number}"), range(len(directories)))
        )
    assert [world.open(f"branch{number}").top_hash for number in range(6)] == [each.top_hash for each in reports]


def test_the_reflog_counts(world: World) -> None:
    for number in range(12):
        world.push(world.plant({b"a": b"%d" % number}), message=f"push {number}")
    head = world.repository().refs.head("main")
    assert head.number == 11
    assert (head.record.author, head.record.operation) == ("tester", "push")
    keys = world.keys(".penstock/datasets/things/heads/main/")
    assert keys == [
        f".penstock/datasets/things/heads/main/{(1 << 64) - 1 - number:016x}" for number in range(11, -1, -1)
    ]
    # The history is a chain.
    seen = []
    commit_id = head.record.commit
    while commit_id:
        commit = world.repository().commit(commit_id)
        seen.append(commit.message)
        commit_id = commit.parents[0] if commit.parents else None
    assert seen == [f"push {number}" for number in range(11, -1, -1)]


def test_a_deleted_branch_is_made_anew(world: World) -> None:
    directory = world.plant({b"a": b"1"})
    first = world.push(directory, "topic")
    refs = world.repository().refs
    head = refs.head("topic")
    access = unleased(world.store(), "things")
    refs.move(access, "topic", head, replace_record(head.record, commit=None, top_hash=None, operation="delete"))
    assert refs.head("topic") is None
    with pytest.raises(NotFoundError, match="no version 'topic'"):
        world.open("topic")
    again = world.push(directory, "topic")
    assert again.commit not in (None, first.commit)
    assert refs.head("topic").number == 2
    assert world.repository().commit(again.commit).parents == ()
    with pytest.raises(ConflictError, match="moved meanwhile"):
        refs.move(access, "topic", None, head.record)
    with pytest.raises(ConflictError, match="moved meanwhile"):
        refs.move(access, "topic", head, head.record)


def replace_record(record: Any, **changes: Any) -> Any:
    facts = {name: getattr(record, name) for name in record.__struct_fields__}
    return type(record)(**{**facts, "write_id": write_id(), **changes})


def test_tags(world: World) -> None:
    directory = world.plant({b"a": b"1"})
    first = world.push(directory, tag="v1")
    assert world.open("v1").commit_id == first.commit
    assert world.push(directory, tag="v1").commit is None  # it stands for this already
    assert world.push(directory, tag="v1b").commit is None
    other = world.plant({b"a": b"2"}, "other")
    before = world.keys(".penstock/datasets/")
    with pytest.raises(ConflictError, match=r"'v1'.*another version"):
        world.push(other, tag="v1")
    assert world.keys(".penstock/datasets/") == before
    second = world.push(other, tag="v2")
    with pytest.raises(ConflictError, match="'v1'"):
        world.push(other, tag="v1")
    assert world.open("v1").top_hash == first.top_hash
    assert world.open("v2").top_hash == second.top_hash
    assert sorted(world.repository().refs.tags()) == ["v1", "v1b", "v2"]
    with pytest.raises(UsageError, match="'v1' is a tag"):
        world.push(other, "v1")


def test_a_tag_that_somebody_makes_first(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.push(world.plant({b"a": b"1"}, "one"))

    class RacingStore(LocalStore):
        def create(self, key: str, body: Buffer) -> bool:
            if key.endswith("/tags/v1"):
                world.push(world.plant({b"a": b"3"}, "three"), "side", tag="v1")
            return super().create(key, body)

    with monkeypatch.context() as patched:
        stores = iter([RacingStore(str(world.folder / "store")), *[LocalStore(str(world.folder / "store"))] * 2])
        patched.setattr(bucket_session, "open_store", lambda url, options: next(stores))
        with pytest.raises(ConflictError, match="tag 'v1'") as caught:
            world.push(world.plant({b"a": b"2"}, "two"), tag="v1")
    assert "never move" in caught.value.why
    # The version itself is there: only its name was taken.
    assert world.open().top_hash == world.hash(str(world.folder / "two"))
    assert world.open("v1").top_hash == world.hash(str(world.folder / "three"))


def test_what_cannot_be_pushed_to(world: World) -> None:
    directory = world.plant({b"a": b"1"})
    for handle in (f"{world.bucket}/things:main/sub", f"{world.bucket}/"):
        with pytest.raises((UsageError, NotFoundError)):
            world_push(world, directory, handle)
    with pytest.raises(UsageError, match="ref name"):
        world.push(directory, tag="a b")
    assert world.keys() == []


def world_push(world: World, directory: str, handle: str) -> None:
    push(directory, parse_handle(handle), world.settings, Authorship("a", "", "push"), SILENT, None)


def test_settings_are_those_of_the_bucket(world: World) -> None:
    """A remote's name leads to the same place as its address."""
    from penstock.repo.settings.remote import Remote

    directory = world.plant({b"a": b"1"})
    settings = replace(world.settings, remotes={"demo": Remote(name="demo", url=world.bucket)})
    report = push(directory, parse_handle("demo/things"), settings, Authorship("a", "", "push"), SILENT, None)
    assert report.handle == "demo/things:main"
    assert world.open().top_hash == report.top_hash
