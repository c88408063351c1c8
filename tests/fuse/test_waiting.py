"""The process that serves never stands still in a read, whatever becomes of who asked, nor for all that is asked."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack

import pytest
from views.bucket import LocalBucket
from views.living import program

from penstock.mountpoint.control_client import ask
from penstock.mountpoint.control_messages import StatusRequest
from penstock.mountpoint.known_mounts import MountInfo
from penstock.mountpoint.mount_status import MountStatus

pytestmark = pytest.mark.fuse
Mount = Callable[..., MountInfo]

_ROUNDS = 80
"""With pyfuse3's own waiting every sixth of them stood still."""
_PATIENCE = 10.0

_KILLER = """
import os, random, signal, sys, time

def read(names):
    number, end = 0, time.monotonic() + 20  # should nobody be left to kill it
    while time.monotonic() < end:
        number += 1
        try:
            os.stat(f"{names}-{number}")
        except FileNotFoundError:
            pass

print("ready", flush=True)
for number, _ in enumerate(sys.stdin):
    readers = []
    for reader in range(4):
        pid = os.fork()
        if not pid:
            try:
                read(f"{sys.argv[1]}/{number}-{reader}")
            finally:
                os._exit(1)
        readers.append(pid)
    time.sleep(random.uniform(0.005, 0.03))
    for pid in readers:
        os.kill(pid, signal.SIGKILL)
    for pid in readers:
        os.waitpid(pid, 0)
    print("killed", flush=True)
"""

_READER = """
import os, select, sys

number = 0
while not select.select([sys.stdin], [], [], 0)[0]:
    for _ in range(100):
        number += 1
        try:
            os.stat(f"{sys.argv[1]}-{number}")
        except FileNotFoundError:
            pass
    if number == 100:
        print("ready", flush=True)
print(number, flush=True)
"""


def test_readers_are_killed_in_the_middle_of_requests(pushed: LocalBucket, mounts: Mount) -> None:
    """What they asked for is gone when it is read; the control socket is answered though nobody asks anything more."""
    mountpoint = mounts().mountpoint
    with program(_KILLER, mountpoint) as killer:
        assert killer.stdin is not None
        assert killer.stdout is not None
        for _ in range(_ROUNDS):
            print("again", file=killer.stdin, flush=True)
            assert killer.stdout.readline() == "killed\n"
            assert ask(mountpoint, StatusRequest(), MountStatus, timeout=_PATIENCE).restarts == 0


def test_the_control_socket_is_answered_however_much_is_asked(pushed: LocalBucket, mounts: Mount) -> None:
    mountpoint = mounts().mountpoint
    took: list[float] = []
    with ExitStack() as reading:
        readers = [reading.enter_context(program(_READER, f"{mountpoint}/{name}")) for name in "ab"]
        end = time.monotonic() + 1
        while time.monotonic() < end or len(took) < 5:
            begun = time.monotonic()
            ask(mountpoint, StatusRequest(), MountStatus, timeout=_PATIENCE)
            took.append(time.monotonic() - begun)
        for reader in readers:
            assert reader.stdin is not None
            assert reader.stdout is not None
            print("enough", file=reader.stdin, flush=True)
            assert int(reader.stdout.readline()) > 100
    assert statistics.median(took) < 1
