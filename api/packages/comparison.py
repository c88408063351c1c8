"""What differs between two versions, or between a version and a local directory: listed, or counted.

Looking takes time by what differs, not by the size of the versions. Paths are text, with bytes that are not UTF-8 as
surrogates; hashes are 64 hex digits, sizes bytes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import BinaryIO, Literal, Self

from penstock.api.datasets.push import SkippedFile, skipped
from penstock.errors import AccessError
from penstock.manifest.entry import TreeEntry, display_path
from penstock.manifest.records import Manifest
from penstock.progress import Progress
from penstock.repo.history.comparison import Contents, Difference, Tally, compare, differences, name_uncompared, tally

from .content_differences import ContentDifferences, OpenFile
from .entry import EntryKind, kind_name

__all__ = ["ChangeCounts", "ChangeKind", "Comparison", "PathChange", "of_directory"]

ChangeKind = Literal["added", "modified", "deleted", "renamed", "uncompared"]

_MOST_RENAMES_LOOKED_FOR = 10_000_000
"""Entries beyond which nobody looks for renames to count them."""
_IN_MAPPING = {"renamed": "added", "uncompared": "modified"}
_KINDS: dict[str, ChangeKind] = {"A": "added", "M": "modified", "D": "deleted", "R": "renamed", "U": "uncompared"}


@dataclass(frozen=True, slots=True)
class PathChange:
    """One path that differs: what is new at `path`, or was old there; of a rename, at `old_path`.

    What belongs to a side on which there is nothing is None. `kind` is that of the new side, if there is one.
    ``uncompared`` is a local file of the same size, where the version is pinned by identity and was never read here.
    """

    change: ChangeKind
    path: str
    old_path: str | None
    kind: EntryKind | None
    old_size: int | None
    new_size: int | None
    old_hash: str | None
    new_hash: str | None


@dataclass(frozen=True, slots=True)
class ChangeCounts:
    """How many entries differ, directories among them, and the bytes of files that came and went."""

    added: int
    modified: int
    deleted: int
    renamed: int
    bytes_added: int
    bytes_deleted: int
    uncompared: int = 0

    def __bool__(self) -> bool:
        return bool(self.added or self.modified or self.deleted or self.renamed or self.uncompared)


class Comparison(ContentDifferences, Mapping[str, str | list[str]]):
    """What differs from an old state to a new one. `skipped` is what a local directory has and no version can hold.

    As a mapping it has the paths that are ``added``, ``modified`` and ``deleted`` (what was renamed is in two of them,
    what could not be compared counts as modified), and the top ``hash`` of the new state. It is true when anything
    differs.

    Made by `Package.diff` and `Package.changes`; to be closed, or used in a ``with``, when one side is a directory.
    """

    __slots__ = ("_closing", "_content_only", "_files", "_mapping", "_names", "_new", "_old", "_top_hash", "skipped")

    def __init__(
        self,
        old: Contents,
        new: Contents,
        names: tuple[bytes, ...] = (),
        *,
        top_hash: str,
        content_only: bool = False,
        skipped: Sequence[SkippedFile] = (),
        closing: ExitStack | None = None,
        files: tuple[OpenFile, OpenFile] | None = None,
    ) -> None:
        self._top_hash = top_hash
        self._files = files
        self._mapping: dict[str, str | list[str]] | None = None
        self._old = old
        self._new = new
        self._names = names
        self._content_only = content_only
        self._closing = closing or ExitStack()
        self.skipped = tuple(skipped)

    def changes(self) -> Iterator[PathChange]:
        """Yield what differs, in tree order. Renames are found among up to 100,000 changes.

        NotFoundError: neither side has the path that was asked for.
        """
        return map(_as_value, self._differences())

    def counts(self) -> ChangeCounts:
        """Count what differs. In more than ten million entries, what was renamed counts as deleted and added."""
        entries = sum(each.root.entries for each in (self._old, self._new) if each.root is not None)
        if self._names or self._content_only or entries <= _MOST_RENAMES_LOOKED_FOR:
            count = Tally()
            for difference in self._differences():
                count.add(difference)
        else:
            count = tally(self._old, self._new)
        return _counts(count)

    def estimate(self) -> ChangeCounts:
        """Count what differs without a look for what was renamed, nor below directories that came or went.

        Their entries know how many they are: this is the quickest count there is.
        """
        return _counts(tally(self._old, self._new))

    def _differences(self) -> Iterator[Difference]:
        found = differences(compare(self._old, self._new, self._names, content_only=self._content_only))
        return name_uncompared(found, self._old) if self._content_only else found

    def __getitem__(self, key: str) -> str | list[str]:
        return self._as_mapping()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(("added", "modified", "deleted", "hash"))

    def __len__(self) -> int:
        return 4

    def __bool__(self) -> bool:
        """Return whether anything differs."""
        return any(True for _ in self._differences())

    def __repr__(self) -> str:
        return repr(self._as_mapping())

    def _as_mapping(self) -> dict[str, str | list[str]]:
        if self._mapping is None:
            found: dict[str, list[str]] = {"added": [], "modified": [], "deleted": []}
            for change in self.changes():
                if change.old_path is not None:
                    found["deleted"].append(change.old_path)
                found[_IN_MAPPING.get(change.change, change.change)].append(change.path)
            self._mapping = {**found, "hash": self._top_hash}
        return self._mapping

    def close(self) -> None:
        """Let go of the tree of a local directory."""
        self._closing.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def of_directory(
    old: Contents, directory: str, names: tuple[bytes, ...], progress: Progress, open_old: OpenFile
) -> Comparison:
    """Compare a version's content with a directory on disk, which has no metadata, at and below a path in both."""
    from penstock.repo.push.local_tree import local_tree  # what reads files: two versions need none of it

    with ExitStack() as stack:
        tree, load = stack.enter_context(local_tree(directory, progress.stage("hashing")))
        new = Contents(tree.root, load, lambda refs: [load(ref) for ref in refs])
        left = skipped(tree.skipped)
        whole = Manifest(tree.root).top_hash.hex()
        return Comparison(
            old,
            new,
            names,
            top_hash=whole,
            content_only=True,
            skipped=left,
            closing=stack.pop_all(),
            files=(open_old, partial(_open_local, os.fsencode(directory))),
        )


def _open_local(directory: bytes, path: tuple[bytes, ...], _: TreeEntry) -> BinaryIO:
    place = os.path.join(directory, *path)
    try:
        return open(place, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW))
    except OSError as error:
        raise AccessError(f"cannot read {os.fsdecode(place)!r}", why=error.strerror or str(error)) from error


def _as_value(difference: Difference) -> PathChange:
    old, new = difference.old, difference.new
    some = new or old
    return PathChange(
        _KINDS[difference.kind],
        display_path(difference.path),
        display_path(difference.old_path) if difference.old_path is not None else None,
        kind_name(some) if some is not None else None,
        old.size if old is not None else None,
        new.size if new is not None else None,
        old.shown_hash if old is not None else None,
        new.shown_hash if new is not None else None,
    )


def _counts(count: Tally) -> ChangeCounts:
    return ChangeCounts(
        count.added,
        count.modified,
        count.deleted,
        count.renamed,
        count.bytes_added,
        count.bytes_deleted,
        count.uncompared,
    )
