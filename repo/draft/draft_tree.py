"""The tree of a version in the making: a base, edited. What is new of it lies on this disk, the rest in the bucket.

Every edit makes a new root, in time by what it touches: a directory is added, moved or replaced by reference, whatever
is below it. Files whose bytes are not in the bucket yet point to where they are, as `External` objects.

**Invariant:** an edit that raises changes nothing: the root is set last. One thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import structs

from penstock.errors import ConflictError, MergeConflictError, NotFoundError, UsageError
from penstock.manifest.build import keep_metadata
from penstock.manifest.entry import (
    BLOCK_SIZE,
    PAGE_BLOCKS,
    DocumentRef,
    Kind,
    Metadata,
    NodeRef,
    PageRef,
    TreeEntry,
    block_count,
    display_path,
)
from penstock.manifest.hashing import HASH_SIZE
from penstock.manifest.identity import identity_block
from penstock.manifest.merge import Choose, Side, merge, merge_metadata
from penstock.manifest.node import Node
from penstock.manifest.records import Manifest
from penstock.manifest.tree import Tree
from penstock.manifest.update import EMPTY_DIRECTORY, Edit, update
from penstock.repo.session.bucket_session import BucketSession
from penstock.repo.write.version_merge import describe_conflict

from .frame_file import FrameFile

__all__ = ["CollisionError", "DraftTree", "Path"]

Path = tuple[bytes, ...]

_SHOWN = 20


class CollisionError(ConflictError):
    """Two entries are to have one key: `source` was to become `target`, where there is something already."""

    def __init__(self, source: str, target: str) -> None:
        super().__init__(
            f'Collision detected: moving "{source}" to "{target}", but "{target}" already exists',
            fix=f'Use overwrite=True if you would like to replace "{target}" with "{source}".',
        )


class DraftTree:
    """A tree on top of `base`, None: of nothing. `session` is of the bucket that nodes of it may lie in, None: none."""

    def __init__(
        self,
        frames: FrameFile,
        session: BucketSession | None,
        base: Manifest | None = None,
        root: NodeRef | None = None,
        metadata: Metadata | None = None,
    ) -> None:
        self.frames = frames
        self.session = session
        self.base = base
        start = base.root if base is not None else update(EMPTY_DIRECTORY, (), self.load, frames)
        self.root = root or start
        self.metadata: Metadata = metadata if metadata is not None else base.metadata if base is not None else b""

    def load(self, ref: NodeRef) -> Node:
        """Return a node from this disk or the bucket."""
        if self.frames.has(ref.location):
            return self.frames.load(ref)
        assert self.session is not None
        return self.session.load(ref)

    def load_many(self, refs: Sequence[NodeRef]) -> list[Node]:
        """Return nodes of which it is known that they are needed."""
        if self.session is None or any(self.frames.has(ref.location) for ref in refs):
            return [self.load(ref) for ref in refs]
        return self.session.load_many(refs)

    def page(self, ref: PageRef, count: int) -> bytes:
        """Return the joined block hashes of a page."""
        if self.frames.has(ref.location):
            return self.frames.page(ref, count)
        assert self.session is not None
        return self.session.nodes.page(ref, count)

    def block_hash(self, entry: TreeEntry, index: int) -> bytes:
        """Return the hash of one block of a file."""
        if entry.is_identity:
            return identity_block(entry, index)
        if entry.size <= BLOCK_SIZE:
            return entry.hash
        if entry.blocks:
            return entry.blocks[index * HASH_SIZE : (index + 1) * HASH_SIZE]
        number = index // PAGE_BLOCKS
        count = min(PAGE_BLOCKS, block_count(entry.size) - number * PAGE_BLOCKS)
        return self.page(entry.pages[number], count)[index % PAGE_BLOCKS * HASH_SIZE :][:HASH_SIZE]

    def read_metadata(self, metadata: Metadata) -> bytes:
        """Return metadata as canonical JSON."""
        if isinstance(metadata, DocumentRef) and self.frames.has(metadata.location):
            return self.frames.document(metadata)
        if isinstance(metadata, bytes):
            return metadata
        assert self.session is not None
        return self.session.nodes.metadata(metadata)

    @property
    def tree(self) -> Tree:
        """The tree as it is now."""
        return Tree(self.root, self.load)

    @property
    def manifest(self) -> Manifest:
        """What the version would contain."""
        return Manifest(self.root, self.metadata)

    @property
    def is_changed(self) -> bool:
        """Whether it contains anything else than the base; without one: anything."""
        if self.base is None:
            return bool(self.root.entries or self.metadata)
        return self.base.top_hash != self.manifest.top_hash

    def find(self, path: Path) -> TreeEntry | None:
        """Return what is at a path."""
        try:
            return self.tree.resolve(path)[1]
        except NotFoundError:
            return None

    def require(self, path: Path) -> TreeEntry:
        """Return what is at a path. NotFoundError: there is nothing."""
        found = self.find(path)
        if found is None:
            raise NotFoundError(f"no {display_path(path)!r} in what is being built", fix="`ls()` shows what there is.")
        return found

    def edit(self, edits: Iterable[Edit]) -> None:
        """Apply edits, in tree order. Errors as `update`."""
        self.root = update(self.root, edits, self.load, self.frames)

    def graft(self, path: Path, root: NodeRef, choose: Choose | None = None, entry: TreeEntry | None = None) -> None:
        """Put a directory at a path, merged with one that is there. `entry` has its metadata.

        MergeConflictError: both have a key with something else each, and `choose` does not settle it.
        """
        found = self.find(path)
        if found is None or (found.directory is not None and not found.entries and path):
            for depth in range(1, len(path)):
                above = self.find(path[:depth])
                if above is not None and above.directory is None:
                    raise clash(path, path[:depth])
            metadata = entry.metadata if entry is not None else found.metadata if found is not None else b""
            self.edit([Edit(path, _directory(path, root, metadata))])
            return
        if found.directory is None:
            raise ConflictError(
                f"{display_path(path)!r} is a file, and cannot be a directory as well",
                fix=f"Delete {display_path(path)!r} first, or choose another key.",
            )
        merged = merge(None, found.directory, root, self.load, self.frames, self.read_metadata, choose)
        if merged.root is None:
            raise _both_have(path, [describe_conflict(each) for each in merged.conflicts[:_SHOWN]], merged)
        if not path:
            self.root = merged.root
            return
        metadata = found.metadata
        if entry is not None and entry.metadata != metadata:
            both = merge_metadata(b"", metadata, entry.metadata, self.read_metadata)
            side = choose(path) if both is None and choose is not None else None
            if both is None and side is None:
                raise _both_have(path, [f"{display_path(path)}: metadata"], None)
            metadata = both if both is not None else entry.metadata if side is Side.THEIRS else metadata
        self.edit([Edit(path, _directory(path, merged.root, metadata))])

    def remove(self, path: Path) -> None:
        """Take out what is at a path, with all below it. NotFoundError: there is nothing."""
        self.require(path)
        if not path:
            self.root = update(EMPTY_DIRECTORY, (), self.load, self.frames)
            return
        self.edit([Edit(path, None)])

    def move(self, source: Path, target: Path, *, overwrite: bool = False) -> None:
        """Give what is at a path another one. `CollisionError`: there is something, and it is not to be overwritten."""
        entry = self.require(source)
        if not source or not target or target[: len(source)] == source:
            if source == target:
                return
            raise UsageError(
                f"cannot move {display_path(source)!r} to {display_path(target)!r}",
                why="a directory cannot lie within itself" if target else "the root has no name",
                fix="Choose another key; move_dir_contents moves what is in a directory.",
            )
        if self.find(target) is not None and not overwrite:
            raise CollisionError(display_path(source), display_path(target))
        edits = [Edit(target, structs.replace(entry, name=target[-1]))]
        if source[: len(target)] != target:  # else it goes with what is overwritten
            edits.append(Edit(source, None))
            for depth in range(1, len(target)):
                above = self.find(target[:depth])
                if above is not None and above.directory is None:
                    raise clash(target, target[:depth])
        self.edit(sorted(edits, key=lambda edit: edit.path))

    def move_contents(self, source: Path, target: Path, *, overwrite: bool = False) -> None:
        """Move what is in a directory into another one, made if it is not there.

        `CollisionError` names the first key that both have, unless it is to be overwritten. NotFoundError, UsageError:
        the source is not there, is a file, or the target lies within it.
        """
        entry = self.require(source)
        if entry.directory is None:
            raise UsageError(f"{display_path(source)!r} is no directory", fix="Use move for a file.")
        if target[: len(source)] == source:
            if source == target:
                return
            raise UsageError(
                f"cannot move what is in {display_path(source)!r} to {display_path(target)!r}",
                why="a directory cannot lie within itself",
                fix="Choose another key.",
            )
        before = self.root
        try:
            self.remove(source)
            self.graft(target, entry.directory, (lambda _: Side.THEIRS) if overwrite else None, entry)
        except MergeConflictError as error:
            self.root = before
            first = error.paths[0] if isinstance(error, BothHaveError) and error.paths else ()
            raise CollisionError(display_path((*source, *first)), display_path((*target, *first))) from error
        except BaseException:
            self.root = before
            raise

    def set_metadata(self, path: Path, metadata: bytes) -> None:
        """Set the metadata, as canonical JSON, of an entry, or without a path of the version."""
        if not path:
            self.metadata = keep_metadata(metadata, self.frames)
            return
        self.edit([Edit(path, structs.replace(self.require(path), metadata=metadata))])


class BothHaveError(MergeConflictError):
    """Keys that what is there and what is added both have; `paths` are relative to where it is added."""

    paths: tuple[Path, ...] = ()


def clash(path: Path, above: Path) -> ConflictError:
    """Return the error for a key below a file."""
    return ConflictError(
        f"{display_path(path)!r} cannot be there: {display_path(above)!r} is a file",
        why="a key is a file or a directory",
        fix=f"Delete {display_path(above)!r} first, or choose another key.",
    )


def _directory(path: Path, root: NodeRef, metadata: Metadata) -> TreeEntry:
    content = root if root.entries else EMPTY_DIRECTORY
    return TreeEntry(path[-1], Kind.DIRECTORY, root.size, root.hash, metadata=metadata, directory=content)


def _both_have(path: Path, shown: list[str], merged: object) -> BothHaveError:
    conflicts = getattr(merged, "conflicts", [])
    count = getattr(merged, "conflict_count", 1)
    place = display_path(path) or "the root"
    error = BothHaveError(
        f"{count} {'key is' if count == 1 else 'keys are'} there already, with something else",
        why=f"{shown[0]}; what is added at {place} would replace it",
        fix='Choose conflicts="ours" or --ours (what is there), or "theirs" or --theirs (what is added).',
        candidates=[*shown, *([f"and {count - len(shown)} more"] if count > len(shown) else [])],
    )
    error.paths = tuple(each.path for each in conflicts)
    return error
