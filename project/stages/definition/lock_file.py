"""The lock of a folder's stages, ``penstock.lock``: what each was run with, and what it made. For git; pure.

One line an item, in the order of names, so that git joins what two branches ran. What is read is checked as strictly as
the file of stages: a clone may come from anybody.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from penstock.errors import IntegrityError, PenstockError

from .stage import place
from .stage_file import FORMAT, parse_table

__all__ = ["LOCK_FILE", "MOST_BYTES", "Fingerprint", "Kind", "LockedStage", "MadeOutput", "format_lock", "parse_lock"]

LOCK_FILE = "penstock.lock"
MOST_BYTES = 64 << 20
_HASH = re.compile(r"[0-9a-f]{64}\Z")
_HEAD = "# What the stages of this folder were run with, and what they made. Written by `penstock repro`; for git.\n"

Kind = Literal["file", "directory"]


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What a dependency held: a hash of names and contents, files, and their bytes."""

    hash: str
    files: int
    bytes: int


@dataclass(frozen=True, slots=True)
class MadeOutput:
    """What a stage made at a path: the top hash under which it is kept, entries (as pointers count them), and bytes."""

    kind: Kind
    hash: str
    entries: int
    bytes: int


@dataclass(frozen=True, slots=True)
class LockedStage:
    """What a stage was run with (hash of the command, dependencies, parameters as canonical text), and what it made.

    Paths are as the stage's file has them. `key` says all that it was run with, as one hash.
    """

    key: str
    command: str
    dependencies: Mapping[str, Fingerprint] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, MadeOutput] = field(default_factory=dict)


def parse_lock(body: bytes, name: str, folder: str = "") -> dict[str, LockedStage]:
    """Return the stages in a lock, by name. IntegrityError: it is none; FormatTooNewError: of a later Penstock."""
    _, table = parse_table(body, name, MOST_BYTES)
    stages = table.pop("stages", {})
    if table or not isinstance(stages, dict):
        raise _wrong(name, "it has more than stages")
    locked = {}
    for stage, value in stages.items():
        try:
            locked[stage] = _locked(value, folder)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise _wrong(name, f"stage {stage!r} is not as a lock has it") from error
        except PenstockError as error:
            raise _wrong(name, f"stage {stage!r}: {error.reason}") from error
    return locked


def _locked(value: dict[str, Any], folder: str) -> LockedStage:
    _only(value, "key", "command", "dependencies", "parameters", "outputs")
    dependencies = {}
    for each in value.get("dependencies", []):
        _only(each, "path", "hash", "files", "bytes")
        dependencies[_text(each["path"])] = Fingerprint(
            _hash(each["hash"]), _count(each["files"]), _count(each["bytes"])
        )
    outputs = {}
    for each in value.get("outputs", []):
        _only(each, "path", "kind", "hash", "entries", "bytes")
        place(folder, _text(each["path"]))
        kind = each["kind"]
        if kind not in ("file", "directory"):
            raise ValueError(kind)
        outputs[each["path"]] = MadeOutput(kind, _hash(each["hash"]), _count(each["entries"]), _count(each["bytes"]))
    parameters = {}
    for each in value.get("parameters", []):
        _only(each, "name", "value")
        parameters[_text(each["name"])] = _text(each["value"])
    return LockedStage(_hash(value["key"]), _hash(value["command"]), dependencies, parameters, outputs)


def _only(value: dict[str, Any], *names: str) -> None:
    if value.keys() - set(names):
        raise ValueError("a key that no lock has")


def _hash(value: Any) -> str:
    if not _HASH.match(value):
        raise ValueError(value)
    return str(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(value)
    return value


def _wrong(name: str, why: str) -> IntegrityError:
    return IntegrityError(
        f"{name} cannot be used",
        why=why,
        fix="Take it from git again, or remove it: what is up to date is found again.",
    )


def format_lock(stages: Mapping[str, LockedStage]) -> bytes:
    """Return a lock's text."""
    lines = [_HEAD, f"format = {FORMAT}\n"]
    for name, stage in sorted(stages.items()):
        lines.append(f"\n[stages.{_quoted(name)}]\n")
        lines.append(f"key = {_quoted(stage.key)}\ncommand = {_quoted(stage.command)}\n")
        lines += _rows(
            "dependencies",
            [
                {"path": path, "hash": each.hash, "files": each.files, "bytes": each.bytes}
                for path, each in sorted(stage.dependencies.items())
            ],
        )
        lines += _rows("parameters", [{"name": key, "value": each} for key, each in sorted(stage.parameters.items())])
        lines += _rows(
            "outputs",
            [
                {"path": path, "kind": each.kind, "hash": each.hash, "entries": each.entries, "bytes": each.bytes}
                for path, each in sorted(stage.outputs.items())
            ],
        )
    return "".join(lines).encode()


def _rows(name: str, rows: list[dict[str, str | int]]) -> list[str]:
    if not rows:
        return []
    texts = (
        ", ".join(f"{key} = {_quoted(each) if isinstance(each, str) else each}" for key, each in row.items())
        for row in rows
    )
    return [f"{name} = [\n", *(f"    {{ {text} }},\n" for text in texts), "]\n"]


def _quoted(text: str) -> str:
    """Return a text as a basic string of TOML, which JSON's are, but for DEL and characters beyond 16 bits."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
