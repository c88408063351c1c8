"""Who made a version, by variables, by git, by the machine."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

import pytest

import penstock
from penstock.repo.write.authorship import default_author, environment


@pytest.mark.parametrize(
    ("environ", "author"),
    [
        ({"PENSTOCK_AUTHOR": "A <a@x>", "GIT_AUTHOR_NAME": "B"}, "A <a@x>"),
        ({"GIT_AUTHOR_NAME": "B", "GIT_AUTHOR_EMAIL": "b@x"}, "B <b@x>"),
    ],
)
def test_variables(environ: dict[str, str], author: str) -> None:
    assert default_author(environ) == author


def test_git(isolated_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(isolated_home)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    subprocess.run(["git", "config", "--global", "user.name", "Ü Name"], check=True)
    assert default_author({}) == "Ü Name"
    subprocess.run(["git", "config", "--global", "user.email", "u@x"], check=True)
    assert default_author({}) == "Ü Name <u@x>"


def test_a_machine_without_git(isolated_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(isolated_home))
    monkeypatch.setenv("LOGNAME", "somebody")
    assert default_author({}) == f"somebody@{socket.gethostname()}"


def test_the_environment_says_what_made_it() -> None:
    found = environment("push")
    assert found["command"] == "push"
    assert found["penstock"] == penstock.__version__
    assert all(isinstance(value, str) for value in found.values())
