"""The files of a version as questions see them (`query.Record`), in tree order, loaded as they are reached."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from penstock.manifest.entry import TreeEntry, display_path, split_path
from penstock.manifest.metadata import parse_metadata
from penstock.repo.query.query_record import Record

from .snapshot import Snapshot

__all__ = ["EntryRecords"]

Question = Callable[[Iterable[Record]], Iterable[Record]]
"""Passes on the records that it is true for, each before it asks for the next one."""


class EntryRecords:
    """Goes through the files below a path of a version, once. `names` and `entry` are of the record yielded last.

    NotFoundError, from the first step: there is no such path.
    """

    def __init__(self, snapshot: Snapshot, prefix: str = "") -> None:
        self._snapshot = snapshot
        self._prefix = split_path(prefix)
        self.names: tuple[bytes, ...] = ()
        self.entry: TreeEntry | None = None

    def __iter__(self) -> Iterator[Record]:
        snapshot, prefix = self._snapshot, self._prefix
        top = snapshot.find(display_path(prefix))
        below = snapshot.tree.walk(top.directory) if top.directory is not None else iter([((), top)])
        for more, entry in below:
            if entry.is_file:
                self.names, self.entry = prefix + more, entry
                metadata = parse_metadata(snapshot.read_metadata(entry.metadata))
                yield Record(display_path(self.names), entry.size, entry.shown_hash, metadata)

    def chosen(self, question: Question | None = None) -> Iterator[tuple[Record, tuple[bytes, ...], TreeEntry]]:
        """Yield the records that a question is true for, each with the names and the entry that it is of."""
        for record in question(self) if question is not None else self:
            assert self.entry is not None
            yield record, self.names, self.entry
