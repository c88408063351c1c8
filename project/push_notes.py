"""Which versions were pushed, and where: noted beside the local bucket, so that status asks no network.

One line each, only ever appended: the remote's name and the top hash. A note says what was so once: who deletes by it
asks the remote first.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

from penstock.errors import AccessError
from penstock.project.project import Project
from penstock.project.project_file import read_bounded

__all__ = ["note_pushed", "pushed_tops"]

_MOST = 256 << 20
_LINE = re.compile(rb"([A-Za-z0-9._-]{1,255}) ([0-9a-f]{64})")


def _path(project: Project) -> str:
    return os.path.join(project.shared, "pushed")


def pushed_tops(project: Project) -> dict[bytes, set[str]]:
    """Return the top hashes that were pushed, each with the remotes."""
    found: dict[bytes, set[str]] = {}
    for line in (read_bounded(_path(project), _MOST) or b"").splitlines():
        noted = _LINE.fullmatch(line)
        if noted is not None:
            found.setdefault(bytes.fromhex(noted[2].decode()), set()).add(noted[1].decode())
    return found


def note_pushed(project: Project, remote: str, tops: Iterable[bytes]) -> None:
    """Note that versions are in a remote."""
    known = pushed_tops(project)
    lines = [f"{remote} {top.hex()}\n" for top in dict.fromkeys(tops) if remote not in known.get(top, ())]
    if not lines:
        return
    path = _path(project)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, "".join(lines).encode())
        finally:
            os.close(descriptor)
    except OSError as error:
        raise AccessError(f"{path} cannot be written", why=error.strerror or str(error)) from error
