"""Trees of a few nodes with more entries than anybody can list: what walks them ends, or says how much there is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from trees.hostile import FILE, bomb, publish_tree

from penstock.cli.main import root
from penstock.manifest.hashing import content_hash

WIDTH, DEPTH = 500, 5
FILES = WIDTH**DEPTH
EVERYTHING = sum(WIDTH**level for level in range(1, DEPTH + 1)) + FILES


@pytest.fixture
def evil(tmp_path: Path) -> str:
    """Return the handle of such a tree."""
    (tmp_path / "store").mkdir()
    publish_tree(f"file://{tmp_path}/store", bomb(WIDTH, DEPTH))
    return f"file://{tmp_path}/store/evil"


@pytest.mark.regress
def test_a_push_onto_it_ends(evil: str, tmp_path: Path, run_process: Any) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "f").write_bytes(b"a content that no place is known of")
    done = run_process("push", str(tmp_path / "new"), evil, timeout=20)
    assert done.returncode == 0, done.stderr


@pytest.mark.regress
def test_warming_it_fetches_each_block_once_and_ends(evil: str, run_process: Any) -> None:
    done = run_process("warm", evil, "--json", timeout=20)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["bytes"] == FILES * len(FILE)
    assert report["bytes_warmed"] == len(FILE)
    assert report["bytes_there"] == (FILES - 1) * len(FILE)
    assert report["complete"]


@pytest.mark.regress
@pytest.mark.parametrize("spoilt", ["data", "nodes"])
def test_what_a_damage_in_it_affects_is_counted_and_not_listed(
    evil: str, tmp_path: Path, run_process: Any, spoilt: str
) -> None:
    if spoilt == "data":
        digest = content_hash(FILE).hex()
        path = tmp_path / "store" / ".penstock" / "data" / digest[:2] / digest
        path.chmod(0o644)
        path.write_bytes(b"X" * len(FILE))
    else:
        (path,) = (tmp_path / "store" / ".penstock" / "nodes").glob("*/*")
        body = bytearray(path.read_bytes())
        body[20] ^= 1  # of the first node, which is the deepest one
        path.chmod(0o644)
        path.write_bytes(body)
    done = run_process("verify", "--deep", "--json", evil, timeout=20)
    assert done.returncode == 5, done.stderr
    (damage,) = json.loads(done.stdout)["damages"]
    assert (damage["affected"], len(damage["paths"])) == (FILES, 20)
    name = "f" if spoilt == "data" else ""
    assert damage["paths"][:2] == ["m000/m000/m000/m000/m000/" + name, "m000/m000/m000/m000/m001/" + name]


def test_a_listing_of_it_begins_at_once(evil: str) -> None:
    command = [sys.executable, "-m", "penstock", "ls", "-r", evil]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as listed:
        assert listed.stdout is not None
        assert [listed.stdout.readline() for _ in range(2)] == [b"m000/\n", b"m000/m000/\n"]
        listed.stdout.close()
        assert listed.wait(20) == 141


def test_a_listing_in_a_script_ends_and_is_not_taken_for_the_whole(evil: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.cli.list_limit.MOST_LISTED", 1000)
    result = CliRunner().invoke(root, ["ls", "-r", evil])
    assert result.exit_code == 1
    assert len(result.stdout.splitlines()) == 1000
    assert "--all lists every one" in result.stderr
    limited = CliRunner().invoke(root, ["ls", "-r", evil, "--limit", "2000"])
    assert (limited.exit_code, len(limited.stdout.splitlines())) == (0, 2000)


@pytest.mark.parametrize("command", ["diff --stat", "show"])
def test_what_differs_is_counted_without_a_walk(evil: str, tmp_path: Path, run_process: Any, command: str) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "f").write_bytes(b"a content that no place is known of")
    assert run_process("push", str(tmp_path / "new"), evil, "--tag", "small", timeout=20).returncode == 0
    words = [*command.split(), f"{evil}:small"]
    if command != "show":
        parent = json.loads(run_process("show", "--json", f"{evil}:small").stdout)["parents"][0]
        words = ["diff", "--stat", f"{evil}:{parent}", "small"]
    done = run_process(*words, timeout=20)
    assert str(EVERYTHING) in done.stdout.replace(",", "")
