"""What git is told to ignore: the folders and databases of datasets, in ``info/exclude`` of the repository.

That file is the repository's own and no part of it, so nothing has to be committed, and all of it can be taken back.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from penstock.project.project import Project
from penstock.project.project_file import read_bounded
from penstock.project.state_folder import replace_file

__all__ = ["add_ignored", "remove_ignored"]

_BEGIN = b"# datasets as code: folders and databases beside the files that declare them\n"
_END = b"# end of datasets as code\n"
_MOST = 4 << 20


def _path(project: Project) -> str:
    assert project.common is not None
    return os.path.join(project.common, "info", "exclude")


def _parts(project: Project) -> tuple[bytes, list[bytes], bytes]:
    body = read_bounded(_path(project), _MOST) or b""
    before, begin, rest = body.partition(_BEGIN)
    if not begin:
        return body, [], b""
    lines, _, after = rest.partition(_END)
    return before, lines.splitlines(), after


def _quoted(path: str) -> bytes:
    special = "\\*?[ !#"
    return b"/" + os.fsencode("".join(f"\\{each}" if each in special else each for each in path))


def add_ignored(project: Project, paths: Iterable[str]) -> None:
    """Have git ignore paths, given from the root; folders end with a slash."""
    before, lines, after = _parts(project)
    wanted = sorted({*lines, *map(_quoted, paths)})
    if wanted == lines:
        return
    if before and not before.endswith(b"\n"):
        before += b"\n"
    os.makedirs(os.path.dirname(_path(project)), exist_ok=True)
    replace_file(_path(project), before + _BEGIN + b"".join(line + b"\n" for line in wanted) + _END + after)


def remove_ignored(project: Project) -> None:
    """Take back all that was ignored."""
    before, lines, after = _parts(project)
    if lines:
        replace_file(_path(project), before + after)
