"""How a mount ends: by hand, by signal, by force, by a crash, and while it is in use."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from views.bucket import LocalBucket
from views.living import WAITS, kill, ours, program, state_files, until, worker

from penstock.errors import ConflictError, NotFoundError
from penstock.mountpoint.control_client import ask
from penstock.mountpoint.control_messages import StatusRequest
from penstock.mountpoint.kernel_mounts import top_mount
from penstock.mountpoint.known_mounts import MountInfo, record_at
from penstock.mountpoint.mount_options import MountOptions
from penstock.mountpoint.mount_status import MountStatus
from penstock.mountpoint.processes import start_time
from penstock.mountpoint.unmount import mounts_left, unmount

pytestmark = pytest.mark.fuse
Mount = Callable[..., MountInfo]


def test_unmounting_leaves_nothing_behind(mounts: Mount, pushed: LocalBucket, tmp_path: Path) -> None:
    info = mounts()
    assert unmount(info.mountpoint)
    assert info.pid is not None
    assert start_time(info.pid) is None
    assert ours(tmp_path) == []
    assert state_files() == []
    assert os.listdir(info.mountpoint) == []
    mounts()  # and the place can be mounted on again


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_unmounts(mounts: Mount, pushed: LocalBucket, tmp_path: Path, number: int) -> None:
    info = mounts()
    kill(info, number)
    assert ours(tmp_path) == []
    assert state_files() == []


def test_a_signal_ends_a_busy_mount_after_a_while(mounts: Mount, pushed: LocalBucket, tmp_path: Path) -> None:
    info = mounts()
    with program(WAITS, Path(info.mountpoint, "small.txt")):
        begun = time.monotonic()
        assert info.pid is not None
        os.kill(info.pid, signal.SIGTERM)
        # It is served on for some time, for whoever is about to finish.
        assert (Path(info.mountpoint) / "old").read_text() == "old"
        until(lambda: start_time(info.pid or 0) is None, "the daemon ends")
        assert time.monotonic() - begun > 3
        assert ours(tmp_path) == []


def test_two_signals_end_a_busy_mount_at_once(mounts: Mount, pushed: LocalBucket, tmp_path: Path) -> None:
    info = mounts()
    with program(WAITS, Path(info.mountpoint, "small.txt")):
        assert info.pid is not None
        assert info.log is not None
        begun = time.monotonic()
        os.kill(info.pid, signal.SIGTERM)
        until(lambda: "SIGTERM" in Path(info.log or "").read_text(), "the first signal is seen")
        os.kill(info.pid, signal.SIGTERM)
        until(lambda: start_time(info.pid or 0) is None, "the daemon ends")
        assert time.monotonic() - begun < 4
        assert ours(tmp_path) == []


def test_a_killed_daemon_is_unmounted_like_any_other(mounts: Mount, pushed: LocalBucket, tmp_path: Path) -> None:
    info = mounts()
    kill(info)
    with pytest.raises(OSError, match=r"not connected|connection abort") as told:  # the kernel may just be at it
        os.statvfs(info.mountpoint)
    assert told.value.errno in (errno.ENOTCONN, errno.ECONNABORTED)
    (found,) = ours(tmp_path)
    assert not found.alive
    assert unmount(info.mountpoint)
    assert ours(tmp_path) == []
    assert state_files() == []


def test_mounting_again_mends_what_a_killed_daemon_left(mounts: Mount, pushed: LocalBucket, tmp_path: Path) -> None:
    first = mounts()
    kill(first)
    second = mounts()
    assert (Path(second.mountpoint) / "small.txt").read_text() == "hello world\n"
    assert ours(tmp_path) == [second]
    assert len([name for name in state_files() if name.endswith(".json")]) == 1


def test_a_dead_mount_that_somebody_stands_in(mounts: Mount, pushed: LocalBucket, tmp_path: Path) -> None:
    info = mounts()
    with program(WAITS, cwd=info.mountpoint):
        kill(info)
        assert unmount(info.mountpoint)
        assert ours(tmp_path) == []


def test_a_busy_mount_names_who_uses_it(mounts: Mount, pushed: LocalBucket) -> None:
    info = mounts()
    mapped = (
        "import mmap, sys; stream = open(sys.argv[1], 'rb'); m = mmap.mmap(stream.fileno(), 0, prot=mmap.PROT_READ);"
        "stream.close(); print('ready', flush=True); input()"
    )
    inside = Path(info.mountpoint, "bin")
    for code, arguments, cwd, use in (
        (WAITS, [Path(info.mountpoint, "small.txt")], "/", "open file"),
        (WAITS, [], inside, "working directory"),
        (mapped, [Path(info.mountpoint, "small.txt")], "/", "mapped file"),
    ):
        with program(code, *arguments, cwd=cwd) as process:
            with pytest.raises(ConflictError, match="busy") as told:
                unmount(info.mountpoint)
            assert f"process {process.pid}" in told.value.why
            if use != "mapped file":  # a mapping keeps its file's descriptor in Python
                assert use in told.value.why
            assert "--lazy" in told.value.fix
    assert unmount(info.mountpoint)


def test_lazily_unmounted_files_can_be_read_to_the_end(mounts: Mount, pushed: LocalBucket, tmp_path: Path) -> None:
    info = mounts()
    code = (
        "import sys; stream = open(sys.argv[1], 'rb'); print('ready', flush=True); input();"
        "print(len(stream.read()), flush=True)"
    )
    with program(code, Path(info.mountpoint, "big.bin")) as process:
        assert not unmount(info.mountpoint, lazy=True)
        assert ours(tmp_path) == []
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == f"{(3 << 20) + 8}\n"
    until(lambda: start_time(info.pid or 0) is None, "the daemon ends with its last user")
    assert state_files() == []


def test_force_ends_a_busy_mount(mounts: Mount, pushed: LocalBucket, tmp_path: Path) -> None:
    info = mounts()
    with program(WAITS, Path(info.mountpoint, "small.txt")):
        assert unmount(info.mountpoint, force=True)
        assert start_time(info.pid or 0) is None
        assert ours(tmp_path) == []


def test_force_ends_a_daemon_that_does_not_answer(mounts: Mount, pushed: LocalBucket, tmp_path: Path) -> None:
    """Stopped processes stand for a daemon that hangs: a reader waits in the kernel; unmounting works all the same."""
    info = mounts()
    code = (
        "import sys; print('ready', flush=True)\n"
        "try:\n    open(sys.argv[1], 'rb').read(); print('read')\n"
        "except OSError as error:\n    print(error.errno, flush=True)\ninput()"
    )
    assert info.pid is not None
    for pid in (info.pid, worker(info)):
        os.kill(pid, signal.SIGSTOP)
    with program(code, Path(info.mountpoint, "big.bin")) as process:
        wait = Path(f"/proc/{process.pid}/wchan")
        until(lambda: "request_wait_answer" in wait.read_text(), "the reader waits for the daemon")
        assert unmount(info.mountpoint, force=True, timeout=1)
        assert start_time(info.pid) is None
        assert ours(tmp_path) == []
        assert process.stdout is not None
        assert int(process.stdout.readline()) in (errno.ENOTCONN, errno.ECONNABORTED, errno.EIO)


def test_unmounting_needs_neither_pyfuse3_nor_trio() -> None:
    code = (
        "import sys, penstock.mountpoint.mount, penstock.mountpoint.known_mounts, penstock.mountpoint.unmount\n"
        "print(*{'pyfuse3', 'trio', 'boto3', 'click'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "\n"


def test_a_place_below_a_mount_is_no_mount(mounts: Mount, pushed: LocalBucket) -> None:
    info = mounts()
    with pytest.raises(NotFoundError) as told:
        unmount(f"{info.mountpoint}/bin")
    assert info.mountpoint in told.value.fix
    assert top_mount(info.mountpoint) is not None


def test_by_way_of_a_link(mounts: Mount, pushed: LocalBucket, tmp_path: Path) -> None:
    info = mounts()
    (tmp_path / "link").symlink_to(info.mountpoint)
    assert unmount(str(tmp_path / "link"))
    assert ours(tmp_path) == []


def test_unmounting_a_bind_mount_leaves_the_mount_and_the_other_way_round(
    mounts: Mount, pushed: LocalBucket, tmp_path: Path
) -> None:
    info = mounts()
    bound = tmp_path / "bound"
    bound.mkdir()
    bind = ["mount", "--bind", f"{info.mountpoint}/bin", bound]
    subprocess.run(bind, check=True)
    told = {each.mountpoint: each.bind_of for each in ours(tmp_path)}
    assert told == {info.mountpoint: None, str(bound): f"{info.mountpoint}/bin"}
    begun = time.monotonic()
    for force in (False, True):
        assert not unmount(str(bound), force=force)
        assert mounts_left(info) == [info.mountpoint]
        assert (Path(info.mountpoint) / "old").read_text() == "old"
        subprocess.run(bind, check=True)
    with program(WAITS, cwd=bound):
        assert not unmount(info.mountpoint)
        assert mounts_left(info) == [str(bound)]
        assert (bound / "hello").read_bytes()
    assert ask(str(bound), StatusRequest(), MountStatus).handle == "demo/data"
    assert unmount(str(bound))  # the last one: now it ends
    assert time.monotonic() - begun < 8
    assert start_time(info.pid or 0) is None
    assert state_files() == []


def test_who_works_in_a_private_namespace_keeps_the_mount(mounts: Mount, pushed: LocalBucket) -> None:
    info = mounts(options=MountOptions(writable=True))
    code = "import sys; print('ready', flush=True); input(); print(open(sys.argv[1]).read(), flush=True)"
    command = ["unshare", "--mount", "--propagation", "private", sys.executable, "-c", code, f"{info.mountpoint}/old"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        assert not unmount(info.mountpoint)
        (left,) = mounts_left(info)
        assert f"process {process.pid}" in left
        assert record_at(info.mountpoint)  # its overlay is in use: who asks after it is answered
        print(file=process.stdin, flush=True)
        assert process.stdout.readline() == "old\n"
    until(lambda: start_time(info.pid or 0) is None, "the daemon ends with the last namespace")
    assert record_at(info.mountpoint) is None


def test_a_signal_leaves_a_bind_mount_some_time(mounts: Mount, pushed: LocalBucket, tmp_path: Path) -> None:
    info = mounts()
    bound = tmp_path / "bound"
    bound.mkdir()
    subprocess.run(["mount", "--bind", info.mountpoint, bound], check=True)
    assert info.pid is not None
    os.kill(info.pid, signal.SIGTERM)
    until(lambda: not os.path.ismount(info.mountpoint), "the mount is unmounted")
    assert (bound / "old").read_text() == "old"
    subprocess.run(["umount", bound], check=True)
    until(lambda: start_time(info.pid or 0) is None, "the daemon ends with its last mount", 4)
    assert state_files() == []
