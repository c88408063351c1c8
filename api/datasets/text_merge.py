"""Lines of text that two versions changed, joined by git's own merge (git-merge-file(1)), for `Dataset.merge`.

What both have changed is taken as text where all three states of it are files of up to 8 MiB without a NUL byte. Where
the same lines were changed, git says so, and the conflict stays one. Nothing is written but what git needs, in a
temporary directory.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Sequence

from penstock.errors import UsageError
from penstock.manifest.entry import TreeEntry, block_count, display_path
from penstock.manifest.merge import Choose, Conflict, Deed, Side
from penstock.manifest.records import Manifest
from penstock.manifest.tree import Tree
from penstock.progress import Progress
from penstock.repo.history.log import entry_at
from penstock.repo.push.edits import GivenBytes, apply_edits
from penstock.repo.session.bucket_session import BucketSession
from penstock.repo.write.version_writer import VersionWriter

__all__ = ["TextMerge"]

_MOST = 8 << 20
_SECONDS = 60.0
_BOTH = (Deed.MODIFIED, Deed.ADDED)


class TextMerge:
    """Settles the conflicts of one merge that are text."""

    def __init__(self, writer: VersionWriter, progress: Progress) -> None:
        self._writer = writer
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
            sides = [self._text(session, each, conflict.path) for each in (ours, base, theirs)]
            ours_text, base_text, theirs_text = sides
            if ours_text is None or theirs_text is None:
                continue
            joined = _joined(ours_text[1], base_text[1] if base_text is not None else b"", theirs_text[1])
            if joined is not None:
                entry = ours_text[0]
                metadata = session.nodes.metadata(entry.metadata)
                self._merged[conflict.path] = GivenBytes(conflict.path, joined, entry.kind, time.time_ns(), metadata)
        if not self._merged:
            return None
        return lambda path: Side.OURS if path in self._merged else None

    def finish(self, manifest: Manifest) -> Manifest:
        """Put the joined texts into the version that the merge has made of all else; all of it is in the bucket."""
        if not self._merged or self._writer.dry_run:
            return manifest
        edits = [self._merged[path] for path in sorted(self._merged)]
        return apply_edits(self._writer, manifest, edits, manifest.metadata, self._progress).manifest

    @property
    def paths(self) -> list[str]:
        """The paths whose lines were joined."""
        return [display_path(path) for path in sorted(self._merged)]

    def _text(
        self, session: BucketSession, manifest: Manifest | None, path: tuple[bytes, ...]
    ) -> tuple[TreeEntry, bytes] | None:
        """Return a file of text and its bytes; None: there is none, or it is no text."""
        entry = entry_at(Tree(manifest.root, session.load), path) if manifest is not None else None
        if entry is None or not entry.is_file or entry.size > _MOST:
            return None
        blocks = session.blocks.fetch(entry, 0, block_count(entry.size)) if entry.size else ()
        body = b"".join(bytes(block) for block in blocks)
        return (entry, body) if b"\0" not in body else None


def _joined(ours: bytes, base: bytes, theirs: bytes) -> bytes | None:
    """Return two texts joined; None: both changed the same lines. UsageError: there is no git."""
    with tempfile.TemporaryDirectory(prefix="penstock-merge-") as folder:
        names = [os.path.join(folder, name) for name in ("ours", "base", "theirs")]
        for name, body in zip(names, (ours, base, theirs), strict=True):
            with open(name, "wb") as stream:
                stream.write(body)
        command = ["git", "merge-file", "-p", "-q", *names]
        try:
            done = subprocess.run(command, capture_output=True, check=False, timeout=_SECONDS, cwd=folder)
        except subprocess.TimeoutExpired:
            return None
        except FileNotFoundError as error:
            raise UsageError(
                "text cannot be merged", why="there is no git, whose merge-file does it", fix="Install git."
            ) from error
    return done.stdout if done.returncode == 0 else None
