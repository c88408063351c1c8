"""The version that an overlay can move to: what its handle names by now, and what differs there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from penstock.errors import ConflictError
from penstock.manifest.diff import Change
from penstock.overlay.tables.meta import Origin
from penstock.repo.read.snapshot import Snapshot

from .recovery import moved, others
from .version_build import mounted_directory

__all__ = ["Newer", "newest"]


class Newer(NamedTuple):
    """The version that a handle names now: the origin of an overlay that is moved to it, and what differs there."""

    origin: Origin
    changes: Sequence[Change]


def newest(origin: Origin, version: Snapshot) -> Newer | None:
    """Return what the origin's ref names by now; None: what it did. NotFoundError: nothing any more.

    ConflictError: it has no directory any more where the mount is.
    """
    repository = version.repository
    found = repository.resolve(origin.ref)
    if found.commit is None or found.commit == origin.commit:
        return None  # a version that is named by its hash stays what it is
    manifest = repository.manifest(found.top_hash)
    top = mounted_directory(manifest, origin.subdir, version)
    if top is None or top.directory is None:
        raise ConflictError(
            f"there is no directory {origin.subdir!r} any more",
            why=f"others removed it from {origin.ref!r}",
            fix="The mount stays at its version: mount another directory, or commit to another branch.",
        )
    changes = others(origin, origin.manifest, manifest, version)
    return Newer(moved(origin, origin.ref, found.commit, manifest, version), changes)
