"""Parameters and metrics as files hold them: YAML, TOML, JSON, CSV and TSV. Bytes in, plain values out. Pure.

YAML is read by version 1.2's core schema, as other tools of this field read it: ``1e-3`` is a number, and ``no`` a
word. What is read is bounded in bytes, in depth, and in values after aliases are followed, so that a small file that
stands for a huge one is refused. Dates stay text.
"""

from __future__ import annotations

import json
import math
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, TypeAlias

from penstock.errors import IntegrityError, NotFoundError

__all__ = ["MOST_BYTES", "Value", "canonical", "numbers", "parse_document", "table_rows", "value_at"]

Value: TypeAlias = "str | int | float | bool | list[Value] | dict[str, Value] | None"

MOST_BYTES = 16 << 20
_MOST_VALUES = 1_000_000
_MOST_DEPTH = 50
_MOST_MERGED = 100_000


def parse_document(body: bytes, name: str) -> Value:
    """Return what a file holds, by the suffix of its name; of a table the list of its rows.

    IntegrityError: it is not what its name says, is too large, or of no kind that is known.
    """
    suffix = name.rpartition(".")[2].lower()
    parse = _PARSERS.get(suffix)
    if parse is None:
        raise IntegrityError(
            f"{name!r} is of no kind that can be read",
            why=f"files whose names end in {', '.join('.' + each for each in sorted(_PARSERS))} can",
        )
    if len(body) > MOST_BYTES:
        raise IntegrityError(f"{name!r} has more than {MOST_BYTES >> 20} MiB", fix="Keep what is not read here apart.")
    try:
        value = parse(body)
        return _plain(value, _Budget(), 0)
    except IntegrityError as error:
        raise IntegrityError(f"{name!r} cannot be read", why=error.reason) from error
    except (ValueError, RecursionError) as error:
        raise IntegrityError(
            f"{name!r} cannot be read", why=" ".join(str(error).split()) or "nested too deep"
        ) from error


class _Budget:
    def __init__(self) -> None:
        self.left = _MOST_VALUES


def _plain(value: Any, budget: _Budget, depth: int) -> Value:
    """Return a value made of nothing but JSON's kinds."""
    budget.left -= 1
    if budget.left < 0 or depth > _MOST_DEPTH:
        raise IntegrityError("it stands for too many values", why=f"{_MOST_VALUES:,} at most, {_MOST_DEPTH} deep")
    if isinstance(value, dict):
        return {str(key): _plain(each, budget, depth + 1) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each, budget, depth + 1) for each in value]
    if value is None or isinstance(value, str | bool | int | float):
        return value
    return str(value)


def canonical(value: Value) -> str:
    """Return the one text of a value, to be hashed and compared; numbers that are equal have one text."""
    return json.dumps(_settled(value), sort_keys=True, ensure_ascii=True, separators=(",", ":"))


def _settled(value: Value) -> Value:
    if isinstance(value, float) and math.isfinite(value) and value.is_integer() and abs(value) < 1 << 53:
        return int(value)
    if isinstance(value, dict):
        return {key: _settled(each) for key, each in value.items()}
    return [_settled(each) for each in value] if isinstance(value, list) else value


def value_at(document: Value, key: str, name: str) -> Value:
    """Return what a dotted key leads to in a document; the whole at the empty key. NotFoundError: nothing is there."""
    at = document
    rest = key
    while rest:
        if isinstance(at, dict):
            # A key may hold dots itself: the longest that is there is meant.
            parts = rest.split(".")
            for length in range(len(parts), 0, -1):
                if (known := ".".join(parts[:length])) in at:
                    at, rest = at[known], ".".join(parts[length:])
                    break
            else:
                raise _absent(key, name)
        elif isinstance(at, list):
            first, _, rest = rest.partition(".")
            if not first.isdecimal() or len(first) > 9 or int(first) >= len(at):
                raise _absent(key, name)
            at = at[int(first)]
        else:
            raise _absent(key, name)
    return at


def _absent(key: str, name: str) -> NotFoundError:
    return NotFoundError(f"{name!r} has no {key!r}", fix="Write it there, or name another key.")


def numbers(document: Value, above: str = "") -> Iterator[tuple[str, Value]]:
    """Yield the dotted key and value of everything in a document that is no table or list; of a list, its numbers."""
    if isinstance(document, dict):
        for key, each in document.items():
            yield from numbers(each, f"{above}.{key}" if above else key)
    elif isinstance(document, list):
        for at, each in enumerate(document):
            yield from numbers(each, f"{above}.{at}" if above else str(at))
    else:
        yield above, document


def table_rows(document: Value, name: str) -> list[Mapping[str, Value]]:
    """Return a document as rows with columns: a list of tables, one in a table, or a table of lists.

    IntegrityError: it is none of these.
    """
    if isinstance(document, list) and document and all(isinstance(row, dict) for row in document):
        return [row for row in document if isinstance(row, dict)]
    if isinstance(document, dict):
        lists = {key: each for key, each in document.items() if isinstance(each, list)}
        only = next(iter(lists.values())) if len(lists) == 1 else []
        if only and all(isinstance(row, dict) for row in only):
            return [row for row in only if isinstance(row, dict)]
        if lists:
            longest = max(map(len, lists.values()))
            return [{key: each[at] for key, each in lists.items() if at < len(each)} for at in range(longest)]
        if document:
            return [document]
    raise IntegrityError(f"{name!r} has no rows to draw", why="a table is wanted: CSV, or a list of records")


def _csv(body: bytes, mark: str) -> list[dict[str, Value]]:
    import csv
    import io

    text = body.decode("utf-8-sig")
    rows: list[dict[str, Value]] = []
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=mark, strict=True)
        header = next(reader, [])
        if len(set(header)) != len(header):
            raise ValueError("two of its columns have one name")
        for row in reader:
            if len(row) > len(header):
                raise ValueError(f"line {reader.line_num} has more columns than the first")
            if row:
                rows.append({key: _cell(each) for key, each in zip(header, row, strict=False)})
    except csv.Error as error:
        raise ValueError(str(error)) from error
    return rows


_INTEGER = re.compile(r"[-+]?[0-9]{1,18}\Z")
_NUMBER = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?\Z")


def _cell(text: str) -> Value:
    if len(text) > 100:
        return text
    if _INTEGER.match(text):
        return int(text)
    return float(text) if _NUMBER.match(text) or text.lower() in {"nan", "inf", "-inf"} else text


@cache
def _yaml_loader() -> Any:
    import yaml

    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    flatten = base.flatten_mapping

    def flatten_mapping(self: Any, node: Any) -> None:
        """Take merged keys in; each round of `<<` can have nine times as many as the one before."""
        flatten(self, node)
        if len(node.value) > _MOST_MERGED:
            raise ValueError(f"a table of more than {_MOST_MERGED:,} keys is merged")

    loader: Any = type("CoreLoader", (base,), {"yaml_implicit_resolvers": {}, "flatten_mapping": flatten_mapping})
    number = r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
    core: Sequence[tuple[str, str, str]] = (
        ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
        ("null", r"^(?:~|null|Null|NULL|)$", "~nN\0"),
        ("int", r"^(?:[-+]?[0-9]{1,300}|0o[0-7]{1,300}|0x[0-9a-fA-F]{1,300})$", "-+0123456789"),
        ("float", rf"^(?:{number}|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$", "-+0123456789."),
        ("merge", r"^(?:<<)$", "<"),
    )  # fmt: skip
    for name, pattern, firsts in core:
        first = [""] if name == "null" else []
        loader.add_implicit_resolver(
            f"tag:yaml.org,2002:{name}", re.compile(pattern), [*firsts.replace("\0", ""), *first]
        )
    loader.add_constructor("tag:yaml.org,2002:int", _yaml_integer)
    return loader


def _yaml_integer(loader: Any, node: Any) -> int:
    text = loader.construct_scalar(node)
    return int(text, 0) if text.startswith(("0o", "0x")) else int(text)


def _yaml(body: bytes) -> Any:
    import yaml

    try:
        return yaml.load(body, _yaml_loader())  # noqa: S506  # a safe loader: nothing but plain values
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


_PARSERS: dict[str, Callable[[bytes], Any]] = {
    "yaml": _yaml,
    "yml": _yaml,
    "toml": lambda body: tomllib.loads(body.decode()),
    "json": json.loads,
    "jsonl": lambda body: [json.loads(line) for line in body.splitlines() if line.strip()],
    "csv": lambda body: _csv(body, ","),
    "tsv": lambda body: _csv(body, "\t"),
}
