"""Land a version on a branch that may have moved since: the commit protocol, as far as it is no writing.

Whoever edits a version knows the commit that it started from. If the branch still stands there, the new version is
published as it is. If it moved, what was changed is merged into where it stands now: paths that only one side
changed are taken from that side, and a path that both changed is a conflict, which changes nothing. If it moves
once more in between, all of this is done again. `version_writer.VersionWriter.land` does it.

History stays linear: a version that was merged while landing has one parent, the one that it landed on. Two parents
are for branches that people merge (`repo/history/branch_merge`).
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from penstock.errors import ConflictError, MergeConflictError
from penstock.manifest.records import Manifest
from penstock.repo.refs.repository import VersionId

__all__ = ["Landed", "until_it_stands", "way_out"]

T = TypeVar("T")

_TRIES = 10
_PAUSE = 0.1
"""Seconds, at most and times the number of the try, that one waits who was overtaken."""


@dataclass(frozen=True, slots=True)
class Landed:
    """Where a version came to stand.

    `merged_with` is the commit that it was merged into, None when the branch had not moved. `manifest` is what the
    branch contains now. `changed` is False when the branch had all of it already, and stays where it was.
    """

    published: VersionId
    merged_with: bytes | None
    manifest: Manifest
    changed: bool


def until_it_stands(attempt: Callable[[], T]) -> T:
    """Do again what failed because a branch moved meanwhile; the tenth ConflictError is raised."""
    for number in range(1, _TRIES):
        try:
            return attempt()
        except MergeConflictError:
            raise
        except ConflictError:
            time.sleep(random.uniform(0, _PAUSE * number))  # spreads those who race
    return attempt()


def way_out(operation: str) -> str:
    """Say what can be done about conflicts."""
    if operation == "revert":
        return "Choose with --ours (what the branch has) or --theirs (what it was before), for all or one PATH each."
    return (
        "Choose with --ours (what was changed here) or --theirs (what they have), for all or one PATH each, "
        "or commit to another branch: --branch NAME. penstock conflicts shows both sides."
    )
