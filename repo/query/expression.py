"""The language of `--where`: ``label == "cat" and size > 1MB``. Parsed by a grammar, made into a closure, never `eval`.

    or, and, not, ( )       in that order of binding, the loosest first
    == != < <= > >=         of two numbers or two texts; == and != of any two JSON values
    VALUE in LIST           LIST is [a, b] or a field that holds an array; a text in a text is a part of it
    FIELD like "train/*"    * any number of characters (also /), ? one, [ab] one of these
    exists FIELD            the entry has it, even if it is null
    FIELD                   alone: it is true
    "text" 'text' 12 -0.5 1MB 1.5GiB true false null [1, 2]

A field is `path`, `name`, `size`, `hash`, or a member of the metadata: ``label``, ``camera.iso``, ``boxes.0``,
``meta.size`` for one that is named as an attribute, ``"two words"`` as ``meta."two words"``.

What an entry has not is equal to nothing, less or greater than nothing; so is a text beside a number. `!=` is the
opposite of `==`, hence true there. ``true`` and ``1`` are different, as in JSON; ``1`` and ``1.0`` are not.
"""

from __future__ import annotations

import difflib
import fnmatch
import functools
import operator
import re
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from penstock.errors import UsageError
from penstock.repo.settings.sizes import parse_size

from .query_record import ATTRIBUTES, MISSING, Record, field_of

if TYPE_CHECKING:
    from lark import Lark, Token, Tree

__all__ = ["Expression", "Field", "known_fields", "matching", "parse_expression"]

MOST_TEXT = 10_000
MOST_DEPTH = 64
"""Operators within each other: as deep calls go, in parsing as in asking."""
_MOST_NAMES = 10_000

_GRAMMAR = r"""
start: _or
_or: any | _and
any: _and ("or"i _and)+
_and: all | _not
all: _not ("and"i _not)+
_not: negation | _atom
negation: "not"i _not
_atom: comparison | membership | absence | likeness | unlikeness | existence | truth | "(" _or ")"
comparison: _value OPERATOR _value
membership: _value "in"i _value
absence: _value "not"i "in"i _value
likeness: _value "like"i TEXT
unlikeness: _value "not"i "like"i TEXT
existence: "exists"i field
truth: field | CONSTANT
_value: constant | size | text | field | list
constant: CONSTANT | NUMBER
size: SIZE
text: TEXT
list: "[" [_value ("," _value)*] "]"
field: NAME ("." (NAME | TEXT | INDEX))*

CONSTANT.3: /(true|false|null)\b(?!\.)/
SIZE.3: /\d+(\.\d+)?[ ]?([kKmMgGtTpP]i?)?[bB]\b/
NUMBER.2: /-?\d+(\.\d+)?([eE][+-]?\d+)?(?![\w])/
INDEX.1: /\d+(?!\w)/
OPERATOR: "==" | "!=" | "<=" | ">=" | "<" | ">"
TEXT: /"(\\.|[^"\\])*"/ | /'(\\.|[^'\\])*'/
NAME: /[^\W\d][\w-]*/
%ignore /\s+/
"""

Predicate = Callable[[Record], bool]
Value = Callable[[Record], Any]
Field = tuple[str, ...]


class Expression:
    """A question to an entry that is answered by yes or no. Immutable; any thread. Made by `parse_expression`."""

    def __init__(self, text: str, predicate: Predicate, fields: frozenset[Field]) -> None:
        self.text = text
        self.fields = fields
        """The fields that it asks for, attributes included."""
        self._predicate = predicate

    def __call__(self, record: Record) -> bool:
        """Answer it."""
        return self._predicate(record)

    def __repr__(self) -> str:
        return f"Expression({self.text!r})"


def parse_expression(text: str, known: Iterable[str] | None = None) -> Expression:
    """Compile an expression. `known`: names of members of the metadata, where all of them are known.

    UsageError says where it does not parse and what could stand there; or which field is not known, and which are near.
    """
    if len(text) > MOST_TEXT:
        raise UsageError(f"a filter of {len(text)} characters", why=f"the most is {MOST_TEXT}")
    tree = _parse(text)
    compiler = _Compiler(text)
    predicate = compiler.predicate(_only(tree))
    fields = frozenset(compiler.fields)
    if known is not None:
        names = set(known)
        for field in sorted(fields):
            if (name := _member(field)) is not None and name not in names:
                raise _unknown(name, names)
    return Expression(text, predicate, fields)


def matching(records: Iterable[Record], expression: Expression) -> Iterator[Record]:
    """Yield the records that it is true for.

    UsageError, at the end: it asks for a member that no entry has, which is a slip of the pen more often than an
    answer. (`exists` may ask for one.)
    """
    return filter(expression, known_fields(records, expression.fields))


def known_fields(records: Iterable[Record], fields: Iterable[Field]) -> Iterator[Record]:
    """Pass records on. UsageError, at the end: no entry has the member that one of the fields begins with."""
    wanted = {name for field in fields if (name := _member(field)) is not None}
    seen: set[str] = set()
    any_record = False
    for record in records:
        any_record = True
        if wanted:
            wanted -= record.metadata.keys()
            if len(seen) < _MOST_NAMES:
                seen.update(record.metadata)
        yield record
    if any_record and wanted:
        raise _unknown(min(wanted), seen)


def _member(field: Field) -> str | None:
    """Return the member of the metadata that a field begins with; None for an attribute, and where `exists` asks."""
    first = field[0]
    if first == "meta" and len(field) > 1:
        return field[1]
    return None if len(field) == 1 and first in ATTRIBUTES else first


def _unknown(name: str, names: set[str]) -> UsageError:
    near = difflib.get_close_matches(name, [*names, *ATTRIBUTES], 3, 0.6)
    fix = f"Did you mean {' or '.join(map(repr, near))}?" if near else ""
    if not fix and names:
        fix = f"There are: {', '.join(sorted(names)[:20])}."
    return UsageError(
        f"no entry has a field {name!r}",
        why="it is asked for",
        fix=fix or "No entry has metadata; there are: path, name, size, hash.",
    )


@functools.cache
def _parser() -> Lark:
    from lark import Lark  # 40 ms, for those who ask

    return Lark(_GRAMMAR, parser="lalr", maybe_placeholders=False)


_SAID = {
    "CONSTANT": "true, false, null", "SIZE": "a size", "NUMBER": "a number", "TEXT": "a text in quotes",
    "NAME": "a field", "OPERATOR": "a comparison", "LPAR": "(", "RPAR": ")", "LSQB": "[", "RSQB": "]", "COMMA": ",",
    "DOT": ".", "INDEX": "an index", "$END": "the end",
}  # fmt: skip


def _parse(text: str) -> Tree[Token]:
    from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

    try:
        tree = _parser().parse(text)
    except UnexpectedInput as error:
        expected: set[str] = set()
        if isinstance(error, UnexpectedToken):
            expected = error.accepts or error.expected
        elif isinstance(error, UnexpectedCharacters):
            expected = error.allowed or set()
        at = len(text) if getattr(error, "pos_in_stream", None) is None else error.pos_in_stream or 0
        if isinstance(error, UnexpectedToken) and error.token.type == "$END":
            at = len(text)
        words = sorted({_SAID.get(name, name.lower()) for name in expected})
        raise UsageError(
            f"the filter does not parse at character {at + 1}",
            why=f"{text[max(0, at - 20) : at]}⟪here⟫{text[at : at + 20]}",
            fix=f"There could be: {', '.join(words)}." if words else "",
        ) from error
    depth, level = 0, [tree]
    while level:
        depth += 1
        if depth > MOST_DEPTH:
            raise UsageError("a filter is nested too deeply", why=f"the most is {MOST_DEPTH} levels")
        level = [child for node in level for child in node.children if not isinstance(child, str)]
    return tree


def _only(tree: Tree[Token]) -> Tree[Token]:
    child = tree.children[0]
    assert not isinstance(child, str)
    return child


class _Compiler:
    """Turns a tree into closures; `fields` are those it has met that an entry should have."""

    def __init__(self, text: str) -> None:
        self._text = text
        self.fields: set[Field] = set()

    def predicate(self, tree: Tree[Token]) -> Predicate:
        """Return what answers a part of the expression."""
        predicate: Predicate = getattr(self, f"_{tree.data}")(*tree.children)
        return predicate

    def _any(self, *parts: Tree[Token]) -> Predicate:
        predicates = [self.predicate(part) for part in parts]
        return lambda record: any(each(record) for each in predicates)

    def _all(self, *parts: Tree[Token]) -> Predicate:
        predicates = [self.predicate(part) for part in parts]
        return lambda record: all(each(record) for each in predicates)

    def _negation(self, part: Tree[Token]) -> Predicate:
        predicate = self.predicate(part)
        return lambda record: not predicate(record)

    def _comparison(self, left: Tree[Token], sign: Token, right: Tree[Token]) -> Predicate:
        one, other = self.value(left), self.value(right)
        if sign == "==":
            return lambda record: same(one(record), other(record))
        if sign == "!=":
            return lambda record: not same(one(record), other(record))
        compare = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}[sign]

        def ordered(record: Record) -> bool:
            a, b = one(record), other(record)
            comparable = (_is_number(a) and _is_number(b)) or (isinstance(a, str) and isinstance(b, str))
            return comparable and bool(compare(a, b))

        return ordered

    def _membership(self, left: Tree[Token], right: Tree[Token]) -> Predicate:
        one, many = self.value(left), self.value(right)

        def inside(record: Record) -> bool:
            a, among = one(record), many(record)
            if isinstance(among, str):
                return isinstance(a, str) and a in among
            return isinstance(among, list) and any(same(a, each) for each in among)

        return inside

    def _absence(self, left: Tree[Token], right: Tree[Token]) -> Predicate:
        inside = self._membership(left, right)
        return lambda record: not inside(record)

    def _likeness(self, left: Tree[Token], pattern: Token) -> Predicate:
        value = self.value(left)
        matches = re.compile(fnmatch.translate(_unquoted(pattern))).match

        def like(record: Record) -> bool:
            found = value(record)
            return isinstance(found, str) and matches(found) is not None

        return like

    def _unlikeness(self, left: Tree[Token], pattern: Token) -> Predicate:
        like = self._likeness(left, pattern)
        return lambda record: not like(record)

    def _existence(self, field: Tree[Token]) -> Predicate:
        names = _names(field)
        return lambda record: field_of(record, names) is not MISSING

    def _truth(self, what: Tree[Token] | Token) -> Predicate:
        if isinstance(what, str):
            constant = str(what) == "true"
            return lambda _: constant
        value = self.value(what)
        return lambda record: value(record) is True

    def value(self, tree: Tree[Token]) -> Value:
        """Return what gives a value of an entry."""
        if tree.data == "field":
            names = _names(tree)
            self.fields.add(names)
            return lambda record: field_of(record, names)
        if tree.data == "list":
            values = [self.value(child) for child in tree.children if not isinstance(child, str)]
            return lambda record: [each(record) for each in values]
        (token,) = tree.children
        assert isinstance(token, str)
        constant = _constant(tree.data, str(token))
        return lambda _: constant


def _constant(kind: str, token: str) -> Any:
    if kind == "size":
        return parse_size(token)
    return _unquoted(token) if kind == "text" else msgspec.json.decode(token)


def _names(field: Tree[Token]) -> Field:
    return tuple(_unquoted(str(each)) if str(each)[0] in "\"'" else str(each) for each in field.children)


def _unquoted(token: str) -> str:
    return re.sub(r"\\(.)", lambda match: {"n": "\n", "t": "\t"}.get(match[1], match[1]), token[1:-1], flags=re.DOTALL)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def same(one: Any, other: Any) -> bool:
    """Whether two JSON values are equal: ``true`` is not 1, in arrays and objects neither."""
    if one is MISSING or other is MISSING:
        return False
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    return bool(one == other)
