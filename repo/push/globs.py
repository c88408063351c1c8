"""The patterns of ignore files, as git reads them, matched in time that is linear in the pattern. Pure.

A pattern is cut at its slashes into segments, each of which stands for one name of a path, or, `**`, for any number
of them. A path is matched as a walk meets it, name by name: `Glob.start` says where in the pattern a path begins, and
`Glob.step` where it stands behind one more name. A place that was reached is remembered once, by whatever number of
ways it was reached, so that nothing is ever tried again.

Within a name the first fit of what stands between two asterisks is as good as any later one. So a regular expression
may keep it for good, and has no way back into it: that is what the atomic groups are for.

Names are bytes, and `?` is one of them, as in git.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

__all__ = ["MAX_PATTERN", "Glob", "GlobError", "Matcher", "parse_glob"]

MAX_PATTERN = 4096
"""Bytes of a pattern: no path that is longer can be opened."""


class GlobError(ValueError):
    """A line that cannot be a pattern."""


Matcher = Callable[[bytes], bool]
"""Whether a name is one that a segment stands for."""


def _any_name(_: bytes) -> bool:
    return True


_STARS: Final[Matcher] = _any_name
"""The segment `**`: at the end of a pattern one name or more, elsewhere any number of them."""

_STAR, _ANY, _SLASH = object(), object(), object()
_Token = int | frozenset[int] | object

_CLASSES: dict[bytes, frozenset[int]] = {
    name: frozenset(members)
    for name, members in {
        b"alnum": b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
        b"alpha": b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
        b"blank": b" \t",
        b"cntrl": bytes([*range(32), 127]),
        b"digit": b"0123456789",
        b"graph": bytes(range(33, 127)),
        b"lower": b"abcdefghijklmnopqrstuvwxyz",
        b"print": bytes(range(32, 127)),
        b"punct": b"!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~",
        b"space": b" \t\n\r",  # git's own table has no more
        b"upper": b"ABCDEFGHIJKLMNOPQRSTUVWXYZ",
        b"xdigit": b"0123456789ABCDEFabcdef",
    }.items()
}


@dataclass(frozen=True, slots=True)
class Glob:
    """One pattern. Without a slash it stands for a name at any depth, and has one segment.

    Places in it are numbers of segments, ascending: that of the segment which the next name is held against.
    """

    negated: bool
    directories_only: bool
    anchored: bool
    segments: tuple[Matcher, ...]

    @property
    def start(self) -> tuple[int, ...]:
        """Where a path stands of which no name was looked at yet."""
        return self._passing({0})

    def step(self, places: Iterable[int], name: bytes) -> tuple[int, ...]:
        """Return where a path stands that goes on by a directory of this name; nowhere: nothing below it can match."""
        reached = set()
        for at in places:
            if self.segments[at] is _STARS:
                reached.add(at)
            elif at + 1 < len(self.segments) and self.segments[at](name):
                reached.add(at + 1)
        return self._passing(reached)

    def last(self, places: tuple[int, ...]) -> Matcher | None:
        """Return what decides whether a path that stands there matches with its last name; None: it cannot."""
        return self.segments[-1] if places and places[-1] == len(self.segments) - 1 else None

    def _passing(self, places: set[int]) -> tuple[int, ...]:
        for at in sorted(places):
            while at < len(self.segments) - 1 and self.segments[at] is _STARS:
                at += 1
                places.add(at)
        return tuple(sorted(places))


def parse_glob(line: bytes) -> Glob | None:
    """Read one line of an ignore file; None when it is no pattern, or one that nothing matches. Raises GlobError."""
    if line.startswith(b"#"):
        return None
    line = _without_spaces(line.split(b"\0", 1)[0])
    negated = line.startswith(b"!")
    text = line[negated:]
    if negated and not text:
        raise GlobError("there is nothing behind the !")
    if len(text) > MAX_PATTERN:
        raise GlobError(f"a pattern of {len(text)} bytes; the most is {MAX_PATTERN}")
    directories_only = text.endswith(b"/")
    text = text[: len(text) - directories_only]
    anchored = b"/" in text
    tokens = _tokens(text.removeprefix(b"/"))
    if not tokens:
        return None
    segments: list[Matcher] = []
    for segment in _cut(tokens):
        # One such segment behind another stands for no more than one alone.
        if not (anchored and _is_stars(segment)):
            segments.append(_matcher(segment))
        elif not segments or segments[-1] is not _STARS:
            segments.append(_STARS)
    return Glob(negated, directories_only, anchored, tuple(segments))


def _without_spaces(line: bytes) -> bytes:
    """Take away spaces at the end, but for one that a backslash stands before."""
    short = line.rstrip(b" ")
    backslashes = len(short) - len(short.rstrip(b"\\"))
    return line[: len(short) + 1] if backslashes % 2 and len(short) < len(line) else short


def _tokens(text: bytes) -> list[_Token] | None:
    """Cut a pattern into bytes, sets of bytes and wildcards; None when a bracket or a backslash is left open."""
    tokens: list[_Token] = []
    at = 0
    while at < len(text):
        byte = text[at : at + 1]
        at += 1
        if byte == b"\\":
            if at == len(text):
                return None
            tokens.append(_SLASH if text[at] == 0x2F else text[at])
            at += 1
        elif byte == b"[":
            found = _bracket(text, at)
            if found is None:
                return None
            members, at = found
            tokens.append(members)
        else:
            tokens.append({b"*": _STAR, b"?": _ANY, b"/": _SLASH}.get(byte, byte[0]))
    return tokens


def _bracket(text: bytes, at: int) -> tuple[frozenset[int], int] | None:
    """Read a set of bytes, from behind its bracket on: its members, and where it ends."""
    negated = text[at : at + 1] in (b"!", b"^")
    at += negated
    members: set[int] = set()
    before: int | None = None  # what a range may begin with
    first = True
    while first or text[at : at + 1] != b"]":
        first = False
        if at >= len(text):
            return None
        if text[at : at + 2] == b"[:":
            end = text.find(b"]", at + 2)
            if end < 0:
                return None
            if end > at + 2 and text[end - 1] == 0x3A:
                named = _CLASSES.get(text[at + 2 : end - 1])
                if named is None:
                    return None
                members |= named
                before, at = None, end + 1
                continue
        ranged = text[at] == 0x2D and before is not None and text[at + 1 : at + 2] not in (b"", b"]")
        at += ranged
        if text[at] == 0x5C:
            at += 1
            if at == len(text):
                return None
        if ranged:
            assert before is not None
            members.update(range(before, text[at] + 1))
            before = None
        else:
            members.add(text[at])
            before = text[at]
        at += 1
    chosen = frozenset(range(256)) - members if negated else frozenset(members)
    return chosen - {0x2F}, at + 1


def _cut(tokens: list[_Token]) -> Iterable[list[_Token]]:
    """Cut tokens at the slashes."""
    segment: list[_Token] = []
    for token in tokens:
        if token is _SLASH:
            yield segment
            segment = []
        else:
            segment.append(token)
    yield segment


def _is_stars(segment: list[_Token]) -> bool:
    return len(segment) > 1 and all(token is _STAR for token in segment)


def _matcher(segment: list[_Token]) -> Matcher:
    pieces: list[list[_Token]] = [[]]
    for token in segment:
        if token is not _STAR:
            pieces[-1].append(token)
        elif pieces[-1] or len(pieces) == 1:
            pieces.append([])
    plain = [bytes(piece) if all(isinstance(token, int) for token in piece) else None for piece in pieces]  # type: ignore[arg-type]  # they are ints
    # What nearly all patterns are.
    if len(plain) == 1 and plain[0] is not None:
        return plain[0].__eq__
    if len(plain) == 2 and plain[1] is not None and plain[0] is not None:
        return _around(plain[0], plain[1])
    first, *rest = [b"".join(map(_expression, piece)) for piece in pieces]
    body = first + b"".join(b"(?>.*?%b)" % piece for piece in rest[:-1]) + b"".join(b".*" + last for last in rest[-1:])
    fits = re.compile(body, re.DOTALL).fullmatch
    return lambda name: fits(name) is not None


def _around(head: bytes, tail: bytes) -> Matcher:
    if not head:
        return lambda name: name.endswith(tail)
    least = len(head) + len(tail)
    return lambda name: len(name) >= least and name.startswith(head) and name.endswith(tail)


def _expression(token: _Token) -> bytes:
    if token is _ANY:
        return b"."
    if isinstance(token, int):
        return re.escape(bytes([token]))
    assert isinstance(token, frozenset)
    if not token:
        return b"(?!)"
    return b"[" + b"".join(b"\\x%02x" % byte for byte in sorted(token)) + b"]"
