"""What differs in the tracked data between two commits of git, or between one and the work tree: path by path.

Pointers are compared first, then the trees of those that differ, in time by the difference; no data is read. What is
compared with the work tree is what its pointers say, and, where the directory was changed since, what status tells.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

from penstock.api.packages.comparison import PathChange
from penstock.api.packages.entry import kind_name
from penstock.errors import NotFoundError, UsageError
from penstock.manifest.diff import Change, diff
from penstock.project.git import GitError, ask_git, git_line
from penstock.project.local_bucket import open_layered
from penstock.project.made_paths import locked_pointers
from penstock.project.pointer import SUFFIX, Pointer, parse_pointer
from penstock.project.pointer_files import pointers, tracked_paths
from penstock.project.project import Project
from penstock.project.stages.definition.lock_file import LOCK_FILE
from penstock.project.stored_version import open_version
from penstock.repo.session.bucket_session import BucketSession
from penstock.repo.settings.settings import Settings

__all__ = ["PointerChange", "open_changes", "pointer_changes", "pointers_at", "revisions"]


@dataclass(frozen=True, slots=True)
class PointerChange:
    """A tracked path whose version differs; None on a side where it is not tracked."""

    path: str
    old: Pointer | None
    new: Pointer | None


def revisions(project: Project, texts: Sequence[str]) -> tuple[str, str | None]:
    """Return the two commits that are meant, None: the work tree. ``A...B``: from where both were one to B.

    UsageError: that is none.
    """
    if len(texts) == 1 and ".." in texts[0]:
        first, dots, second = texts[0].partition("...") if "..." in texts[0] else texts[0].partition("..")
        old, new = _commit(project, first or "HEAD"), _commit(project, second or "HEAD")
        return (git_line(project.root, "merge-base", old, new) if dots == "..." else old), new
    if len(texts) > 2:
        raise UsageError("more than two revisions", fix="Name one or two, or A...B.")
    old = _commit(project, texts[0] if texts else "HEAD")
    return old, _commit(project, texts[1]) if len(texts) == 2 else None


def _commit(project: Project, text: str) -> str:
    try:
        return git_line(project.root, "rev-parse", "--verify", "--end-of-options", f"{text}^{{commit}}")
    except GitError as error:
        raise NotFoundError(f"git has no commit {text!r} here", why=error.why, fix="git log shows those.") from error


def pointers_at(project: Project, commit: str | None) -> dict[str, Pointer]:
    """Return the pointers of a commit, None: of the work tree, by path."""
    if commit is None:
        return pointers(project, tracked_paths(project))
    listed = ask_git(project.root, "ls-tree", "-r", "-z", commit)
    blobs: dict[str, bytes] = {}
    for line in listed.split(b"\0"):
        facts, _, name = line.partition(b"\t")
        path = os.fsdecode(name)
        if (path.endswith(SUFFIX) or os.path.basename(path) == LOCK_FILE) and facts.startswith(b"100"):
            blobs[path] = facts.split(b" ")[2]
    found: dict[str, Pointer] = {}
    for path, body in zip(blobs, _cat(project, list(blobs.values())) if blobs else (), strict=True):
        if path.endswith(SUFFIX):
            found[path.removesuffix(SUFFIX)] = parse_pointer(path, body)
        else:
            found = {**dict(locked_pointers(path, body)), **found}
    return found


def _cat(project: Project, names: Sequence[bytes]) -> Iterator[bytes]:
    answer = ask_git(project.root, "cat-file", "--batch", given=b"\n".join(names) + b"\n")
    at = 0
    for _ in names:
        end = answer.index(b"\n", at)
        size = int(answer[at:end].split(b" ")[2])
        yield answer[end + 1 : end + 1 + size]
        at = end + size + 2


def pointer_changes(project: Project, old: str, new: str | None, paths: Sequence[str] = ()) -> list[PointerChange]:
    """Return the tracked paths whose versions differ between two commits, None: the work tree; or those named."""
    before, after = pointers_at(project, old), pointers_at(project, new)
    found = []
    for path in sorted({*before, *after}):
        if paths and not any(path == each or path.startswith(f"{each}/") for each in paths):
            continue
        one, other = before.get(path), after.get(path)
        if one is None or other is None or one.top != other.top:
            found.append(PointerChange(path, one, other))
    return found


def open_changes(project: Project, settings: Settings) -> closing[_Changes]:
    """Open what lists the differences below tracked paths; to be used in a ``with``."""
    return closing(_Changes(project, open_layered(project, settings)))


class _Changes:
    def __init__(self, project: Project, session: BucketSession) -> None:
        self._project = project
        self._session = session

    def changes(self, change: PointerChange) -> Iterator[Change]:
        """Yield what differs below a path, in tree order. NotFoundError: a version is nowhere."""
        dataset, session = self._project.file.dataset, self._session
        old, new = (
            open_version(session, dataset, pointer.top).root if pointer is not None else None
            for pointer in (change.old, change.new)
        )
        return diff(old, new, session.load, session.load)

    def files(self, change: PointerChange) -> Iterator[PathChange]:
        """Yield the files among what differs, as a comparison of versions tells them, by their paths in the project."""
        for each in self.changes(change):
            old, new = each.old, each.new
            some = new or old
            if some is None or some.directory is not None:
                continue
            yield PathChange(
                "added" if old is None else "deleted" if new is None else "modified",
                "/".join((change.path, *map(os.fsdecode, each.path))),
                None,
                kind_name(some),
                old.size if old is not None else None,
                new.size if new is not None else None,
                old.shown_hash if old is not None else None,
                new.shown_hash if new is not None else None,
            )

    def close(self) -> None:
        self._session.close()
