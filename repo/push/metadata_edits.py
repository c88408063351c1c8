"""A version with other metadata and the same data: only nodes on the way to what changed are written. Blocking."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from msgspec import structs

from penstock.errors import UsageError
from penstock.manifest.entry import INLINE_METADATA, TreeEntry, display_path
from penstock.manifest.file_attributes import RESERVED
from penstock.manifest.metadata import canonical_json, parse_metadata
from penstock.manifest.update import Edit
from penstock.progress import SILENT, Progress
from penstock.repo.read.remembered_versions import Pin
from penstock.repo.read.snapshot import Snapshot
from penstock.repo.write.version_writer import VersionWriter

from .edits import EditsReport, land_edits

__all__ = ["MetadataChange", "land_metadata", "replaced_metadata"]

MetadataChange = Callable[[dict[str, Any]], Mapping[str, Any]]
"""Makes of the metadata that is there that which is to be."""


def land_metadata(
    writer: VersionWriter,
    changes: Mapping[tuple[bytes, ...], MetadataChange],
    progress: Progress = SILENT,
) -> EditsReport:
    """Change the metadata of some paths on the writer's branch, in one version; the empty path is the dataset.

    NotFoundError: there is no such branch or path. UsageError names the path whose metadata cannot be kept.
    MergeConflictError: somebody else changed the same path meanwhile. Nothing has happened then.
    """
    base = writer.require_head()
    writer.hold(base)
    session, repository = writer.session, writer.repository
    manifest = repository.manifest(base.top_hash)
    pin = Pin(base, manifest, None, manifest.root, manifest.metadata)
    snapshot = Snapshot(f"{session.bucket}/{repository.dataset}:{writer.branch}", session, repository, pin)

    def changed(names: tuple[bytes, ...], before: TreeEntry) -> bytes:
        try:
            return _changed(parse_metadata(snapshot.read_metadata(before.metadata)), changes[names])
        except UsageError as error:
            raise UsageError(
                f"{display_path(names) or 'the dataset'}: {error.what}", why=error.why, fix=error.fix
            ) from error

    def edits() -> Iterator[Edit]:
        for names in sorted(changes):
            if names:
                entry = snapshot.find(display_path(names))
                yield Edit(names, structs.replace(entry, metadata=changed(names, entry)))

    metadata = None
    if () in changes:
        metadata = changed((), structs.replace(snapshot.find(""), metadata=manifest.metadata))
    return land_edits(writer, base, edits(), metadata=metadata, progress=progress)


def replaced_metadata(before: bytes, said: bytes) -> bytes:
    """Return metadata, as canonical JSON, in the place of what users said before; modes and attributes stay."""
    if RESERVED.encode() not in before:
        return said
    return _changed(parse_metadata(before), lambda _: parse_metadata(said))


def _changed(before: dict[str, Any], change: MetadataChange) -> bytes:
    """Change what users said; modes and attributes stay."""
    own = {name: value for name, value in before.items() if name.startswith(RESERVED)}
    said = change({name: value for name, value in before.items() if name not in own})
    if reserved := [name for name in said if isinstance(name, str) and name.startswith(RESERVED)]:
        raise UsageError(
            f"metadata named {reserved[0]!r}", why=f"what begins with {RESERVED!r} is Penstock's", fix="Rename it."
        )
    body = canonical_json({**own, **said})
    if own and len(body) > INLINE_METADATA:
        raise UsageError(f"metadata of {len(body)} bytes", why=f"beside modes the most is {INLINE_METADATA}")
    return body
