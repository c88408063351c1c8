"""Processes that serve a writable mount are killed at any moment: writers go on, and what was promised is there.

Killed is killed: the disk keeps what the kernel has. What a power loss leaves is for `tests/overlay`.
"""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from views.bucket import LocalBucket
from views.living import now, program, until
from views.twins import observed

from penstock.mountpoint.known_mounts import MountInfo
from penstock.mountpoint.mount_options import MountOptions
from penstock.mountpoint.processes import start_time, wait_for_end
from penstock.mountpoint.unmount import unmount

pytestmark = pytest.mark.fuse
Mount = Callable[..., MountInfo]

WRITABLE = MountOptions(writable=True)
KILLS = 8
"""Within a minute: fewer than what a mount is given up for."""


def kill_worker(info: MountInfo) -> None:
    """Kill the process that serves a mount now, and wait for the next one."""
    found = now(info)
    assert found.worker_pid is not None
    since = start_time(found.worker_pid)
    with suppress(ProcessLookupError):
        os.kill(found.worker_pid, signal.SIGKILL)
    assert since is None or wait_for_end(found.worker_pid, since, 30)
    until(lambda: now(info).worker_pid != found.worker_pid, "another process serves", 30)


_WRITES = """
import os, random, sys
root, seed = sys.argv[1], int(sys.argv[2])
draw = random.Random(seed)
steps = os.open(sys.argv[4], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
print("ready", flush=True)
number = 0
while not os.path.exists(sys.argv[3]):
    number += 1
    os.write(steps, b".")
    path = f"{root}/file-{number}"
    data = draw.randbytes(draw.choice([10, 5000, 300_000]))
    with open(path, "xb") as stream:
        stream.write(data)
        if number % 5 == 0:
            stream.flush()
            os.fsync(stream.fileno())
    with open(path, "rb") as stream:
        assert stream.read() == data
    if number > 20:
        os.remove(f"{root}/file-{number - 20}")
print(number)
"""
_NAMES = """
import os, sys
root = sys.argv[1]
steps = os.open(sys.argv[3], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
print("ready", flush=True)
count = 0
while not os.path.exists(sys.argv[2]):
    os.write(steps, b".")
    # Each of these fails when it is carried out twice.
    os.mkdir(f"{root}/one")
    os.rename(f"{root}/one", f"{root}/two")
    os.symlink("target", f"{root}/two/link")
    os.close(os.open(f"{root}/two/file", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    os.rename(f"{root}/two/file", f"{root}/two/moved")
    os.unlink(f"{root}/two/moved")
    os.unlink(f"{root}/two/link")
    os.rmdir(f"{root}/two")
    count += 1
print(count)
"""


def test_writers_do_not_notice_that_the_process_is_killed(pushed: LocalBucket, mounts: Mount, tmp_path: Path) -> None:
    info = mounts(options=WRITABLE)
    root, stop = Path(info.mountpoint), tmp_path / "stop"
    for name in ("w1", "n1", "n2"):
        (root / name).mkdir()
    steps = [tmp_path / f"steps-{number}" for number in range(3)]

    def counted() -> list[int]:
        return [path.stat().st_size if path.exists() else 0 for path in steps]

    def went_on(since: list[int]) -> bool:
        assert [process.poll() for process in writers] == [None] * 3
        return all(count > before + 3 for count, before in zip(counted(), since, strict=True))

    with (
        program(_WRITES, root / "w1", 1, stop, steps[0]) as writes,
        program(_NAMES, root / "n1", stop, steps[1]) as first,
        program(_NAMES, root / "n2", stop, steps[2]) as second,
    ):
        writers = (writes, first, second)
        draw = random.Random()  # another one each time: there are more moments than one run sees
        for _ in range(KILLS):
            until(partial(went_on, counted()), "all go on", 60)
            time.sleep(draw.random() / 20)  # any moment is as good
            kill_worker(info)
        stop.touch()
        for process in writers:
            out, _ = process.communicate(timeout=60)
            assert process.returncode == 0
            assert int(out) > 0
    assert now(info).restarts == KILLS
    before = observed(os.fsencode(root / "w1"))
    draw = random.Random(1)
    last = max(int(name.removeprefix(b"file-")) for name in before)
    for number in range(1, last + 1):
        data = draw.randbytes(draw.choice([10, 5000, 300_000]))
        if number > last - 20:
            assert before[b"file-%d" % number][3] == data
    assert len(before) == 20
    assert last > 20
    assert os.listdir(root / "n1") == os.listdir(root / "n2") == []
    assert unmount(info.mountpoint)
    mounts(options=WRITABLE)
    assert observed(os.fsencode(root / "w1")) == before


_PROMISES = """
import os, random, sys
root, seed = sys.argv[1], int(sys.argv[2])
draw = random.Random(seed)
log = os.open(sys.argv[3], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
print("ready", flush=True)
number = 0
while True:
    number += 1
    data = bytes([number % 251]) * draw.choice([1, 5000, 200_000])
    descriptor = os.open(f"{root}/tmp-{number}", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    os.write(descriptor, data)
    os.write(log, b"wrote %d %d\\n" % (number, len(data)))
    if number % 3 == 0:
        os.fsync(descriptor)
    os.close(descriptor)
    os.rename(f"{root}/tmp-{number}", f"{root}/file-{number}")
    os.write(log, b"renamed %d %d\\n" % (number, len(data)))
    if number > 10:
        os.unlink(f"{root}/file-{number - 10}")
        os.write(log, b"removed %d 0\\n" % (number - 10))
"""


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_what_a_call_returned_for_is_there_after_a_mount_was_killed(
    pushed: LocalBucket, mounts: Mount, tmp_path: Path, source: Path, seed: int
) -> None:
    info = mounts(options=WRITABLE)
    root, log = Path(info.mountpoint, "work"), tmp_path / "log"
    root.mkdir()
    with program(_PROMISES, root, seed, log) as process:
        until(lambda: log.exists() and log.stat().st_size > 2000, "it is under way", 60)
        time.sleep(random.Random(seed).random() / 2)  # any moment is as good
        pids = [pid for pid in (now(info).worker_pid, info.pid) if pid is not None]
        begun = {pid: start_time(pid) for pid in pids}
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid, since in begun.items():
            assert since is None or wait_for_end(pid, since, 30)
        assert process.wait(30) != 0  # its call failed: nobody answers
    unmount(info.mountpoint)
    mounts(options=WRITABLE)
    done: dict[int, tuple[str, int]] = {}
    for line in log.read_text().splitlines():
        what, number, size = line.split()
        done[int(number)] = what, int(size)
    last = max(done)
    found = observed(os.fsencode(root))  # reads all there is
    for number, (what, size) in done.items():
        name, content = b"file-%d" % number, bytes([number % 251]) * size
        if what == "renamed":
            # Of the oldest and the youngest, the next step may have been made and not been noted.
            if number > last - 10 or name in found:
                assert found[name][3] == content
        elif what == "wrote":
            assert number == last
            assert (found.get(name) or found[b"tmp-%d" % number])[3] == content
        else:
            assert name not in found
    assert {name for name in found if int(name.partition(b"-")[2]) > last + 1} == set()
    assert len(found) <= 12
    for path in ("big.bin", "small.txt", "names/a\nb"):
        assert (root.parent / path).read_bytes() == (source / path).read_bytes()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Return a directory on a disk of 96 MiB."""
    place = tmp_path / "small-disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96m,mode=700", "tmpfs", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def test_a_full_disk_is_told_and_loses_nothing(
    pushed: LocalBucket, mounts: Mount, source: Path, small_disk: Path
) -> None:
    options = replace(WRITABLE, overlay_directory=str(small_disk / "overlay"))
    info = mounts(options=options)
    root = Path(info.mountpoint)
    (root / "small.txt").write_text("changed\n")
    written: list[bytes] = []
    with pytest.raises(OSError, match="No space left") as told:
        for number in range(200):
            data = random.Random(number).randbytes(1 << 20)
            with open(root / f"file-{number}", "wb", buffering=0) as stream:
                stream.write(data)
            written.append(data)
    assert told.value.errno == errno.ENOSPC
    assert len(written) > 20
    assert os.statvfs(root).f_bavail * os.statvfs(root).f_frsize < 4 << 20

    def all_there() -> None:
        for number, data in enumerate(written):
            assert (root / f"file-{number}").read_bytes() == data
        assert (root / "small.txt").read_text() == "changed\n"
        assert (root / "big.bin").read_bytes() == (source / "big.bin").read_bytes()

    all_there()
    os.remove(root / "file-0")
    os.remove(root / f"file-{len(written)}")
    (root / "file-0").touch()

    def fits() -> bool:
        """Whether what was removed has given its space back: that is done when the tables are written."""
        try:
            (root / "file-0").write_bytes(written[0])
        except OSError as error:
            assert error.errno == errno.ENOSPC
            return False
        return True

    until(fits, "the space is given back", 60)
    all_there()
    assert unmount(info.mountpoint)
    mounts(options=options)
    all_there()


def test_a_thread_that_waits_for_a_killed_process_is_answered(pushed: LocalBucket, mounts: Mount) -> None:
    info = mounts(options=WRITABLE)
    root = Path(info.mountpoint)
    found = now(info)
    assert found.worker_pid is not None
    os.kill(found.worker_pid, signal.SIGSTOP)
    made = threading.Thread(target=(root / "folder").mkdir)
    made.start()  # its request is read by nobody
    os.kill(found.worker_pid, signal.SIGKILL)
    made.join(60)
    assert not made.is_alive()
    assert (root / "folder").is_dir()
    subprocess.run([sys.executable, "-c", "import os, sys; os.rmdir(sys.argv[1])", root / "folder"], check=True)
    assert not (root / "folder").exists()
