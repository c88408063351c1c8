"""Versions named by steps back from a ref."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

Run = Callable[..., Result]


@pytest.fixture
def commits(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Push three versions of demo/things, the second one tagged v2, and return their ids."""
    monkeypatch.setenv("PENSTOCK_CACHE_SIZE", "64MB")
    source = tmp_path / "things"
    source.mkdir()
    assert run("remote", "add", "demo", str(tmp_path / "store")).exit_code == 0
    found = []
    for number in range(3):
        (source / "a").write_text(str(number))
        tag = ["--tag", "v2"] if number == 1 else []
        found.append(json.loads(run("push", str(source), "demo/things", "--json", *tag).stdout)["commit"])
    return found


def test_steps_lead_to_versions(run: Run, commits: list[str]) -> None:
    first, second, third = commits
    assert run("reset", "demo/things", "v2").exit_code == 0  # the fourth move
    for revision, wanted in {
        "main~1": first,
        "v2^": first,
        "main#0": first,
        "main#2": third,
        "@{1}": third,
        "main@{now}": second,
        f"{third[:9]}~2": first,
        "main@{1}~1": second,
    }.items():
        assert json.loads(run("info", f"demo/things:{revision}", "--json").stdout)["commit"] == wanted, revision
    assert run("diff", "demo/things:main~1", "main").stdout == "M a\n"
    assert json.loads(run("tag", "demo/things:main~1", "old", "--json").stdout)["commit"] == first


def test_where_no_step_leads_is_told(run: Run, commits: list[str]) -> None:
    for revision, what in {
        "main~3": "nothing that far back",
        "main^2": "has one parent",
        "main#3": "has not been there",
        "main@{2001-01-01}": "has not been there",
        "v2@{1}": "is a tag",
        "none@{1}": "no branch 'none'",
        "none~1": "no version 'none'",
    }.items():
        told = run("info", f"demo/things:{revision}")
        assert told.exit_code in (2, 3)
        assert what in told.stderr, revision
    assert "penstock log demo/things:main" in run("info", "demo/things:main~3").stderr


def test_nothing_is_written_to_a_step(run: Run, commits: list[str], tmp_path: Path) -> None:
    for arguments in (
        ("push", str(tmp_path / "things"), "demo/things:main~1"),
        ("branch", "demo/things", "new~1"),
        ("tag", "demo/things", "new^"),
    ):
        told = run(*arguments)
        assert told.exit_code == 2
        assert "goes back from one" in told.stderr
