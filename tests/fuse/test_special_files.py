"""Named pipes and sockets in a writable mount, and the programs that cannot do without."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
import threading
from collections.abc import Callable
from multiprocessing.connection import Client, Listener
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


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep overlays where the test is."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def place(pushed: LocalBucket, mounts: Mount) -> Path:
    """Return the mountpoint of a writable mount of everything."""
    return Path(mounts(options=WRITABLE).mountpoint)


def test_a_pipe_carries_what_is_written_to_it(place: Path, mounts: Mount) -> None:
    pipe = place / "pipe"
    os.mkfifo(pipe, 0o640)
    assert stat.filemode(pipe.stat().st_mode) == "prw-r-----"
    writer = threading.Thread(target=pipe.write_bytes, args=(b"through it",))
    writer.start()
    assert pipe.read_bytes() == b"through it"
    writer.join()
    os.link(pipe, place / "other")
    pipe.chmod(0o600)
    os.rename(pipe, place / "moved")
    assert unmount(str(place))
    mounts(options=WRITABLE)
    facts = (place / "moved").stat()
    assert (stat.filemode(facts.st_mode), facts.st_nlink) == ("prw-------", 2)
    (place / "moved").unlink()
    assert (place / "other").stat().st_nlink == 1


def test_programs_listen_on_sockets(place: Path) -> None:
    with Listener(str(place / "listener"), "AF_UNIX") as listener:
        with Client(str(place / "listener")) as client, listener.accept() as served:
            client.send("hello")
            assert served.recv() == "hello"
        assert stat.S_ISSOCK((place / "listener").stat().st_mode)
        with socket.socket(socket.AF_UNIX) as other, pytest.raises(OSError, match="Address already in use"):
            other.bind(str(place / "listener"))


@pytest.mark.skipif(shutil.which("ssh-agent") is None, reason="needs ssh-agent")
def test_an_agent_is_reached_by_its_socket(place: Path) -> None:
    with subprocess.Popen(["ssh-agent", "-D", "-a", place / "agent"], stdout=subprocess.PIPE) as agent:
        try:
            assert agent.stdout is not None
            agent.stdout.readline()  # it listens
            environment = {**os.environ, "SSH_AUTH_SOCK": str(place / "agent")}
            asked = subprocess.run(["ssh-add", "-l"], env=environment, capture_output=True, text=True, check=False)
            assert asked.stdout == "The agent has no identities.\n"
        finally:
            agent.terminate()


def test_a_commit_takes_the_rest_and_names_them(place: Path, pushed: LocalBucket, mounts: Mount) -> None:
    (place / "kept").write_text("kept")
    (place / "small.txt").unlink()
    os.mkfifo(place / "small.txt")
    (place / "new").mkdir()
    os.mkfifo(place / "new" / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place / "socket"))
    told = [(line.kind, line.path) for line in penstock.Workspace(place, pushed.settings).changes()]
    assert told == [("A", "kept"), ("A", "new"), ("D", "small.txt")]
    report = penstock.Workspace(place, pushed.settings).commit(author="me")
    assert sorted(map(tuple, report.skipped)) == [
        ("new/pipe", "named pipe"),
        ("small.txt", "named pipe"),
        ("socket", "socket"),
    ]
    assert stat.S_ISSOCK((place / "socket").stat().st_mode)  # as long as this mount lasts
    report = penstock.Workspace(place, pushed.settings).commit(author="me")
    assert (report.changed, report.skipped) == (False, ())
    os.rename(place / "new", place / "newer")
    report = penstock.Workspace(place, pushed.settings).commit(author="me")
    assert (report.changed, report.skipped) == (True, ())
    assert unmount(str(place))
    mounts(options=WRITABLE)
    assert (place / "kept").read_text() == "kept"
    assert os.listdir(place / "newer") == []
    assert not {"small.txt", "socket", "new"} & set(os.listdir(place))


def test_devices_are_refused(place: Path) -> None:
    for kind in (stat.S_IFCHR, stat.S_IFBLK):
        with pytest.raises(PermissionError):
            os.mknod(place / "device", kind | 0o600, os.makedev(1, 3))
