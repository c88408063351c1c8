"""Checks as people write them, ``leak:test`` or ``size:100MB``, and as the bucket has them.

Pure, but for files of rules.

schema:FILE              metadata of each file fits a JSON Schema        rules:FILE    and what `penstock validate`
knows pairs:PATHS=WITH         each of these has its partner                   size:MOST     no file is larger
total:MOST  entries:MOST the whole is no larger                          leak:DATASET[:REF]   no content of it is there
command:TEXT             a command of the user's ends with 0             approval[:N]  others have approved of it
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Callable
from typing import Any

from penstock.errors import NotFoundError, UsageError
from penstock.manifest.records import CheckRule
from penstock.repo.settings.sizes import parse_size
from penstock.repo.validation.validation_rules import parse_rules

__all__ = ["parse_check", "show_check"]

_MOST_DOCUMENT = 256 << 10
_MOST_COMMAND = 4096


def parse_check(text: str, locate: Callable[[str], str]) -> CheckRule:
    """Return a check as it is kept. `locate` turns what is typed for a data set into what means it on every machine.

    UsageError: it is none. NotFoundError: there is no such file.
    """
    kind, _, rest = text.partition(":")
    make = _KINDS.get(kind)
    if make is None:
        raise UsageError(f"there is no check {kind!r}", fix=f"There are: {', '.join(_KINDS)}.")
    if not rest and kind != "approval":
        raise UsageError(f"the check {kind!r} needs more", fix=f"Write {kind}:{_NEEDS[kind]}")
    return CheckRule(kind, make(rest, locate))


def _schema(rest: str, _: object) -> dict[str, Any]:
    document = {"metadata": _document(rest)}
    parse_rules(document)
    return {"rules": document}


def _rules(rest: str, _: object) -> dict[str, Any]:
    document = _document(rest)
    parse_rules(document)
    return {"rules": document}


def _pairs(rest: str, _: object) -> dict[str, Any]:
    paths, equals, partner = rest.partition("=")
    if not equals:
        raise UsageError(f"{rest!r} is no rule of pairs", fix="Write pairs:labels/*.json=images/*.jpg")
    document = {"pairs": [{"paths": paths, "with": partner}]}
    parse_rules(document)
    return {"rules": document}


def _size(rest: str, _: object) -> dict[str, Any]:
    return {"most": parse_size(rest)}


def _count(rest: str, _: object) -> dict[str, Any]:
    if not rest.isdecimal() or len(rest) > 15:
        raise UsageError(f"{rest!r} is no number", fix="Write for example entries:1000000")
    return {"most": int(rest)}


def _leak(rest: str, locate: Callable[[str], str]) -> dict[str, Any]:
    return {"of": locate(rest)}


def _command(rest: str, _: object) -> dict[str, Any]:
    if len(rest.encode()) > _MOST_COMMAND or "\0" in rest or "\n" in rest:
        raise UsageError("this is no command", why=f"it is one line of at most {_MOST_COMMAND} bytes")
    return {"command": rest}


def _approval(rest: str, _: object) -> dict[str, Any]:
    if rest and (not rest.isdecimal() or not 1 <= int(rest) <= 100):
        raise UsageError(f"{rest!r} is no number of people", fix="Write approval, or approval:2")
    return {"by": int(rest or "1")}


_KINDS: dict[str, Callable[[str, Callable[[str], str]], dict[str, Any]]] = {
    "schema": _schema,
    "rules": _rules,
    "pairs": _pairs,
    "size": _size,
    "total": _size,
    "entries": _count,
    "leak": _leak,
    "command": _command,
    "approval": _approval,
}
_NEEDS = {
    "schema": "FILE",
    "rules": "FILE",
    "pairs": "PATHS=WITH",
    "size": "100MB",
    "total": "1TB",
    "entries": "1000000",
    "leak": "DATASET[:REF]",
    "command": "TEXT",
}


def show_check(rule: CheckRule) -> str:
    """Return a check in one line, as it is told."""
    settings = rule.settings
    if rule.check in ("size", "total", "entries"):
        return f"{rule.check}:{settings.get('most')}"
    if rule.check == "leak":
        return f"leak:{settings.get('of')}"
    if rule.check == "command":
        return f"command:{settings.get('command')}"
    if rule.check == "approval":
        return f"approval:{settings.get('by')}"
    if rule.check == "pairs":
        row = settings["rules"]["pairs"][0]
        return f"pairs:{row['paths']}={row['with']}"
    return rule.check


def _document(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            body = file.read(_MOST_DOCUMENT + 1)
    except OSError as error:
        raise NotFoundError(f"cannot read {path!r}", why=error.strerror or str(error)) from error
    if len(body) > _MOST_DOCUMENT:
        raise UsageError(f"{path!r} is too large for a rule", why=f"the most is {_MOST_DOCUMENT} bytes")
    form = "TOML" if os.fspath(path).endswith(".toml") else "JSON"
    try:
        found = tomllib.loads(body.decode()) if form == "TOML" else json.loads(body)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path!r} cannot be read as {form}", why=str(error)) from error
    if not isinstance(found, dict):
        raise UsageError(f"{path!r} is no table", why=f"it is a {type(found).__name__}")
    return found
