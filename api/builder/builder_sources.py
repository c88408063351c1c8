"""Where the parts of a version in the making came from, and where their bytes are: what a builder shows of itself.

Pure. **Invariant:** what is listed is true of the tree: what is deleted there goes here, what is moved is listed where
it is now. What a base had is not listed, but told by the version that it is in; nor are more than a thousand files that
were set one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Literal

import msgspec

__all__ = ["BuilderSource", "Sources", "nested", "within"]

_MOST_FILES = 1000


class BuilderSource(msgspec.Struct, frozen=True):
    """A part: its key, and what was added there, as it was named. `where`: where its bytes are by now, if elsewhere.

    `kind`: what it is: of this machine, an object of S3, another version in the bucket, or one in another bucket.
    `is_directory`: it is more than one file.
    """

    key: str
    origin: str
    kind: Literal["local", "object", "version", "foreign"]
    where: str | None = None
    is_directory: bool = False

    @property
    def is_local(self) -> bool:
        """Whether its bytes lie on this machine, and in no bucket."""
        return self.kind == "local" and self.where is None

    @property
    def shown_key(self) -> str:
        """The key, with a slash behind that of a directory."""
        return f"{self.key}/" if self.is_directory and self.key else self.key or "./"

    @property
    def shown_place(self) -> str:
        """Where its bytes are."""
        return self.where or self.origin


class Sources:
    """The parts, in the order of adding."""

    def __init__(self, sources: Iterable[BuilderSource] = (), *, more: bool = False) -> None:
        self._sources: dict[tuple[str, str | None], BuilderSource] = {}
        self.more = more
        """Whether files were set that are not listed."""
        for each in sources:
            self._put(each)

    def __iter__(self) -> Iterator[BuilderSource]:
        return iter(list(self._sources.values()))

    def _put(self, source: BuilderSource) -> None:
        self._sources[source.key, source.origin if source.is_directory else None] = source

    def lists(self, key: str) -> bool:
        """Whether a file that is set at a key is listed."""
        return len(self._sources) < _MOST_FILES or (key, None) in self._sources

    def add(self, source: BuilderSource) -> None:
        """List a part, in the place of a file that had the very key."""
        if not source.is_directory and not self.lists(source.key):
            self.more = True
            return
        self._sources.pop((source.key, source.origin if source.is_directory else None), None)
        self._put(source)

    def remove(self, key: str) -> None:
        """Forget what is at a key and below it."""
        self._replace(each for each in self if not within(each.key, key))

    def move(self, source: str, target: str) -> None:
        """List at another key what is at one, and what of a part is."""
        moved: list[BuilderSource] = []
        for each in self:
            if within(each.key, source):
                moved.append(msgspec.structs.replace(each, key=_join(target, each.key[len(source) :].strip("/"))))
            elif each.is_directory and within(source, each.key):
                rest = source[len(each.key) :].strip("/")
                place = f"{each.where.rstrip('/')}/{rest}" if each.where is not None else None
                origin = f"{each.origin.rstrip('/')}/{rest}"
                moved += [each, msgspec.structs.replace(each, key=target, origin=origin, where=place)]
            else:
                moved.append(each)
        self._replace(moved)

    def _replace(self, sources: Iterable[BuilderSource]) -> None:
        found = list(sources)
        self._sources = {}
        for each in found:
            self._put(each)

    def holders(self) -> Callable[[str], BuilderSource | None]:
        """Return what tells which part the file at a key is of: of those that it may be, the one added last."""
        numbers: dict[str, _Numbered] = {each.key: (number, each) for number, each in enumerate(self)}

        def holder(key: str) -> BuilderSource | None:
            found = numbers.get("", _NONE)
            end = len(key)
            while end > 0:
                found = max(found, numbers.get(key[:end], _NONE), key=_number)
                end = key.rfind("/", 0, end)
            return found[1]

        return holder

    def placed(self, place: Callable[[BuilderSource], str | None]) -> None:
        """Say where the bytes of parts are now; None: where they were."""
        found: list[BuilderSource] = []
        for each in self:
            where = place(each)
            found.append(each if where is None else msgspec.structs.replace(each, where=where))
        self._replace(found)

    def settle(self) -> None:
        """Have parts come from where they are: a version has them there."""
        self._replace(
            each if each.where is None else BuilderSource(each.key, each.where, "version", None, each.is_directory)
            for each in self
        )


_Numbered = tuple[int, BuilderSource | None]
_NONE: _Numbered = (-1, None)


def _number(found: _Numbered) -> int:
    return found[0]


def nested(sources: Iterable[BuilderSource]) -> list[BuilderSource]:
    """Return parts in the order of adding, but those within another right behind it: what replaces a part of it."""
    listed = list(sources)
    first: dict[str, int] = {}
    for number, each in enumerate(listed):
        if each.is_directory:
            first.setdefault(each.key, number)

    def place(number: int) -> tuple[int, int]:
        key = listed[number].key
        above = {key[:end] for end, letter in enumerate(key) if letter == "/"} | ({""} if key else set())
        return min([number, *(first[each] for each in above if each in first)]), number

    return [listed[number] for number in sorted(range(len(listed)), key=place)]


def within(key: str, above: str) -> bool:
    """Whether a key is at or below another one; all are below the empty one."""
    return not above or key == above or key.startswith(f"{above}/")


def _join(key: str, rest: str) -> str:
    return f"{key}/{rest}".strip("/") if rest else key
