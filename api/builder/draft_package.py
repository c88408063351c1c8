"""What a builder holds, read before it is pushed: from this disk, from its bucket, from wherever its entries point.

A `DraftPackage` lasts as long as its builder stays as it is. Every byte is held against its hash, as from a version.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import TYPE_CHECKING, cast

from penstock.api.packages.document_names import DocumentNames
from penstock.api.packages.entry import Entry
from penstock.manifest import entry as tree
from penstock.repo.draft.draft import Draft
from penstock.repo.draft.draft_reader import DraftReader

if TYPE_CHECKING:
    from penstock.repo.read.snapshot import Snapshot

__all__ = ["DraftPackage"]


class DraftPackage(DocumentNames):
    """The entries of a version that was not pushed: looked up, listed, walked and read as those of a `Package`."""

    __slots__ = ("_name", "_reader")

    def __init__(self, name: str, draft: Draft) -> None:
        self._name = name
        self._reader = DraftReader(draft.tree, draft.settings)

    @property
    def name(self) -> str:
        """The name of what is being built."""
        return self._name

    @property
    def _snapshot(self) -> Snapshot:
        return cast("Snapshot", self._reader)  # for what looks at entries

    def _within(self, key: str) -> str:
        return f"{self.name}/{key}" if key else self.name

    def _entry_bytes(self, entry: tree.TreeEntry, key: str) -> bytes:
        return b"".join(self._reader.read(self._require_file(entry, key)))

    def read_many(self, keys: Iterable[str | Entry], *, budget: int | None = None) -> Generator[bytes, None, None]:
        """Yield the bytes of files in the order of their keys, one after the other; `budget` is for a `Package`."""
        del budget
        for key in keys:
            yield self.read(key.key if isinstance(key, Entry) else key)

    def __repr__(self) -> str:
        return f"DraftPackage({self.name!r})"
