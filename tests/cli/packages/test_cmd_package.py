"""``penstock package``: what is being built is kept from one command to the next, whatever happens to a command."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import platformdirs
import pytest
from click.testing import Result

import penstock
from penstock.api.builder import builder_state
from penstock.api.builder.builder_state import kept_builder
from penstock.api.settings import Settings

Run = Callable[..., Result]


@pytest.fixture
def here(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the working directory, with `train/`, and the beginning of a package for `demo/dataset`."""
    folder = tmp_path / "here"
    (folder / "train").mkdir(parents=True)
    (folder / "README.md").write_text("# Data")
    (folder / "train/1.jpg").write_bytes(b"one")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PENSTOCK_AUTHOR", "Ada <ada@example.org>")
    penstock.add_remote("demo", str(tmp_path / "store"))
    assert run("package", "init", "demo/dataset").exit_code == 0
    return folder


def sources(run: Run) -> list[str]:
    return [each["key"] for each in json.loads(run("package", "status", "--json").stdout)["sources"]]


def test_a_package_is_built_command_by_command_and_pushed(here: Path, run: Run) -> None:
    assert run("package", "add", ".").exit_code == 0  # without .penstock, which lies there, too
    assert run("package", "build-manifest").stdout.splitlines()[0] == "Building manifest..."
    sent = json.loads(run("package", "push-data", "--json").stdout)
    assert (sent["files"], sent["bytes"], sent["objects"]) == (2, 9, 1)
    pushed = json.loads(run("package", "push-manifest", "-t", "v1", "-m", "first", "--json").stdout)
    package = penstock.Package("demo/dataset:v1")
    assert list(package.keys()) == ["README.md", "train", "train/1.jpg"]
    assert (pushed["top_hash"], pushed["version"]) == (package.top_hash, "demo/dataset:v1")
    assert run("package", "status").stdout.splitlines()[1] == "Data matches manifest"
    assert run("package", "set", "train/2.jpg", "README.md").exit_code == 0
    assert sources(run) == ["", "train/2.jpg"]
    refused = run("package", "push-manifest", "-t", "v1")
    assert (refused.exit_code, "--force-allow-local-files" in refused.stderr) == (2, True)
    assert run("package", "push-data").exit_code == 0
    taken = run("package", "push-manifest", "-t", "v1")
    assert (taken.exit_code, "exists already" in taken.stderr) == (4, True)
    assert run("package", "push-manifest").exit_code == 0
    assert penstock.Package("demo/dataset").read("train/2.jpg") == b"# Data"
    assert run("package", "install", "demo/dataset:v1", "--location", "copy").exit_code == 0
    assert (here / "copy/train/1.jpg").read_bytes() == b"one"


def test_without_a_beginning_and_with_two_the_way_out_is_said(
    here: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = run("package", "init", "demo/other")
    assert (again.exit_code, "--force" in again.stderr) == (4, True)
    assert run("package", "add", "train").exit_code == 0
    assert run("package", "init", "demo/other", "--force").exit_code == 0
    assert sources(run) == []
    empty = run("package", "push-manifest")
    assert (empty.exit_code, "nothing in the version" in empty.stderr) == (2, True)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for command in (["status"], ["add", "a"], ["set", "a", "b"], ["build-manifest"], ["push-data"], ["push-manifest"]):
        result = run("package", *command)
        assert (result.exit_code, "penstock package init" in result.stderr) == (3, True)
    assert not (tmp_path / "elsewhere/.penstock").exists()


def test_a_command_that_fails_leaves_what_was_there(here: Path, run: Run) -> None:
    assert run("package", "add", "train").exit_code == 0
    state = (here / ".penstock/package.json").read_bytes()
    for command, code in (
        (["add", "nowhere"], 3),
        (["add", "../here/train"], 2),
        (["set", "train", "README.md"], 4),
        (["set", "a/../b", "README.md"], 2),
        (["set", "train/1.jpg/x", "README.md"], 4),
    ):
        assert run("package", *command).exit_code == code, command
    assert (here / ".penstock/package.json").read_bytes() == state


@pytest.mark.parametrize("damage", ["torn", "flipped", "empty", "newer", "frames"])
def test_a_state_that_cannot_be_read_is_refused_with_the_way_out(here: Path, run: Run, damage: str) -> None:
    assert run("package", "add", "train").exit_code == 0
    path = here / ".penstock/package.json"
    body = path.read_bytes()
    if damage == "frames":
        for each in (here / ".penstock").glob("*.frames"):
            each.write_bytes(bytes(len(each.read_bytes())))
    else:
        changed = {
            "torn": body[: len(body) // 2],
            "flipped": body.replace(b"train", b"trai7"),
            "empty": b"",
            "newer": body.replace(b'"format":1', b'"format":2'),
        }
        path.write_bytes(changed[damage])
    for command in (["status"], ["push-data"], ["push-manifest"]):
        if damage == "frames" and command == ["status"]:
            continue  # which reads no node
        result = run("package", *command)
        assert result.exit_code == 5, (command, result.stderr)
        assert "--force" in result.stderr or "Begin anew" in result.stderr
    assert run("package", "init", "demo/dataset", "--force").exit_code == 0
    assert sources(run) == []


def test_a_state_that_came_with_a_checkout_sends_nothing(here: Path, run: Run) -> None:
    assert run("package", "add", "README.md").exit_code == 0
    key = Path(platformdirs.user_state_dir("penstock")) / "package.key"
    assert key.stat().st_mode & 0o077 == 0
    key.unlink()  # as if somebody else had made it
    for command in (["status"], ["push-data"]):
        result = run("package", *command)
        assert (result.exit_code, "made by somebody else" in result.stderr) == (5, True), result.stderr
    assert run("package", "init", "demo/dataset", "--force").exit_code == 0


@pytest.mark.parametrize("name", ["", "package.lock", "package.json"])
def test_no_link_is_followed_where_a_package_is_built(
    here: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / "clone").mkdir()
    (tmp_path / "victim").mkdir()
    aim = tmp_path / "victim" if not name else tmp_path / "victim/file"
    if name:
        (tmp_path / "clone/.penstock").mkdir()
    (tmp_path / "clone/.penstock" / name).symlink_to(aim)
    monkeypatch.chdir(tmp_path / "clone")
    result = run("package", "init", "demo/dataset", "--force")
    assert result.exit_code == (0 if name == "package.json" else 6), result.stderr
    assert not list((tmp_path / "victim").iterdir())


def test_two_terminals_take_turns_and_neither_loses_what_it_added(
    here: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings.load()

    def add(name: str) -> None:
        with kept_builder(str(here), settings) as builder:
            builder.set(name, "README.md")

    threads = [threading.Thread(target=add, args=(f"file{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(sources(run)) == [f"file{number}" for number in range(8)]
    monkeypatch.setattr(builder_state, "_PATIENCE", 0.0)
    with kept_builder(str(here), settings):
        busy = run("package", "add", "train")
    assert (busy.exit_code, "another command" in busy.stderr) == (4, True)


@pytest.mark.parametrize("step", ["os.fsync", "os.replace"])
def test_a_command_that_is_killed_loses_nothing_but_its_own_change(here: Path, run: Run, step: str) -> None:
    assert run("package", "add", "README.md").exit_code == 0
    program = (
        "import os, signal, sys\n"
        "from penstock.api.builder.builder_state import kept_builder\n"
        "from penstock.api.settings import Settings\n"
        f"{step} = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "with kept_builder('.', Settings.load()) as builder: builder.add('train')\n"
    )
    killed = subprocess.run([sys.executable, "-P", "-c", program], check=False, capture_output=True)
    assert killed.returncode == -9, killed.stderr
    assert sources(run) == ["README.md"]
    assert run("package", "add", "train").exit_code == 0
    assert sources(run) == ["README.md", "train"]
    assert len(list((here / ".penstock").iterdir())) == 3  # what was cut off is swept
    assert run("package", "push-data").exit_code == 0
    assert run("package", "push-manifest").exit_code == 0
    assert list(penstock.Package("demo/dataset").keys()) == ["README.md", "train", "train/1.jpg"]
