r"""``${…}`` in ``dvc.yaml``: names, keys and numbers in a context of plain values. Pure.

${train.lr}  ${files[0]}  ${item.name}      a value; a text that is nothing else becomes the value itself
\${…}                                       stays as it is
in a command                                a table becomes options, a list its words
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping

from penstock.errors import IntegrityError, NotFoundError
from penstock.project.stages.findings.documents import Value

__all__ = ["Context", "merged", "resolved", "resolved_text", "value_of"]

Context = Mapping[str, Value]
_FIELD = re.compile(r"(?<!\\)\$\{\s*([^{}\s]+)\s*\}")
_STEP = re.compile(r"\.?([^.\[\]]+)|\[(?:'([^']*)'|\"([^\"]*)\"|([^\[\]'\"]+))\]")
_MOST_TEXT = 1 << 20


def value_of(name: str, context: Context) -> Value:
    """Return what a name leads to. NotFoundError: nothing; IntegrityError: it is no name."""
    at: Value = dict(context)
    position = 0
    while position < len(name):
        step = _STEP.match(name, position)
        if step is None:
            raise IntegrityError(f"${{{name}}} cannot be read")
        key = next(each for each in step.groups() if each is not None)
        position = step.end()
        if isinstance(at, dict) and key in at:
            at = at[key]
        elif isinstance(at, list) and key.isdecimal() and int(key) < len(at):
            at = at[int(key)]
        else:
            raise NotFoundError(f"${{{name}}} stands for nothing", why=f"there is no {key!r}")
    return at


def resolved(value: Value, context: Context) -> Value:
    """Return a value with all that is in it resolved, keys of tables too. Errors as `value_of`."""
    if isinstance(value, str):
        whole = _FIELD.fullmatch(value)
        return value_of(whole[1], context) if whole else resolved_text(value, context)
    if isinstance(value, list):
        return [resolved(each, context) for each in value]
    if isinstance(value, dict):
        return {resolved_text(key, context): resolved(each, context) for key, each in value.items()}
    return value


def resolved_text(text: str, context: Context, *, command: bool = False) -> str:
    """Return a text with what is in it resolved; in a `command`, lists and tables as words. Errors as `value_of`."""

    def spelt(found: re.Match[str]) -> str:
        value = value_of(found[1], context)
        if isinstance(value, list | dict):
            if not command:
                raise IntegrityError(f"{found[0]} is a list or a table", why="it stands in a text")
            return " ".join(_words(value))
        return _spelt(value)

    made = _FIELD.sub(spelt, text)
    if len(made) > _MOST_TEXT:
        raise IntegrityError("a text becomes longer than 1 MiB", why=text[:80])
    return made.replace("\\${", "${")


def _spelt(value: Value) -> str:
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _words(value: Value, above: str = "") -> list[str]:
    if isinstance(value, list):
        return [shlex.quote(_spelt(each)) for each in value]
    words: list[str] = []
    assert isinstance(value, dict)
    for key, each in value.items():
        name = f"{above}.{key}" if above else key
        if isinstance(each, dict):
            words += _words(each, name)
        elif isinstance(each, bool):
            words += [f"--{name}"] if each else []
        elif isinstance(each, list):
            words += [f"--{name}", *_words(each)]
        else:
            words += [f"--{name}", shlex.quote(_spelt(each))]
    return words


def merged(one: Context, other: Context) -> dict[str, Value]:
    """Return both, tables joined; what both say, and not the same, is an IntegrityError, as it is to DVC."""
    found = dict(one)
    for key, value in other.items():
        before = found.get(key)
        if isinstance(before, dict) and isinstance(value, dict):
            found[key] = merged(before, value)
        elif key in found and before != value:
            raise IntegrityError(f"{key!r} is defined twice", why="in vars, with different values")
        else:
            found[key] = value
    return found
