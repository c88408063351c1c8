"""What is told of changes: of a commit, a refresh, a discard, a check, and what differs. Values alone.

A mount's daemon answers with them over its socket, and who works on an overlay that nobody has mounted returns them.
Light: who asks a daemon loads nothing that works on an overlay.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

import msgspec

__all__ = [
    "ChangeLine",
    "CheckReport",
    "CommitReport",
    "DiscardLine",
    "Finding",
    "PathConflict",
    "RefreshReport",
    "SpecialFile",
]


class SpecialFile(NamedTuple):
    """What a commit could not take: its path, and what it is."""

    path: str
    what: str


class PathConflict(NamedTuple):
    """A path that was changed here and by others: what was done ``here`` and ``there``; empty, the metadata of all."""

    path: str
    here: str
    there: str


Digest: TypeAlias = bytes
"""Within `CommitReport` the name of the type is that of a field."""


@dataclass(slots=True)
class CommitReport:
    """What a commit did, or would do. `commit` is None when nothing landed.

    `changed`: whether there is anything to commit. If not, `branched` and `tagged` tell whether the version that the
    overlay stands at was made the branch, and given the tag, that were asked for; `commit` is its id then.

    `files` and `bytes` were read; what follows went to the bucket (of a dry run: would, as far as data is concerned).
    `merged_with`: the commit of others that it was merged with, or would be, if any.
    """

    handle: str
    branch: str
    top_hash: Digest
    commit: Digest | None = None
    merged_with: Digest | None = None
    changed: bool = False
    branched: bool = False
    tagged: bool = False
    files: int = 0
    bytes: int = 0
    bytes_uploaded: int = 0
    objects_uploaded: int = 0
    metadata_bytes_uploaded: int = 0
    metadata_objects_uploaded: int = 0
    times: int = 0
    times_dropped: int = 0
    """Entries of which somebody set the modification time and changed nothing else: recorded, or not."""
    skipped: list[SpecialFile] = field(default_factory=list)
    """Paths of pipes and sockets, which no version holds, and which of the two each is."""
    risk: str = ""
    """What to warn of, see `WriteAccess.risk`."""
    conflicts: list[PathConflict] = field(default_factory=list)
    """Of a dry run: the first paths of `conflict_count` that would be in conflict with what others did."""
    conflict_count: int = 0


class RefreshReport(msgspec.Struct, frozen=True):
    """Where a working copy stands after a refresh; `changes` counts the paths that came."""

    handle: str
    top_hash: bytes
    commit: bytes | None
    moved: bool
    changes: int


class Finding(NamedTuple):
    """One thing that was found at a path, or in the tables (an empty path). `kind`: damaged, taken, left, deleted."""

    kind: str
    path: str
    why: str = ""


class ChangeLine(msgspec.Struct, frozen=True):
    """One change, as ``status --json`` has it: see `change_list.Line`. Paths are text, with surrogate escapes."""

    kind: str
    path: str
    old: str | None
    directory: bool
    modified: bool
    old_size: int | None
    size: int | None


class DiscardLine(msgspec.Struct, frozen=True):
    """What is done at a path: ``restored`` to what the version has, or ``removed``."""

    kind: str
    path: str
    directory: bool


class CheckReport(msgspec.Struct, frozen=True):
    """Which overlay was looked through, and how many records in it are whole."""

    directory: str
    records: int
