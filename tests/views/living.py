"""Programs and daemons of a test: started, waited for, looked at, killed by their id."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from penstock.mountpoint.known_mounts import MountInfo, list_mounts
from penstock.mountpoint.processes import start_time, wait_for_end

__all__ = ["WAITS", "kill", "now", "ours", "program", "state_files", "until", "worker"]

WAITS = "import sys; stream = open(sys.argv[1]) if sys.argv[1:] else None; print('ready', flush=True); input()"
"""A program that opens the file it is given, if any, and waits."""


def until(condition: Callable[[], bool], what: str, seconds: float = 20) -> None:
    """Wait for a condition, with a deadline."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what} within {seconds} s"
        time.sleep(0.02)


def kill(info: MountInfo, number: int = signal.SIGKILL) -> None:
    """Send a signal to a daemon and wait until it is gone, and with it the process that serves."""
    pids = [pid for pid in (info.pid, worker(info)) if pid is not None]
    begun = {pid: since for pid in pids if (since := start_time(pid)) is not None}
    assert info.pid in begun
    os.kill(info.pid, number)
    for pid, since in begun.items():
        assert wait_for_end(pid, since, 20)


def now(info: MountInfo) -> MountInfo:
    """Return what a mount says of itself now."""
    return next(found for found in list_mounts() if found.mountpoint == info.mountpoint)


def worker(info: MountInfo) -> int:
    """Return the id of the process that serves a mount now."""
    found = now(info).worker_pid
    assert found is not None
    return found


def ours(directory: Path) -> list[MountInfo]:
    return [info for info in list_mounts() if info.mountpoint.startswith(f"{directory}/")]


def state_files() -> list[str]:
    directory = Path(os.environ["XDG_STATE_HOME"], "penstock", "mounts")
    return sorted(os.listdir(directory)) if directory.exists() else []


@contextmanager
def program(code: str, *arguments: object, cwd: object = "/") -> Iterator[subprocess.Popen[str]]:
    """Run a program that prints a line when it is ready and then waits for its standard input."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    process = subprocess.Popen(command, cwd=str(cwd), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.communicate()
