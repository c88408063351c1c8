"""What came of making a version from others, with no data of its own to send."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from penstock.repo.push.edits import EditsReport

__all__ = ["NewVersion", "new_version"]


@dataclass(frozen=True, slots=True)
class NewVersion:
    """A version that was made. `changed` is False when the branch had all of it, and stays where it was.

    `entries` and `bytes` are the version's; `bytes_uploaded` of data and `metadata_bytes_uploaded` went to the bucket.
    `merged_with` is a commit that others landed meanwhile. `risk`: empty, or why the bucket may lose versions.
    """

    handle: str
    tag: str | None
    top_hash: str
    commit: str
    changed: bool
    entries: int
    bytes: int
    bytes_uploaded: int
    metadata_bytes_uploaded: int
    merged_with: str | None
    risk: str


def new_version(handle: str, tag: str | None, report: EditsReport, risk: str) -> NewVersion:
    """Return what came of edits as a value."""
    landed = report.landed
    return NewVersion(
        handle=handle,
        tag=tag,
        top_hash=landed.published.top_hash.hex(),
        commit=landed.published.known_commit.hex(),
        changed=landed.changed,
        entries=landed.manifest.root.entries,
        bytes=landed.manifest.root.size,
        bytes_uploaded=report.data.bytes,
        metadata_bytes_uploaded=report.nodes.bytes,
        merged_with=landed.merged_with.hex() if landed.merged_with is not None else None,
        risk=risk,
    )
