"""The command line for tests: in process, and as the real program, each with folders of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from views.json_shapes import held_to_shapes

from penstock.cli.main import root

Run = Callable[..., Result]
RunProcess = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty home directory; no test sees or changes the user's."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for name in list(os.environ):
        # Unbuffered output, as some CI has it, meets a full disk or a closed pipe elsewhere than users do.
        if name.startswith(("XDG_", "PENSTOCK_", "AWS_")) or name == "PYTHONUNBUFFERED":
            monkeypatch.delenv(name)
    return home


@pytest.fixture
def config(home: Path) -> Path:
    """Return where the configuration file of `home` is."""
    return home / ".config" / "penstock" / "config.toml"


@pytest.fixture
def run() -> Run:
    """Return a function that runs arguments in process."""

    def invoke(*arguments: str) -> Result:
        result = CliRunner().invoke(root, list(arguments))
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    return invoke


@pytest.fixture
def run_process() -> RunProcess:
    """Return a function that runs arguments as ``python -m penstock`` does."""

    def start(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
        settings = {"capture_output": True, "text": True, "check": False, "timeout": 60, **options}
        return subprocess.run([sys.executable, "-m", "penstock", *arguments], **settings)  # type: ignore[call-overload,no-any-return]  # the options vary

    return start


@pytest.fixture(autouse=True)
def shapes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Hold what commands answer in JSON against docs/json-schemas.json, or have that learn it."""
    with held_to_shapes(monkeypatch):
        yield
