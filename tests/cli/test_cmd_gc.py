"""``penstock gc``: what it says, what it takes, what it exits with."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from penstock.repo.leases import Lease, LeaseKind
from penstock.store.local import LocalStore

Run = Callable[..., Result]


@pytest.fixture
def bucket(run: Run, tmp_path: Path) -> Path:
    """Push two versions to ``demo/things``, of which one is garbage, two days ago."""
    folder = tmp_path / "things"
    folder.mkdir()
    assert run("remote", "add", "demo", str(tmp_path / "store")).exit_code == 0
    for number, branch in enumerate(("main", "side")):
        (folder / "file").write_bytes(bytes([number]) * 100_000)
        assert run("push", str(folder), f"demo/things:{branch}").exit_code == 0
    assert run("branch", "demo/things", "side", "-d").exit_code == 0
    age(tmp_path / "store")
    return tmp_path / "store"


def age(bucket: Path) -> None:
    for path in bucket.rglob("*"):
        if path.is_file():
            modified = path.stat().st_mtime - 2 * 86400
            os.utime(path, (modified, modified))


def files(bucket: Path) -> set[str]:
    return {str(path.relative_to(bucket)) for path in (bucket / ".penstock").rglob("*") if path.is_file()}


def test_it_tells_what_would_go_and_deletes_it_when_told_to(run: Run, bucket: Path) -> None:
    before = files(bucket)
    told = run("gc", "demo")
    assert (told.exit_code, files(bucket)) == (0, before)
    assert "garbage   4 objects" in told.stdout
    assert "1 versions among them" in told.stdout
    assert "add --delete" in told.stderr
    done = json.loads(run("gc", "demo/things", "--delete", "--json").stdout)
    assert (done["complete"], done["deleted"]["objects"], done["dry_run"]) == (True, 4, False)
    assert done["deleted"] == done["garbage"]
    assert len(before - files(bucket)) == 4
    assert run("verify", "demo/things", "--deep").exit_code == 0
    again = json.loads(run("gc", "demo", "--json").stdout)
    assert (again["garbage"]["objects"], again["complete"], again["versions"]) == (0, False, 1)


@pytest.mark.parametrize(("grace", "garbage"), [("7d", 0), ("49h", 0), ("47h", 4), ("60m", 4), ("0", 4)])
def test_the_grace_period(run: Run, bucket: Path, grace: str, garbage: int) -> None:
    assert json.loads(run("gc", "demo", "--grace", grace, "--json").stdout)["garbage"]["objects"] == garbage


def test_it_ends_when_somebody_goes_on_writing(run: Run, bucket: Path) -> None:
    with LocalStore(bucket) as store, Lease(store, "things", LeaseKind.PUSH):
        result = run("gc", "demo", "--delete", "--wait", "0.1s")
        assert result.exit_code == 1
        assert "ended early, a push to 'things' is at work" in result.stderr
        assert "deleted   0 objects" in result.stdout
        assert json.loads(run("gc", "demo", "--delete", "--wait", "0", "--json").stdout)["stopped"]
    assert run("gc", "demo", "--delete").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["demo/things:main"], 2, "shared by all versions"),
        (["demo", "--grace", "soon"], 2, "'soon' is no duration"),
        (["demo", "--grace", "-1h"], 2, "no duration"),
        (["nosuch:x"], 2, "colon"),
    ],
)
def test_bad_input(run: Run, bucket: Path, arguments: list[str], code: int, words: str) -> None:
    before = files(bucket)
    result = run("gc", *arguments, "--delete")
    assert (result.exit_code, result.stdout) == (code, "")
    assert words in result.stderr
    assert files(bucket) == before


def test_damage_is_told_and_nothing_deleted(run: Run, bucket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in (bucket / ".penstock" / "nodes").rglob("*"):
        if path.is_file():
            path.write_bytes(b"damaged")
    age(bucket)
    # What the cache of this machine has of the nodes would be enough to go on.
    monkeypatch.setenv("PENSTOCK_CACHE_DIR", str(bucket.parent / "cold"))
    before = files(bucket)
    result = run("gc", "demo", "--delete", "--grace", "0")
    assert result.exit_code == 5
    assert ".penstock/nodes/" in result.stderr
    assert before <= files(bucket)
