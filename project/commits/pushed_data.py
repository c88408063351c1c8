"""Versions of commits that are pushed: their data goes to the datasets' remotes, then the notes go along with git.

**Order**: data, then notes, then (by git itself) commits. What is refused or cut off is sent by the next push.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from penstock.errors import UsageError
from penstock.project.git import GitError, ask_git

from .declared_repository import DeclaredRepository
from .ties import TiedVersion, push_notes, tied_commits
from .version_transfer import fetch_files, send_version

__all__ = ["pull_files", "push_commits"]


def push_commits(repository: DeclaredRepository, remote: str, tips: Iterable[str]) -> Iterator[str]:
    """Send what belongs to commits, and all that led to them; yields what was done. `remote` is git's.

    UsageError: a dataset names no remote. Errors as `send_version`: the push is to be refused.
    """
    wanted = {dataset_version for tip in tips for dataset_version in _versions(repository, tip)}
    opened = repository.opened()
    for dataset, commit, place in sorted(wanted, key=lambda each: each[:2]):
        if place is None:
            raise UsageError(
                f"the data of {dataset} cannot be sent",
                why="it names no remote",
                fix='Say where it goes: @dataset(remote="NAME"), and commit. penstock remote add names buckets.',
            )
        version = repository.version(dataset, TiedVersion(commit, ""))
        branch = repository.branch_name()
        done = send_version(
            opened.session, opened.files, opened.kept, repository.settings, version, place, branch, repository.progress
        )
        if done.versions:
            yield f"{dataset}: {done.versions} versions sent to {place}, {done.objects} objects, {done.bytes:,} bytes"
    push_notes(repository.root, remote)


def _versions(repository: DeclaredRepository, tip: str) -> Iterator[tuple[str, str, str | None]]:
    """Yield the versions of a commit, and of those before it that have not been pushed."""
    commits = {tip}
    tied = set(tied_commits(repository.root))
    try:
        exclude = ask_git(repository.root, "for-each-ref", "--format=^%(objectname)", "refs/remotes/").decode().split()
        lines = ask_git(repository.root, "rev-list", "--stdin", given="\n".join([tip, *exclude]).encode())
        commits |= tied.intersection(lines.decode().split())
    except GitError:
        commits |= tied.intersection(ask_git(repository.root, "rev-list", tip).decode().split())
    for commit in commits:
        for file in repository.tied_files(commit).values():
            for name, version in file.datasets.items():
                yield name, version.commit, version.remote


def pull_files(repository: DeclaredRepository, commit: str) -> Iterator[str]:
    """Fetch the files of a commit's datasets that are not here; yields what was done."""
    opened = repository.opened()
    for file in repository.tied_files(commit).values():
        for name, tied in file.datasets.items():
            version = repository.version(name, tied)
            if tied.remote is None:
                continue
            done = fetch_files(
                opened.files, opened.kept, repository.settings, version, tied.remote, repository.progress
            )
            yield f"{name}: {done.files} files fetched, {done.bytes:,} bytes"
