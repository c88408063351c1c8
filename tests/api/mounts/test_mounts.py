"""What is mounted by way of the face is served, changed, committed, and ended by way of it; and without a mount too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

import penstock
from penstock.api.mounts.reports import mount_reports
from penstock.api.mounts.workspace import MountStatus
from penstock.errors import ConflictError, MergeConflictError, NotFoundError, UsageError

pytestmark = pytest.mark.fuse


@pytest.fixture
def place(world: Path, tmp_path: Path) -> Iterator[Path]:
    """Return an empty directory; what is mounted there in the end is unmounted."""
    directory = tmp_path / "mnt"
    directory.mkdir()
    yield directory
    with suppress(NotFoundError):
        penstock.unmount(directory, force=True)


def lines(workspace: penstock.Workspace, path: str = "") -> list[tuple[str, str]]:
    return [(line.kind, line.path) for line in workspace.changes(path)]


def test_a_mount_is_made_listed_asked_and_ended(place: Path) -> None:
    info = penstock.mount("demo/photos:v1", place)
    assert (place / "labels.csv").read_bytes() == b"cat,1"
    assert info in penstock.mounts()
    status = penstock.Workspace(place).status()
    assert isinstance(status, MountStatus)
    assert (status.handle, status.overlay, status.top_hash) == ("demo/photos:v1", None, info.top_hash)
    (report,) = [each for each in mount_reports() if each.mountpoint == str(place)]
    assert report.status is not None
    assert report.status.top_hash == info.top_hash
    with pytest.raises(UsageError, match="read-only"):
        list(penstock.Workspace(place).changes())
    with pytest.raises(ConflictError):
        penstock.mount("demo/photos", place)
    report = penstock.unmount(place)
    assert (report.mountpoint, report.ended, report.changes) == (str(place), True, None)
    assert info.mountpoint not in [each.mountpoint for each in penstock.mounts()]
    with pytest.raises(NotFoundError):
        penstock.unmount(place)


def test_what_was_changed_in_a_mount_is_told_discarded_and_committed(place: Path) -> None:
    photos = penstock.Dataset("demo/photos")
    penstock.mount("demo/photos", place, writable=True)
    workspace = penstock.Workspace(place)
    (place / "labels.csv").write_bytes(b"cat,2")
    (place / "2024" / "cow.jpg").write_bytes(b"cow")
    assert lines(workspace) == [("A", "2024/cow.jpg"), ("M", "labels.csv")]
    assert lines(workspace, "2024") == [("A", "2024/cow.jpg")]
    planned = workspace.discard(["labels.csv"], dry_run=True)
    assert [(each.kind, each.path) for each in planned] == [("restored", "labels.csv")]
    assert len(lines(workspace)) == 2
    workspace.discard(["labels.csv"])
    assert (place / "labels.csv").read_bytes() == b"cat,1"
    tried = workspace.commit("cow", dry_run=True)
    assert (tried.commit, tried.files, tried.changed) == (None, 1, True)
    done = workspace.commit("cow", tag="v3", author="Eva")
    assert (done.branch, done.commit) == ("main", photos.branches()[0].commit)
    revision = penstock.Package("demo/photos:v3").revision()
    assert (revision.message, revision.author, revision.top_hash) == ("cow", "Eva", done.top_hash)
    assert lines(workspace) == []


def test_a_mount_moves_when_it_is_told_to(place: Path) -> None:
    penstock.mount("demo/photos", place, writable=True)
    workspace = penstock.Workspace(place)
    assert not workspace.refresh().moved
    penstock.Dataset("demo/photos").push("photos", message="none of the bytes are new")
    Path("photos/more").write_bytes(b"more")
    pushed = penstock.Dataset("demo/photos").push("photos")
    assert not (place / "more").exists()
    report = workspace.refresh()
    assert (report.moved, report.top_hash, report.commit) == (True, pushed.top_hash, pushed.commit)
    assert (place / "more").read_bytes() == b"more"


def test_what_was_unmounted_with_changes_can_be_looked_at_and_committed(place: Path) -> None:
    penstock.mount("demo/photos", place, writable=True)
    (place / "labels.csv").write_bytes(b"cat,2")
    report = penstock.unmount(place)
    assert (report.ended, report.changes) == (True, str(place))
    workspace = penstock.Workspace(place)
    assert not isinstance(workspace.status(), MountStatus)
    assert lines(workspace) == [("M", "labels.csv")]
    check = workspace.check()
    assert (check.damaged, check.records > 0) == ((), True)
    told: list[str] = []
    rescued = workspace.rescue("saved", lambda finding: told.append(finding.path))
    assert (rescued.taken, rescued.left, told) == (1, 0, ["labels.csv"])
    assert Path("saved/labels.csv").read_bytes() == b"cat,2"
    assert workspace.commit("two").files == 1
    assert penstock.Package("demo/photos").read("labels.csv") == b"cat,2"


def test_a_conflict_names_the_paths_and_is_settled_by_side(place: Path) -> None:
    penstock.mount("demo/photos", place, writable=True)
    (place / "labels.csv").write_bytes(b"mine")
    Path("photos/labels.csv").write_bytes(b"theirs")
    penstock.Dataset("demo/photos").push("photos")
    workspace = penstock.Workspace(place)
    with pytest.raises(MergeConflictError) as caught:
        workspace.commit()
    assert "labels.csv" in str(caught.value.candidates)
    assert workspace.commit(ours=["/"]).merged_with is not None
    assert penstock.Package("demo/photos").read("labels.csv") == b"mine"
