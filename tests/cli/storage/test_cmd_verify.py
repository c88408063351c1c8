"""``penstock verify``: what it says of a bucket that is whole, damaged, and repaired."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

Run = Callable[..., Result]


@pytest.fixture
def folder(run: Run, tmp_path: Path) -> Path:
    """Push a folder to ``demo/things``."""
    folder = tmp_path / "things"
    folder.mkdir()
    (folder / "a\nb").write_bytes(b"1" * 1000)
    (folder / "plain").write_bytes(b"2" * 1000)
    assert run("remote", "add", "demo", str(tmp_path / "store")).exit_code == 0
    assert run("push", str(folder), "demo/things").exit_code == 0
    return folder


def pack(folder: Path) -> Path:
    (found,) = (path for path in (folder.parent / "store" / ".penstock" / "data").rglob("*") if path.is_file())
    return found


def test_all_is_well(run: Run, folder: Path) -> None:
    result = run("verify", "demo/things")
    assert result.exit_code == 0
    assert "all is well" in result.stdout
    assert "read" not in result.stdout
    deep = json.loads(run("verify", "demo/things", "--deep", "--json").stdout)
    assert (deep["sound"], deep["bytes_read"], deep["objects"], deep["damages"]) == (True, 2000, 1, [])


def test_damage_is_named_and_repaired(run: Run, folder: Path) -> None:
    body = pack(folder).read_bytes()
    pack(folder).write_bytes(b"x" + body[1:])
    assert run("verify", "demo/things").exit_code == 0
    result = run("verify", "demo/things", "--deep")
    assert result.exit_code == 5
    assert f"{pack(folder).name}: corrupt" in result.stdout
    assert "affects   1 entries" in result.stdout
    assert "$'a\\nb'" in result.stdout or "$'a\\\\nb'" in result.stdout
    told = json.loads(run("verify", "demo/things", "--deep", "--json").stdout)
    assert not told["sound"]
    (damage,) = told["damages"]
    assert (damage["kind"], damage["paths"], damage["affected"]) == ("corrupt", ["a\nb"], 1)
    pack(folder).unlink()
    result = run("verify", "demo/things", "--repair", str(folder))
    assert result.exit_code == 0, result.stdout
    assert "1 damaged object, 1 repaired" in result.stdout
    assert pack(folder).read_bytes() == body
    assert run("verify", "demo/things", "--deep").exit_code == 0


def test_damage_names_a_remedy_also_of_files_in_place(run: Run, folder: Path, tmp_path: Path) -> None:
    pack(folder).unlink()
    told = run("verify", "demo/things")
    assert "penstock verify demo/things --deep --repair DIR" in told.stdout
    source = tmp_path / "placed"
    (source / "d").mkdir(parents=True)
    (source / "d" / "file").write_bytes(b"3" * 100)
    assert run("push", "--in-place", str(source), "demo/placed", "--tag", "v1").exit_code == 0
    (source / "d" / "file").write_bytes(b"4" * 90)
    told = run("verify", "demo/placed:v1")
    assert told.exit_code == 5
    assert f"penstock push --in-place file://{source} demo/placed\n" in told.stdout
    (damage,) = json.loads(run("verify", "demo/placed:v1", "--json").stdout)["damages"]
    assert damage["fix"].startswith("Put the file back as it was")
    # As it says: what is there now is the next version, and that one is whole.
    assert run("push", "--in-place", f"file://{source}", "demo/placed").exit_code == 0
    assert run("verify", "demo/placed").exit_code == 0


def test_what_cannot_be_repaired_is_exit_code_5(run: Run, folder: Path, tmp_path: Path) -> None:
    pack(folder).write_bytes(b"")
    (folder / "plain").unlink()
    result = run("verify", "demo/things", "--repair", str(folder))
    assert result.exit_code == 5
    assert "truncated" in result.stdout
    assert "affects   2 entries" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["demo"], 3), (["demo/nosuch"], 3), (["demo/things:main/sub"], 2), (["demo/things", "--repair", "/nosuch"], 3)],
)
def test_bad_input(run: Run, folder: Path, arguments: list[str], code: int) -> None:
    assert run("verify", *arguments).exit_code == code
