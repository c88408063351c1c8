"""Repositories for tests: real git, a home of their own, a store on this disk."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from penstock.project.project import Project, init_project
from penstock.repo.settings.settings import Settings

Git = Callable[..., str]


@pytest.fixture(autouse=True)
def git_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have git know who commits, and read no configuration of the machine's."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "tester")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "tester@example.org")
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("GIT_CONFIG_COUNT", "2")
    for number, (key, value) in enumerate((("init.defaultBranch", "main"), ("protocol.file.allow", "always"))):
        monkeypatch.setenv(f"GIT_CONFIG_KEY_{number}", key)
        monkeypatch.setenv(f"GIT_CONFIG_VALUE_{number}", value)


def run_git(directory: Path | str, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(directory), *arguments], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, (arguments, done.stdout, done.stderr)
    return done.stdout


@pytest.fixture
def git() -> Git:
    """Return a function that runs git in a directory."""
    return run_git


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Return an empty git repository."""
    path = tmp_path / "repository"
    path.mkdir()
    run_git(path, "init", "-q")
    return path


@pytest.fixture
def project(repository: Path) -> Project:
    """Return a project in it."""
    return init_project(str(repository))[0]


@pytest.fixture
def settings() -> Settings:
    """Return the settings of the test's own home."""
    return Settings.load()
