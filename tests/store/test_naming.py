"""Local stores where the file system has no hard links, as exFAT: create-if-absent by other means, seen to work first.

The contract suite runs in these modes, too (`test_contract`); here is what only they do, on real file systems.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from penstock.errors import StoreUnreachableError, UsageError
from penstock.store import naming
from penstock.store.durable import TEMPORARY_FOLDER
from penstock.store.local import LocalStore


def refused(*arguments: object, **options: object) -> None:
    raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))


@pytest.fixture
def no_links(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", refused)


@pytest.fixture
def only_locks(monkeypatch: pytest.MonkeyPatch, no_links: None) -> None:
    monkeypatch.setattr(naming, "_by_rename", refused)


def test_a_rename_that_replaces_all_the_same_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_links: None
) -> None:
    """Programs that serve file systems may overlook the flag."""
    monkeypatch.setattr(
        naming,
        "_by_rename",
        lambda folder, name, target, wanted: os.rename(name, wanted, src_dir_fd=folder, dst_dir_fd=target),
    )
    store = LocalStore(tmp_path / "objects")
    assert store.create("refs/1", b"mine")
    assert not store.create("refs/1", b"theirs")
    assert store.get("refs/1") == b"mine"


@pytest.mark.usefixtures("only_locks")
def test_without_any_way_the_first_write_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(descriptor: int, operation: int) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with pytest.raises(UsageError, match="neither hard links"):
        LocalStore(tmp_path / "objects").put("lease", b"before anything is sent")


@pytest.mark.usefixtures("no_links")
def test_a_full_disk_is_not_taken_for_one_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "link", full)
    with pytest.raises(StoreUnreachableError, match="Free some space"):
        LocalStore(tmp_path / "objects").put("lease", b"")


@pytest.mark.usefixtures("only_locks")
def test_a_lock_that_is_held_for_ever_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LocalStore(tmp_path / "objects")
    assert store.create("refs/1", b"mine")
    monkeypatch.setattr(naming, "_LOCK_SECONDS", 0.1)
    with open(tmp_path / "objects" / TEMPORARY_FOLDER / "create.lock", "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(StoreUnreachableError, match=r"create\.lock"):
            store.create("refs/2", b"mine")
    assert store.create("refs/2", b"mine")


def _race(folder: str, writer: int, only_lock: bool, start: object, won: object) -> None:
    os.link = refused  # type: ignore[assignment]
    if only_lock:
        naming._by_rename = refused  # type: ignore[assignment]
    store = LocalStore(folder)
    for number in range(20):
        start.wait(30)  # type: ignore[attr-defined]
        if store.create(f"race/{number}", b"%d" % writer):
            won.put((number, writer))  # type: ignore[attr-defined]


@pytest.mark.parametrize("only_lock", [False, True], ids=["renames", "a lock"])
def test_of_processes_that_create_one_key_one_wins(tmp_path: Path, only_lock: bool) -> None:
    spawn = multiprocessing.get_context("fork")
    start, won = spawn.Barrier(4), spawn.SimpleQueue()
    folder = str(tmp_path / "objects")
    writers = [spawn.Process(target=_race, args=(folder, n, only_lock, start, won)) for n in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    winners = {}
    while not won.empty():
        number, writer = won.get()
        assert number not in winners
        winners[number] = writer
    assert len(winners) == 20
    store = LocalStore(folder)
    assert {n: int(store.get(f"race/{n}")) for n in winners} == winners


_CREATOR = """
import errno, os, sys
from penstock.store import naming
from penstock.store.local import LocalStore

def refused(*arguments, **options):
    raise PermissionError(errno.EPERM, "refused")

os.link = refused
naming._by_rename = refused
store = LocalStore(sys.argv[1])
print("ready", flush=True)
for number in range(100_000):
    store.create(f"create/{number}", bytes([number % 256]) * 100_000)
"""


def test_killed_at_any_moment_it_leaves_whole_objects_and_no_lock(tmp_path: Path) -> None:
    folder = tmp_path / "objects"
    for attempt in range(3):
        with subprocess.Popen([sys.executable, "-c", _CREATOR, str(folder)], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"ready\n"
            with contextlib.suppress(subprocess.TimeoutExpired):
                writer.wait(0.05 * (attempt + 1))
            writer.send_signal(signal.SIGKILL)
    store = LocalStore(folder)
    found = [info.key for info in store.list("create/")]
    assert found
    for key in found:
        body = store.get(key)
        assert body == body[:1] * 100_000
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "link", refused)
        patch.setattr(naming, "_by_rename", refused)
        assert LocalStore(folder).create("after", b"")
