"""``penstock download``, ``sync``, ``verify D DIR``: what they do to a directory, say, and end with."""

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

Run = Callable[..., Result]


@pytest.fixture
def folder(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Push a folder to ``demo/things`` as v1, and stand beside it."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "things"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "a\nb").write_bytes(b"1" * 1000)
    (folder / "plain").write_bytes(b"2" * 1000)
    assert run("remote", "add", "demo", str(tmp_path / "store")).exit_code == 0
    assert run("push", str(folder), "demo/things", "--tag", "v1").exit_code == 0
    return folder


def test_a_version_is_downloaded_verified_changed_and_forced(run: Run, folder: Path) -> None:
    result = run("download", "demo/things:v1", "copy")
    assert result.exit_code == 0
    assert "demo/things:v1: 2 files, 2 kB in copy" in result.stdout
    assert "2 added, 0 replaced, 0 removed" in result.stdout
    assert "changed   nothing" in run("download", "demo/things:v1", "copy").stdout
    assert run("verify", "demo/things:v1", "copy").exit_code == 0
    assert run("diff", "demo/things:v1", "./copy").stderr == "penstock: No changes\n"

    Path("copy/plain").write_bytes(b"other")
    Path("copy/sub/a\nb").unlink()
    Path("copy/more").write_bytes(b"")
    result = run("verify", "demo/things:v1", "copy")
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        "copy/more is not in the version",
        "copy/plain is not what the version has",
        "$'copy/sub/a\\\\nb' is missing" if "\\\\n" in result.stdout else "$'copy/sub/a\\nb' is missing",
    ]
    assert "penstock sync demo/things:v1 copy --delete" in result.stderr
    told = [json.loads(line) for line in run("verify", "demo/things:v1", "copy", "--json").stdout.splitlines()]
    assert [(each["path"], each["state"]) for each in told] == [
        ("more", "extra"), ("plain", "modified"), ("sub/a\nb", "missing"),
    ]  # fmt: skip

    tried = run("sync", "demo/things:v1", "copy", "--delete", "--dry-run")
    assert tried.exit_code == 0
    assert "removed copy/more\n" in tried.stdout
    assert "would be in copy" in tried.stdout
    assert Path("copy/more").exists()
    done = run("sync", "demo/things:v1", "copy", "--delete")
    assert {line for line in done.stdout.splitlines() if line.startswith(("removed", "replaced", "added"))} == {
        line for line in tried.stdout.splitlines() if line.startswith(("removed", "replaced", "added"))
    }
    assert run("verify", "demo/things:v1", "copy").exit_code == 0
    report = json.loads(run("sync", "demo/things:v1", "copy", "--json").stdout)
    assert (report["gets"], report["changes"], report["files"]) == (0, [], 2)


def test_a_part_is_downloaded(run: Run, folder: Path) -> None:
    assert run("download", "demo/things:v1/sub", "one").exit_code == 0
    assert os.listdir("one") == ["a\nb"]
    assert run("download", "demo/things", "two", "--include", "pl*", "--jobs", "1").exit_code == 0
    assert os.listdir("two") == ["plain"]
    missing = run("download", "demo/things", "three", "--path", "plane")
    assert missing.exit_code == 3
    assert "plain" in missing.stderr


def test_what_cannot_be_is_refused(run: Run, folder: Path, home: Path) -> None:
    Path("copy/plain").mkdir(parents=True)
    (Path("copy") / "plain" / "mine").write_bytes(b"")
    result = run("download", "demo/things", "copy")
    assert result.exit_code == 4
    assert "in the way" in result.stderr
    assert run("sync", "demo/things", str(home), "--delete").exit_code == 2
    assert run("verify", "demo/things", "copy", "--deep").exit_code == 2
    assert run("verify", "demo/things", "nowhere").exit_code == 3


def test_ctrl_c_ends_a_download_and_leaves_only_whole_files(run: Run, folder: Path, tmp_path: Path) -> None:
    large = os.urandom(40 << 20)
    (folder / "large").write_bytes(large)
    assert run("push", str(folder), "demo/things").exit_code == 0
    running = subprocess.Popen(
        [sys.executable, "-m", "penstock", "download", "demo/things", "copy", "--jobs", "1"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    while running.poll() is None and not list(Path("copy").glob(".penstock-download-*/part-*")):
        time.sleep(0.001)
    running.send_signal(signal.SIGINT)
    _, told = running.communicate(timeout=30)
    assert running.returncode in (130, 0)  # 0: it was quicker
    if running.returncode == 130:
        assert told == "penstock: interrupted\n"
        assert not Path("copy/large").exists()
    assert run("download", "demo/things", "copy").exit_code == 0
    assert sorted(os.listdir("copy")) == ["large", "plain", "sub"]
    assert Path("copy/large").read_bytes() == large
