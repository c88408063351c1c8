"""Modification times: those at the ends of the calendar, and those that were set alone, with the programs that look."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from views.bucket import LocalBucket

import penstock
from penstock.mountpoint.known_mounts import MountInfo
from penstock.mountpoint.mount_options import MountOptions
from penstock.mountpoint.unmount import unmount

pytestmark = pytest.mark.fuse
Mount = Callable[..., MountInfo]

WRITABLE = MountOptions(writable=True)
YEAR_2500_NS = 16_725_225_600_000_000_001


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep overlays where the test is."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def run(*command: object) -> str:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, (command, done.stderr)
    return done.stdout


def test_times_at_the_ends_of_the_calendar(demo: LocalBucket, source: Path, mounts: Mount) -> None:
    run("touch", "-d", "@0", source / "old", source / "empty-folder")
    demo.push(source)
    place = Path(mounts(options=WRITABLE).mountpoint)
    assert (place / "old").stat().st_mtime_ns == (place / "empty-folder").stat().st_mtime_ns == 0
    run("touch", "-d", "@0", place / "small.txt")
    os.utime(place / "big.bin", ns=(0, YEAR_2500_NS))
    os.utime(place / "names", ns=(YEAR_2500_NS, -1))
    for name in ("small.txt", "big.bin"):
        os.chmod(place / name, 0o600)

    def check() -> None:
        found = {name: (place / name).stat() for name in ("old", "small.txt", "big.bin")}
        assert {name: facts.st_mtime_ns for name, facts in found.items()} == {
            "old": 0,
            "small.txt": 0,
            "big.bin": YEAR_2500_NS,
        }

    check()
    assert (place / "big.bin").stat().st_atime_ns == 0
    assert (place / "names").stat().st_atime_ns == YEAR_2500_NS
    assert (place / "names").stat().st_mtime_ns == -1
    assert unmount(str(place))
    mounts(options=WRITABLE)
    check()
    assert penstock.Workspace(place, demo.settings).commit(author="me").changed
    assert unmount(str(place))
    mounts()
    check()


def test_a_time_alone_is_recorded_when_that_is_asked_for(demo: LocalBucket, source: Path, mounts: Mount) -> None:
    def sent() -> str:
        return run("rsync", "-ai", f"{source}/", place)

    demo.push(source)
    place = Path(mounts(options=WRITABLE).mountpoint)
    os.mkdir(source / "more")
    (source / "more" / "file").write_text("more")
    assert sent()
    workspace = penstock.Workspace(place, demo.settings)
    assert workspace.commit(author="me").changed
    run("touch", "-d", "2001-02-03", *(source / name for name in ("small.txt", "big.bin", "names", "more")))
    assert "small.txt" in sent()
    report = workspace.commit(author="me", dry_run=True)
    assert (report.changed, report.times, report.times_dropped) == (False, 0, 4)
    before = penstock.stat(place).top_hash
    report = workspace.commit(author="me", times=True)
    assert (report.changed, report.times, report.times_dropped) == (True, 4, 0)
    assert report.top_hash != before
    assert unmount(str(place))
    mounts(options=WRITABLE)
    assert [line for line in sent().splitlines() if not line.endswith(" ./")] == []  # a mountpoint has its version's
    assert list(workspace.changes()) == []
    changes = penstock.Package("demo/data", demo.settings).changes()
    assert list(changes.changes()) == []  # times are no difference


def test_settings_say_whether_times_are_recorded(demo: LocalBucket, source: Path, mounts: Mount) -> None:
    demo.push(source)
    place = Path(mounts(options=WRITABLE).mountpoint)
    os.utime(place / "small.txt", ns=(5, 5))
    (place / "new").write_text("new")
    settings = replace(demo.settings, commit_times=True)
    report = penstock.Workspace(place, settings).commit(author="me")
    assert (report.times, report.times_dropped) == (1, 0)
    os.utime(place / "small.txt", ns=(7, 7))
    (place / "new").write_text("newer")
    report = penstock.Workspace(place, demo.settings).commit(author="me")
    assert (report.changed, report.times, report.times_dropped) == (True, 0, 1)
    assert unmount(str(place))
    mounts()
    assert (place / "small.txt").stat().st_mtime_ns == 5
