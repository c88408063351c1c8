"""Local files as entries of a tree that is not published: read and hashed, and pointed to where they lie.

What they hold is what was hashed: whoever reads them later for their bytes checks it again. Such an entry is known by
its ETag, the mark of the tree that it was added to, which nobody else can know.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from urllib.parse import quote_from_bytes, unquote_to_bytes

from penstock.errors import UsageError
from penstock.manifest.build import TreeBuilder, with_blocks
from penstock.manifest.entry import Extent, External, Kind, NodeRef, TreeEntry, display_path
from penstock.manifest.update import Edit
from penstock.progress import Stage
from penstock.repo.push.directory_walk import EnterDirectory, LeaveDirectory, LocalFile, Skipped, Step, walk_directory
from penstock.repo.push.file_reader import FilePiece, FileRead, read_ahead
from penstock.repo.push.local_tree import threads

from .frame_file import FrameFile

__all__ = ["check_text_key", "draft_directory", "file_edits", "local_path", "points_here"]

_OWN = b".penstock"


def draft_directory(directory: str, frames: FrameFile, hashing: Stage) -> tuple[NodeRef, list[Skipped]]:
    """Read a directory into a tree; return its root, and what no version can hold. Errors as `walk_directory`.

    UsageError: a name is not UTF-8.
    """
    skipped: list[Skipped] = []
    builder = TreeBuilder(frames)
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(threads(), "penstock-read"))
        steps = _without_own(walk_directory(os.path.abspath(directory), skipped.append))
        for step in stack.enter_context(closing(read_ahead(steps, pool))):
            if isinstance(step, FilePiece):
                hashing.advance(len(step.data))
            elif isinstance(step, EnterDirectory):
                check_text_key(step.names)
                builder.enter(step.names[-1], mtime_ns=step.mtime_ns)
            elif isinstance(step, LeaveDirectory):
                builder.leave()
            elif isinstance(step, FileRead):
                check_text_key(step.file.names)
                hashing.advance(len(step.data))
                builder.add(_entry(step, frames))
    return builder.finish(), skipped


def _without_own(steps: Iterator[Step]) -> Iterator[Step]:
    """Leave out ``.penstock`` at the top: what is kept there is ours, and changes while this is read."""
    depth = 0
    for step in steps:
        if isinstance(step, EnterDirectory) and (depth or step.names == (_OWN,)):
            depth += 1
        elif isinstance(step, LeaveDirectory) and depth:
            depth -= 1
        elif not depth:
            yield step


def file_edits(steps: Iterable[LocalFile | Edit], frames: FrameFile, hashing: Stage) -> Iterator[Edit]:
    """Read the files among what is given in tree order, and yield the edits that put them into a tree."""
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(threads(), "penstock-read"))
        for step in stack.enter_context(closing(read_ahead(steps, pool))):
            if isinstance(step, Edit):
                yield step
                continue
            hashing.advance(len(step.data))
            if isinstance(step, FileRead):
                yield Edit(step.file.names, _entry(step, frames))


def _entry(read: FileRead, frames: FrameFile) -> TreeEntry:
    file = read.file
    name = file.names[-1]
    if file.kind is Kind.SYMLINK:
        return TreeEntry(name, file.kind, read.size, read.hash, file.mtime_ns, file.metadata, target=read.data)
    uri = f"file://{quote_from_bytes(file.path)}"
    extents = (Extent(External(uri, etag=frames.mark), 0, read.size),) if read.size else ()
    entry = TreeEntry(name, file.kind, read.size, read.hash, file.mtime_ns, file.metadata, extents=extents)
    return with_blocks(entry, read.blocks, frames.write) if read.blocks else entry


def check_text_key(names: tuple[bytes, ...]) -> None:
    """Raise UsageError for a key that is not UTF-8."""
    try:
        b"/".join(names).decode()
    except UnicodeDecodeError as error:
        raise UsageError(
            f"the key {display_path(names)!a} is not UTF-8",
            why=str(error),
            fix="Rename it; `penstock push` takes directories with any names.",
        ) from error


def local_path(entry: TreeEntry, mark: str) -> bytes | None:
    """Return the path of the local file that an entry points to, None: it points to none that was added here.

    `mark` is the builder's own: what another's data set says of files of this machine is not believed.
    """
    if len(entry.extents) != 1:
        return None
    found = entry.extents[0].object
    if not isinstance(found, External) or found.etag != mark or not found.uri.startswith("file://"):
        return None
    return unquote_to_bytes(found.uri.removeprefix("file://"))


def points_here(entry: TreeEntry, mark: str) -> bool:
    """Whether the bytes of an entry that was added here lie on this machine alone, in files or in another bucket."""
    return any(
        isinstance(each.object, External)
        and each.object.uri.startswith("file://")
        and each.object.etag is not None
        and each.object.etag.startswith(mark)
        for each in entry.extents
    )
