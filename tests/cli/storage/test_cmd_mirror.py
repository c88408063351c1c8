"""``penstock mirror``: what it says, in text and JSON, and what it exits with."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

Run = Callable[..., Result]


@pytest.fixture
def pushed(run: Run, tmp_path: Path) -> Path:
    """Push to ``demo/things``; ``copies`` is an empty bucket."""
    folder = tmp_path / "things"
    folder.mkdir()
    (folder / "file").write_bytes(b"1" * 1000)
    assert run("remote", "add", "demo", str(tmp_path / "store")).exit_code == 0
    assert run("remote", "add", "copies", str(tmp_path / "copies")).exit_code == 0
    assert run("push", str(folder), "demo/things", "--tag", "v1").exit_code == 0
    return folder


def test_it_tells_what_it_brought_and_refuses_another_history(run: Run, pushed: Path) -> None:
    done = run("mirror", "demo/things", "copies")
    assert done.exit_code == 0
    assert done.output.startswith("copies/things is as demo/things: main, tag v1\n  1 versions, 2 objects")
    assert run("mirror", "demo/things", "copies").output == "copies/things has all of demo/things already\n"
    here, there = (json.loads(run("info", f"{name}/things", "--json").output) for name in ("demo", "copies"))
    assert (here["top_hash"], here["commit"]) == (there["top_hash"], there["commit"])
    (pushed / "file").write_bytes(b"2")
    assert run("push", str(pushed), "copies/things").exit_code == 0
    refused = run("mirror", "demo/things", "copies")
    assert (refused.exit_code, "history of its own" in refused.stderr) == (4, True)


def test_all_of_a_bucket_is_mirrored_and_one_that_fails_keeps_no_other_from_it(run: Run, pushed: Path) -> None:
    for name in ("alpha", "omega"):
        assert run("push", str(pushed), f"demo/{name}").exit_code == 0
    (pushed / "file").write_bytes(b"3")
    assert run("push", str(pushed), "copies/omega").exit_code == 0
    done = run("mirror", "--all", "demo", "copies", "--json")
    assert done.exit_code == 1
    assert [json.loads(line)["dataset"] for line in done.stdout.splitlines()] == ["demo/alpha", "demo/things"]
    assert json.loads(done.stderr)["error"]["kind"] == "conflict"
    assert run("mirror", "--all", "demo/things", "copies").exit_code == 2
    assert run("mirror", "demo/things", "copies/other").exit_code == 2
    assert run("mirror", "demo/nothing", "copies").exit_code == 3


def test_a_watch_brings_what_comes_until_it_is_interrupted(run: Run, pushed: Path) -> None:
    command = [sys.executable, "-m", "penstock", "mirror", "demo/things:main", "copies", "--watch", "--every", "0.05"]
    with subprocess.Popen([*command, "--json"], stdout=subprocess.PIPE, text=True) as watch:
        assert watch.stdout is not None
        assert json.loads(watch.stdout.readline())["versions"] == 1
        (pushed / "file").write_bytes(b"2")
        assert run("push", str(pushed), "demo/things").exit_code == 0
        assert json.loads(watch.stdout.readline())["versions"] == 1
        watch.send_signal(signal.SIGINT)
        assert watch.wait(30) == 130
