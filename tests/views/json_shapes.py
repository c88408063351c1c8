"""The shapes of what commands answer with ``--json``: written as JSON Schema, and what tests answer held against them.

docs/json-schemas.json holds them by question, a command and perhaps an option that asks for something else, with the
form of the answer: one ``document``, or ``lines``. docs/JSON.md has a table of them. With PENSTOCK_LEARN_JSON=1 both
learn instead: what tests answer is added to what they say, so that a field which an answer lacked is required no more.
What was learned is to be read by somebody: a field that is never null in tests may be so elsewhere.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import pytest

from penstock.cli.declared.git_datasets import root as datasets_root
from penstock.cli.main import root
from penstock.cli.output import JsonValue, Output

__all__ = ["FILE", "PAGE", "all_commands", "held_to_shapes", "load", "question_of", "table", "validator"]

FILE = Path(__file__).resolve().parents[2] / "docs" / "json-schemas.json"
PAGE = FILE.with_name("JSON.md")
_LEARNING = bool(os.environ.get("PENSTOCK_LEARN_JSON"))
_MOST_LOOKED_AT = 500
_BEGIN, _END = "<!-- shapes -->\n", "<!-- end of shapes -->\n"
Schema = dict[str, Any]
Anything = True
"""The schema of what is the user's own: metadata, values of their files."""

_OPEN = frozenset(
    {
        "client_metadata",
        "said",
        "metadata",
        "environment",
        "parameters",
        "function",
        "result",
        "values",
        "metrics",
        "least",
        "most",
    }
)
_OPEN_IN = {
    **dict.fromkeys(("metrics diff", "params diff"), frozenset({"old", "new"})),
    "diff --rows": frozenset({"before", "after"}),
}
_MAPS = frozenset(
    {"calls", "failed", "counts", "versions", "plans", "fields", "methods", "attributes", "libraries"}
) | {"types", "unknown"}
"""Objects whose keys are data."""
_NULLABLE = {
    **dict.fromkeys(("access_log", "allowed_folder", "author", "base", "bind_of", "bucket_url", "codec"), "string"),
    **dict.fromkeys(
        ("commit", "content_hash", "dataset", "default", "derived_from", "error", "frames_source"), "string"
    ),
    **dict.fromkeys(("handle", "hash", "kept", "kind", "left", "log", "manifest", "merged_with", "message"), "string"),
    **dict.fromkeys(("missing", "new_hash", "old_hash", "old_path", "operation", "overlay", "problem"), "string"),
    **dict.fromkeys(("refused", "remote", "repository", "rev", "risk", "since", "stopped", "tag", "time"), "string"),
    **dict.fromkeys(("top_hash", "version", "why"), "string"),
    **dict.fromkeys(("added", "blocks", "bytes_read", "cached", "frames", "height", "modified", "new_size"), "integer"),
    **dict.fromkeys(("old_size", "pid", "records", "removed", "restarts", "size_here", "size_there"), "integer"),
    **dict.fromkeys(("width", "worker_pid"), "integer"),
    **dict.fromkeys(("change", "due_in", "duration", "fps", "hit_rate"), "number"),
    **dict.fromkeys(("branches", "tags", "physical", "cache", "lines", "noncurrent", "offline", "history"), ""),
}
"""Fields that are null where they have no value, whatever a test has met; and what else they are, if it met nothing."""

_ASKS: Mapping[str, Mapping[str, str]] = {
    "checkout": {"mount": "--mount"},
    "demo": {"remove": "--remove"},
    "diff": {"stat": "--stat"},
    "diff of a project": {"stat": "--stat"},
    "gc": {"forget": "--forget"},
    "info": {"schema": "--schema"},
    "log": {"reflog": "--reflog"},
    "push": {"share": "--part"},
    "rows": {"deleted": "--delete"},
    "status": {"access_log": "--access-log"},
    "upload": {"plain": "--plain"},
    "verify": {"directory": "DIR"},
}
"""By command: parameters that ask for something else, and how they are written."""


def _commands(group: click.Command, context: click.Context, words: tuple[str, ...]) -> Iterator[str]:
    if not isinstance(group, click.Group):
        yield " ".join(words)
        return
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield from _commands(command, click.Context(command, info_name=name, parent=context), (*words, name))


def all_commands() -> list[str]:
    """Return all commands, as they are typed. Imports each."""
    return [
        *_commands(root, click.Context(root, info_name="penstock"), ()),
        *_commands(datasets_root, click.Context(datasets_root, info_name="git datasets"), ("git datasets",)),
    ]


def question_of(context: click.Context, value: object) -> str | None:
    """Return what was asked; None: by no command of ours."""
    params, module = context.params, getattr(context.command.callback, "__module__", "")
    names: list[str] = []
    while context.parent is not None:
        names.insert(0, context.info_name or "")
        context = context.parent
    if context.command is datasets_root:
        names.insert(0, "git datasets")
    elif context.command is not root:
        return None
    name = " ".join(names)
    if len(names) == 1 and root.lazy[name].of_project and module.startswith("penstock.cli.project."):
        name += " of a project"
    if name == "ls" and isinstance(value, dict) and "dataset" in value:
        return "ls BUCKET"
    if name == "diff" and isinstance(value, dict):
        # Lines of what is within files follow those of the files.
        within = next((written for key, written in (("table", "--rows"), ("text", "--text")) if key in value), None)
        if within is not None:
            return f"{name} {within}"
    if name == "list":
        return "list BUCKET" if isinstance(value, dict) and "handle" in value else "list GIT_URL"
    asks = [written for param, written in _ASKS.get(name, {}).items() if params.get(param)]
    return " ".join([name, *asks])


@contextmanager
def held_to_shapes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Hold what commands answer in JSON while the block lasts, or learn it."""
    known = {} if _LEARNING else load()
    validators: dict[str, Any] = {}
    seen: list[tuple[str, str, Any]] = []
    looked = 0

    def look(form: str, value: object) -> None:
        nonlocal looked
        context = click.get_current_context(silent=True)
        looked += 1
        if context is None or looked > _MOST_LOOKED_AT or (name := question_of(context, value)) is None:
            return
        plain = json.loads(json.dumps(value))
        if _LEARNING:
            seen.append((name, form, plain))
            return
        if name not in known:  # of a command that is new: `test_every_command_has_a_schema` counts those
            return
        assert known[name]["form"] == form, f"{name} answers with {form}"
        if name not in validators:
            validators[name] = validator(known[name]["schema"])
        validators[name].validate(plain)

    def held(form: str, real: Callable[[Output, JsonValue], None]) -> Callable[[Output, JsonValue], None]:
        def write(output: Output, value: JsonValue) -> None:
            look(form, value)
            real(output, value)

        return write

    monkeypatch.setattr(Output, "document", held("document", Output.document))
    monkeypatch.setattr(Output, "record", held("lines", Output.record))
    yield
    if seen:
        _add(seen)


def load() -> dict[str, dict[str, Any]]:
    """Return forms and schemas by question."""
    commands: dict[str, dict[str, Any]] = json.loads(FILE.read_text())["commands"] if FILE.exists() else {}
    return commands


def validator(schema: Schema) -> Any:
    """Return what holds values against a schema."""
    import jsonschema_rs

    return jsonschema_rs.validator_for(schema)


def table() -> str:
    """Return the table of docs/JSON.md."""
    rows = ["| question | answer | fields; those with ? are not always there |", "|---|---|---|"]
    for name, each in sorted(load().items()):
        rows.append(f"| `{name}` | {each['form']} | {_fields(each['schema'])} |")
    return f"{_BEGIN}{chr(10).join(rows)}\n{_END}"


def _fields(schema: Schema) -> str:
    properties = schema.get("properties", {}) if isinstance(schema, dict) else {}
    if not properties:
        return "any JSON"
    required = schema["required"]
    return ", ".join(f"`{name}`" if name in required else f"`{name}`?" for name in properties)


def _add(seen: Iterable[tuple[str, str, Any]]) -> None:
    """Have both files learn answers: questions, forms and values. Several processes may do so at once."""
    with open(Path(tempfile.gettempdir(), "penstock-json-schemas.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        commands = load()
        for name, form, value in seen:
            before = commands.get(name)
            assert before is None or before["form"] == form, f"{name} answers with {form}, and with {before['form']}"
            found = Anything if name == "meta get" else _of(value, _OPEN | _OPEN_IN.get(name, frozenset()))
            commands[name] = {"form": form, "schema": found if before is None else _joined(before["schema"], found)}
        document = {
            "$comment": "What commands answer with --json, by question: one document, or a line for each thing.",
            "commands": commands,
        }
        FILE.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")
        text = PAGE.read_text()
        PAGE.write_text(re.sub(f"{_BEGIN}.*{_END}", lambda _: table(), text, flags=re.DOTALL))


def _of(value: Any, open_keys: frozenset[str]) -> Any:
    if value is None:
        return {"type": "null"}
    if isinstance(value, bool):
        return {"type": "boolean"}
    if isinstance(value, int):
        return {"type": "integer"}
    if isinstance(value, float):
        return {"type": "number"}
    if isinstance(value, str):
        return {"type": "string"}
    if isinstance(value, list):
        items: Any = {}
        for each in value:
            items = _joined(items, _of(each, open_keys))
        return {"type": "array", "items": items}
    properties: dict[str, Any] = {}
    for name, each in value.items():
        if name in open_keys:
            properties[name] = Anything
        elif name in _MAPS and isinstance(each, dict):
            values: Any = {}
            for one in each.values():
                values = _joined(values, _of(one, open_keys))
            properties[name] = {"type": "object", "additionalProperties": values}
        else:
            properties[name] = _of(each, open_keys)
    return {
        "type": "object",
        "properties": {name: _loosened(name, each) for name, each in properties.items()},
        "required": sorted(value),
    }


def _loosened(name: str, schema: Any) -> Any:
    kind = _NULLABLE.get(name)
    if kind is None or schema is Anything:
        return schema
    if kind and schema.get("type") in ("null", kind, "integer" if kind == "number" else kind):
        schema = _joined(schema, {"type": kind})
    return _joined(schema, {"type": "null"})


def _joined(one: Any, other: Any) -> Any:
    if one is Anything or other is Anything:
        return Anything
    if not one or not other:
        return one or other
    choices: list[Schema] = []
    for each in [*one.get("anyOf", [one]), *other.get("anyOf", [other])]:
        for at, choice in enumerate(choices):
            together = _together(choice, each)
            if together is not None:
                choices[at] = together
                break
        else:
            choices.append(each)
    return choices[0] if len(choices) == 1 else {"anyOf": sorted(choices, key=lambda each: str(each["type"]))}


def _together(one: Schema, other: Schema) -> Schema | None:
    """Return one schema for both, where they are of one kind; None: they are two."""
    kinds = {one["type"], other["type"]}
    if kinds == {"integer", "number"}:
        return {"type": "number"}
    if len(kinds) > 1:
        return None
    if one["type"] == "array":
        return {"type": "array", "items": _joined(one["items"], other["items"])}
    if one["type"] != "object":
        return one
    if "properties" not in one:
        values = _joined(one["additionalProperties"], other["additionalProperties"])
        return {"type": "object", "additionalProperties": values}
    properties = dict(one["properties"])
    for name, each in other["properties"].items():
        properties[name] = _joined(properties[name], each) if name in properties else each
    return {**one, "properties": properties, "required": sorted(set(one["required"]) & set(other["required"]))}
