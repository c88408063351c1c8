"""Branches that keep what was changed in a mounted directory until a push records it.

A mount's commit needs a branch to land on; `gc` of the bucket keeps what it leads to. When a push has recorded the
version that was made, the branch has no use any more, and goes. Which there are is noted beside the local bucket.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Collection

from penstock.errors import NotFoundError
from penstock.project.project import Project
from penstock.project.project_file import read_bounded
from penstock.project.state_folder import replace_file
from penstock.repo.bucket.leases import LeaseKind
from penstock.repo.history.branches import delete_branch
from penstock.repo.session.bucket_session import BucketSession
from penstock.repo.write.authorship import default_author
from penstock.repo.write.publish import Authorship
from penstock.repo.write.version_writer import VersionWriter

__all__ = ["end_branch", "end_recorded", "new_branch", "note_branch"]

_MOST = 16 << 20
_LINE = re.compile(rb"([A-Za-z0-9._-]{1,255}) (edits-[0-9a-f]{16}) ([0-9a-f]{64})")


def new_branch() -> str:
    """Return the name of one that there is not yet."""
    return f"edits-{secrets.token_hex(8)}"


def _path(project: Project) -> str:
    return os.path.join(project.shared, "edits")


def _noted(project: Project) -> list[tuple[str, str, bytes]]:
    lines = (read_bounded(_path(project), _MOST) or b"").splitlines()
    found = (_LINE.fullmatch(line) for line in lines)
    return [(each[1].decode(), each[2].decode(), bytes.fromhex(each[3].decode())) for each in found if each]


def _write(project: Project, noted: list[tuple[str, str, bytes]]) -> None:
    replace_file(
        _path(project), b"".join(f"{name} {branch} {top.hex()}\n".encode() for name, branch, top in noted), 0o600
    )


def note_branch(project: Project, remote: str, branch: str, top: bytes) -> None:
    """Note that a branch in a remote keeps a version."""
    _write(project, [*_noted(project), (remote, branch, top)])


def end_recorded(project: Project, remote: str, tops: Collection[bytes], session: BucketSession) -> None:
    """Delete the branches of a remote, open as `session`, whose versions a push has recorded."""
    noted = _noted(project)
    ended = [each for each in noted if each[0] == remote and each[2] in tops]
    if not ended:
        return
    for _, branch, _ in ended:
        end_branch(project, branch, session)
    _write(project, [each for each in noted if each not in ended])


def end_branch(project: Project, branch: str, session: BucketSession) -> None:
    """Delete a branch; one that is gone is no fault."""
    who = Authorship(default_author(), "", "push")
    repository = session.repository(project.file.dataset)
    with VersionWriter(session, repository, LeaseKind.PUSH, who, branch=branch) as writer:
        writer.hold()
        try:
            delete_branch(writer)
        except NotFoundError:
            return
