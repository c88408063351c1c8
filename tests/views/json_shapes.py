"""The shapes of what commands answer with ``--json``: learned from answers, written as JSON Schema, and checked.

docs/json-schemas.json holds them by command, each with the form of its answer: one ``document``, or ``lines``. Each
answer of each test of the command line is held against it. With PENSTOCK_LEARN_JSON=1 the file learns instead: what was
seen is added to what it says, so that a field which an answer lacked is required no more.
"""

from __future__ import annotations

import fcntl
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

__all__ = ["FILE", "add", "learn", "load", "validator"]

FILE = Path(__file__).resolve().parents[2] / "docs" / "json-schemas.json"
_MOST_KEYS = 40
_NAMES = re.compile(r"[a-z][a-z0-9_-]{0,40}")
Schema = dict[str, Any]


def load() -> dict[str, dict[str, Schema]]:
    """Return the schemas: by command, by form."""
    commands: dict[str, dict[str, Schema]] = json.loads(FILE.read_text())["commands"] if FILE.exists() else {}
    return commands


def add(seen: Iterable[tuple[str, str, Any]]) -> None:
    """Have the file learn answers: commands, forms and values. Several processes may do so at once."""
    with open(FILE.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        commands = load()
        for name, form, value in seen:
            forms = commands.setdefault(name, {})
            forms[form] = learn(forms.get(form), value)
        _save(commands)


def _save(commands: dict[str, dict[str, Schema]]) -> None:
    document = {
        "$comment": "What commands answer with --json, by command and by form: one document, or a line each.",
        "commands": commands,
    }
    FILE.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")


def validator(schema: Schema) -> Any:
    """Return what holds values against a schema."""
    import jsonschema_rs

    return jsonschema_rs.validator_for(schema)


def learn(schema: Schema | None, value: Any) -> Schema:
    """Return a schema that a value fits as well; None: there was none."""
    found = _of(value)
    return found if schema is None else _joined(schema, found)


def _of(value: Any) -> Schema:
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
        items: Schema | None = None
        for each in value:
            items = learn(items, each)
        return {"type": "array", "items": items or {}}
    return {
        "type": "object",
        "properties": {name: _of(each) for name, each in value.items()},
        "required": sorted(value),
        "additionalProperties": False,
    }


def _joined(one: Schema, other: Schema) -> Schema:
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
    return choices[0] if len(choices) == 1 else {"anyOf": choices}


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
    if _is_map(one) or _is_map(other):
        return _map_of(one, other)
    mine, theirs = set(one["properties"]), set(other["properties"])
    if mine and theirs and not mine & theirs and not (one.get("loose") or other.get("loose")):
        return _map_of(one, other) if not (one["required"] and other["required"]) else None
    properties = dict(one["properties"])
    for name, each in other["properties"].items():
        properties[name] = _joined(properties[name], each) if name in properties else each
    joined = {**one, "properties": properties, "required": sorted(set(one["required"]) & set(other["required"]))}
    if len(properties) > _MOST_KEYS or not all(map(_NAMES.fullmatch, properties)):
        return _map_of(joined, joined)
    return joined


def _is_map(schema: Schema) -> bool:
    return isinstance(schema.get("additionalProperties"), dict)


def _map_of(one: Schema, other: Schema) -> Schema:
    """Return the schema of an object whose keys are data: paths, names of packages."""
    values: Schema = {}
    for each in (one, other):
        for found in [*each.get("properties", {}).values(), *([each["additionalProperties"]] if _is_map(each) else [])]:
            values = _joined(values, found)
    return {"type": "object", "additionalProperties": values}
