"""The real program: exit codes, pipes, signals, and what it does not import."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

RunProcess = Callable[..., "subprocess.CompletedProcess[str]"]


def wait_until(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.01)


def test_exit_codes(run_process: RunProcess) -> None:
    assert run_process("--help").returncode == 0
    wrong = run_process("remot")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    missing = run_process("remote", "remove", "demo", "--json")
    assert missing.returncode == 3
    assert json.loads(missing.stderr)["error"]["kind"] == "not_found"


@pytest.mark.parametrize("arguments", [["--help"], ["remote", "list"], ["remote", "add", "--help"]])
def test_what_is_not_needed_is_not_imported(arguments: list[str]) -> None:
    code = (
        "import sys\n"
        "from penstock.cli.main import root\n"
        "try:\n"
        "    root.main(sys.argv[1:])\n"
        "except SystemExit:\n"
        "    pass\n"
        "print(*sys.modules, file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    loaded = set(done.stderr.split())
    assert not loaded & {"boto3", "botocore", "pyfuse3", "trio", "lmdb", "rich", "tomlkit", "asyncio"}
    assert "penstock.cli.main" in loaded
    if arguments == ["--help"]:
        assert not any(name.startswith(("penstock.store", "penstock.repo", "penstock.cache")) for name in loaded)


@pytest.fixture
def long_listing(config: Path) -> None:
    """Have a listing that is longer than buffers and pipes hold, so that writing it meets what is at the end."""
    config.parent.mkdir(parents=True)
    config.write_text("".join(f"[remotes.r{i}]\nurl = 's3://bucket{i}'\n" for i in range(4000)))


def test_a_reader_that_goes_away(long_listing: None) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "penstock", "remote", "list"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline().startswith(b"NAME")
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(30) == 141


def test_a_reader_of_errors_that_goes_away() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "wb") as broken:
        for stdout in (subprocess.DEVNULL, broken):
            arguments = [sys.executable, "-m", "penstock", "remot"]
            assert subprocess.run(arguments, stdout=stdout, stderr=broken, check=False).returncode == 2


def test_a_disk_that_is_full_halfway(long_listing: None, run_process: RunProcess) -> None:
    with open("/dev/full", "w") as full:
        done = run_process("remote", "list", capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 6
    assert done.stderr.splitlines() == [
        "penstock: standard output cannot be written",
        "  why: No space left on device",
        "  fix: Look where it is sent",
    ]


def test_a_disk_that_is_full(run_process: RunProcess) -> None:
    with open("/dev/full", "w") as full:
        done = run_process("completion", "bash", "--json", capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 6
    assert json.loads(done.stderr)["error"]["why"] == "No space left on device"


def test_closed_streams(run_process: RunProcess) -> None:
    def close() -> None:
        os.close(1)
        os.close(2)

    assert run_process("remote", "list", "--json", capture_output=False, preexec_fn=close).returncode == 0
    assert run_process("remote", "remove", "x", capture_output=False, preexec_fn=close).returncode == 3


def test_a_terminal_without_unicode(run_process: RunProcess) -> None:
    done = run_process("remote", "remove", "ü", env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert done.returncode == 3
    assert "\\xfc" in done.stderr


def test_interrupted(config: Path) -> None:
    config.parent.mkdir(parents=True)
    lock = f"{config}.lock"
    with open(lock, "w") as holder:
        # While the lock is held the command has to wait, and can be interrupted.
        fcntl.flock(holder, fcntl.LOCK_EX)
        process = subprocess.Popen(
            [sys.executable, "-m", "penstock", "remote", "add", "demo", "s3://bucket"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

        def waits_for_lock() -> bool:
            assert process.poll() is None
            folder = f"/proc/{process.pid}/fd"
            return lock in [os.path.realpath(f"{folder}/{name}") for name in os.listdir(folder)]

        wait_until(waits_for_lock)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    assert (stdout, stderr) == ("", "penstock: interrupted\n")
    assert not config.exists()


def test_no_remote_is_lost_when_programs_race(config: Path, run_process: RunProcess) -> None:
    names = [f"r{i}" for i in range(5)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "penstock", "remote", "add", name, "s3://bucket"], stdout=subprocess.DEVNULL
        )
        for name in names
    ]
    assert [process.wait(60) for process in processes] == [0] * len(names)
    listed = map(json.loads, run_process("remote", "list", "--json").stdout.splitlines())
    assert [each["name"] for each in listed] == names
