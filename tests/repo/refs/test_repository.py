"""How a name leads to a version, and what is told when it does not, or when what it leads to is damaged."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from views.writing import unleased

from penstock.errors import AmbiguousError, FormatTooNewError, IntegrityError, NotFoundError, PenstockError, UsageError
from penstock.manifest.hashing import commit_id
from penstock.manifest.records import Commit, Manifest
from penstock.repo.bucket import object_keys
from penstock.repo.history.new_dataset import create_dataset
from penstock.repo.refs.repository import VersionId, datasets_in
from penstock.repo.write.publish import Authorship, tag_version

World = Any  # see conftest


@pytest.fixture
def versions(world: World) -> list[Any]:
    """Two versions on main, the first tagged v1, and a branch that is called side."""
    reports = [world.push(world.plant({b"a": b"%d" % number}, f"data{number}")) for number in range(3)]
    world.push(world.plant({b"a": b"1"}, "data1"), "side")
    world.make_tag("v1", VersionId(reports[0].top_hash, reports[0].commit))
    return reports


def test_every_name_of_a_version(world: World, versions: list[Any]) -> None:
    first, _, last = versions
    repository = world.repository()
    assert repository.resolve().commit == repository.resolve("main").commit == last.commit
    assert repository.resolve("v1").commit == first.commit
    for name in (first.commit.hex(), first.commit.hex()[:7], first.commit.hex().upper()):
        found = repository.resolve(name)
        assert (found.commit, found.top_hash) == (first.commit, first.top_hash)
    for name in (last.top_hash.hex(), last.top_hash.hex()[:7]):
        found = repository.resolve(name)
        assert (found.commit, found.top_hash) == (None, last.top_hash)
    assert repository.resolve("main").ref == "main"


def test_six_digits_are_too_few(world: World, versions: list[Any]) -> None:
    with pytest.raises(NotFoundError):
        world.repository().resolve(versions[0].commit.hex()[:6])


def test_branch_before_tag_before_commit_before_top_hash(world: World, versions: list[Any]) -> None:
    first, second, last = versions
    repository = world.repository()
    name = last.commit.hex()[:10]
    assert repository.resolve(name).commit == last.commit
    access = unleased(world.store(), "things")
    tag_version(repository, access, name, VersionId(second.top_hash, second.commit), Authorship("t", "", "tag"))
    assert repository.resolve(name).commit == second.commit
    repository.refs.move(access, name, None, repository.refs.tag("v1"))
    assert repository.resolve(name).top_hash == first.top_hash


def test_no_name_may_hide_a_version(world: World, versions: list[Any]) -> None:
    """A hash names a version for good: no branch or tag takes its place."""
    directory = str(world.folder / "data0")
    last = versions[-1]
    hashes = (last.commit.hex(), last.commit.hex()[:7], last.top_hash.hex(), last.top_hash.hex()[:9].upper(), "a" * 64)
    before = world.keys()
    for name in hashes:
        with pytest.raises(UsageError, match="cannot name a branch or tag"):
            world.push(directory, name)
        with pytest.raises(UsageError, match="cannot name a branch or tag"):
            world.push(directory, tag=name)
    for branch, tag in (("main", "main"), ("main", "side"), ("side", "main"), ("new", "new")):
        with pytest.raises(UsageError, match="is a branch"):
            world.push(directory, branch, tag=tag)
    assert world.keys() == before
    world.push(directory, tag="20261121")  # digits alone are a fine name as long as they fit no version


def craft_commit(world: World, prefix: str) -> str:
    """Store a commit whose id starts like another: found by trying, so a few digits must do."""
    repository = world.repository()
    newest = repository.commit(repository.resolve().commit)
    facts = {name: getattr(newest, name) for name in newest.__struct_fields__}
    number = 0
    while True:
        body = Commit(**{**facts, "message": f"try {number}"}).encode()
        if commit_id(body).hex().startswith(prefix):
            world.store().put(object_keys.commit_key("things", commit_id(body).hex()), body)
            return commit_id(body).hex()
        number += 1


def test_a_prefix_that_fits_several(world: World, versions: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.repo.refs.repository._SHORTEST_PREFIX", 2)  # two digits can be met on purpose
    last = versions[-1]
    prefix = last.commit.hex()[:2]
    crafted = craft_commit(world, prefix)
    with pytest.raises(AmbiguousError) as caught:
        world.repository().resolve(prefix)
    assert {f"{last.commit.hex()} (commit)", f"{crafted} (commit)"} <= set(caught.value.candidates)
    assert world.repository().resolve(crafted).commit.hex() == crafted


def test_a_prefix_that_fits_commit_and_top_hash(world: World, versions: list[Any]) -> None:
    top_hash = versions[-1].top_hash.hex()
    prefix = top_hash[:9]
    key = object_keys.commit_key("things", prefix + "0" * 55)
    world.store().put(key, b"whatever")
    with pytest.raises(AmbiguousError) as caught:
        world.open(prefix)
    assert caught.value.candidates == (f"{prefix}{'0' * 55} (commit)", f"{top_hash} (top hash)")
    assert world.repository().resolve(top_hash).top_hash.hex() == top_hash


def test_foreign_objects_among_commits_are_no_candidates(world: World, versions: list[Any]) -> None:
    name = versions[-1].commit.hex()
    world.store().put(object_keys.commit_key("things", name[:8] + ".tmp"), b"")
    assert world.repository().resolve(name[:8]).commit.hex() == name


@pytest.mark.parametrize(
    ("handle", "what", "fix"),
    [
        ("thigns", "no dataset 'thigns'", "'things'"),
        ("zzzz", "no dataset 'zzzz'", "'things'"),
        ("things:mian", "no version 'mian'", "'main'"),
        ("things:v2", "no version 'v2'", "'v1'"),
        ("things:abcdef0123", "no version 'abcdef0123'", "'main'"),
        ("things:main/b", "no 'b' in", "'a'"),
        ("things:main/a/b", "'a' is not a directory", ""),
    ],
)
def test_names_of_nothing(world: World, versions: list[Any], handle: str, what: str, fix: str) -> None:
    from penstock.repo.read.snapshot import open_snapshot

    with pytest.raises(NotFoundError) as caught:
        open_snapshot(f"{world.bucket}/{handle}", world.settings)
    assert what in caught.value.what
    assert fix in caught.value.fix


def test_an_empty_bucket(world: World) -> None:
    with pytest.raises(NotFoundError, match="no dataset 'things'") as caught:
        world.open()
    assert "no dataset yet" in caught.value.why
    assert "penstock push" in caught.value.fix


def test_a_dataset_without_main(world: World) -> None:
    world.push(world.plant({b"a": b"1"}), "other")
    with pytest.raises(NotFoundError, match="no branch 'main'") as caught:
        world.open()
    assert "'other'" in caught.value.fix


def test_datasets_of_a_bucket(world: World) -> None:
    directory = world.plant({b"a": b"1"})
    for name in ("b", "a.b", "a"):
        world.push(directory, dataset=name)
    assert datasets_in(world.store()) == ["a", "a.b", "b"]


def test_making_a_dataset(world: World) -> None:
    repository = world.repository()
    with world.writer() as writer:
        made = create_dataset(writer, "Title", "Words")
    snapshot = world.open()
    assert (snapshot.top_hash, list(snapshot.tree.walk())) == (made.top_hash, [])
    described = repository.refs.info()
    assert (described.title, described.description, described.author) == ("Title", "Words", "tester")
    with pytest.raises(PenstockError, match="exists already"), world.writer() as writer:
        create_dataset(writer, "", "")
    access = unleased(world.store(), "things")
    changed = repository.refs.set_info(
        access, lambda old: type(old)("New", old.description, old.author, old.created, "0" * 32)
    )
    assert repository.refs.info() == changed
    assert world.push(world.plant({b"a": b"1"})).commit is not None


# Damage

KINDS = ("heads/main/", "manifests/", "commits/", "tags/")


def break_record(world: World, kind: str, change: Callable[[bytes], bytes | None]) -> str:
    """Change the record that the newest version rests on; return its key."""
    head = world.repository().refs.head("main")
    key = {
        "heads/main/": object_keys.number_key(".penstock/datasets/things/heads/main/", head.number),
        "manifests/": object_keys.manifest_key("things", head.record.top_hash.hex()),
        "commits/": object_keys.commit_key("things", head.record.commit.hex()),
        "tags/": object_keys.tag_key("things", "now"),
    }[kind]
    store = world.store()
    body = change(store.get(key))
    if body is None:
        store.delete([key])
    else:
        store.put(key, body)
    return key


def newer(body: bytes) -> bytes:
    return json.dumps({**json.loads(body), "penstock": 99}).encode()


def flipped(body: bytes) -> bytes:
    """Flip a bit of the first hash in the record, which is what it is for."""
    at = next(i for i in range(len(body)) if all(chr(c) in "0123456789abcdef" for c in body[i : i + 64]))
    return body[:at] + bytes([body[at] ^ 0x40]) + body[at + 1 :]


DAMAGE: dict[str, Callable[[bytes], bytes | None]] = {
    "truncated": lambda body: body[: len(body) // 2],
    "empty": lambda body: b"",
    "flipped": flipped,
    "garbage": lambda body: os.urandom(200),
    "another shape": lambda body: b'{"penstock": 1}',
    "a list": lambda body: b"[1]",
    "huge": lambda body: body + b" " * (2 << 20),
    "deep": lambda body: b'{"penstock": 1, "x": ' + b"[" * 100_000,
    "newer": newer,
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_record(world: World, kind: str, damage: str) -> None:
    directory = world.plant({b"a": b"1"})
    world.push(directory, tag="now")
    key = break_record(world, kind, DAMAGE[damage])
    before = {found.key: found.etag for found in world.store().list()}
    with pytest.raises(IntegrityError) as caught:
        snapshot = world.open("now" if kind == "tags/" else None, cached=False)
        snapshot.commit()
    assert isinstance(caught.value, FormatTooNewError) == (damage == "newer")
    assert key in caught.value.what
    assert world.bucket in caught.value.what
    assert caught.value.fix
    if kind != "commits/":  # nothing of an older commit but its id goes into the next one
        with pytest.raises(IntegrityError) as pushed:
            world.push(world.plant({b"a": b"2"}, "other"), tag="now" if kind == "tags/" else None)
        assert key in pushed.value.what
    assert {found.key: found.etag for found in world.store().list()} == before


@pytest.mark.parametrize("kind", ["manifests/", "commits/"])
def test_a_record_that_is_gone(world: World, kind: str) -> None:
    world.push(world.plant({b"a": b"1"}))
    key = break_record(world, kind, lambda body: None)
    with pytest.raises(IntegrityError, match="is missing") as caught:
        world.open(cached=False).commit()
    assert key in caught.value.what


def test_a_manifest_that_is_another_versions(world: World, versions: list[Any]) -> None:
    store = world.store()
    key = object_keys.manifest_key("things", versions[-1].top_hash.hex())
    store.put(key, store.get(object_keys.manifest_key("things", versions[0].top_hash.hex())))
    with pytest.raises(IntegrityError, match="manifests") as caught:
        world.open()
    assert key in caught.value.what
    assert versions[-1].top_hash.hex() in caught.value.why


def test_a_damaged_manifest_is_not_published_again(world: World) -> None:
    """A branch gets no version whose manifest nobody can read, though its content was pushed whole."""
    directory = world.plant({b"a": b"1"})
    world.push(directory)
    key = break_record(world, "manifests/", lambda body: body[:-9])
    with pytest.raises(IntegrityError) as caught:
        world.push(directory, "other")
    assert key in caught.value.what
    assert world.repository().refs.head("other") is None


@pytest.mark.parametrize("name", ["README", "0", "fffffffffffffff", "FFFFFFFFFFFFFFFE", "0000000000000000", "g" * 16])
def test_a_foreign_object_among_the_moves_of_a_branch(world: World, name: str) -> None:
    directory = world.plant({b"a": b"1"})
    first = world.push(directory)
    key = f".penstock/datasets/things/heads/main/{name}"
    world.store().put(key, b"{}")
    if key > world.keys(".penstock/datasets/things/heads/main/")[0]:
        assert world.open().commit_id == first.commit  # it stands behind all records, and is never looked at
        return
    for attempt in (lambda: world.open(), lambda: world.push(directory)):
        with pytest.raises(IntegrityError, match="does not belong there") as caught:
            attempt()
        assert key in caught.value.what
        assert "Remove" in caught.value.fix


def test_a_manifest_reads_as_it_was_written(world: World) -> None:
    world.push(world.plant({b"a": b"1"}))
    snapshot = world.open()
    assert Manifest.decode(snapshot.manifest.encode(), snapshot.top_hash) == snapshot.manifest
    assert Path(world.settings.cache_directory).is_dir()
