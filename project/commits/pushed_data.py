"""Versions of commits that are pushed: their data goes to the datasets' remotes, then the notes go along with git.

**Order**: data, then the branches of datasets, then notes, then (by git itself) commits. The branch of a dataset is
called as git's at the other end, and moves only where git's moves forward. Git may still refuse the push, for reasons
of its own: then the dataset's branch stands at a version that comes from the one before, and the next push goes on from
there. Where git's branch would not move forward, the version is sent and tagged, and the branch stays: what others have
pushed to it is not put aside on the word of a push that git may refuse.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from penstock.errors import NotFoundError, PenstockError, UsageError
from penstock.project.git import GitError, ask_git, git_succeeds
from penstock.project.push_notes import note_pushed

from .declared_repository import DeclaredRepository, bucket_branch
from .ties import TiedVersion, push_notes, tied_commits
from .version_transfer import fetch_files, history_here, send_version

__all__ = ["PushedRef", "pull_files", "push_commits"]


@dataclass(frozen=True, slots=True)
class PushedRef:
    """What is pushed: a commit, the branch that it goes to, None: it is no branch; `before`: what git has there."""

    tip: str
    branch: str | None
    before: str | None


def push_commits(repository: DeclaredRepository, remote: str, refs: Iterable[PushedRef]) -> Iterator[str]:
    """Send what belongs to commits, and all that led to them; yields what was done. `remote` is git's.

    UsageError: a dataset names no remote. Errors as `send_version`: the push is to be refused.
    """
    for ref in refs:
        tied = [each for file in repository.tied_files(ref.tip).values() for each in file.datasets.items()]
        branch = _branch_to_move(repository, ref)
        led_there: set[tuple[str, bytes]] = set()
        for dataset, version in tied:
            yield from _send(repository, dataset, version.commit, version.remote, branch)
            if ref.branch is not None and branch is None:
                yield f"{ref.branch} of {dataset} in {version.remote} stays where it is: git's is not moved forward"
            history = history_here(repository.opened().session, dataset, bytes.fromhex(version.commit))
            led_there |= {(dataset, each) for each in history}
        for dataset, commit, place in sorted(set(_versions(repository, ref.tip)), key=lambda each: each[:2]):
            if (dataset, bytes.fromhex(commit)) not in led_there:  # of a commit before, on another line of versions
                yield from _send(repository, dataset, commit, place, None)
    push_notes(repository.root, remote)


def _branch_to_move(repository: DeclaredRepository, ref: PushedRef) -> str | None:
    if ref.branch is None:
        return None
    forward = ref.before is None or git_succeeds(repository.root, "merge-base", "--is-ancestor", ref.before, ref.tip)
    return bucket_branch(ref.branch) if forward else None


def _send(
    repository: DeclaredRepository, dataset: str, commit: str, place: str | None, branch: str | None
) -> Iterator[str]:
    if place is None:
        raise UsageError(
            f"the data of {dataset} cannot be sent",
            why="it names no remote",
            fix='Say where it goes: @dataset(remote="NAME"), and commit. penstock remote add names buckets.',
        )
    opened = repository.opened()
    version = repository.version(dataset, TiedVersion(commit, ""))
    try:
        done = send_version(
            opened.session, opened.files, opened.kept, repository.settings, version, place, branch, repository.progress
        )
    except PenstockError as error:
        if "://" in place or place in repository.settings.remotes:
            raise
        raise NotFoundError(
            f"the data of {dataset} cannot be sent to {place!r}",
            why=f"no remote is called so, and as a bucket of S3 it cannot be used: {error}",
            fix=f"penstock remote add {place} ADDRESS",
        ) from error
    note_pushed(repository.project, place, [version.id.top_hash])
    if done.versions:
        yield f"{dataset}: {done.versions} versions sent to {place}, {done.objects} objects, {done.bytes:,} bytes"


def _versions(repository: DeclaredRepository, tip: str) -> Iterator[tuple[str, str, str | None]]:
    """Yield the versions of a commit, and of those before it that have not been pushed."""
    commits: set[str] = set()
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
