"""All that the upper layer says of what lies below a directory, in the merged tree. Reads only.

What a directory of a tree held has inodes in a range; what moved away from there is not below it any more, and what
moved in is found by its name. Cost: what the tables say of those ranges and directories.
"""

from __future__ import annotations

from collections.abc import Iterator

from penstock.manifest.entry import Kind, NodeRef
from penstock.overlay.tables.schema import Name

from .namespace import MergedNode, Namespace

__all__ = ["Subtree"]


class Subtree:
    """What lies below `directory`: `names` yields what is said of names; then `found` has all inodes with a record."""

    def __init__(self, view: Namespace, directory: int) -> None:
        self._view = view
        self._waiting = [directory]
        self.found: list[MergedNode] = []

    def names(self) -> Iterator[tuple[int, bytes, Name]]:
        """Yield directory, name, and what the upper layer says of it."""
        while self._waiting:
            directory = self._waiting.pop()
            ref = self._view.listing(directory)
            for name, upper in self._view.names(directory):
                yield directory, name, upper
                self._follow(upper)
            if ref is not None:
                yield from self._in_range(directory, ref)

    def _follow(self, upper: Name) -> None:
        record = self._view.record(upper.inode) if upper.inode else None
        if record is not None:
            self.found.append(MergedNode(upper.inode, record, None))
            if record.kind is Kind.DIRECTORY:
                self._waiting.append(upper.inode)

    def _in_range(self, directory: int, ref: NodeRef) -> Iterator[tuple[int, bytes, Name]]:
        last = directory + ref.entries
        stays = {directory: True}
        for inode, record in self._view.records(directory + 1):
            if inode > last:
                break
            if record.parent is None and self._stays(inode, stays):
                self.found.append(MergedNode(inode, record, None))
        for parent, name, upper in self._view.names_from(directory + 1):
            if parent > last:
                break
            if self._stays(parent, stays):
                yield parent, name, upper
                self._follow(upper)

    def _stays(self, inode: int, known: dict[int, bool]) -> bool:
        """Whether an inode is linked where its tree has it, and so is all on the way from the directory."""
        way: list[int] = []
        at = inode
        found = True
        while found and at not in known:
            way.append(at)
            record = self._view.record(at)
            place = self._view.place(at) if record is None or record.parent is None else None
            upper = self._view.name(*place) if place is not None else None
            if place is None or upper is not None:
                found = False
            else:
                at = place[0]
        found = found and known[at]
        known.update(dict.fromkeys(way, found))
        return found
