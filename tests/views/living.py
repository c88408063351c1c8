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

from penstock.vfs.mounts import MountInfo, list_mounts
from penstock.vfs.processes import start_time, wait_for_end

__all__ = ["WAITS", "kill", "ours", "program", "state_files", "until"]

WAITS = "import sys; stream = open(sys.argv[1]) if sys.argv[1:] else None; print('ready', flush=True); input()"
"""A program that opens the file it is given, if any, and waits."""


def until(condition: Callable[[], bool], what: str, seconds: float = 20) -> None:
    """Wait for a condition, with a deadline."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what} within {seconds} s"
        time.sleep(0.02)


def kill(info: MountInfo, number: int = signal.SIGKILL) -> None:
    """Send a signal to a daemon and wait until it is gone."""
    assert info.pid is not None
    started = start_time(info.pid)
    assert started is not None
    os.kill(info.pid, number)
    assert wait_for_end(info.pid, started, 20)


def ours(directory: Path) -> list[MountInfo]:
    return [info for info in list_mounts() if info.mountpoint.startswith(f"{directory}/")]


def state_files() -> list[str]:
    directory = Path(os.environ["XDG_RUNTIME_DIR"], "penstock", "mounts")
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
