"""A git repository whose files declare datasets: which files, and the versions that commits are tied to.

`commit_versions` makes those of a commit, `work_tree` shows them; both are given one of these. Opening it opens
nothing: the local bucket is opened when a version is asked for. **Invariant:** nothing of a file is run here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from msgspec import structs

from penstock.errors import IntegrityError, NotFoundError
from penstock.progress import SILENT, Progress
from penstock.project.git import GitError, ask_git
from penstock.project.project import Project, work_tree_of
from penstock.project.project_trust import project_settings, read_trust
from penstock.project.records.data_record import check_id
from penstock.repo.bucket.object_keys import commit_key
from penstock.repo.settings.settings import Settings

from .git_texts import blobs_at, full_commit
from .ties import TiedFile, TiedVersion, find_tie
from .work_state import Side, WorkState

if TYPE_CHECKING:
    from penstock.project.records.file_store import FileStore
    from penstock.project.records.kept_work import KeptWork
    from penstock.project.records.versions import Version
    from penstock.repo.session.bucket_session import BucketSession

__all__ = ["SETTINGS", "TRACKED", "DeclaredRepository", "OpenedBucket", "bucket_branch", "open_repository"]

TRACKED = "penstock.dataset"
"""The entries of git's configuration that name the files that are tracked."""
SETTINGS = {"errors": "refuse", "executor": "processes", "folders": "links"}
"""What can be set for a repository, in git's configuration as ``penstock.NAME``, and what holds where it is not."""


@dataclass(frozen=True, slots=True)
class OpenedBucket:
    """The local bucket, opened, with what lies beside it."""

    session: BucketSession
    files: FileStore
    kept: KeptWork


class DeclaredRepository:
    """One work tree. `say` is told what people should know that is no error."""

    def __init__(self, project: Project, settings: Settings, say: Callable[[str], None], progress: Progress) -> None:
        self.project = project
        self.settings = project_settings(project, settings) if project.has_file else settings
        self.state = WorkState(project)
        self.say = say
        self.progress = progress
        self._open: OpenedBucket | None = None
        self._stack = ExitStack()
        self._remotes: list[str] = []

    @property
    def root(self) -> str:
        """The top of the work tree."""
        return self.project.root

    def close(self) -> None:
        """Close what was opened."""
        self._open = None
        self._stack.close()

    def opened(self) -> OpenedBucket:
        """Open the local bucket, once."""
        if self._open is None:
            from .workshop import open_bucket, open_kept_work

            session = self._stack.enter_context(open_bucket(self.project, self.settings, self._known_remotes()))
            files, kept = self._stack.enter_context(open_kept_work(self.project))
            self._open = OpenedBucket(session, files, kept)
        return self._open

    def note_remote(self, name: str | None) -> None:
        """Note a remote that may have what is not here. It is asked only where the user trusts the repository."""
        if name is not None and name not in self._remotes:
            self._remotes.append(name)

    def branch_name(self) -> str:
        """Return what the branch of this work tree is called in buckets."""
        return bucket_branch(self.project.branch() or "detached")

    def _known_remotes(self) -> Iterator[str]:
        if read_trust(self.project).runs:
            yield from self._remotes

    # What is tracked

    def tracked(self) -> list[str]:
        """Return the files that declare datasets, by their paths from the root."""
        try:
            lines = ask_git(self.root, "config", "--local", "-z", "--get-all", TRACKED)
        except GitError:
            return []
        return [os.fsdecode(each) for each in lines.split(b"\0") if each]

    def require_tracked(self) -> list[str]:
        """Return the files that declare datasets. NotFoundError: there are none."""
        found = self.tracked()
        if not found:
            raise NotFoundError("no file of this repository is tracked", fix="git datasets track index.py")
        return found

    def head(self) -> str | None:
        """Return the commit that HEAD stands at; None: there is none yet."""
        return full_commit(self.root, "HEAD")

    # Versions of commits

    def tied_files(self, commit: str | None) -> dict[str, TiedFile]:
        """Return what the nearest tie of a commit says."""
        if commit is None:
            return {}
        found = find_tie(self.root, commit)
        files = dict(found[0].files) if found is not None else {}
        for file in files.values():
            for each in file.datasets.values():
                self.note_remote(each.remote)
        return files

    def missing(self, commit: str) -> list[str]:
        """Return the tracked files whose versions a commit does not have: it was made without hooks, or elsewhere."""
        tied = self.tied_files(commit)
        return [file for file in self.tracked() if not self._is_tied(commit, file, tied.get(file))]

    def _is_tied(self, commit: str, file: str, tied: TiedFile | None) -> bool:
        if tied is None:
            return not blobs_at(self.root, commit, [file])
        here = blobs_at(self.root, commit, [file, *tied.sources])
        return file not in here or here == tied.sources

    def version(self, dataset: str, tied: TiedVersion) -> Version:
        """Open a version. NotFoundError: it is neither here nor in its remote."""
        from penstock.project.records.versions import open_version

        self.note_remote(tied.remote)
        session = self.opened().session
        try:
            return open_version(session, dataset, bytes.fromhex(tied.commit))
        except (NotFoundError, IntegrityError) as error:
            if session.store.head(commit_key(dataset, tied.commit)) is not None:
                raise
            raise NotFoundError(
                f"version {tied.top_hash[:12]} of {dataset} is not here",
                why=f"nor in {tied.remote}: it was not pushed" if tied.remote else "it names no remote",
                fix="Where it was made: git datasets push",
            ) from error

    def versions(self, tied: TiedFile | None) -> dict[str, Version]:
        """Open the versions of a file, by the names of their datasets."""
        return {name: self.version(name, each) for name, each in tied.datasets.items()} if tied is not None else {}

    def dataset_at(self, commit: str | None, file: str, name: str) -> Version | None:
        """Return the version of a dataset that a commit has; None: it has none."""
        tied = self.tied_files(commit).get(file)
        return self.version(name, tied.datasets[name]) if tied is not None and name in tied.datasets else None

    def setting(self, name: str) -> str:
        """Return one of `SETTINGS`. Only the repository's own configuration counts, which no clone brings."""
        try:
            return ask_git(self.root, "config", "--local", "--get", f"penstock.{name}").decode().strip()
        except GitError:
            return SETTINGS[name]

    def choose(self, side: Side, records: Sequence[str]) -> None:
        """Note whose state of records a merge is to take: of all, or of some by their ids."""
        choice = self.state.choice
        if not records:
            self.state.choice = structs.replace(choice, all=side)
        else:
            chosen = {**choice.records, **{check_id(each): side for each in records}}
            self.state.choice = structs.replace(choice, records=chosen)


def bucket_branch(branch: str) -> str:
    """Return what a branch of git is called in buckets, whose names are stricter."""
    plain = "".join(each if each.isascii() and (each.isalnum() or each in "._-") else "-" for each in branch)
    return re.sub(r"\.\.+", ".", plain).strip("./-")[:128] or "detached"


@contextmanager
def open_repository(
    directory: str, settings: Settings, say: Callable[[str], None], progress: Progress = SILENT
) -> Iterator[DeclaredRepository]:
    """Open the repository that holds a directory. NotFoundError: there is none."""
    found = work_tree_of(directory)
    if found is None:
        raise NotFoundError(
            f"{os.path.abspath(directory)} is in no git repository", why="datasets as code follow git", fix="git init"
        )
    repository = DeclaredRepository(Project(*found), settings, say, progress)
    try:
        yield repository
    finally:
        repository.close()
