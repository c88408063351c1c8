"""What an overlay stands on after a commit has landed, also when the process died before the overlay took note.

A commit is found by the mark of its intent in the history of its branch. `Recovery` must have run before the next
commit begins.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import msgspec

from penstock.manifest import diff
from penstock.manifest.records import Manifest
from penstock.overlay.overlay import Overlay
from penstock.overlay.tables.intent import clear_intent, find_landed, read_intent
from penstock.overlay.tables.meta import Origin
from penstock.overlay.tree.editor import Editor
from penstock.repo.read.snapshot import Snapshot
from penstock.repo.settings.handle import parse_handle

from .settlement import Settling, upstream
from .version_build import mounted_directory

__all__ = ["Recovery", "moved", "others"]


class Recovery:
    """Finds out whether a commit landed whose process died, and settles it. To be run where an intent is left.

    `look` blocks, in any thread; `settle` is for the overlay's, as of `Commit`.
    """

    def __init__(self, overlay: Overlay, editor: Editor, version: Snapshot) -> None:
        self._overlay = overlay
        self._editor = editor
        self._version = version
        self._found: Origin | None = None
        self._others: Sequence[diff.Change] = ()
        self._intent = read_intent(overlay.records)

    @property
    def is_needed(self) -> bool:
        """Whether a commit was interrupted."""
        return self._intent is not None

    def look(self) -> bool:
        """Whether that commit landed. StoreUnreachableError: it is still not known."""
        intent, origin = self._intent, self._overlay.origin
        assert intent is not None
        assert origin is not None
        repository = self._version.repository
        found = find_landed(repository, intent)
        if found is None:
            return False
        manifest = repository.manifest(found.top_hash)
        self._found = moved(origin, intent.branch, found.known_commit, manifest, self._version)
        self._others = others(origin, intent.manifest, manifest, self._version)
        return True

    def settle(self, is_open: Callable[[int], bool]) -> Settling | None:
        """Return the steps by which the overlay takes note; None: there are none, the commit had not landed."""
        intent = self._intent
        assert intent is not None
        if self._found is None:
            self._overlay.records.change([clear_intent()])
            return None
        return Settling(self._overlay, self._editor, self._found, intent.sequence, self._others, None, None, is_open)


def moved(origin: Origin, branch: str, commit: bytes, manifest: Manifest, version: Snapshot) -> Origin:
    """Return the origin of an overlay whose clean records are now in another version, of `branch`. Blocking."""
    top = mounted_directory(manifest, origin.subdir, version)
    handle = str(replace(parse_handle(origin.handle), ref=branch)) if branch != origin.ref else origin.handle
    metadata = top.metadata if top is not None else b""
    return msgspec.structs.replace(
        origin, handle=handle, ref=branch, commit=commit, manifest=manifest, metadata=metadata
    )


def others(origin: Origin, mine: Manifest, landed: Manifest, version: Snapshot) -> Sequence[diff.Change]:
    """Return what a version has beyond the one that it was merged from, below the root of the mount. Blocking.

    When others have removed the directory that is mounted, or put something else in its place, all in it is gone: what
    has landed has landed, so that the overlay has to take note of it. What is made in it next makes it anew.
    """
    if landed.top_hash == mine.top_hash:
        return ()
    before = mounted_directory(mine, origin.subdir, version)
    after = mounted_directory(landed, origin.subdir, version)
    old, new = (entry.directory if entry is not None else None for entry in (before, after))
    return upstream(old, new, version.load)
