"""The user's own keys, as pointers and comments keep them. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping

from penstock.project.stages.findings.documents import Value

__all__ = ["comment_of", "meta_of"]


def meta_of(notes: Mapping[str, Value]) -> str:
    """Return keys as a pointer keeps them: JSON of a table; a value that TOML has not is a text."""
    return json.dumps(_plain(dict(notes)), sort_keys=True, ensure_ascii=False) if notes else ""


def _plain(value: Value) -> Value:
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if value is None:
        return ""
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return str(value)
    if isinstance(value, int) and not isinstance(value, bool) and not -(1 << 63) <= value < 1 << 63:
        return str(value)
    return value


def comment_of(notes: Mapping[str, Value]) -> str:
    """Return keys as lines of a comment."""
    lines = []
    for key, value in notes.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
        lines += [f"{key}: {line}" if at == 0 else f"  {line}" for at, line in enumerate(text.splitlines() or [""])]
    return "\n".join("".join(sign if sign.isprintable() else " " for sign in line) for line in lines)
