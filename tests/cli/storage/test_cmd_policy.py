"""``penstock policy``, ``protect`` and ``approve``: what they say, in text and JSON, and what they exit with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

Run = Callable[..., Result]


@pytest.fixture
def pushed(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Push two versions to ``demo/things``."""
    monkeypatch.setenv("PENSTOCK_AUTHOR", "Ada <ada@example.org>")
    folder = tmp_path / "things"
    folder.mkdir()
    assert run("remote", "add", "demo", str(tmp_path / "store")).exit_code == 0
    for number in range(2):
        (folder / "file").write_bytes(b"%d" % number * 1000)
        assert run("push", str(folder), "demo/things", "-m", f"number {number}").exit_code == 0
    return folder


def test_a_policy_is_tried_said_and_told(run: Run, pushed: Path) -> None:
    words = ("keep", "last", "1", "daily,", "tags", "for", "ever")
    tried = run("policy", "demo/things", "--dry-run", *words)
    assert tried.stdout.splitlines()[0] == "keep last 1 daily, tags for ever"
    assert [line.split()[-3] for line in tried.stdout.splitlines()[2:]] == ["main", "goes"]
    assert "nothing was said" in run("policy", "demo/things").stdout
    said = json.loads(run("policy", "demo/things", *words, "--json").stdout)
    assert (said["policy"], said["stated"]) == ("keep last 1 daily, tags for ever", True)
    assert [each["kept"] for each in said["versions"]] == ["branch main", None]
    report = run("gc", "demo", "--grace", "0s")
    assert "things: 1 versions of" in report.stdout
    assert run("policy", "demo/things", "--remove").stdout.startswith("keep everything for ever\n")
    assert run("policy", "demo/things", "keep", "it").exit_code == 2
    assert run("policy", "demo/things:main").exit_code == 2
    assert run("policy", "demo/nothing").exit_code == 3


def test_a_branch_is_protected_refuses_and_is_shown(run: Run, pushed: Path) -> None:
    assert run("protect", "demo/things").stderr.endswith("is not protected\n")
    done = run("protect", "demo/things:main", "--check", "size:2kB", "--check", "approval")
    assert (done.exit_code, done.stdout.splitlines()[1:]) == (0, ["  size:2000", "  approval:1"])
    (pushed / "large").write_bytes(bytes(3000))
    refused = run("push", str(pushed), "demo/things")
    assert refused.exit_code == 6
    assert "    large: it has 3000 bytes, and 2000 are the most\n" in refused.stderr
    told = json.loads(run("push", str(pushed), "demo/things", "--json").stderr.splitlines()[-1])
    assert told["error"]["kind"] == "protected"
    assert json.loads(run("protect", "demo/things", "--json").stdout)["checks"] == ["size:2000", "approval:1"]
    (pushed / "large").unlink()
    (pushed / "small").write_bytes(b"1")
    assert run("push", str(pushed), "demo/things").exit_code == 6
    assert run("push", str(pushed), "demo/things:review").exit_code == 0
    assert run("approve", "demo/things:review").exit_code == 2
    approved = run("approve", "demo/things:review", "--author", "Bob <bob@example.org>", "-m", "fine")
    assert approved.stdout.startswith("Bob <bob@example.org> approves of ")
    assert run("reset", "demo/things", "review").exit_code == 0
    assert run("protect", "demo/things:main", "--remove").exit_code == 0
    assert run("protect", "demo/things:main", "--check", "nothing").exit_code == 2
    assert run("approve", "demo/things").exit_code == 2
