"""What the version before has at a path, asked in tree order: one directory a level is held. One thread."""

from __future__ import annotations

from penstock.manifest.entry import Metadata, NodeRef, TreeEntry
from penstock.manifest.tree import Tree

__all__ = ["OlderState"]


class OlderState:
    """Stands in a directory of `tree`, None: of nothing; directories that it does not have hold nothing."""

    def __init__(self, tree: Tree | None) -> None:
        self._tree = tree
        self._names: list[bytes] = []
        self._folders: list[NodeRef | None] = [tree.root if tree is not None else None]
        self._metadata: list[Metadata] = [b""]

    def find(self, name: bytes) -> TreeEntry | None:
        """Return what the directory has under a name."""
        folder = self._folders[-1]
        if folder is None or self._tree is None:
            return None
        found = self._tree.find(folder, name)
        return found[0] if found is not None else None

    @property
    def metadata(self) -> Metadata:
        """Metadata of the directory that it stands in; of the top, none."""
        return self._metadata[-1]

    def enter(self, name: bytes) -> NodeRef | None:
        """Go into a directory; return its content there, None when it has none."""
        found = self.find(name)
        self._names.append(name)
        self._folders.append(found.directory if found is not None else None)
        self._metadata.append(found.metadata if found is not None and found.directory is not None else b"")
        return self._folders[-1]

    def leave(self) -> None:
        """Go back up."""
        self._names.pop()
        self._folders.pop()
        self._metadata.pop()

    def find_path(self, path: tuple[bytes, ...]) -> TreeEntry | None:
        """Return what is at a path, from the top, and stand where it lies: paths near each other are found fast."""
        *above, name = path
        while self._names and self._names != above[: len(self._names)]:
            self.leave()
        for folder in above[len(self._names) :]:
            self.enter(folder)
        return self.find(name)
