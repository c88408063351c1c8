"""Look back: the versions that a version comes from, the moves of a branch, all branches and tags. Blocking."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from penstock.errors import NotFoundError
from penstock.manifest.descend import LoadNode
from penstock.manifest.entry import TreeEntry
from penstock.manifest.records import Commit, RefRecord
from penstock.manifest.tree import Tree, root_entry
from penstock.repo.bucket import object_keys
from penstock.repo.bucket.stored_records import read_record
from penstock.repo.refs.refs import Head, nearest
from penstock.repo.refs.repository import Repository, VersionId

from .ancestry import Commits

__all__ = ["Logged", "branches", "entry_at", "find_published", "log", "moves", "tags"]


@dataclass(frozen=True, slots=True)
class Logged:
    """One version of a history."""

    commit_id: bytes
    commit: Commit


def log(repository: Repository, load: LoadNode, start: bytes, path: tuple[bytes, ...] = ()) -> Iterator[Logged]:
    """Yield a commit and all that it comes from, the newest first, each as soon as it is read.

    With `path`, only versions in which what is there differs from all of their parents; a version without parents
    is one when it has the path. Of each version only the way to the path is read.
    """
    commits = Commits(repository)
    known: dict[bytes, object] = {}

    def state(commit: Commit) -> object:
        """Return what a version has at the path, as far as a version is about it; None: nothing."""
        if commit.top_hash not in known:
            manifest = repository.manifest(commit.top_hash)
            entry = entry_at(Tree(manifest.root, load), path)
            known[commit.top_hash] = (entry.kind, entry.hash, entry.metadata) if entry is not None else None
        return known[commit.top_hash]

    for commit_id, commit in commits.newest_first(start):
        if path:
            parents = [state(commits[parent]) for parent in commits.parents(commit_id)] or [None]
            here = state(commit)
            if any(here == there for there in parents):
                continue
        yield Logged(commit_id, commit)


def entry_at(tree: Tree, path: tuple[bytes, ...]) -> TreeEntry | None:
    """Return the entry at a path; None when there is nothing."""
    entry = root_entry(tree.root)
    for name in path:
        found = tree.find(entry.directory, name) if entry.directory is not None else None
        if found is None:
            return None
        entry = found[0]
    return entry


def moves(repository: Repository, branch: str) -> Iterator[Head]:
    """Yield the records of a branch, the newest first: its reflog. Those of deletions are among them.

    NotFoundError: there never was such a branch.
    """
    prefix = f"{object_keys.dataset_prefix(repository.dataset)}heads/{branch}/"
    found = False
    for info in repository.store.list(prefix):
        number = object_keys.number_of(prefix, info.key)
        if number is None:
            continue
        found = True
        yield Head(branch, number, read_record(repository.store, info.key, RefRecord.decode))
    if not found:
        raise NotFoundError(
            f"no branch {branch!r} of {repository.dataset!r}",
            fix=nearest(branch, list(repository.refs.branches())),
        )


def branches(repository: Repository) -> Iterator[Head]:
    """Yield where each branch stands that is not deleted."""
    for name in repository.refs.branches():
        head = repository.refs.head(name)
        if head is not None:
            yield head


def tags(repository: Repository) -> Iterator[tuple[str, RefRecord]]:
    """Yield each tag with its record."""
    for name in repository.refs.tags():
        record = repository.refs.tag(name)
        if record is not None:
            yield name, record


def find_published(repository: Repository, ref: str | None) -> VersionId:
    """Return the version that a ref stands for, with its commit.

    A top hash says nothing of the commit: it is the newest one with that content in the history of a branch or tag.
    Errors as `Repository.resolve`; NotFoundError as well when no history has it.
    """
    version = repository.resolve(ref)
    if version.commit is not None:
        return VersionId(version.top_hash, version.commit)
    commits = Commits(repository)
    starts = [head.record.commit for head in branches(repository)] + [record.commit for _, record in tags(repository)]
    best: tuple[str, bytes] | None = None
    # One walk for all of them: thousands of tags may share a history.
    for commit_id, commit in commits.newest_first(*filter(None, starts)):
        if commit.top_hash == version.top_hash:
            best = max(best, (commit.time, commit_id)) if best is not None else (commit.time, commit_id)
    if best is None:
        raise NotFoundError(
            f"no commit of {repository.dataset!r} has the content {version.top_hash.hex()[:12]}",
            why="no branch or tag leads to one",
            fix="Name the version by its commit: penstock log --reflog shows where a branch has been.",
        )
    return VersionId(version.top_hash, best[1])
