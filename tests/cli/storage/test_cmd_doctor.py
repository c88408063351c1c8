"""``penstock doctor``: one line a check, what is wrong with a cost and a fix, and the exit code."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

Run = Callable[..., Result]


@pytest.fixture(autouse=True)
def small_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_CACHE_SIZE", "64MB")


def test_a_machine(run: Run) -> None:
    told = run("doctor", "--json")
    checks = [json.loads(line) for line in told.stdout.splitlines()]
    wrong = [check for check in checks if check["state"] == "warning"]
    assert told.exit_code == (1 if wrong else 0)
    text = run("doctor")
    assert text.exit_code == told.exit_code
    assert text.stdout.count("costs: ") == text.stdout.count("fix:   ") == len(wrong)
    for check in checks:
        assert f"{check['state']:<8} {check['name']}:" in text.stdout


def test_a_bucket(run: Run, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a").write_bytes(b"1")
    assert run("remote", "add", "demo", str(tmp_path / "store")).exit_code == 0
    assert run("push", str(tmp_path / "data"), "demo/things").exit_code == 0
    found = map(json.loads, run("doctor", "--write", "demo/things", "--json").stdout.splitlines())
    states = {check["name"]: check["state"] for check in found}
    for name in ("reachable", "listing", "reading", "writing", "conditional writes", "deleting"):
        assert states[name] == "ok"
    absent = run("doctor", "demo/thinks")
    assert absent.exit_code == 1
    assert "'things'" in absent.stdout
    assert "skipped  writing:" in absent.stdout


def test_write_needs_a_bucket(run: Run) -> None:
    assert run("doctor", "--write").exit_code == 2
