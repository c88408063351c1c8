"""Listings that the kernel keeps: given without asking, and never when they are no longer so."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from views.bucket import LocalBucket
from views.living import until, worker

from penstock.errors import PenstockError
from penstock.mountpoint.known_mounts import MountInfo
from penstock.mountpoint.mount_options import MountOptions
from penstock.mountpoint.working_copy.working_copy import open_working_copy
from penstock.overlay.commit.commit_options import CommitOptions
from penstock.progress import SILENT
from penstock.repo.write.publish import Authorship

pytestmark = pytest.mark.fuse
Mount = Callable[..., MountInfo]

AUTHOR = Authorship("me", "a commit", "commit")
WRITABLE = MountOptions(writable=True)


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@contextmanager
def opened(directory: Path) -> Iterator[int]:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _is_followed(info: MountInfo, old: int) -> bool:
    return worker(info) != old


@pytest.mark.parametrize("options", [MountOptions(), WRITABLE])
def test_a_listing_is_given_again_without_asking(pushed: LocalBucket, mounts: Mount, options: MountOptions) -> None:
    info = mounts(options=options)
    found: list[list[str]] = []
    with opened(Path(info.mountpoint, "names")) as names:
        before = os.listdir(names)
        pid = worker(info)
        os.kill(pid, signal.SIGSTOP)
        try:
            again = threading.Thread(target=lambda: found.append(os.listdir(names)), daemon=True)
            again.start()
            again.join(5)
        finally:
            os.kill(pid, signal.SIGCONT)
        again.join(20)
    assert len(before) > 2
    assert found == [before]
    assert not again.is_alive()


def test_it_is_the_same_with_the_process_after_it(pushed: LocalBucket, mounts: Mount) -> None:
    info = mounts(options=WRITABLE)
    place = Path(info.mountpoint)
    with opened(place) as root:
        before = os.listdir(root)
        old = worker(info)
        os.kill(old, signal.SIGKILL)
        assert os.listdir(root) == before
        until(partial(_is_followed, info, old), "another process serves")
        (place / "added").touch()
        assert sorted(os.listdir(root)) == sorted([*before, "added"]) == sorted(os.listdir(place))


def test_changes_show_in_it(pushed: LocalBucket, mounts: Mount) -> None:
    place = Path(mounts(options=WRITABLE).mountpoint)
    expected = set(os.listdir(place))

    def shows(*, less: Set[str] = frozenset(), more: Set[str] = frozenset()) -> None:
        nonlocal expected
        expected = (expected - less) | more
        assert set(os.listdir(place)) == expected
        assert {entry.name for entry in os.scandir(place)} == expected

    shows()
    (place / "file").touch()
    shows(more={"file"})
    (place / "folder").mkdir()
    shows(more={"folder"})
    os.symlink("file", place / "link")
    shows(more={"link"})
    os.rename(place / "file", place / "folder" / "file")
    shows(less={"file"})
    assert os.listdir(place / "folder") == ["file"]
    os.rename(place / "names", place / "named")
    shows(less={"names"}, more={"named"})
    os.remove(place / "small.txt")
    shows(less={"small.txt"})
    os.remove(place / "folder" / "file")
    assert os.listdir(place / "folder") == []
    (place / "folder").rmdir()
    shows(less={"folder"})


def test_a_refresh_shows_in_it(pushed: LocalBucket, mounts: Mount) -> None:
    reader, writer = Path(mounts(at="reader").mountpoint), Path(mounts(at="writer", options=WRITABLE).mountpoint)
    with opened(reader) as root, opened(reader / "names") as names:
        assert os.listdir(root) == os.listdir(reader)
        before = set(os.listdir(names))
        (writer / "new").touch()
        (writer / "names" / "new").touch()
        os.rename(writer / "small.txt", writer / "names" / "smaller.txt")
        os.remove(writer / "old")
        open_working_copy(str(writer), pushed.settings).commit(CommitOptions("me"), SILENT)
        assert set(os.listdir(names)) == before
        assert open_working_copy(str(reader), pushed.settings).refresh(rebase=False).moved
        assert set(os.listdir(names)) == set(os.listdir(reader / "names")) == before | {"new", "smaller.txt"}
        assert set(os.listdir(root)) == set(os.listdir(reader)) == set(os.listdir(writer))


def test_a_discard_shows_in_it(pushed: LocalBucket, mounts: Mount) -> None:
    place = Path(mounts(options=WRITABLE).mountpoint)
    before, named = os.listdir(place), os.listdir(place / "names")
    (place / "new").touch()
    os.remove(place / "old")
    (place / "names" / "new").touch()
    os.rename(place / "names", place / "moved")
    assert os.listdir(place / "moved") == [*named, "new"]
    assert set(os.listdir(place)) == {*before, "new", "moved"} - {"old", "names"}
    open_working_copy(str(place), pushed.settings).discard()
    assert set(os.listdir(place)) == set(before)
    assert set(os.listdir(place / "names")) == set(named)


def test_a_commit_that_brings_in_what_others_did_shows_in_it(pushed: LocalBucket, mounts: Mount) -> None:
    first, second = (Path(mounts(at=name, options=WRITABLE).mountpoint) for name in ("first", "second"))
    before = set(os.listdir(second))
    (first / "ours").touch()
    open_working_copy(str(first), pushed.settings).commit(CommitOptions("me"), SILENT)
    (second / "theirs").touch()
    assert set(os.listdir(second)) == before | {"theirs"}
    open_working_copy(str(second), pushed.settings).commit(CommitOptions("me"), SILENT)
    assert set(os.listdir(second)) == before | {"ours", "theirs"}


def test_it_is_right_whatever_happens_meanwhile(pushed: LocalBucket, mounts: Mount) -> None:
    """Threads list and make names while the mount is told to forget, and while its process is killed."""
    info = mounts(options=WRITABLE)
    place = Path(info.mountpoint)
    over = threading.Event()
    wrong: list[object] = []

    def list_all(seed: int) -> None:
        chance = random.Random(seed)
        mine = place / f"of-{seed}"
        mine.mkdir()
        there: set[str] = set()
        while not over.is_set():
            name = f"n{chance.randrange(50)}"
            if name in there:
                (mine / name).unlink()
                there.remove(name)
            else:
                (mine / name).touch()
                there.add(name)
            if set(os.listdir(mine)) != there:
                wrong.append((seed, name))
            os.listdir(place)

    threads = [threading.Thread(target=list_all, args=[seed], daemon=True) for seed in range(3)]
    for thread in threads:
        thread.start()
    told = 0
    for _ in range(6):
        for _ in range(2):
            try:
                told += bool(open_working_copy(str(place), pushed.settings).commit(CommitOptions("me"), SILENT).commit)
            except PenstockError:  # asked while its process is being replaced
                continue
        old = worker(info)
        os.kill(old, signal.SIGKILL)
        until(partial(_is_followed, info, old), "another process serves")
    over.set()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)
    assert not wrong
    assert told
