"""The pointers of a work tree: which there are, where they may be, and what git ignores for them.

**Invariant:** a path that a pointer stands for lies in the work tree, leads through no symbolic link, and is not in
``.git`` or ``.penstock``: a pointer that somebody has committed cannot have anything written elsewhere.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping

from penstock.errors import AccessError, ConflictError, UsageError
from penstock.project.git import ask_git
from penstock.project.made_paths import made_pointers
from penstock.project.pointer import SUFFIX, Pointer, pointer_path, read_pointer
from penstock.project.project import Project
from penstock.project.project_file import read_bounded
from penstock.project.state_folder import STATE_FOLDER, replace_file

__all__ = [
    "check_path",
    "ignore_path",
    "pointer_of",
    "pointer_paths",
    "pointers",
    "refuse_overlap",
    "tracked_paths",
    "unignore_path",
]

_MOST_IGNORED = 4 << 20
_OURS = frozenset({".git", STATE_FOLDER})


def tracked_paths(project: Project, below: Iterable[str] = ()) -> list[str]:
    """Return the paths that pointers stand for, and that stages made, in order; or those at and below `below`.

    UsageError: nothing is tracked at one of them. IntegrityError: a lock of stages cannot be read.
    """
    found = sorted({*pointer_paths(project), *made_pointers(project)})
    wanted = [each.removesuffix(SUFFIX) for each in below]
    if not wanted:
        return found
    chosen: list[str] = []
    for path in wanted:
        fits = [each for each in found if path in ("", ".") or each == path or each.startswith(f"{path}/")]
        if not fits:
            raise UsageError(
                f"nothing is tracked at {path!r}",
                why=f"there is no {pointer_path(path)}",
                fix=f"penstock add {path} tracks it; penstock status shows what is.",
            )
        chosen += fits
    return sorted(set(chosen))


def pointer_paths(project: Project) -> set[str]:
    """Return the paths that pointers stand for."""
    return set(_tracked_by_git(project) if project.git is not None else _walked(project.root))


def _tracked_by_git(project: Project) -> Iterator[str]:
    listed = ask_git(project.root, "ls-files", "-co", "-z", "--exclude-standard", "--deduplicate", "--", f"*{SUFFIX}")
    for name in listed.split(b"\0"):
        path = os.fsdecode(name)
        if (
            path.endswith(SUFFIX)
            and os.path.basename(path) != SUFFIX
            and os.path.lexists(os.path.join(project.root, path))
        ):
            yield path.removesuffix(SUFFIX)


def _is_there(project: Project, path: str) -> bool:
    return os.path.lexists(os.path.join(project.root, path))


def _walked(root: str) -> Iterator[str]:
    for folder, folders, names in os.walk(root):
        pointed = {name.removesuffix(SUFFIX) for name in names if name.endswith(SUFFIX) and name != SUFFIX}
        folders[:] = [name for name in folders if name not in pointed and name not in _OURS]
        for name in pointed:
            yield os.path.relpath(os.path.join(folder, name), root)


def pointers(project: Project, paths: Iterable[str]) -> dict[str, Pointer]:
    """Read the pointers of paths; of what stages made, what their locks say. Errors as `read_pointer`."""
    made = made_pointers(project)
    return {path: pointer_of(project, path, made) for path in paths}


def pointer_of(project: Project, path: str, made: Mapping[str, Pointer]) -> Pointer:
    """Return the pointer of a path; `made` is what stages made. Errors as `read_pointer`."""
    file = os.path.join(project.root, pointer_path(path))
    return made[path] if path in made and not os.path.lexists(file) else read_pointer(file)


def check_path(project: Project, path: str) -> None:
    """Raise UsageError unless data may lie at a path of the project: see the invariant."""
    names = path.split("/")
    if path in ("", ".") or not all(names) or ".." in names:
        raise UsageError(f"{path!r} cannot be tracked", why="it is no path below the project", fix="Name one that is.")
    if ours := next((name for name in names if name in _OURS), None):
        raise UsageError(f"{path!r} cannot be tracked", why=f"it lies in {ours}", fix="Name another path.")
    if path.endswith(SUFFIX):
        raise UsageError(f"{path!r} cannot be tracked", why="it is a pointer itself", fix="Name what it stands for.")
    at = project.root
    for name in names:
        at = os.path.join(at, name)
        try:
            facts = os.lstat(at)
        except (FileNotFoundError, NotADirectoryError):
            return
        if stat.S_ISLNK(facts.st_mode):
            raise UsageError(
                f"{path!r} cannot be tracked",
                why=f"{at} is a symbolic link, and none is followed",
                fix="Name the place that it leads to, if it is in the project; or move the data here.",
            )


def refuse_overlap(project: Project, path: str, others: Iterable[str]) -> None:
    """Raise UsageError when a path lies within another tracked one, or has one in it."""
    for other in others:
        if other != path and (path.startswith(f"{other}/") or other.startswith(f"{path}/")):
            raise UsageError(
                f"{path!r} and {other!r} overlap",
                why=f"{other!r} is tracked already, by {pointer_path(other)}",
                fix="Track one of the two; what is in a tracked directory belongs to it.",
            )
    if project.git is None:
        return
    listed = ask_git(project.root, "ls-files", "-z", "--", f":(literal){path}")
    if listed:
        first = os.fsdecode(listed.split(b"\0")[0])
        raise UsageError(
            f"{path!r} is tracked by git itself",
            why=f"{first!r} is in its index",
            fix=f"git rm -r --cached {path}; then it can be tracked here.",
        )


def ignore_path(project: Project, path: str) -> str | None:
    """Have git ignore a tracked path, by a line in the ``.gitignore`` beside it; return that file, if it changed."""
    if project.git is None:
        return None
    place, line = _ignore_line(project, path)
    body = _ignored(place)
    if line in body.splitlines():
        return None
    _write_ignored(place, body + (b"\n" if body and not body.endswith(b"\n") else b"") + line + b"\n")
    return place


def unignore_path(project: Project, path: str) -> None:
    """Take the line out again; an ignore file in which nothing is left goes."""
    place, line = _ignore_line(project, path)
    kept = [each for each in _ignored(place).splitlines(keepends=True) if each.rstrip(b"\r\n") != line]
    if kept:
        _write_ignored(place, b"".join(kept))
    elif os.path.lexists(place):
        os.unlink(place)


def _ignore_line(project: Project, path: str) -> tuple[str, bytes]:
    folder, name = os.path.split(path)
    if "\n" in name:
        raise UsageError(f"{path!r} cannot be tracked", why="git cannot ignore a name with a line break in it")
    escaped = re.sub(r"([\\*?\[\]])|( +$)", lambda found: "".join(f"\\{each}" for each in found.group()), name)
    return os.path.join(project.root, folder, ".gitignore"), os.fsencode(f"/{escaped}")


def _ignored(place: str) -> bytes:
    body = read_bounded(place, _MOST_IGNORED) or b""
    if body.startswith(b"<<<<<<< ") or b"\n<<<<<<< " in body:
        raise ConflictError(f"{place} has a merge conflict in it", fix="Settle it: both lines may stay.")
    return body


def _write_ignored(place: str, body: bytes) -> None:
    try:
        os.makedirs(os.path.dirname(place), exist_ok=True)
        replace_file(place, body)
    except OSError as error:
        raise AccessError(f"{place} cannot be written", why=error.strerror or str(error)) from error
