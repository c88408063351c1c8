"""Projects for tests of commands: the real git, the real program where hooks run it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from penstock.cli.main import root


@pytest.fixture(autouse=True)
def git_identity(monkeypatch: pytest.MonkeyPatch) -> None:
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


def run_in(directory: Path, *command: str, code: int | None = 0) -> str:
    """Run a command in a directory, ours in this process; return what it said on both streams."""
    if command[0] == "penstock":
        before = os.getcwd()
        os.chdir(directory)
        try:
            result = CliRunner().invoke(root, list(command[1:]))
        finally:
            os.chdir(before)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        found, said = result.exit_code, result.output
    else:
        done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False, timeout=100)
        found, said = done.returncode, done.stdout + done.stderr
    assert code is None or found == code, (command, found, said)
    return said


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    """Return a repository that is a project whose data follows git, with a remote in a directory."""
    path = tmp_path / "registry"
    path.mkdir()
    run_in(path, "git", "init", "-q")
    run_in(path, "penstock", "init", "--hooks")
    run_in(path, "penstock", "remote", "add", "-d", "storage", str(tmp_path / "storage"))
    return path
