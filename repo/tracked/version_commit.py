"""The commit of a version alone, with no history: the same bytes whoever makes it, whenever.

By it a version that a pointer stands for can be among the parents of the record of a push, and `gc` keeps it; and a
mount of it has a commit to land changes on.
"""

from __future__ import annotations

from penstock.manifest.hashing import commit_id
from penstock.manifest.records import Commit, Manifest

__all__ = ["version_commit"]

_FIXED_TIME = "1970-01-01T00:00:00.000000Z"


def version_commit(manifest: Manifest) -> tuple[bytes, bytes]:
    """Return the id and the body of the commit of a version."""
    root = manifest.root
    body = Commit(manifest.top_hash, root.entries, root.size, (), "", _FIXED_TIME, "", {}).encode()
    return commit_id(body), body
