"""Files of a version whose bytes lie outside of its bucket, copied into the bucket that mirrors it.

Where bytes lie is no part of what a top hash stands for, so the version stays the same. What is pinned by its identity
cannot be copied so: nobody knows the hash of its content, and the entry says where it lies.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

from penstock.errors import IntegrityError
from penstock.manifest.entry import BLOCK_SIZE, External, TreeEntry, block_count, display_path
from penstock.manifest.records import Manifest
from penstock.manifest.tree import Tree
from penstock.manifest.update import update
from penstock.progress import Progress
from penstock.repo.push.directory_walk import LocalFile
from penstock.repo.push.edits import PlacedEdits, VersionEdit, file_piece, whole_file
from penstock.repo.push.file_reader import PACKED_SIZE, PIECE_SIZE
from penstock.repo.session.bucket_session import BucketSession
from penstock.repo.write.version_content import open_content

__all__ = ["BroughtFiles", "bring_elsewhere"]


@dataclass(frozen=True, slots=True)
class BroughtFiles:
    """A version as it lies in the mirror, and what was copied for that: files, and bytes that were sent."""

    manifest: Manifest
    files: int
    bytes: int


def bring_elsewhere(
    source: BucketSession, target: BucketSession, manifest: Manifest, progress: Progress
) -> BroughtFiles | None:
    """Copy what a version points to outside of its bucket; None: there is nothing that can be copied.

    All else of the version is in `target`. AccessError, IntegrityError: something cannot be read, or has changed.
    """
    files = 0

    def edits() -> Iterator[VersionEdit]:
        nonlocal files
        for path, entry in Tree(manifest.root, source.load).walk():
            if entry.is_file and not entry.is_identity and _is_elsewhere(entry):
                files += 1
                metadata = source.nodes.metadata(entry.metadata)
                told = os.fsencode(display_path(path))
                file = LocalFile(path, told, entry.kind, entry.size, entry.mtime_ns, metadata)
                if entry.size <= PACKED_SIZE:
                    yield whole_file(file, _read(source, entry, 0))
                else:
                    for offset in range(0, entry.size, PIECE_SIZE):
                        yield file_piece(file, offset, _read(source, entry, offset))

    with open_content(target, None, progress.stage("uploading"), enter=False) as content:
        stream = PlacedEdits(target, content, None, progress.stage("reading"), lambda _: None)
        with closing(stream.edits(edits())) as placed:
            root = update(manifest.root, placed, target.load, content)
        if not files:
            return None
        made = content.finish(root, manifest.metadata)
        sent = content.sent[True].bytes
    if made.top_hash != manifest.top_hash:
        raise IntegrityError(
            f"version {manifest.top_hash.hex()[:12]} came out as another one", why="this is a fault of Penstock's"
        )
    return BroughtFiles(made, files, sent)


def _is_elsewhere(entry: TreeEntry) -> bool:
    return any(isinstance(each.object, External) for each in entry.extents)


def _read(source: BucketSession, entry: TreeEntry, offset: int) -> bytes:
    length = min(PIECE_SIZE, entry.size - offset)
    return b"".join(source.blocks.fetch(entry, offset // BLOCK_SIZE, block_count(length)))
