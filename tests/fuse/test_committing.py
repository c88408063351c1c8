"""Commit, refresh and look at real writable mounts, in use and left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from servers.faultproxy import FaultProxy
from servers.faults import Reset
from servers.rgw import RadosGateway
from views.bucket import LocalBucket, push
from views.living import until, worker

from penstock.errors import (
    AccessError,
    CancelledError,
    ConflictError,
    MergeConflictError,
    NotFoundError,
    PenstockError,
    UsageError,
)
from penstock.mountpoint.control_client import ask
from penstock.mountpoint.control_messages import CancelRequest, CommitRequest, JobStarted, JobState, JobStateRequest
from penstock.mountpoint.known_mounts import MountInfo, list_mounts
from penstock.mountpoint.mount_options import MountOptions
from penstock.mountpoint.unmount import unmount
from penstock.mountpoint.working_copy.working_copy import open_working_copy
from penstock.overlay.commit.commit_options import CommitOptions
from penstock.overlay.outcomes import CommitReport
from penstock.progress import SILENT
from penstock.repo.read.snapshot import open_snapshot
from penstock.repo.settings.settings import Settings

pytestmark = pytest.mark.fuse
Mount = Callable[..., MountInfo]

WRITABLE = MountOptions(writable=True)
PLAIN = CommitOptions("me", "a commit")


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder that overlays lie in."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def writable(pushed: LocalBucket, mounts: Mount, tmp_path: Path) -> Path:
    """Return the mountpoint of a writable mount of everything."""
    return Path(mounts(options=WRITABLE).mountpoint)


def ready(place: Path, bucket: LocalBucket, options: CommitOptions = PLAIN) -> CommitReport:
    return open_working_copy(str(place), bucket.settings).commit(options, SILENT)


def newest(bucket: LocalBucket) -> bytes | None:
    """Return the commit that the branch stands at."""
    with closing(open_snapshot("demo/data", bucket.settings, cached=False)) as snapshot:
        return snapshot.commit_id


def lines(place: Path, bucket: LocalBucket) -> list[str]:
    return [
        f"{line.kind} {line.old or ''}{'>' if line.old else ''}{line.path}"
        for line in open_working_copy(str(place), bucket.settings).changes()
    ]


def content(place: Path) -> dict[str, object]:
    """Return all that a version keeps of a directory."""
    found: dict[str, object] = {}
    for folder, folders, files in os.walk(place):
        for name in folders + files:
            path = os.path.join(folder, name)
            key = os.path.relpath(path, place)
            if os.path.islink(path):
                found[key] = os.readlink(path)
            elif os.path.isdir(path):
                found[key] = None
            else:
                found[key] = (Path(path).read_bytes(), bool(os.stat(path).st_mode & 0o100))
    return found


def change_much(place: Path) -> None:
    (place / "small.txt").write_text("changed\n")
    with open(place / "big.bin", "r+b") as stream:
        stream.seek(2_500_000)
        stream.write(b"in the middle")
    (place / "new").mkdir()
    (place / "new" / "file").write_bytes(b"x" * 100_000)
    os.symlink("file", place / "new" / "link")
    os.rename(place / "names", place / "moved")
    os.remove(place / "old")
    os.chmod(place / "moved" / "comma,back\\slash", 0o755)


def test_a_commit_is_what_the_mount_shows(writable: Path, pushed: LocalBucket, mounts: Mount) -> None:
    change_much(writable)
    shown = content(writable)
    assert lines(writable, pushed) == [
        "M big.bin",
        "R names>moved",
        "M moved/comma,back\\slash",
        "A new",
        "D old",
        "M small.txt",
    ]
    report = ready(writable, pushed)
    assert report.changed
    assert report.bytes_uploaded < (1 << 20) + 200_000  # a block of big.bin, and the small files
    assert lines(writable, pushed) == []
    assert content(writable) == shown
    other = Path(mounts(at="other").mountpoint)
    assert os.getxattr(other, "user.penstock.top_hash").decode() == report.top_hash.hex()
    assert os.getxattr(writable, "user.penstock.top_hash").decode() == report.top_hash.hex()
    assert content(other) == shown


def test_a_mount_goes_on_from_one_commit_to_the_next(writable: Path, pushed: LocalBucket, mounts: Mount) -> None:
    change_much(writable)
    ready(writable, pushed)
    os.rename(writable / "new", writable / "moved" / "deeper")
    (writable / "moved" / "deeper" / "file").write_bytes(b"again")
    os.rename(writable / "moved", writable / "names")
    assert len(lines(writable, pushed)) > 1
    shown = content(writable)
    assert ready(writable, pushed).changed
    assert not ready(writable, pushed).changed
    assert content(Path(mounts(at="other").mountpoint)) == shown


def test_open_files_stay_open_and_writers_write_on(writable: Path, pushed: LocalBucket, mounts: Mount) -> None:
    """A writer appends numbered lines all the while; each commit has some of them, in order and whole."""
    stop = threading.Event()
    written = 0

    def write() -> None:
        nonlocal written
        with open(writable / "log", "ab", buffering=0) as stream:
            while not stop.is_set():
                stream.write(b"%08d\n" % written)
                written += 1

    (writable / "log").touch()
    before = open(writable / "log", "rb")  # noqa: SIM115  # it is open across the commits
    thread = threading.Thread(target=write)
    thread.start()
    try:
        tops = []
        for _ in range(3):
            least = written
            until(lambda least=least: written > least + 50, "lines")
            report = ready(writable, pushed)
            assert report.changed
            tops.append(report.top_hash)
    finally:
        stop.set()
        thread.join(30)
    whole = b"".join(b"%08d\n" % number for number in range(written))
    assert before.read() == whole
    before.close()
    last = 0
    for number, top in enumerate(tops):
        kept = (Path(mounts(f"demo/data:{top.hex()}", at=f"at{number}").mountpoint) / "log").read_bytes()
        assert kept == whole[: len(kept)]
        assert len(kept) % 9 == 0
        assert len(kept) > last
        last = len(kept)


def test_what_was_unmounted_is_there_again_and_can_be_committed_unmounted(
    writable: Path, pushed: LocalBucket, mounts: Mount
) -> None:
    change_much(writable)
    shown = content(writable)
    assert unmount(str(writable))
    assert "A new" in lines(writable, pushed)
    mounts(options=WRITABLE)
    assert content(writable) == shown
    assert unmount(str(writable))
    dry = ready(writable, pushed, CommitOptions("me", dry_run=True))
    report = ready(writable, pushed, CommitOptions("me", tag="v2"))
    assert dry.top_hash == report.top_hash
    assert content(Path(mounts("demo/data:v2", at="other").mountpoint)) == shown
    mounts(options=WRITABLE)  # clean: it begins anew, at the newest version
    assert content(writable) == shown
    assert lines(writable, pushed) == []


def test_two_who_change_different_paths_both_land(writable: Path, pushed: LocalBucket, mounts: Mount) -> None:
    second = Path(mounts(at="second", options=WRITABLE).mountpoint)
    (writable / "one").write_text("one")
    (second / "two").write_text("two")
    (second / "empty-folder" / "deep").mkdir()
    assert ready(writable, pushed).merged_with is None
    assert ready(second, pushed).merged_with is not None
    assert (second / "one").read_text() == "one"  # a merge shows what it has merged
    assert not (writable / "two").exists()  # a mount never moves by itself
    found = open_working_copy(str(writable), pushed.settings).refresh(rebase=False)
    assert found.moved
    assert (writable / "two").read_text() == "two"
    assert content(writable) == content(second) == content(Path(mounts(at="third").mountpoint))
    assert not open_working_copy(str(writable), pushed.settings).refresh(rebase=False).moved


def test_two_who_change_the_same_path(writable: Path, pushed: LocalBucket, mounts: Mount) -> None:
    second = Path(mounts(at="second", options=WRITABLE).mountpoint)
    (writable / "small.txt").write_text("first")
    (second / "small.txt").write_text("second")
    (second / "also").write_text("also")
    ready(writable, pushed)
    before = lines(second, pushed)
    with pytest.raises(MergeConflictError) as told:
        ready(second, pushed)
    assert list(told.value.candidates) == ["small.txt: modified on main, modified here"]
    assert "--ours" in told.value.fix
    assert lines(second, pushed) == before
    assert (second / "small.txt").read_text() == "second"
    report = ready(second, pushed, CommitOptions("me", branch="beside"))
    assert report.branch == "beside"
    third = Path(mounts(at="third").mountpoint)
    assert (third / "small.txt").read_text() == "first"


@pytest.mark.parametrize(("options", "left"), [({"ours": ["/"]}, "second"), ({"theirs": ["small.txt"]}, "first")])
def test_a_conflict_is_settled_by_path(
    writable: Path, pushed: LocalBucket, mounts: Mount, options: dict[str, list[str]], left: str
) -> None:
    second = Path(mounts(at="second", options=WRITABLE).mountpoint)
    (writable / "small.txt").write_text("first")
    (second / "small.txt").write_text("second")
    (second / "also").write_text("also")
    ready(writable, pushed)
    ready(second, pushed, CommitOptions("me", **options))
    assert (second / "small.txt").read_text() == left
    third = Path(mounts(at="third").mountpoint)
    assert (third / "small.txt").read_text() == left
    assert (third / "also").read_text() == "also"


def test_a_refresh_with_changes_is_refused_but_for_a_rebase(writable: Path, pushed: LocalBucket, mounts: Mount) -> None:
    second = Path(mounts(at="second", options=WRITABLE).mountpoint)
    (writable / "one").write_text("one")
    ready(writable, pushed)
    (second / "small.txt").write_text("mine")
    with pytest.raises(ConflictError, match="not committed"):
        open_working_copy(str(second), pushed.settings).refresh(rebase=False)
    assert not (second / "one").exists()
    assert open_working_copy(str(second), pushed.settings).refresh(rebase=True).moved
    assert (second / "one").read_text() == "one"
    assert lines(second, pushed) == ["M small.txt"]
    (writable / "small.txt").write_text("theirs")
    ready(writable, pushed)
    with pytest.raises(ConflictError, match="changed here and there"):
        open_working_copy(str(second), pushed.settings).refresh(rebase=True)
    assert (second / "small.txt").read_text() == "mine"


def test_an_open_file_that_others_changed_shows_what_they_made_of_it(
    writable: Path, pushed: LocalBucket, mounts: Mount
) -> None:
    second = Path(mounts(at="second", options=WRITABLE).mountpoint)
    with open(second / "small.txt", "rb", buffering=0) as stream:
        assert stream.read() == b"hello world\n"
        (writable / "small.txt").write_text("longer than it was before\n")
        ready(writable, pushed)
        open_working_copy(str(second), pushed.settings).refresh(rebase=False)
        stream.seek(0)
        until(lambda: os.pread(stream.fileno(), 100, 0) == b"longer than it was before\n", "the new content")


def test_a_read_only_mount_has_nothing_to_commit(mounted: Path, pushed: LocalBucket) -> None:
    with pytest.raises(UsageError, match="read-only"):
        ready(mounted, pushed)


def test_where_nothing_was_changed_ever(pushed: LocalBucket, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="nothing is mounted"):
        ready(tmp_path, pushed)


def test_an_overlay_is_not_used_for_something_else(writable: Path, pushed: LocalBucket, mounts: Mount) -> None:
    pushed.push(writable / "names", "demo/other")
    (writable / "x").write_text("x")
    assert unmount(str(writable))
    with pytest.raises(ConflictError, match="changes of something else"):
        mounts("demo/other", options=WRITABLE)
    mounts("demo/other", options=replace(WRITABLE, overlay_directory=str(writable.parent / "overlay")))
    assert sorted(os.listdir(writable)) == sorted(os.listdir(pushed.directory.parent / "source" / "names"))


def test_the_serving_process_dies_in_the_middle_of_a_commit(writable: Path, pushed: LocalBucket, mounts: Mount) -> None:
    """The changes are there afterwards, committed or not; a second commit finds out which."""
    for number in range(400):
        (writable / f"file-{number}").write_bytes(os.urandom(20_000))
    shown = content(writable)
    pid = _served_by(writable)
    caller = subprocess.Popen(
        [sys.executable, "-m", "penstock", "commit", str(writable), "-m", "cut off"],  # needs no settings: it asks
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    objects = len(pushed.data_objects())
    until(lambda: len(pushed.data_objects()) > objects or caller.poll() is not None, "data in the bucket")
    os.kill(pid, signal.SIGKILL)
    caller.wait(60)
    assert content(writable) == shown
    ready(writable, pushed)
    assert not ready(writable, pushed).changed
    assert content(Path(mounts(at="other").mountpoint)) == shown
    assert content(writable) == shown


def _served_by(place: Path) -> int:
    return next(worker(info) for info in list_mounts() if info.mountpoint == str(place))


@pytest.mark.s3
def test_a_lost_answer_does_not_land_twice(
    behind_proxy: Callable[[float], Settings], fault_proxy: FaultProxy, mounts: Mount, demo: LocalBucket
) -> None:
    settings = behind_proxy(10.0)
    place = Path(mounts("lab/data", options=WRITABLE, settings=settings).mountpoint)
    (place / "one").write_text("one")
    armed = fault_proxy.fail(
        fault=Reset(after_forward=True), match=lambda method, path: method == "PUT" and "/heads/" in path
    )
    report = open_working_copy(str(place), settings).commit(PLAIN, SILENT)
    assert report.changed
    assert armed.struck == 1
    snapshot = open_snapshot("lab/data", settings)
    try:
        assert snapshot.top_hash == report.top_hash
        found = snapshot.commit()
        assert found is not None
        assert len(found.parents) == 1
        parent = snapshot.repository.commit(found.parents[0])
        assert parent.parents == ()  # the push, and this commit once
    finally:
        snapshot.close()


def test_a_read_only_mount_is_refreshed(writable: Path, pushed: LocalBucket, mounts: Mount) -> None:
    reader = Path(mounts(at="reader").mountpoint)
    kept = open(reader / "big.bin", "rb")  # noqa: SIM115  # it is open while the mount moves
    before = kept.read(1000)
    assert not (reader / "new").exists()
    inode = os.stat(reader / "bin").st_ino
    change_much(writable)
    ready(writable, pushed)
    assert open_working_copy(str(reader), pushed.settings).refresh(rebase=False).moved
    assert content(reader) == content(writable)
    assert os.stat(reader / "bin").st_ino == inode
    assert os.pread(kept.fileno(), 1000, 0) == before
    assert os.pread(kept.fileno(), 13, 2_500_000) == b"in the middle"
    kept.close()
    with pytest.raises(OSError, match="Read-only"):
        (reader / "small.txt").write_text("no")
    os.kill(_served_by(reader), signal.SIGKILL)
    assert content(reader) == content(writable)  # the process after it is at the same version
    (writable / "later").write_text("later")
    ready(writable, pushed)
    until(lambda: refresh_when_served(reader, pushed), "a refresh by the process after it")
    assert (reader / "later").read_text() == "later"


def refresh_when_served(place: Path, bucket: LocalBucket) -> bool:
    """Ask for a refresh; False while the process that serves is being replaced."""
    try:
        open_working_copy(str(place), bucket.settings).refresh()
    except PenstockError:
        return False
    return True


@pytest.mark.s3
def test_a_bucket_that_may_only_be_read(
    bucket: str,
    gateway: RadosGateway,
    aws_environment: dict[str, str],
    demo: LocalBucket,
    source: Path,
    mounts: Mount,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It mounts and takes changes; a commit says what is missing, and nothing is lost."""
    settings = replace(demo.settings, remotes={})
    handle = f"s3://{bucket}/data"
    push(source, handle, settings)
    allow = {
        "Effect": "Allow",
        "Principal": "*",
        "Action": ["s3:GetObject", "s3:ListBucket"],
        "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"],
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allow]}).encode()
    assert gateway.request("PUT", f"/{bucket}?policy", policy).status in (200, 204)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", gateway.other_access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", gateway.other_secret_key)
    info = mounts(handle, options=WRITABLE, settings=settings)
    assert info.refused is not None
    assert "may not do that" in info.refused
    place = Path(info.mountpoint)
    change_much(place)
    shown = content(place)
    with pytest.raises(AccessError) as told:
        open_working_copy(str(place), settings).commit(PLAIN, SILENT)
    assert bucket in told.value.what
    assert told.value.fix
    assert content(place) == shown
    assert unmount(str(place))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", gateway.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", gateway.secret_key)
    report = open_working_copy(str(place), settings).commit(PLAIN, SILENT)  # by one who may
    assert report.changed
    assert content(Path(mounts(handle, at="other", settings=settings).mountpoint)) == shown


def test_a_commit_that_is_cancelled_leaves_the_changes_where_they_are(writable: Path, pushed: LocalBucket) -> None:
    head = newest(pushed)
    for _ in range(5):  # one that was too quick has landed
        (writable / "large").write_bytes(os.urandom(48 << 20))
        job = ask(str(writable), CommitRequest(PLAIN), JobStarted).job
        ask(str(writable), CancelRequest(job), JobState)
        try:
            until(lambda job=job: ask(str(writable), JobStateRequest(job), JobState).done, "the end")  # type: ignore[misc]
        except CancelledError:
            break
        head = newest(pushed)
    else:
        pytest.fail("no commit was cancelled")
    assert newest(pushed) == head
    assert "large" in " ".join(lines(writable, pushed))
    assert ready(writable, pushed).changed
    assert lines(writable, pushed) == []


def test_a_refresh_moves_what_nobody_has_mounted_as_well(writable: Path, pushed: LocalBucket, mounts: Mount) -> None:
    second = Path(mounts(at="second", options=WRITABLE).mountpoint)
    (second / "mine").write_text("mine")
    assert unmount(str(second))
    (writable / "one").write_text("one")
    ready(writable, pushed)
    left = open_working_copy(str(second), pushed.settings)
    with pytest.raises(ConflictError, match="not committed"):
        left.refresh()
    report = left.refresh(rebase=True)
    assert report.moved
    assert left.status().top_hash == report.top_hash.hex()
    assert lines(second, pushed) == ["A mine"]
    mounts(at="second", options=WRITABLE)
    assert (second / "one").read_text() == "one"
    assert (second / "mine").read_text() == "mine"
