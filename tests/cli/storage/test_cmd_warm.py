"""``penstock warm``: what it says, what it exits with, and that it can be interrupted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from servers.faultproxy import FaultProxy
from servers.faults import Trickle

from penstock.repo.warm.trace import Access, encode_access, encode_header

Run = Callable[..., Result]
MIB = 1 << 20


@pytest.fixture
def demo(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Push a folder to ``demo/things``, seen by a machine whose cache is empty."""
    folder = tmp_path / "things"
    (folder / "part").mkdir(parents=True)
    (folder / "part" / "a").write_bytes(os.urandom(100_000))
    (folder / "large").write_bytes(os.urandom(3 * MIB))
    assert run("remote", "add", "demo", str(tmp_path / "store")).exit_code == 0
    assert run("push", str(folder), "demo/things").exit_code == 0
    monkeypatch.setenv("PENSTOCK_CACHE_DIR", str(tmp_path / "cold"))
    monkeypatch.setenv("PENSTOCK_CACHE_SIZE", "256MB")
    return folder


def test_it_tells_what_it_did(run: Run, demo: Path) -> None:
    part = json.loads(run("warm", "demo/things", "--path", "part", "--json").stdout)
    assert (part["bytes"], part["bytes_warmed"], part["files"], part["complete"]) == (100_000, 100_000, 1, True)
    result = run("warm", "demo/things")
    assert result.exit_code == 0, result.stderr
    assert "3.2 MB of 3.2 MB are in the cache" in result.stdout
    assert "there     100.0 kB" in result.stdout or "there     100 kB" in result.stdout
    again = json.loads(run("warm", "demo/things", "--json").stdout)
    assert (again["bytes_warmed"], again["bytes_fetched"], again["bytes_there"]) == (0, 0, 3 * MIB + 100_000)


def test_a_trace_is_warmed_as_far_as_it_is_there(run: Run, demo: Path, tmp_path: Path) -> None:
    lines = [encode_header("demo/things", bytes(32))]
    lines += [encode_access(Access(path, 0, 1, 100)) for path in ("part/a", "part/b", "part/b", "c")]
    lines.append(encode_access(Access("large", 1, 1, MIB)))
    trace = tmp_path / "a.trace"
    trace.write_bytes(b"".join(lines))
    result = run("warm", "demo/things", "--from-trace", str(trace))
    assert result.exit_code == 0, result.stderr
    assert "2 paths of the trace are not in this version" in result.stderr
    told = json.loads(run("warm", "demo/things", "--from-trace", str(trace), "--json").stdout)
    assert (told["bytes"], told["bytes_there"], told["bytes_fetched"]) == (100_000 + MIB, 100_000 + MIB, 0)
    assert (told["gone"], told["complete"]) == (2, True)


def test_what_is_no_trace_is_refused(run: Run, demo: Path, tmp_path: Path) -> None:
    (tmp_path / "letter").write_text("dear reader\n")
    result = run("warm", "demo/things", "--from-trace", str(tmp_path / "letter"))
    assert result.exit_code == 2
    assert "is no trace" in result.stderr
    assert run("warm", "demo/things", "--from-trace", str(tmp_path / "nowhere")).exit_code == 3
    both = run("warm", "demo/things", "--from-trace", str(tmp_path / "letter"), "--path", "part")
    assert both.exit_code == 2
    assert "exclude each other" in both.stderr


def test_paths_and_versions_that_are_not_there(run: Run, demo: Path) -> None:
    result = run("warm", "demo/things", "--path", "prt")
    assert result.exit_code == 3
    assert "'part'" in result.stderr
    assert run("warm", "demo/things:nosuch").exit_code == 3


def test_a_full_cache_is_exit_code_1(run: Run, demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_CACHE_SIZE", "32MiB")
    (demo / "huge").write_bytes(os.urandom(40 * MIB))
    assert run("push", str(demo), "demo/things").exit_code == 0
    result = run("warm", "demo/things")
    assert result.exit_code == 1
    assert "ended early, the cache in" in result.stderr
    assert "penstock cache clear" in result.stderr
    told = json.loads(run("warm", "demo/things", "--json").stdout)
    assert not told["complete"]
    assert "is full" in told["stopped"]
    assert told["bytes_there"] > 6 * MIB


@pytest.mark.s3
def test_an_interrupt_ends_it_at_once_and_keeps_what_there_is(
    tmp_path: Path,
    run: Run,
    bucket: str,
    aws_environment: dict[str, str],
    fault_proxy: FaultProxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "things"
    folder.mkdir()
    (folder / "large").write_bytes(os.urandom(20 * MIB))
    assert run("push", str(folder), f"s3://{bucket}/things").exit_code == 0
    monkeypatch.setenv("PENSTOCK_CACHE_DIR", str(tmp_path / "cold"))
    monkeypatch.setenv("PENSTOCK_CACHE_SIZE", "256MB")
    monkeypatch.setenv("AWS_ENDPOINT_URL", fault_proxy.endpoint)

    def of_data(method: str, path: str) -> bool:
        return method == "GET" and "/data/" in path

    slow = fault_proxy.fail(fault=Trickle(100_000), match=of_data, times=100)
    command = [sys.executable, "-m", "penstock", "warm", f"s3://{bucket}/things"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 20
        while not slow.struck:
            assert time.monotonic() < deadline
            assert process.poll() is None, process.stderr.read() if process.stderr else ""
            time.sleep(0.02)
        begun = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=20)
    assert time.monotonic() - begun < 8
    assert process.returncode == 130
    assert told == "penstock: interrupted\n"
    fault_proxy.heal()
    assert run("warm", f"s3://{bucket}/things").exit_code == 0
