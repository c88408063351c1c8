"""Protected branches: what does not fit is refused with its paths by every way to move them, and costs what changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from views.writing import unleased

from penstock.api.datasets.dataset import Dataset
from penstock.errors import AccessError, ConflictError, NotFoundError, ProtectedError, UsageError
from penstock.manifest.records import RefRecord
from penstock.progress import SILENT
from penstock.repo.bucket import object_keys
from penstock.repo.mirror.mirror import mirror_dataset
from penstock.repo.protection import clearance
from penstock.repo.protection.check_text import parse_check, show_check
from penstock.repo.push.push import push as push_directory
from penstock.repo.session.bucket_session import open_session
from penstock.repo.settings.handle import parse_handle
from penstock.repo.write.publish import Authorship

World = Any  # see conftest

ADA, BOB = "Ada <ada@example.org>", "Bob <bob@example.org>"
GOOD = {b"images/1.jpg": b"one", b"labels/1.json": b"{}"}


def dataset(world: World, name: str = "things") -> Dataset:
    return Dataset(world.handle(dataset=name), world.settings)


def push(world: World, content: Any, name: str, branch: str | None = None) -> Any:
    return world.push(world.plant(content, name), branch)


def refused(world: World, content: Any, name: str, branch: str | None = None) -> list[str]:
    """Return what is said against a push, which changes nothing."""
    before = world.repository().refs.head(branch or "main")
    with pytest.raises(ProtectedError) as told:
        push(world, content, name, branch)
    assert world.repository().refs.head(branch or "main") == before
    return list(told.value.candidates)


def test_each_check_names_the_paths_that_do_not_fit(world: World, tmp_path: Path) -> None:
    push(world, GOOD, "one")
    world.push(world.plant({b"held/out": b"secret" * 10}, "test"), dataset="test")
    schema = tmp_path / "schema.json"
    schema.write_text(json.dumps({"type": "object", "required": ["label"]}))
    rules = tmp_path / "rules.toml"
    rules.write_text('folders = ["images"]\ncounts = [{paths = "images/*", most = 2}]\n')
    dataset(world).protect(
        ["pairs:labels/*.json=images/*.jpg", "size:100", "total:1000", "entries:20", "leak:test", f"rules:{rules}"]
    )
    assert refused(world, GOOD | {b"big": bytes(101)}, "two") == ["big: it has 101 bytes, and 100 are the most"]
    assert refused(world, GOOD | {b"copy": b"secret" * 10}, "three") == ["copy: test has the same content"]
    assert refused(world, GOOD | {b"labels/2.json": b"{}"}, "four") == ["labels/2.json: there is no images/2.jpg"]
    # What was there and is left alone by a change is found as well.
    assert refused(world, {b"labels/1.json": b"{}", b"images/2.jpg": b"2"}, "five") == [
        "labels/1.json: there is no images/1.jpg"
    ]
    many = GOOD | {b"images/%d.jpg" % number: b"%d" % number for number in range(4)}
    assert refused(world, many, "six") == ["counts: 4 entries are images/*, at most 2 should be"]
    assert "total: it has 1010 bytes, and 1000 are the most" in refused(
        world, {b"%d" % number: bytes([number]) * 100 for number in range(10)} | GOOD | {b"x": b"12345"}, "seven"
    )
    fits = push(world, GOOD | {b"readme": b"fits"}, "eight")
    commit = world.repository().commit(fits.commit)
    assert commit.environment["protection"] == "0"
    head = world.repository().refs.head("main")
    assert head.record.protection.rules == 0
    assert list(head.record.protection.against) == ["test"]
    dataset(world).protect([f"schema:{schema}"], anyway=True)
    assert all("label" in each for each in refused(world, GOOD | {b"new": b"1"}, "nine"))


def test_merges_resets_and_deletions_are_held_against_it_too(world: World) -> None:
    first = push(world, GOOD, "one")
    push(world, GOOD | {b"big": bytes(200)}, "two", "side")
    world.make_branch("other", world.repository().resolve("main"))
    push(world, GOOD | {b"fine": b"1"}, "three", "other")
    dataset(world).protect(["size:100"])
    head = world.repository().refs.head("main")
    side = world.repository().resolve("side")
    with pytest.raises(ProtectedError, match="does not take this"):
        world.merge("main", side.commit)
    with pytest.raises(ProtectedError, match="does not take this"):
        world.reset_branch("main", side)
    with pytest.raises(ProtectedError, match="protected"):
        world.delete_branch("main", force=True)
    assert world.repository().refs.head("main") == head
    world.merge("main", world.repository().resolve("other").commit)
    world.reset_branch("main", world.repository().resolve(first.commit.hex()))
    # A branch that is to be made is held against its rules as well.
    dataset(world).protect(["size:100"], branch="new")
    assert refused(world, {b"big": bytes(200)}, "four", "new") == ["big: it has 200 bytes, and 100 are the most"]
    dataset(world).unprotect("main")
    world.reset_branch("main", side)
    with pytest.raises(NotFoundError):
        dataset(world).unprotect("main")


def test_what_has_to_be_approved_comes_by_a_branch_and_a_merge(world: World) -> None:
    push(world, GOOD, "one")
    dataset(world).protect(["approval"])
    assert "approved of before" in refused(world, GOOD | {b"x": b"1"}, "two")[0]
    who = Authorship(ADA, "for review", "push")
    with world.writer("review", who=who) as writer:
        writer.check_names()
        writer.move(world.repository().resolve("main"))
    directory = world.plant(GOOD | {b"x": b"1"}, "three")
    made = push_directory(directory, parse_handle(world.handle("review")), world.settings, who, SILENT)
    with pytest.raises(ProtectedError) as told:
        world.merge("main", made.commit)
    assert told.value.candidates == (f"approval: 0 of 1 others have approved of {made.commit.hex()[:12]}",)
    with pytest.raises(UsageError, match="your own"):
        dataset(world).approve("review", author="Ada again <ADA@example.org>")
    done = dataset(world).approve("review", message="looked at it", author=BOB)
    assert done.commit == made.commit.hex()
    assert world.merge("main", made.commit).published.commit == made.commit


def test_a_command_runs_only_where_it_is_trusted(world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    push(world, GOOD, "one")
    command = 'grep -q \'"path": "bad"\' && echo "bad: it is bad" && exit 3; test -n "$PENSTOCK_CHECK_BASE"'
    dataset(world).protect([f"command:{command}"], anyway=True)
    said = refused(world, GOOD | {b"bad": b"1"}, "two")
    assert said[0].endswith("it ended with 3")
    assert said[1] == "command: bad: it is bad"
    # On a machine where nobody has said so it is not run, and nothing moves.
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another machine"))
    with pytest.raises(ProtectedError, match="protected by a command"):
        push(world, GOOD | {b"fine": b"1"}, "three")
    assert dataset(world).trust_checks() == [command]
    with pytest.raises(ProtectedError):  # nothing has passed these rules yet: there is no base
        push(world, GOOD | {b"fine": b"1"}, "four")


def test_a_move_by_a_client_that_knows_no_rules_is_found_by_the_next_one(world: World) -> None:
    push(world, GOOD, "one")
    dataset(world).protect(["size:100"])
    push(world, GOOD | {b"big": bytes(200)}, "two", "side")
    # Written as an older Penstock does it: the next record of the branch, with no word of rules.
    refs, side = world.repository().refs, world.repository().resolve("side")
    head = refs.head("main")
    record = RefRecord(side.commit, side.top_hash, "old", head.record.time, "push", "0" * 32)
    key = object_keys.number_key(object_keys.head_prefix("things", "main"), head.number + 1)
    assert world.store().create(key, record.encode())
    assert dataset(world).protections()[0].unchecked
    assert refused(world, GOOD | {b"big": bytes(200), b"x": b"1"}, "three") == [
        "big: it has 200 bytes, and 100 are the most"
    ]
    push(world, GOOD | {b"x": b"1"}, "four")
    assert not dataset(world).protections()[0].unchecked


def test_no_code_moves_a_protected_branch_past_its_rules(world: World) -> None:
    push(world, GOOD, "one")
    dataset(world).protect(["size:100"])
    refs = world.repository().refs
    with world.writer() as writer, pytest.raises(AccessError, match="not held against"):
        refs.move(writer.access, "main", refs.head("main"), refs.head("main").record)
    # A branch without rules costs no thought.
    assert unleased(world.store(), "things").protection() is None


def test_it_costs_what_changed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    many = {b"d%02d/%03d" % (number % 20, number): b"%d" % number for number in range(2000)}
    push(world, many, "one")
    world.push(world.plant({b"held": b"secret"}, "test"), dataset="test")
    dataset(world).protect(["size:100", "leak:test"])
    seen: list[Any] = []
    real = clearance.ProposedVersion.changes

    def counted(version: Any, **options: Any) -> Any:
        for change in real(version, **options):
            seen.append(change)
            yield change

    monkeypatch.setattr(clearance.ProposedVersion, "changes", counted)
    push(world, many | {b"d00/new": b"1"}, "two")
    assert len(seen) == 2
    # Where the other data set has moved, all is compared with it.
    world.push(world.plant({b"held": b"17"}, "test2"), dataset="test")
    assert refused(world, many | {b"d00/new": b"12"}, "three") == ["d17/017: test has the same content"]


def test_rules_change_one_at_a_time_and_what_the_branch_has_comes_first(world: World) -> None:
    push(world, GOOD | {b"big": bytes(200)}, "one")
    with pytest.raises(ProtectedError, match="does not fit") as told:
        dataset(world).protect(["size:100"])
    assert told.value.candidates == ("big: it has 200 bytes, and 100 are the most",)
    assert dataset(world).protections() == []
    made = dataset(world).protect(["size:1000", "approval:2"], author=ADA)
    assert (made.number, made.checks, made.author) == (0, ("size:1000", "approval:2"), ADA)
    repository = world.repository()
    with world.writer() as writer, pytest.raises(ConflictError, match="changed meanwhile"):
        other = msgspec.structs.replace(repository.refs.protection()[1], write_id="1" * 32)
        repository.refs.protect(writer.access, None, other)
    for text in ("nothing", "size", "size:much", "pairs:a/*.x=b", "entries:-1", "approval:0", "schema:/nowhere"):
        with pytest.raises((UsageError, NotFoundError)):
            dataset(world).protect([text])


def test_a_check_of_a_later_penstock_is_refused_and_old_records_are_read(world: World) -> None:
    push(world, GOOD, "one")
    assert parse_check("leak:test", lambda text: text).settings == {"of": "test"}
    assert show_check(parse_check("pairs:a/*=b/*", str)) == "pairs:a/*=b/*"
    made = dataset(world).protect(["size:100"])
    key = object_keys.number_key(object_keys.protection_prefix("things"), made.number)
    document = json.loads(world.store().get(key))
    document["branches"]["main"]["checks"] = [{"check": "sixth sense", "settings": {}}]
    world.store().put(key, json.dumps(document).encode())
    with pytest.raises(UsageError, match="sixth sense"):
        push(world, GOOD | {b"x": b"1"}, "two")
    # What a record of a branch says beside is passed over by who does not know it, and kept by who does.
    record = world.repository().refs.head("main").record
    assert b"protection" not in record.encode()
    held = msgspec.structs.replace(record, protection=clearance.HeldRules(3, {"a": "b"}))
    assert RefRecord.decode(held.encode()) == held


def test_a_mirror_has_the_rules_of_its_source(world: World, tmp_path: Path, new_world: Callable[[Path], World]) -> None:
    push(world, GOOD, "one")
    dataset(world).protect(["size:100"])
    push(world, GOOD | {b"x": b"1"}, "two")
    (tmp_path / "there").mkdir()
    there = new_world(tmp_path / "there")

    def run() -> None:
        with (
            open_session(world.bucket, world.settings, cached=False) as source,
            open_session(there.bucket, there.settings, cached=False) as target,
        ):
            mirror_dataset(source, target, "things")

    run()
    assert dataset(there).protections() == dataset(world).protections()
    dataset(world).protect(["size:200"])
    push(world, GOOD | {b"x": bytes(150)}, "three")
    run()
    assert there.open().top_hash == world.open().top_hash
    dataset(there).protect(["size:10000"])
    with pytest.raises(ConflictError, match="history of its own"):
        run()


@pytest.mark.s3
def test_on_the_real_server(s3_world: World) -> None:
    push(s3_world, GOOD, "one")
    s3_world.push(s3_world.plant({b"held": b"secret"}, "test"), dataset="test")
    dataset(s3_world).protect(["size:100", "leak:test", "pairs:labels/*.json=images/*.jpg"])
    assert refused(s3_world, GOOD | {b"x": b"secret"}, "two") == ["x: test has the same content"]
    made = push(s3_world, GOOD | {b"x": b"fine"}, "three")
    assert s3_world.repository().refs.head("main").record.protection.rules == 0
    push(s3_world, GOOD | {b"y": b"fine, too"}, "four", "review")
    dataset(s3_world).protect(["approval"])
    review = s3_world.repository().resolve("review")
    with pytest.raises(ProtectedError):
        s3_world.reset_branch("main", review)
    dataset(s3_world).approve("review", author=BOB)
    assert s3_world.reset_branch("main", review).commit == made.commit
