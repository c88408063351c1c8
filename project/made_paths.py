"""What stages made, by the locks of a work tree: tracked as what pointers stand for is, without pointer files."""

from __future__ import annotations

import os
from collections.abc import Iterator

from penstock.project.git import ask_git
from penstock.project.pointer import Pointer
from penstock.project.project import Project
from penstock.project.project_file import read_bounded
from penstock.project.stages.definition.lock_file import LOCK_FILE, MOST_BYTES, MadeOutput, parse_lock
from penstock.project.state_folder import STATE_FOLDER

__all__ = ["locked_pointers", "made_pointers"]


def made_pointers(project: Project) -> dict[str, Pointer]:
    """Return what the locks of the work tree say lies where, as pointers would, by path from the root.

    IntegrityError: a lock is damaged, or git left a conflict in it.
    """
    found: dict[str, Pointer] = {}
    for path in _locks(project):
        body = read_bounded(os.path.join(project.root, path), MOST_BYTES)
        if body is not None:
            found.update(locked_pointers(path, body))
    return found


def locked_pointers(path: str, body: bytes) -> Iterator[tuple[str, Pointer]]:
    """Yield the paths, from the root, of what the lock at a path says was made."""
    folder = os.path.dirname(path)
    for locked in parse_lock(body, path, folder).values():
        for each, output in locked.outputs.items():
            yield os.path.normpath(os.path.join(folder, each)), _pointer(output)


def _pointer(output: MadeOutput) -> Pointer:
    return Pointer(output.kind, bytes.fromhex(output.hash), output.entries, output.bytes)


def _locks(project: Project) -> Iterator[str]:
    if project.git is not None:
        arguments = ("ls-files", "-co", "-z", "--exclude-standard", "--deduplicate", "--", f":(glob)**/{LOCK_FILE}")
        yield from (os.fsdecode(path) for path in ask_git(project.root, *arguments).split(b"\0") if path)
        return
    for folder, names, files in os.walk(project.root):
        names[:] = [name for name in names if name not in {STATE_FOLDER, ".git"}]
        if LOCK_FILE in files:
            yield os.path.relpath(os.path.join(folder, LOCK_FILE), project.root)
