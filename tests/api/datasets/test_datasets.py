"""History and upkeep by way of the face: what is answered is values, and says what happened."""

from __future__ import annotations

from pathlib import Path

import pytest

import penstock
from penstock.errors import ConflictError, MergeConflictError, NotFoundError, UsageError
from penstock.progress import ProgressMeter


def test_a_branch_is_merged_reset_and_reverted(world: Path) -> None:
    photos = penstock.Dataset("demo/photos")
    photos.branch("fixes", "v1")
    Path("photos/fix").write_bytes(b"fix")
    Path("photos/2024/dog.jpg").unlink()
    pushed = photos.push("photos", branch="fixes", message="a fix")
    assert (pushed.changed, pushed.bytes_uploaded) == (True, 3)
    tried = photos.merge("fixes", dry_run=True)
    assert (tried.result, tried.commit, tried.from_theirs) == ("merge", None, 1)
    merged = photos.merge("fixes")
    assert merged.commit == photos.branches()[1].commit
    assert [entry.key for entry in penstock.Package("demo/photos").ls()] == ["2024", "fix", "labels.csv"]
    undone = photos.revert(pushed.commit or "")
    assert (undone.changed, undone.message.splitlines()[0]) == (True, 'Revert "a fix"')
    back = photos.reset("v1")
    assert (back.changed, back.before) == (True, undone.commit)
    assert not photos.reset("v1").changed
    assert [move.operation for move in photos.moves(limit=3)] == ["reset", "revert", "merge"]


def test_a_conflict_is_named_and_changes_nothing(world: Path) -> None:
    photos = penstock.Dataset("demo/photos")
    photos.branch("other", "v1")
    Path("photos/labels.csv").write_bytes(b"theirs")
    photos.push("photos", branch="other")
    Path("photos/labels.csv").write_bytes(b"ours")
    before = photos.push("photos").commit
    with pytest.raises(MergeConflictError) as caught:
        photos.merge("other")
    assert "labels.csv" in caught.value.candidates[0]
    assert photos.branches()[0].commit == before
    assert photos.merge("other", theirs=["labels.csv"]).settled == 1
    assert penstock.Package("demo/photos").read("labels.csv") == b"theirs"


def test_what_is_taken_or_missing_is_said(world: Path) -> None:
    photos = penstock.Dataset("demo/photos")
    with pytest.raises(ConflictError, match="exists already"):
        photos.create()
    with pytest.raises(ConflictError, match="v1"):
        photos.tag("v1")
    with pytest.raises(UsageError, match="main"):
        photos.delete_branch("main")
    with pytest.raises(NotFoundError, match="nothing"):
        next(photos.log("nothing"))
    with pytest.raises(NotFoundError, match="photo"):
        penstock.open("demo/photo")
    with pytest.raises(NotFoundError, match="no version in the history"):
        list(photos.log(path="never/was"))


def test_versions_are_compared_with_versions_and_directories(world: Path) -> None:
    package = penstock.Package("demo/photos:v1")
    with package.diff("photos") as found:
        assert [(each.change, each.path, each.new_size) for each in found.changes()] == [("added", "2024/dog.jpg", 3)]
    with package.diff("photos/2024", "nothing-there") as found, pytest.raises(NotFoundError):
        list(found.changes())
    elsewhere = penstock.PackageBuilder().add("photos", "").push("demo/copies", allow_missing_readme=True)
    assert not package.diff(penstock.Package("demo/copies:" + elsewhere.top_hash), "labels.csv").counts()
    assert penstock.hash_directory("photos").top_hash == elsewhere.top_hash


def test_garbage_of_a_branch_that_is_gone_is_found_noted_and_forgotten(world: Path) -> None:
    penstock.Dataset("demo/photos").branch("gone", "v1")
    Path("photos/large").write_bytes(b"x" * 10_000)
    penstock.Dataset("demo/photos").push("photos", branch="gone")
    penstock.Dataset("demo/photos").delete_branch("gone")
    bucket = penstock.Bucket("demo")
    assert (bucket.gc().garbage.objects, bucket.gc().dry_run) == (0, True)  # all of it is young
    shown: list[int] = []
    kept = bucket.gc(delete=True, grace=0, agree=lambda report: bool(shown.append(report.garbage.objects)))
    assert (kept.stopped, kept.deleted.objects) == ("nobody agreed", 0)
    assert shown[0] > 0
    assert bucket.gc(delete=True, grace=0).deleted.objects == shown[0]
    assert bucket.forget_garbage() == 0
    assert penstock.Package("demo/photos").verify(deep=True).sound


def test_long_work_tells_how_far_it_is_and_can_be_cancelled(world: Path) -> None:
    meter = ProgressMeter()
    penstock.Dataset("demo/photos").push("photos", progress=meter)
    assert sum(state.done for state in meter.states() if state.name == "reading") == 11
    meter.cancel()
    Path("photos/more").write_bytes(b"more")
    before = penstock.Dataset("demo/photos").branches()[0].commit
    with pytest.raises(penstock.errors.CancelledError):
        penstock.Dataset("demo/photos").push("photos", progress=meter)
    assert penstock.Dataset("demo/photos").branches()[0].commit == before
