"""Files that two versions changed, each in its way, joined by what knows their contents, for `Dataset.merge`.

A *join* makes of our, the common, and their state of a file one that has what both did, or says that it cannot. A file
that both have made anew was empty before. Of a file of more than 64 MiB nothing is joined.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from penstock.manifest.entry import TreeEntry, block_count, display_path
from penstock.manifest.merge import Choose, Conflict, Deed, Side
from penstock.manifest.records import Manifest
from penstock.manifest.tree import Tree
from penstock.progress import Progress
from penstock.repo.history.log import entry_at
from penstock.repo.push.edits import GivenBytes, apply_edits
from penstock.repo.session.bucket_session import BucketSession
from penstock.repo.write.version_writer import VersionWriter

__all__ = ["ContentMerge", "Join"]

Join = Callable[[str, bytes, bytes, bytes], bytes | None]
"""Makes one content of our, the common, and their state of the file at a path; None: it cannot."""
_MOST = 64 << 20
_BOTH = (Deed.MODIFIED, Deed.ADDED)


class ContentMerge:
    """Settles the conflicts of one merge in files that one of the joins can join; the first that can is taken."""

    def __init__(self, writer: VersionWriter, joins: Sequence[Join], progress: Progress) -> None:
        self._writer = writer
        self._joins = joins
        self._progress = progress
        self._merged: dict[tuple[bytes, ...], GivenBytes] = {}

    def settle(
        self, conflicts: Sequence[Conflict], base: Manifest | None, ours: Manifest, theirs: Manifest
    ) -> Choose | None:
        """Join what can be joined; return what settles those conflicts for now, None: there are none such."""
        session = self._writer.session
        self._merged = {}
        for conflict in conflicts:
            if not conflict.path or conflict.ours not in _BOTH or conflict.theirs not in _BOTH:
                continue
            sides = [self._read(session, each, conflict.path) for each in (ours, base, theirs)]
            ours_file, base_file, theirs_file = sides
            if ours_file is None or theirs_file is None:
                continue
            bodies = ours_file[1], base_file[1] if base_file is not None else b"", theirs_file[1]
            path = display_path(conflict.path)
            joined = next((made for join in self._joins if (made := join(path, *bodies)) is not None), None)
            if joined is not None:
                entry = ours_file[0]
                metadata = session.nodes.metadata(entry.metadata)
                self._merged[conflict.path] = GivenBytes(conflict.path, joined, entry.kind, time.time_ns(), metadata)
        if not self._merged:
            return None
        return lambda path: Side.OURS if path in self._merged else None

    def finish(self, manifest: Manifest) -> Manifest:
        """Put what was joined into the version that the merge has made of all else; all of it is in the bucket."""
        if not self._merged or self._writer.dry_run:
            return manifest
        edits = [self._merged[path] for path in sorted(self._merged)]
        return apply_edits(self._writer, manifest, edits, manifest.metadata, self._progress).manifest

    @property
    def paths(self) -> list[str]:
        """The paths of files that were joined."""
        return [display_path(path) for path in sorted(self._merged)]

    def _read(
        self, session: BucketSession, manifest: Manifest | None, path: tuple[bytes, ...]
    ) -> tuple[TreeEntry, bytes] | None:
        """Return a file and its bytes; None: there is none, or it is too large."""
        entry = entry_at(Tree(manifest.root, session.load), path) if manifest is not None else None
        if entry is None or not entry.is_file or entry.size > _MOST:
            return None
        blocks = session.blocks.fetch(entry, 0, block_count(entry.size)) if entry.size else ()
        return entry, b"".join(bytes(block) for block in blocks)
