"""One version of what all tasks have made: former outputs go, new ones come, and what is not of the transform stays.

Former outputs are known by their lineage. Edits come in tree order, from the parts and from the version before side by
side, and only nodes on the way to what changed are written. Directories that only former outputs were in go, so that
a version that grew by several runs is the one that a single run makes.

**Invariant:** nothing that is no output of this transform is ever replaced or removed. Memory: the parts side by side,
the directories that lost an output, the keys of inputs that changed.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field

from penstock.errors import ConflictError, NotFoundError
from penstock.manifest.build import with_blocks
from penstock.manifest.entry import Extents, TreeEntry, display_path, split_path
from penstock.manifest.records import Manifest
from penstock.manifest.tree import Tree
from penstock.manifest.update import EMPTY_DIRECTORY, Edit, update
from penstock.progress import Stage
from penstock.repo.parts.part_reader import StoredPart, merged_entries
from penstock.repo.parts.part_record import PartEntry, Path
from penstock.repo.push.older_state import OlderState
from penstock.repo.write.pack_queue import PackQueue
from penstock.repo.write.upload import Sent
from penstock.repo.write.version_content import VersionContent
from penstock.repo.write.version_writer import VersionWriter

from .lineage_metadata import source_of

__all__ = ["FormerOutputs", "MergedTree", "merge_outputs"]


@dataclass(frozen=True, slots=True)
class FormerOutputs:
    """Which outputs of the version before go: those of inputs with `keys`; None: all, but for the hashes in `held`."""

    keys: frozenset[str] | None
    held: frozenset[str] = frozenset()

    def has(self, entry: TreeEntry) -> bool:
        """Whether an entry is one of them."""
        found = source_of(entry.metadata) if entry.is_file else None
        if found is None:
            return False
        return found[0] in self.keys if self.keys is not None else found[1] not in self.held

    def find(self, tree: Tree) -> Iterator[Path]:
        """Yield their paths, in tree order. Outputs lie in the directory of their input, or below it."""
        if self.keys is None:
            folders: Iterable[Path] = ((),)
        else:
            folders = _outermost({split_path(key)[:-1] for key in self.keys})
        for folder in folders:
            try:
                directory = tree.resolve(folder)[1].directory
            except NotFoundError:
                continue
            if directory is not None:
                yield from (folder + names for names, entry in tree.walk(directory) if self.has(entry))


def _outermost(folders: set[Path]) -> Iterator[Path]:
    last: Path | None = None
    for folder in sorted(folders):
        if last is None or folder[: len(last)] != last:
            yield folder
            last = folder


@dataclass(slots=True)
class MergedTree:
    """What came of it: the manifest, and what went to the bucket for it."""

    manifest: Manifest
    data: Sent
    nodes: Sent
    outputs: int
    removed: int


def merge_outputs(
    writer: VersionWriter,
    base: Manifest | None,
    parts: list[StoredPart],
    former: FormerOutputs,
    metadata: bytes,
    merging: Stage,
) -> MergedTree:
    """Make the tree of the version to come, and have all of it in the bucket. `metadata` is the version's.

    ConflictError: an output would take the place of what is no output of the transform, or comes from two inputs.
    """
    session = writer.session
    root = base.root if base is not None else EMPTY_DIRECTORY
    tree = Tree(base.root, session.load) if base is not None else None
    with writer.content(base, enter=False) as content:
        edits = _OutputEdits(content, tree, former, merging.advance)
        with closing(merged_entries(writer.repository.store, parts)) as entries:
            manifest = content.finish(update(root, edits.edits(entries), session.load, content), metadata)
    merged = MergedTree(manifest, content.sent[True], content.sent[False], edits.outputs, edits.removed)
    empty = _emptied(Tree(manifest.root, session.load), edits.left)
    if empty:
        with writer.content(manifest, enter=False) as content:
            gone = (Edit(path, None) for path in empty)
            merged.manifest = content.finish(update(manifest.root, gone, session.load, content), manifest.metadata)
        merged.nodes.objects += content.sent[False].objects
        merged.nodes.bytes += content.sent[False].bytes
    return merged


@dataclass(slots=True)
class _OutputEdits:
    """Gives the edits, contents that parts have themselves being packed on the way."""

    content: VersionContent
    tree: Tree | None
    former: FormerOutputs
    advance: Callable[[int], None]
    outputs: int = 0
    removed: int = 0
    left: set[Path] = field(default_factory=set)
    """Directories that a former output went from."""

    def edits(self, entries: Iterable[tuple[StoredPart, PartEntry]]) -> Iterator[Edit]:
        queue: PackQueue[tuple[PartEntry | None, Path]] = PackQueue(self.content.data)
        older = OlderState(self.tree)
        gone = ((path, 1, None) for path in self.former.find(self.tree)) if self.tree is not None else iter(())
        come = ((found.path, 0, found) for _, found in entries)
        last: Path | None = None
        for path, _, found in heapq.merge(come, gone, key=lambda each: each[:2]):
            if found is None:
                if path == last:
                    continue  # its input makes it anew
                self.removed += 1
                self.left.add(path[:-1])
                queue.put((None, path))
            else:
                self._check(found, older)
                self.outputs += 1
                places = found.entry.extents
                if found.data is not None:
                    places = self._place(found, found.data, older)
                queue.put((found, path), places)
                self.advance(1)
            last = path
            for (ready, where), extents in queue.ready():
                yield self._edit(ready, where, extents)
        for (ready, where), extents in queue.rest():
            yield self._edit(ready, where, extents)

    def _check(self, found: PartEntry, older: OlderState) -> None:
        before = older.find_path(found.path)
        if before is None or self.former.has(before):
            return
        source = source_of(before.metadata) if before.is_file else None
        where = f"it is what comes of {source[0]}" if source is not None else "that is no output of the transform"
        raise ConflictError(
            f"an output of {found.source} would take the place of {display_path(found.path)!r}",
            why=where,
            fix="Have the function give it another name, or transform into a dataset of its own.",
        )

    def _place(self, found: PartEntry, data: bytes, older: OlderState) -> Extents:
        before = older.find_path(found.path)
        if before is not None and before.is_file and before.hash == found.entry.hash:
            return before.extents
        return (self.content.pack(data, found.entry.hash),)

    def _edit(self, found: PartEntry | None, path: Path, extents: Extents) -> Edit:
        if found is None:
            return Edit(path, None)
        entry = TreeEntry(
            found.entry.name,
            found.entry.kind,
            found.entry.size,
            found.entry.hash,
            found.entry.mtime_ns,
            found.entry.metadata,
            extents=extents,
        )
        return Edit(path, with_blocks(entry, found.blocks, self.content.write) if found.blocks else entry)


def _emptied(tree: Tree, left: set[Path]) -> list[Path]:
    """Return directories with nothing in them but each other, the outermost of them, in tree order."""
    hollow: dict[Path, int] = {}  # how many entries below are such directories
    gone: set[Path] = set()
    pending = [(-len(path), path) for path in left if path]
    heapq.heapify(pending)
    seen: set[Path] = set()
    while pending:  # the deepest first
        _, path = heapq.heappop(pending)
        if path in seen:
            continue
        seen.add(path)
        try:
            entry = tree.resolve(path)[1]
        except NotFoundError:
            continue
        directory = entry.directory
        if directory is None or entry.metadata or directory.entries != hollow.get(path, 0):
            continue  # what somebody has described stays
        gone.add(path)
        above = path[:-1]
        if above:
            hollow[above] = hollow.get(above, 0) + directory.entries + 1
            heapq.heappush(pending, (-len(above), above))
    return sorted(path for path in gone if path[:-1] not in gone)
