"""Every rule of docs/FORMAT.md for a node: broken one at a time, with all hashes right, and its limits kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from trees.forge import attempt, forge, parts_of
from trees.specimens import (
    BELOW,
    BLOCKS,
    CHILD_ENTRIES,
    CHILD_HASHES,
    CHILD_PACKS,
    CHILD_SIZES,
    CHILDREN,
    DIRECTORIES,
    FILE_OBJECTS,
    FILE_OFFSETS,
    HASHES,
    INDEX,
    KINDS,
    LASTS,
    LEAF,
    LEVEL,
    METADATA,
    MTIMES,
    NAMES,
    OBJECTS,
    PACKS,
    PAGES,
    PIECES,
    SIZES,
    TARGETS,
    A,
    B,
    C,
    D,
    E,
    G,
)

from penstock.errors import IntegrityError
from penstock.manifest.codec import decode_node
from penstock.manifest.entry import MAX_SIZE
from penstock.manifest.frame import MAX_FRAME
from penstock.manifest.hashing import content_hash
from penstock.manifest.rules import MAX_LEVEL
from penstock.manifest.split import MAX_INDEX_ITEMS, MAX_LEAF_ENTRIES

Change = Callable[[list[Any], list[Any]], object]


def _set(part: int, *way: int, to: Any) -> Change:
    def change(*parts: list[Any]) -> None:
        here = parts[part]
        for step in way[:-1]:
            here = here[step]
        here[way[-1]] = to

    return change


def _cut_hashes(logical: list[Any], physical: list[Any]) -> None:
    logical[HASHES] = logical[HASHES][:-1]


def _rename(at: int, to: bytes) -> Change:
    return _set(0, NAMES, at, to=to)


def _grow(part: int, *way: int, by: Any) -> Change:
    def change(*parts: list[Any]) -> None:
        here = parts[part]
        for step in way[:-1]:
            here = here[step]
        here[way[-1]] = here[way[-1]] + by

    return change


def _both(*changes: Change) -> Change:
    def change(logical: list[Any], physical: list[Any]) -> None:
        for each in changes:
            each(logical, physical)

    return change


def _many(count: int) -> Change:
    def change(logical: list[Any], physical: list[Any]) -> None:
        names = [b"%06d" % number for number in range(count)]
        logical[:] = [names, bytes(count), [0] * count, content_hash(b"") * count, [], [], []]
        physical[:] = [[0] * count, [], [0] * count, [0] * count, [], [], [], [], []]

    return change


def _many_children(count: int) -> Change:
    def change(logical: list[Any], physical: list[Any]) -> None:
        logical[:] = [1, [b"%06d" % n for n in range(count)], bytes(32) * count, [1] * count, [0] * count]
        physical[:] = [[b""], [[0, 0, 1, bytes(32)]] * count]

    return change


LEAF_RULES: list[tuple[str, Change]] = [
    ("length <= 4096", _many(MAX_LEAF_ENTRIES + 1)),
    ("unknown kind", _set(0, KINDS, to=b"\2\3\1\0\0\0\4")),
    ("unknown kind", _set(0, KINDS, to=b"\2\3\1\0\0\0\xff")),
    ("columns differ", _set(0, KINDS, to=b"\2\3\1\0\0\0")),
    ("columns differ", _grow(0, KINDS, by=b"\0")),
    ("columns differ", _grow(0, SIZES, by=[1])),
    ("columns differ", _cut_hashes),
    ("columns differ", _grow(0, HASHES, by=b"\0")),
    ("columns differ", _grow(0, HASHES, by=bytes(32))),
    ("columns differ", _set(1, MTIMES, to=[])),
    ("columns differ", _grow(0, NAMES, by=[b"h"])),
    ("directories do not add up", _set(0, BELOW, to=[])),
    ("directories do not add up", _set(0, BELOW, to=[0, 0])),
    ("directories do not add up", _set(1, DIRECTORIES, to=[])),
    ("files do not add up", _grow(1, FILE_OBJECTS, by=[0])),
    ("files do not add up", _set(1, FILE_OFFSETS, to=[])),
    ("not in order", _rename(A, b"b")),
    ("not in order", _rename(A, b"x")),
    ("not in order", _rename(G, b"")),
    ("slash or a NUL", _rename(G, b"g/h")),
    ("slash or a NUL", _rename(A, b"/")),
    ("slash or a NUL", _rename(G, b"g\0h")),
    ("slash or a NUL", _rename(A, b"\0")),
    ("empty name", _rename(A, b"")),
    ("more than 255 bytes", _rename(G, b"g" * 256)),
    ("name '.'", _rename(A, b".")),
    ("name '..'", _rename(A, b"..")),
    ("counts are out of bounds", _set(0, BELOW, 0, to=-1)),
    ("counts are out of bounds", _set(0, BELOW, 0, to=(1 << 48) - 7)),
    ("counts are out of bounds", _set(0, BELOW, 0, to=(1 << 64) - 1)),
    ("sizes are out of bounds", _set(0, SIZES, A, to=-1)),
    ("sizes are out of bounds", _set(0, SIZES, A, to=MAX_SIZE)),
    ("sizes are out of bounds", _set(0, SIZES, C, to=(1 << 64) - 1)),
    ("pack by something", _set(1, PACKS, to=[b"x"])),
    ("pack by something", _set(1, PACKS, to=[bytes(33)])),
    ("place that cannot be", _set(1, PACKS, to=[])),
    ("place that cannot be", _set(1, DIRECTORIES, 0, 0, to=1)),
    ("place that cannot be", _set(1, DIRECTORIES, 0, 0, to=-1)),
    ("place that cannot be", _set(1, DIRECTORIES, 0, 1, to=-1)),
    ("place that cannot be", _set(1, DIRECTORIES, 0, 1, to=MAX_SIZE)),
    ("place that cannot be", _set(1, DIRECTORIES, 0, 2, to=0)),
    ("place that cannot be", _set(1, DIRECTORIES, 0, 2, to=MAX_FRAME + 1)),
    ("digest of the wrong length", _set(1, DIRECTORIES, 0, 3, to=b"")),
    ("an extent or a page is none", _set(1, PAGES, 0, 1, 0, 4, to=bytes(31))),
    ("symlinks do not add up", _set(0, TARGETS, to=[])),
    ("symlinks do not add up", _grow(0, TARGETS, by=[b"x"])),
    ("target is empty", _set(0, TARGETS, 0, to=b"")),
    ("target is empty", _set(0, TARGETS, 0, to=b"x" * 4096)),
    ("target is empty", _set(0, TARGETS, 0, to=b"a\0x")),
    ("not that of its target", _set(0, TARGETS, 0, to=b"a/y")),
    ("not that of its target", _set(0, SIZES, B, to=4)),
    ("modification time", _set(1, MTIMES, 0, to=1 << 63)),
    ("modification time", _set(1, MTIMES, 6, to=-(1 << 63))),
    ("metadata is out of order", _set(0, METADATA, 0, 0, to=-1)),
    ("metadata is out of order", _set(0, METADATA, 0, 0, to=C)),
    ("metadata is out of order", _set(0, METADATA, 1, 0, to=7)),
    ("metadata is out of order", _set(0, METADATA, 1, 1, to=b"")),
    ("metadata is out of order", _set(0, METADATA, 1, 1, to=b'{"a":"' + b"x" * 65536 + b'"}')),
    ("metadata is malformed", _set(0, METADATA, 1, 1, to=b"[]")),
    ("metadata is malformed", _set(0, METADATA, 1, 1, to=b"\xff")),
    ("object by something", _set(1, OBJECTS, 0, to=b"x")),
    ("address of an unknown kind", _set(1, OBJECTS, 1, to=["http://x/y", None, None])),
    ("address of an unknown kind", _set(1, OBJECTS, 1, to=["file://host/y", None, None])),
    ("address of an unknown kind", _set(1, OBJECTS, 1, to=["", None, None])),
    ("lists a file twice", lambda _, p: p[PIECES].append(p[PIECES][0])),
    ("lists a file twice", lambda _, p: p[BLOCKS].append(p[BLOCKS][0])),
    ("lists a file twice", lambda _, p: p[PAGES].append(p[PAGES][0])),
    ("empty file's hash", _grow(0, HASHES, by=b"") and (lambda lo, _: lo.__setitem__(HASHES, lo[HASHES][:-1] + b"\0"))),
    ("extent cannot be", _set(1, FILE_OBJECTS, 0, to=3)),
    ("extent cannot be", _set(1, FILE_OBJECTS, 0, to=-1)),
    ("extent cannot be", _set(1, FILE_OFFSETS, 0, to=-1)),
    ("extent cannot be", _set(1, FILE_OFFSETS, 0, to=MAX_SIZE - 9)),
    ("extent cannot be", _set(1, FILE_OFFSETS, 0, to=(1 << 64) - 1)),
    ("extent cannot be", _set(1, PIECES, 0, 1, 0, 0, to=3)),
    ("extent cannot be", _set(1, PIECES, 0, 1, 0, 0, to=-1)),
    ("extent cannot be", _set(1, PIECES, 0, 1, 0, 1, to=-1)),
    ("extent cannot be", _set(1, PIECES, 0, 1, 0, 1, to=MAX_SIZE)),
    ("extent cannot be", _set(1, PIECES, 0, 1, to=[[0, 0, 8], [0, 0, -1]])),
    ("extent cannot be", _set(1, PIECES, 0, 1, to=[[0, 0, 7], [0, 0, 0]])),
    ("extents do not cover", _set(1, PIECES, 0, 1, to=[[0, 0, 7]])),
    ("extents do not cover", _set(1, PIECES, 0, 1, to=[])),
    ("extents do not cover", _set(1, PIECES, 0, 1, 0, 2, to=2)),
    ("more of a file than it may", _set(1, PIECES, 0, 0, to=A)),
    ("more of a file than it may", _set(1, PIECES, 0, 0, to=G)),
    ("more of a file than it may", _set(1, PIECES, 0, 0, to=7)),
    ("more of a file than it may", _set(1, PIECES, 0, 0, to=-1)),
    ("more of a file than it may", lambda _, p: p[BLOCKS].append([C, bytes(32)])),
    ("more of a file than it may", lambda _, p: p[PAGES].append([B, []])),
    ("more of a file than it may", lambda _, p: p[PAGES].append([D, p[PAGES][0][1]])),
    ("no block hashes", _set(1, BLOCKS, to=[])),
    ("no block hashes", _set(1, PAGES, to=[])),
    ("wrong number of block hashes", _set(1, BLOCKS, 0, 1, to=b"")),
    ("wrong number of block hashes", _grow(1, BLOCKS, 0, 1, by=bytes(32))),
    ("wrong number of block hashes", _both(_set(1, PAGES, to=[]), lambda _, p: p[BLOCKS].append([E, bytes(33 * 32)]))),
    ("block hashes are not those", _set(1, BLOCKS, 0, 1, to=bytes(64))),
    ("wrong number of pages", _set(1, PAGES, 0, 1, to=[])),
    ("an extent or a page is none", _set(1, PAGES, 0, 1, 0, 0, to=b"")),
    ("wrong number of pages", _both(_set(1, BLOCKS, to=[]), lambda _, p: p[PAGES].append([D, p[PAGES][0][1]]))),
    ("pages of block hashes are not those", _set(1, PAGES, 0, 1, 0, 0, to=bytes(32))),
    ("malformed", _set(1, OBJECTS, 0, to=[None, None, None])),
    ("malformed", _set(0, NAMES, 0, to="text")),
    ("malformed", _set(0, SIZES, 0, to=1.0)),
    ("malformed", _set(1, MTIMES, 0, to=True)),
    ("malformed", lambda lo, _: lo.append(1)),
    ("malformed", lambda _, p: p.pop()),
]

INDEX_RULES: list[tuple[str, Change]] = [
    ("length >= 1", _set(0, LASTS, to=[])),
    ("length <= 2048", _many_children(MAX_INDEX_ITEMS + 1)),
    ("columns differ", _grow(0, LASTS, by=[b"z"])),
    ("columns differ", _grow(0, CHILD_HASHES, by=b"\0")),
    ("columns differ", _set(0, CHILD_HASHES, to=b"")),
    ("columns differ", _grow(0, CHILD_ENTRIES, by=[1])),
    ("columns differ", _grow(0, CHILD_SIZES, by=[1])),
    ("columns differ", lambda _, p: p[CHILDREN].pop()),
    ("level is out of bounds", _set(0, LEVEL, to=0)),
    ("level is out of bounds", _set(0, LEVEL, to=-1)),
    ("level is out of bounds", _set(0, LEVEL, to=MAX_LEVEL + 1)),
    ("not in order", _set(0, LASTS, 0, to=b"m")),
    ("name '..'", _set(0, LASTS, 0, to=b"..")),
    ("counts are out of bounds", _set(0, CHILD_ENTRIES, 0, to=0)),
    ("counts are out of bounds", _set(0, CHILD_ENTRIES, 0, to=-5)),
    ("counts are out of bounds", _set(0, CHILD_ENTRIES, to=[1 << 47, 1 << 47, 1])),
    ("sizes are out of bounds", _set(0, CHILD_SIZES, to=[MAX_SIZE, 1, 0])),
    ("place that cannot be", _set(1, CHILDREN, 2, 0, to=3)),
    ("place that cannot be", _set(1, CHILDREN, 2, 2, to=0)),
    ("digest of the wrong length", _set(1, CHILDREN, 2, 3, to=bytes(31))),
    ("pack by something", _set(1, CHILD_PACKS, 0, to=bytes(8))),
    ("malformed", _set(0, LEVEL, to=b"1")),
]


@pytest.mark.parametrize(
    ("original", "words", "change"),
    [
        *(pytest.param(LEAF, words, change, id=f"leaf {n} {words}") for n, (words, change) in enumerate(LEAF_RULES)),
        *(pytest.param(INDEX, words, change, id=f"index {n} {words}") for n, (words, change) in enumerate(INDEX_RULES)),
    ],
)
def test_each_rule_is_held(original: bytes, words: str, change: Change) -> None:
    kind, logical, physical = parts_of(original)
    change(logical, physical)
    frame, ref = forge(kind, logical, physical)
    with pytest.raises(IntegrityError) as caught:
        decode_node(frame, ref)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        _many(MAX_LEAF_ENTRIES),
        _set(1, MTIMES, 0, to=-MAX_SIZE),
        _set(1, PACKS, 0, to=b""),
        _set(1, FILE_OFFSETS, 0, to=MAX_SIZE - 10),
        _set(1, FILE_OBJECTS, 4, to=99),  # of an empty file: nobody looks
        _rename(G, b"g" * 255),
        _rename(A, b"..."),
        _set(0, BELOW, 0, to=(1 << 48) - 8),
    ],
)
def test_the_limits_themselves_are_allowed(change: Change) -> None:
    kind, logical, physical = parts_of(LEAF)
    change(logical, physical)
    assert attempt(*forge(kind, logical, physical)) is not None


def test_most_children_are_allowed() -> None:
    kind, logical, physical = parts_of(INDEX)
    _many_children(MAX_INDEX_ITEMS)(logical, physical)
    assert attempt(*forge(kind, logical, physical)) is not None
