"""What an overlay is of, and how far it has come: the values of META. Pure.

`Origin` says which dataset and branch, which version the lower layer's inodes count through, and which version the
clean records stand for. `ChangeCounters` are written with every change.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

import msgspec

from penstock.errors import IntegrityError
from penstock.manifest.entry import Metadata, NodeRef
from penstock.manifest.records import Manifest
from penstock.repo.refs.repository import VersionId

from .interface import ReadTables
from .schema import FIRST_NEW_INODE, META, TableChange

__all__ = ["ChangeCounters", "Origin", "read_counters", "read_origin"]

_ORIGIN = b"origin"
_COUNTERS = b"counters"
_PACKED = struct.Struct(">QQQI")


class Origin(msgspec.Struct, frozen=True):
    """`handle` names the branch, tag or hash that was mounted; `lower` is the root of what was mounted then.

    `commit` and `manifest` are the version that all clean records are in; `commit` None: named by its top hash.
    `metadata` is what that version has for the root: its own, or that of the directory `subdir`.
    """

    handle: str
    url: str
    dataset: str
    ref: str
    subdir: str
    lower: NodeRef
    commit: bytes | None
    manifest: Manifest
    metadata: Metadata = b""

    @property
    def version(self) -> VersionId:
        """Which version all clean records are in."""
        return VersionId(self.manifest.top_hash, self.commit, self.ref)

    def change(self) -> TableChange:
        """Return the change that writes it."""
        return TableChange(META, _ORIGIN, msgspec.msgpack.encode(self))


class ChangeCounters(NamedTuple):
    """`sequence` of the last change; `inode`: the next new one; `committed`: up to which sequence all is committed.

    `generation` of the data files that are written now.
    """

    sequence: int = 0
    inode: int = FIRST_NEW_INODE
    committed: int = 0
    generation: int = 0

    def change(self) -> TableChange:
        """Return the change that writes them."""
        return TableChange(META, _COUNTERS, _PACKED.pack(*self))


def read_origin(tables: ReadTables) -> Origin | None:
    """Return what the overlay is of; None while it is of nothing. IntegrityError: what is there makes no sense."""
    value = tables.get(META, _ORIGIN)
    if value is None:
        return None
    try:
        return msgspec.msgpack.decode(value, type=Origin)
    except msgspec.DecodeError as error:
        raise IntegrityError("the overlay does not say what it is of", why=str(error)) from error


def read_counters(tables: ReadTables) -> ChangeCounters:
    """Return the counters."""
    value = tables.get(META, _COUNTERS)
    return ChangeCounters(*_PACKED.unpack(value)) if value is not None else ChangeCounters()
