"""Single entries that were put into a tree in the making, or taken out of it, and that are not written yet.

To write one entry is to write its leaf anew, which holds some hundreds. So what is put, described or deleted key by key
waits here, in memory and within a bound, and goes into the tree all at once. Whoever looks a key up looks here first.

**Invariant:** what waits fits the tree and itself: no file waits below a file, or where there is a directory. So that
who breaks that is told at once, each look-up costs one descent to the leaf, and none where the directory is new.
"""

from __future__ import annotations

from dataclasses import replace

from msgspec import structs

from penstock.errors import ConflictError
from penstock.manifest.entry import Kind, NodeRef, TreeEntry, display_path
from penstock.manifest.tree import Tree
from penstock.manifest.update import Edit
from penstock.repo.push.directory_walk import LocalFile

from .draft_tree import DraftTree, Path, clash

__all__ = ["Found", "WaitingEntries"]

Found = LocalFile | TreeEntry
_FEWEST, _MOST = 20_000, 100_000
_SHARE = 10
_MOST_BYTES = 32 << 20  # of metadata


class WaitingEntries:
    """What waits to go into `tree`: files to be read, entries, directories of which only the metadata is new, nothing.

    A directory that waits has no content: what it has stays.
    """

    def __init__(self, tree: DraftTree) -> None:
        self._tree = tree
        self._root: NodeRef | None = None
        self._waiting: dict[Path, Found | None] = {}
        self._new: set[Path] = set()
        """Directories that the tree does not have, and that come with what waits."""
        self._folders: dict[Path, NodeRef] = {}
        """Directories of the tree that were looked up."""
        self._weight = 0

    def __bool__(self) -> bool:
        return bool(self._waiting)

    @property
    def is_full(self) -> bool:
        """Whether it is time to write: in a large tree, keys in any order touch all of its leaves."""
        most = max(_FEWEST, min(_MOST, self._tree.root.entries // _SHARE))
        return len(self._waiting) >= most or self._weight >= _MOST_BYTES

    def find(self, path: Path) -> Found | None:
        """Return what is at a path; of a directory, what is known without writing what waits in it."""
        try:
            return self._find(path)
        except ConflictError:
            return None

    def _find(self, path: Path) -> Found | None:
        waiting = self._waiting.get(path)
        if waiting is not None:
            return waiting
        if path in self._new:
            return TreeEntry(path[-1], Kind.DIRECTORY)
        return None if path in self._waiting else self._in_tree(path)

    def check_place(self, path: Path) -> None:
        """Raise ConflictError where no file can be: there is a directory, or a file above it."""
        found = self._find(path)
        if isinstance(found, TreeEntry) and found.kind is Kind.DIRECTORY:
            count = found.entries
            below = f"{count} entr{'y lies' if count == 1 else 'ies lie'}" if count else "what was added lies"
            raise ConflictError(
                f"{display_path(path)!r} is a directory, and cannot be a file as well",
                why=f"{below} below it",
                fix=f"Delete {display_path(path)!r} first, or choose another key.",
            )

    def put(self, path: Path, entry: Found) -> None:
        """Put a file or symlink, at a place that was checked."""
        if isinstance(entry, TreeEntry) and entry.name != path[-1]:
            entry = structs.replace(entry, name=path[-1])
        self._keep(path, entry)

    def _keep(self, path: Path, entry: Found) -> None:
        self._waiting[path] = entry
        self._weight += len(entry.metadata) if isinstance(entry.metadata, bytes) else 0
        for depth in range(len(path) - 1, 0, -1):
            above = path[:depth]
            if above in self._new or self._folder(above) is not None:
                return
            self._new.add(above)

    def describe(self, path: Path, metadata: bytes) -> bool:
        """Set the metadata of what is at a path; False: there is nothing."""
        found = self.find(path)
        if isinstance(found, LocalFile):
            found = replace(found, metadata=metadata)
        elif found is not None:
            found = structs.replace(found, metadata=metadata, directory=None)
        else:
            return False
        self._keep(path, found)
        return True

    def remove(self, path: Path) -> bool:
        """Take out a file; False: there is none, but maybe a directory, which has to be taken out of the tree.

        The directory that it is in stays, also where it came with the file.
        """
        found = self.find(path)
        if found is None or found.kind is Kind.DIRECTORY:
            return False
        if self._in_tree(path) is not None:
            self._waiting[path] = None
        else:
            del self._waiting[path]
            above = path[:-1]
            if above in self._new and above not in self._waiting:
                self._waiting[above] = TreeEntry(above[-1], Kind.DIRECTORY)
        return True

    def move(self, source: Path, target: Path, *, overwrite: bool) -> bool:
        """Give a file another path, maybe in the place of a file that is there; False: it takes the tree to do it.

        ConflictError: a file is above the path.
        """
        found, there = self.find(source), self.find(target)
        if found is None or found.kind is Kind.DIRECTORY or source in self._waiting or target[: len(source)] == source:
            return False
        if not target or (there is not None and (there.kind is Kind.DIRECTORY or not overwrite)):
            return False
        self.check_place(target)
        self.put(target, found)
        self._waiting[source] = None
        return True

    def edits(self) -> list[LocalFile | Edit]:
        """Return all that waits, in tree order."""
        waiting = self._waiting
        return [
            found if isinstance(found, LocalFile) else Edit(path, found)
            for path, found in sorted(waiting.items(), key=lambda item: item[0])
        ]

    def clear(self) -> None:
        """Forget what waits: it is in the tree."""
        self._waiting.clear()
        self._new.clear()
        self._weight = 0

    def _in_tree(self, path: Path) -> TreeEntry | None:
        """Return what the tree has at a path. ConflictError: a file is, or will be, above it."""
        if not path or path[:-1] in self._new:
            return None
        folder = self._folder(path[:-1], path)
        found = Tree(folder, self._tree.load).find(folder, path[-1]) if folder is not None else None
        return found[0] if found is not None else None

    def _folder(self, path: Path, whose: Path = ()) -> NodeRef | None:
        """Return the content that a directory has in the tree; None: it has no such directory, but can get one."""
        if self._root is not self._tree.root:
            self._root = self._tree.root
            self._folders.clear()
        if not path:
            return self._root
        known = self._folders.get(path)
        if known is not None:
            return known
        waiting = self._waiting.get(path)
        if waiting is not None and waiting.kind is not Kind.DIRECTORY:
            raise clash(whose, path)
        if path in self._new or (waiting is None and path in self._waiting):
            return None
        folder = self._folder(path[:-1], whose)
        found = Tree(folder, self._tree.load).find(folder, path[-1]) if folder is not None else None
        if found is None:
            return None
        if found[0].directory is None:
            raise clash(whose, path)
        self._folders[path] = found[0].directory
        return found[0].directory
