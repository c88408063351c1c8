"""Looking back and going back: ancestors, logs, reflogs, branches, tags, merges of branches."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest

from penstock.errors import ConflictError, MergeConflictError, NotFoundError, UsageError
from penstock.manifest.hashing import commit_id
from penstock.manifest.merge import Side
from penstock.manifest.records import Commit
from penstock.repo.bucket import object_keys
from penstock.repo.fetch.request_counts import RequestCounts
from penstock.repo.history.ancestry import Commits
from penstock.repo.history.branch_merge import MergeOutcome
from penstock.repo.history.log import branches, find_published, log, moves, tags
from penstock.repo.history.revert import revert
from penstock.repo.refs.repository import Repository, VersionId
from penstock.repo.session.nodes import Nodes
from penstock.repo.write.landing import Landed
from penstock.repo.write.publish import Authorship

World = Any  # see conftest

BASE = {b"a": b"a", b"d/x": b"x", b"d/y": b"y"}


def who(operation: str, message: str = "") -> Authorship:
    return Authorship("tester", message, operation)


def loader(repository: Repository) -> Any:
    return Nodes(repository.store, None, RequestCounts()).load


def content(world: World, ref: str | None = None) -> dict[bytes, Any]:
    found: dict[bytes, Any] = world.read_back(world.open(ref, cached=False))
    return found


class Graph:
    """Commits with no content, made by letters: ``c <- ab`` is a commit c with the parents a and b."""

    def __init__(self, repository: Repository) -> None:
        self.repository = repository
        self.ids: dict[str, bytes] = {}

    def add(self, name: str, parents: str, second: int) -> None:
        time = f"2026-01-01T00:{second // 60:02}:{second % 60:02}.000000Z"
        commit = Commit(bytes(32), 0, 0, tuple(self.ids[each] for each in parents), "me", time, name)
        body = commit.encode()
        self.ids[name] = commit_id(body)
        key = object_keys.commit_key(self.repository.dataset, self.ids[name].hex())
        assert self.repository.store.create(key, body)

    def common(self, one: str, other: str) -> set[str]:
        """Return the best common ancestors by the definition."""
        ancestors = {name: self.reachable(name) for name in self.ids}
        both = ancestors[one] & ancestors[other]
        return {name for name in both if not any(name in ancestors[each] - {each} for each in both)}

    def reachable(self, name: str) -> set[str]:
        found, todo = set(), [self.ids[name]]
        names = {value: key for key, value in self.ids.items()}
        while todo:
            commit = todo.pop()
            if names[commit] not in found:
                found.add(names[commit])
                todo += self.repository.commit(commit).parents
        return found


@pytest.mark.parametrize("seed", range(6))
def test_the_common_ancestor_of_any_two(world: World, seed: int) -> None:
    chance = random.Random(seed)
    graph = Graph(world.repository())
    for number in range(14):
        known = list(graph.ids)
        parents = chance.sample(known, min(len(known), chance.choice([1, 1, 1, 2, 2, 0])))
        graph.add(chr(97 + number), "".join(parents), number)
    names = {value: key for key, value in graph.ids.items()}
    for one, other in itertools.product(graph.ids, repeat=2):
        found = Commits(graph.repository).common_ancestor(graph.ids[one], graph.ids[other])
        expected = graph.common(one, other)
        assert (names[found] if found is not None else None) == max(expected, default=None), (one, other)


def test_a_wrong_clock_gives_an_ancestor_all_the_same(world: World) -> None:
    graph = Graph(world.repository())
    for name, parents, second in (("a", "", 50), ("b", "a", 0), ("c", "b", 60), ("d", "b", 10)):
        graph.add(name, parents, second)
    found = Commits(graph.repository).common_ancestor(graph.ids["c"], graph.ids["d"])
    assert found in {graph.ids["a"], graph.ids["b"]}


def test_log_follows_all_parents_the_newest_first(world: World) -> None:
    repository = world.repository()
    graph = Graph(repository)
    for number, (name, parents) in enumerate((("a", ""), ("b", "a"), ("c", "a"), ("d", "cb"), ("e", "d"))):
        graph.add(name, parents, number)
    found = [each.commit.message for each in log(repository, loader(repository), graph.ids["e"])]
    assert found == ["e", "d", "c", "b", "a"]
    assert [each.commit_id for each in log(repository, loader(repository), graph.ids["a"])] == [graph.ids["a"]]


def test_log_of_a_path(world: World) -> None:
    states = [
        {b"a": b"1"},
        {b"a": b"1", b"d/x": b"1"},
        {b"a": b"2", b"d/x": b"1"},
        {b"a": b"2", b"d/x": b"2", b"d/y": b"1"},
        {b"a": b"2"},
        {b"a": b"2", b"other": b"3"},
    ]
    for number, state in enumerate(states):
        world.push(world.plant(state, f"s{number}"), message=str(number))
    repository = world.repository()
    start = find_published(repository, None).commit

    def messages(*path: bytes) -> str:
        return "".join(each.commit.message for each in log(repository, loader(repository), start, path))

    assert messages() == "543210"
    assert messages(b"a") == "20"
    assert messages(b"d") == "431"
    assert messages(b"d", b"x") == "431"
    assert messages(b"d", b"y") == "43"
    assert messages(b"a", b"below") == ""
    assert messages(b"nothing") == ""


def test_log_of_a_path_leaves_out_merges_that_took_a_side(world: World) -> None:
    repository = world.repository()
    base = world.push(world.plant(BASE, "base")).commit
    world.push(world.plant({**BASE, b"a": b"1"}, "one"), message="one")
    world.make_branch("side", VersionId(repository.commit(base).top_hash, base), who("branch"))
    side = world.push(world.plant({**BASE, b"d/x": b"2"}, "two"), "side", message="two").commit
    load = loader(repository)
    done = world.merge("main", side, who("merge", "merged"))
    assert done.published is not None
    for path, expected in (((), ["merged", "two", "one", ""]), ((b"a",), ["one", ""]), ((b"d",), ["two", ""])):
        assert [each.commit.message for each in log(repository, load, done.published.commit, path)] == expected


def test_a_branch_goes_back_and_nothing_is_lost(world: World) -> None:
    first = world.push(world.plant({b"a": b"1"}, "one"), tag="v1")
    second = world.push(world.plant({b"a": b"2"}, "two"))
    repository = world.repository()
    old = find_published(repository, "v1")
    assert old.commit == first.commit
    before = world.reset_branch("main", old, who("reset"))
    assert before is not None
    assert before.commit == second.commit
    assert world.reset_branch("main", old, who("reset")) is None
    assert content(world) == {b"a": b"1"}
    assert content(world, second.commit.hex()) == content(world, second.top_hash.hex()[:10]) == {b"a": b"2"}
    assert [(move.number, move.record.operation) for move in moves(repository, "main")] == [
        (2, "reset"),
        (1, "push"),
        (0, "push"),
    ]
    # The next version goes on from there.
    third = world.push(world.plant({b"a": b"3"}, "three"))
    assert repository.commit(third.commit).parents == (first.commit,)
    with pytest.raises(NotFoundError, match="'mian'"):
        world.reset_branch("mian", old, who("reset"))
    with pytest.raises(UsageError, match="'v1' is a tag"):
        world.reset_branch("v1", old, who("reset"))


def test_a_version_is_found_by_its_top_hash(world: World) -> None:
    directory = world.plant({b"a": b"1"}, "one")
    first = world.push(directory)
    world.push(world.plant({b"a": b"2"}, "two"))
    again = world.push(directory, message="again")
    repository = world.repository()
    assert first.top_hash == again.top_hash
    # Of two commits with this content, the newest.
    assert find_published(repository, first.top_hash.hex()).commit == again.commit
    world.reset_branch("main", find_published(repository, first.commit.hex()), who("reset"))
    assert find_published(repository, first.top_hash.hex()[:12]).commit == first.commit
    second = world.hash(str(world.folder / "two"))
    with pytest.raises(NotFoundError, match="no commit") as caught:
        find_published(repository, second.hex())
    assert "--reflog" in caught.value.fix


def test_branches_are_made_and_deleted(world: World) -> None:
    first = world.push(world.plant({b"a": b"1"}, "one"), tag="v1")
    repository = world.repository()
    start = find_published(repository, None)
    world.make_branch("topic", start, who("branch"))
    assert {head.branch: head.record.commit for head in branches(repository)} == {
        "main": first.commit,
        "topic": first.commit,
    }
    with pytest.raises(ConflictError, match=r"'topic'.*exists") as caught:
        world.make_branch("topic", start, who("branch"))
    assert "penstock reset" in caught.value.fix
    for name in ("v1", "a/b", "..", first.commit.hex()[:7]):
        with pytest.raises(UsageError):
            world.make_branch(name, start, who("branch"))
    assert world.delete_branch("topic", who("delete")) == start
    assert [head.branch for head in branches(repository)] == ["main"]
    assert [move.record.commit for move in moves(repository, "topic")] == [None, first.commit]
    with pytest.raises(NotFoundError, match="no branch 'topic'"):
        world.delete_branch("topic", who("delete"))
    world.make_branch("topic", start, who("branch"))
    assert [move.number for move in moves(repository, "topic")] == [2, 1, 0]
    with pytest.raises(UsageError, match="'main'"):
        world.delete_branch("main", who("delete"))
    world.delete_branch("main", who("delete"), force=True)
    with pytest.raises(NotFoundError, match="no branch 'nope'"):
        list(moves(repository, "nope"))


def test_tags_are_made_once(world: World) -> None:
    first = world.push(world.plant({b"a": b"1"}, "one"))
    second = world.push(world.plant({b"a": b"2"}, "two"))
    repository = world.repository()
    old, new = find_published(repository, first.commit.hex()), find_published(repository, None)
    world.make_tag("v1", old, who("tag"))
    world.make_tag("v1", old, who("tag"))
    assert [(name, record.commit) for name, record in tags(repository)] == [("v1", first.commit)]
    with pytest.raises(ConflictError, match=r"'v1'.*exists"):
        world.make_tag("v1", new, who("tag"))
    with pytest.raises(UsageError, match="'main' is a branch"):
        world.make_tag("main", new, who("tag"))
    with pytest.raises(UsageError, match="names a version"):
        world.make_tag(second.commit.hex()[:8], new, who("tag"))


def forked(
    world: World, ours: dict[bytes, bytes], theirs: dict[bytes, bytes]
) -> tuple[Repository, bytes, bytes, bytes]:
    """Make main and side from one version; return repository, base, head of main, head of side."""
    repository = world.repository()
    base = world.push(world.plant(BASE, "base")).commit
    world.make_branch("side", find_published(repository, None), who("branch"))
    one = world.push(world.plant({**BASE, **ours}, "ours"), "main").commit
    other = world.push(world.plant({**BASE, **theirs}, "theirs"), "side").commit
    return repository, base, one, other


def test_merging_branches(world: World) -> None:
    repository, base, ours, theirs = forked(world, {b"a": b"1", b"m": b"1"}, {b"d/x": b"2", b"s/t": b"2"})
    keys = set(world.keys())
    tried = world.merge("main", theirs, who("merge"), dry_run=True)
    assert (tried.how, tried.published, tried.base) == (MergeOutcome.MERGE, None, base)
    assert set(world.keys()) == keys
    done = world.merge("main", theirs, who("merge", "both"))
    assert done.merged is not None
    assert done.published is not None
    assert (done.merged.ours, done.merged.theirs) == (2, 2)
    commit = repository.commit(done.published.commit)
    assert (commit.parents, commit.message) == ((ours, theirs), "both")
    assert content(world) == {**BASE, b"a": b"1", b"m": b"1", b"d/x": b"2", b"s/t": b"2"}
    # Now main has all of side, and side can move forward to main.
    assert world.merge("main", theirs, who("merge")).how is MergeOutcome.NOTHING
    ahead = world.merge("side", done.published.commit, who("merge"))
    assert (ahead.how, ahead.published) == (MergeOutcome.FORWARD, done.published)
    assert content(world, "side") == content(world)
    # And a second round has the merge for its base.
    world.push(world.plant({**content(world), b"a": b"3"}, "again"), "side")
    newest = find_published(repository, "side").commit
    assert world.merge("main", newest, who("merge")).how is MergeOutcome.FORWARD


def test_merging_branches_that_conflict(world: World) -> None:
    repository, _, ours, theirs = forked(world, {b"a": b"1", b"d/x": b"1"}, {b"a": b"2", b"d/x": b"2", b"n": b"2"})
    keys = set(world.keys())
    with pytest.raises(MergeConflictError) as caught:
        world.merge("main", theirs, who("merge"))
    assert [line.partition(":")[0] for line in caught.value.candidates] == ["a", "d/x"]
    assert set(world.keys()) == keys
    world.merge("main", theirs, who("merge"), lambda path: Side.OURS if path == (b"a",) else Side.THEIRS)
    assert content(world) == {**BASE, b"a": b"1", b"d/x": b"2", b"n": b"2"}
    assert [move.record.commit for move in moves(repository, "main")][1] == ours


def test_histories_with_nothing_in_common(world: World) -> None:
    world.push(world.plant({b"a": b"1"}, "one"))
    other = world.push(world.plant({b"b": b"2"}, "two"), "island").commit
    done = world.merge("main", other, who("merge"))
    assert (done.how, done.base) == (MergeOutcome.MERGE, None)
    assert content(world) == {b"a": b"1", b"b": b"2"}


def test_undoing_one_version(world: World) -> None:
    world.push(world.plant(BASE, "base"))
    wrong = world.push(world.plant({**BASE, b"a": b"wrong", b"junk/x": b"1"}, "wrong"))
    last = world.push(world.plant({**BASE, b"a": b"wrong", b"junk/x": b"1", b"d/x": b"later"}, "last"))
    repository = world.repository()
    done = undo(world, wrong.commit)
    assert content(world) == {**BASE, b"d/x": b"later"}
    assert repository.commit(done.published.commit).parents == (last.commit,)
    # The newest one as well, and once only.
    again = undo(world, wrong.commit)
    assert not again.changed
    undone = undo(world, done.published.commit)
    assert undone.manifest.top_hash == last.top_hash


def undo(world: World, commit: bytes) -> Landed:
    with world.writer(who=who("revert")) as writer:
        return revert(writer, commit.hex()).landed


@pytest.mark.s3
def test_history_on_s3(s3_world: World) -> None:
    repository, base, ours, theirs = forked(s3_world, {b"a": b"1"}, {b"d/x": b"2"})
    load = loader(repository)
    done = s3_world.merge("main", theirs, who("merge", "merged"))
    assert done.published is not None
    assert content(s3_world) == {**BASE, b"a": b"1", b"d/x": b"2"}
    found = [each.commit_id for each in log(repository, load, done.published.commit)]
    assert (found[0], set(found[1:3]), found[3]) == (done.published.commit, {ours, theirs}, base)
    s3_world.reset_branch("main", find_published(repository, base.hex()), who("reset"))
    assert content(s3_world) == BASE
    assert [move.record.operation for move in moves(repository, "main")] == ["reset", "merge", "push", "push"]
    s3_world.delete_branch("side", who("delete"))
    assert [head.branch for head in branches(repository)] == ["main"]
    s3_world.make_tag("v1", done.published, who("tag"))
    assert content(s3_world, "v1") == {**BASE, b"a": b"1", b"d/x": b"2"}
