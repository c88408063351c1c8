"""Many readers, many open files, and processes that are killed under them: right bytes, an end, bounded memory."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from hashlib import blake2b
from pathlib import Path

import pytest
from servers.faultproxy import FaultProxy
from servers.faults import Reset, Stall, Status, Truncate
from views.bucket import write_tree
from views.living import now, program, until, worker
from views.memory import Made, Spec
from views.outcomes import resident, status_of

from penstock.mountpoint.known_mounts import MountInfo
from penstock.repo.settings.settings import Settings

pytestmark = [pytest.mark.fuse, pytest.mark.s3]
Mount = Callable[..., MountInfo]

MOST = 400 << 20
"""Bytes that all processes of a mount may take."""
READERS = 64

READS = """
import hashlib, json, os, random, sys, threading
top, readers, again = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "again"
names = sorted(os.path.relpath(os.path.join(folder, name), top) for folder, _, files in os.walk(top) for name in files)
begin, lock, found = threading.Barrier(readers), threading.Lock(), []

def read(number):
    order = random.Random(number).sample(names, len(names))
    begin.wait()
    for name in order:
        tries = 0
        while True:
            descriptor = os.open(os.path.join(top, name), os.O_RDONLY)
            try:
                digest = hashlib.blake2b()
                while piece := os.read(descriptor, 1 << 17):
                    digest.update(piece)
                told = digest.hexdigest()
            except OSError as error:
                told = error.errno
            finally:
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
                os.close(descriptor)
            tries += 1
            if isinstance(told, str) or not again or tries == 50:
                break
        with lock:
            found.append((name, told))

threads = [threading.Thread(target=read, args=(number,)) for number in range(readers)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
json.dump(found, sys.stdout)
"""
"""Reads all files in as many threads, each in an order of its own; tells of each read its digest or its errno."""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Return a directory of 40 small files and three of some blocks, 13 MB in all."""
    rng = random.Random(7)
    spec: Spec = {
        b"small": {b"%d" % number: Made(rng.randbytes(rng.randrange(1, 60_000))) for number in range(40)},
        **{b"large-%d" % number: Made(rng.randbytes(4_000_000)) for number in range(3)},
    }
    write_tree(tmp_path / "source", spec)
    return tmp_path / "source"


def digests(top: Path) -> dict[str, str]:
    files = [path for path in top.rglob("*") if path.is_file()]
    return {str(path.relative_to(top)): blake2b(path.read_bytes()).hexdigest() for path in files}


def start_readers(info: MountInfo, *, again: bool = False) -> subprocess.Popen[str]:
    arguments = [info.mountpoint, str(READERS), "again" if again else "once"]
    return subprocess.Popen([sys.executable, "-c", READS, *arguments], stdout=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str], info: MountInfo, seconds: float) -> tuple[list[tuple[str, str | int]], int]:
    """Wait for readers; return what they found and the most memory that the mount took."""
    end = time.monotonic() + seconds
    most = 0
    try:
        while True:
            most = max(most, resident(info))
            with suppress(subprocess.TimeoutExpired):
                told, _ = process.communicate(timeout=0.2)
                assert process.returncode == 0
                return [(name, found) for name, found in json.loads(told)], most
            assert time.monotonic() < end, "a reader hangs"
    finally:
        process.kill()
        process.wait()


def test_64_readers_get_the_right_bytes(behind_proxy: Callable[[float], Settings], mounts: Mount, source: Path) -> None:
    expected = digests(source)
    info = mounts("lab/data", settings=behind_proxy(60.0))
    found, most = finish(start_readers(info), info, 90)
    assert len(found) == READERS * len(expected)
    assert [(name, told) for name, told in found if told != expected[name]] == []
    assert most < MOST


def test_64_readers_of_a_store_that_fails_in_every_way(
    behind_proxy: Callable[[float], Settings], mounts: Mount, source: Path, fault_proxy: FaultProxy
) -> None:
    expected = digests(source)
    info = mounts("lab/data", settings=behind_proxy(3.0))
    rng = random.Random(4)
    for _ in range(40):
        fault = rng.choice(
            [Status(503), Status(500, b""), Reset(), Reset(after_forward=True), Truncate(500), Stall(30)]
        )
        chance = rng.random()
        fault_proxy.fail(
            fault=fault,
            match=lambda method, path, chance=chance: method == "GET" and "/data/" in path and rng.random() < chance,
        )
    found, most = finish(start_readers(info), info, 90)
    assert len(found) == READERS * len(expected)
    assert [(name, told) for name, told in found if told not in (expected[name], 5)] == []
    assert most < MOST
    fault_proxy.heal()
    again, _ = finish(start_readers(info), info, 60)
    assert [(name, told) for name, told in again if told != expected[name]] == []


def test_64_readers_while_processes_are_killed(
    behind_proxy: Callable[[float], Settings], mounts: Mount, source: Path, fault_proxy: FaultProxy
) -> None:
    expected = digests(source)
    info = mounts("lab/data", settings=behind_proxy(60.0))
    stalled = fault_proxy.fail(
        fault=Stall(60), match=lambda method, path: method == "GET" and "/data/" in path, times=10_000
    )
    process = start_readers(info, again=True)
    with ExitStack() as failing:
        failing.callback(process.kill)
        until(lambda: stalled.struck > 2, "many wait for the store")
        for pid in status_of(info).fetcher_pids:
            os.kill(pid, signal.SIGKILL)
        before = stalled.struck
        until(lambda: stalled.struck > before, "another process has asked the store")
        os.kill(worker(info), signal.SIGKILL)
        until(lambda: now(info).restarts == 1, "another process serves")
        before = stalled.struck
        until(lambda: stalled.struck > before, "it has asked the store")
        fault_proxy.heal()
        for pid in status_of(info).fetcher_pids:
            os.kill(pid, signal.SIGKILL)  # or what has stalled would go on stalling
        failing.pop_all()
    found, _ = finish(process, info, 60)
    assert len(found) == READERS * len(expected)
    assert [(name, told) for name, told in found if told != expected[name]] == []


OPENS = """
import os, sys
top, count = sys.argv[1], int(sys.argv[2])
names = sorted(os.listdir(top + "/small"))
opened = [os.open(f"{top}/small/{names[number % len(names)]}", os.O_RDONLY) for number in range(count)]
print("ready", flush=True)
input()
sizes = [len(os.read(descriptor, 1 << 20)) for descriptor in opened]
print(sum(sizes), flush=True)
input()
"""
OPEN = 5000
"""Files that one process has open: the limit of many machines is 20,000 a process, and this one has some, too."""


def test_10000_open_files(behind_proxy: Callable[[float], Settings], mounts: Mount, source: Path) -> None:
    sizes = [path.stat().st_size for path in sorted((source / "small").iterdir())]
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[1] > OPEN
    info = mounts("lab/data", settings=behind_proxy(60.0))
    before = resident(info)
    raised = f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({OPEN + 500}, {OPEN + 500}))\n"
    with (
        program(raised + OPENS, info.mountpoint, OPEN) as one,
        program(raised + OPENS, info.mountpoint, OPEN) as other,
    ):
        for process in (one, other):
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        for process in (one, other):
            assert process.stdout is not None
            assert int(process.stdout.readline()) == sum(sizes) * (OPEN // len(sizes))
        assert resident(info) - before < 100 << 20
        assert resident(info) < MOST
