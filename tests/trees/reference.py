"""docs/FORMAT.md once more, as short and slow as it can be: the hash of a tree from nothing but the text.

Shares no code with `penstock.manifest` beyond the values it is asked about.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import msgspec
from blake3 import blake3

from penstock.manifest.entry import Extent, External, Kind, TreeEntry

from .model import File, Folder

__all__ = ["Split", "node_hash"]

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Split:
    """The constants of the cut rule; the defaults are those of the format."""

    leaf_bits: int = 9
    index_bits: int = 8
    most_entries: int = 4096
    most_items: int = 2048
    most_weight: int = 1 << 20
    most_inline: int = 64 << 10

    def level(self, name: bytes) -> int:
        """How many levels a name ends."""
        bits = int.from_bytes(blake3(name).digest()[:8], "little")
        if bits % 2**self.leaf_bits:
            return 0
        level = 1
        bits //= 2**self.leaf_bits
        while level < 6 and bits % 2**self.index_bits == 0:
            level += 1
            bits //= 2**self.index_bits
        return level


@dataclass(frozen=True, slots=True)
class _Node:
    hash: bytes
    last: bytes
    entries: int
    size: int


def _derive(context: str, value: object) -> bytes:
    return blake3(msgspec.msgpack.encode(value), derive_key_context=context).digest()


def _slices(items: Sequence[_T], ends: Callable[[list[_T]], bool]) -> list[list[_T]]:
    slices: list[list[_T]] = []
    for item in items:
        if not slices or ends(slices[-1]):
            slices.append([])
        slices[-1].append(item)
    return slices


def node_hash(folder: Folder, split: Split = Split()) -> tuple[bytes, int, int]:
    """Return hash, entries and size of the root node of a directory."""
    rows = []
    for name, item in sorted(folder.children.items()):
        if isinstance(item, File):
            rows.append((item.entry, 0))
        else:
            digest, below, size = node_hash(item, split)
            rows.append((TreeEntry(name, Kind.DIRECTORY, size, digest, 0, item.metadata), below))

    def weigh(entry: TreeEntry) -> int:
        assert isinstance(entry.metadata, bytes)
        return 48 if len(entry.metadata) > split.most_inline else len(entry.metadata)

    def leaf_ends(rows: list[tuple[TreeEntry, int]]) -> bool:
        weight = sum(64 + len(row.name) + weigh(row) + len(row.target) for row, _ in rows)
        last = rows[-1][0].name
        return split.level(last) >= 1 or len(rows) >= split.most_entries or weight >= split.most_weight

    nodes = [_leaf(rows, split) for rows in _slices(rows, leaf_ends)] or [_leaf([], split)]
    level = 1
    while len(nodes) > 1:

        def index_ends(nodes: list[_Node], level: int = level) -> bool:
            return split.level(nodes[-1].last) > level or len(nodes) >= split.most_items

        nodes = [_index(level, part) for part in _slices(nodes, index_ends)]
        level += 1
    return nodes[0].hash, nodes[0].entries, nodes[0].size


def _leaf(rows: list[tuple[TreeEntry, int]], split: Split) -> _Node:
    metadata = [(at, entry.metadata) for at, (entry, _) in enumerate(rows) if isinstance(entry.metadata, bytes)]
    large = [(at, body) for at, body in metadata if len(body) > split.most_inline]
    value: list[object] = [
        [entry.name for entry, _ in rows],
        bytes(int(entry.kind) for entry, _ in rows),
        [entry.size for entry, _ in rows],
        b"".join(entry.hash for entry, _ in rows),
        [below for entry, below in rows if entry.kind == 2],
        [entry.target for entry, _ in rows if entry.kind == 3],
        [[at, body] for at, body in metadata if 0 < len(body) <= split.most_inline],
    ]
    pinned = [at for at, (entry, _) in enumerate(rows) if any(_is_pinned(each) for each in entry.extents)]
    if large or pinned:
        context = "penstock 2 document"
        value.append([[at, len(body), blake3(body, derive_key_context=context).digest()] for at, body in large])
    if pinned:
        value.append(pinned)
    entries = len(rows) + sum(below for _, below in rows)
    size = sum(entry.size for entry, _ in rows if entry.kind != 3)
    context = "penstock 3 leaf" if pinned else "penstock 2 leaf" if large else "penstock 1 leaf"
    return _Node(_derive(context, value), rows[-1][0].name if rows else b"", entries, size)


def _is_pinned(extent: Extent) -> bool:
    return isinstance(extent.object, External) and extent.object.size is not None


def _index(level: int, nodes: list[_Node]) -> _Node:
    value = [
        level,
        [node.last for node in nodes],
        b"".join(node.hash for node in nodes),
        [node.entries for node in nodes],
        [node.size for node in nodes],
    ]
    entries, size = sum(node.entries for node in nodes), sum(node.size for node in nodes)
    return _Node(_derive("penstock 1 index", value), nodes[-1].last, entries, size)
