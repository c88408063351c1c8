"""Where a directory is cut into nodes, and how the nodes stack up.

A directory is a sorted list of entries, cut after every name whose hash says so, one in LEAF_FANOUT; the leaves are
the items of level 1, cut after one leaf in INDEX_FANOUT, again by the hash of the last name, and so on until one
node is left. The shape therefore depends on the names alone, never on the history: an edit moves a cut only where
it adds or removes a name that is one. (Probabilistic B-trees as Noms and Merkle search trees have them.)

Two safety valves, for names that were chosen to have no cut and for entries with much metadata, end a slice early;
they count from the slice's start, so after the next ordinary cut the shape is again what it would have been.
"""

from __future__ import annotations

from blake3 import blake3

from .entry import TreeEntry

__all__ = ["DOCUMENT_WEIGHT", "MAX_INDEX_ITEMS", "MAX_LEAF_ENTRIES", "MAX_LEAF_WEIGHT", "cut_level", "entry_weight"]

LEAF_FANOUT = 512
INDEX_FANOUT = 256
MAX_LEAF_ENTRIES = 8 * LEAF_FANOUT
MAX_INDEX_ITEMS = 8 * INDEX_FANOUT
MAX_LEAF_WEIGHT = 1 << 20
DOCUMENT_WEIGHT = 48
"""What metadata weighs that lies elsewhere: its size and hash."""

_LEAF_MASK = LEAF_FANOUT - 1
_LEAF_BITS = 9
_INDEX_BITS = 8
_INDEX_MASK = INDEX_FANOUT - 1
_MAX_LEVEL = 6
assert 1 << _LEAF_BITS == LEAF_FANOUT
assert 1 << _INDEX_BITS == INDEX_FANOUT
assert _LEAF_BITS + _MAX_LEVEL * _INDEX_BITS <= 64


def cut_level(name: bytes) -> int:
    """How many levels end after this name: 0 none, 1 the leaf, 2 the leaf and its index node, at most 6."""
    value = int.from_bytes(blake3(name).digest(8), "little")
    if value & _LEAF_MASK:
        return 0
    value >>= _LEAF_BITS
    level = 1
    while level < _MAX_LEVEL and not value & _INDEX_MASK:
        value >>= _INDEX_BITS
        level += 1
    return level


def entry_weight(entry: TreeEntry) -> int:
    """Return what an entry adds to a leaf, in bytes, counting only what is hashed."""
    metadata = entry.metadata
    held = len(metadata) if isinstance(metadata, bytes) else DOCUMENT_WEIGHT
    return 64 + len(entry.name) + held + len(entry.target)
