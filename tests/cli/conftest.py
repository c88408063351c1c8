"""The command line for tests: in process, and as the real program, each with folders of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from views import json_shapes

from penstock.cli.main import root
from penstock.cli.output import JsonValue, Output

Run = Callable[..., Result]
_MOST_LOOKED_AT = 500
_HELD: frozenset[str] = frozenset()
"""Commands whose answers are held against their shapes: none until each was learned from all tests."""
_LEARNING = bool(os.environ.get("PENSTOCK_LEARN_JSON"))
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
    learning = _LEARNING
    known = json_shapes.load() if not learning else {}
    validators: dict[tuple[str, str], Any] = {}
    seen: list[tuple[str, str, Any]] = []
    looked = 0

    def look(form: str, value: object) -> None:
        nonlocal looked
        context = click.get_current_context(silent=True)
        looked += 1
        if context is None or context.find_root().command is not root or looked > _MOST_LOOKED_AT:
            return
        names: list[str] = []
        while context.parent is not None:
            names.insert(0, context.command.name or "")
            context = context.parent
        name, plain = " ".join(names), json.loads(json.dumps(value))
        if learning:
            seen.append((name, form, plain))
        elif name in _HELD and form in known.get(name, {}):
            if (name, form) not in validators:
                validators[name, form] = json_shapes.validator(known[name][form])
            validators[name, form].validate(plain)

    def held(form: str, real: Callable[[Output, JsonValue], None]) -> Callable[[Output, JsonValue], None]:
        def write(output: Output, value: JsonValue) -> None:
            look(form, value)
            real(output, value)

        return write

    monkeypatch.setattr(Output, "document", held("document", Output.document))
    monkeypatch.setattr(Output, "record", held("line", Output.record))
    yield
    if seen:
        json_shapes.add(seen)
