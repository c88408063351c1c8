"""A dataset by its name: its history, its branches and tags, and what moves them.

Looking takes time by what is looked at, not by the size of the dataset. What moves a branch is checked against others
who move it at the same time (ConflictError), and nothing that a branch has left is lost until `Bucket.gc`.

What only some methods need is imported by those: to list branches is to load no code that pushes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from penstock.api.handles import DEFAULT_BRANCH, handle_text
from penstock.errors import MergeConflictError, NotFoundError
from penstock.manifest.entry import display_path, split_path
from penstock.progress import SILENT, Progress
from penstock.repo.history import log as history
from penstock.repo.history.log import find_published
from penstock.repo.history.new_dataset import create_dataset
from penstock.repo.write.publish import check_text

from .dataset_mirror import DatasetMirror
from .dataset_parts import DatasetParts
from .dataset_protection import DatasetProtection
from .dataset_pushes import DatasetPushes
from .dataset_refs import DatasetRefs
from .dataset_retention import DatasetRetention
from .dataset_runs import DatasetRuns
from .dataset_session import authorship
from .versions import MergeReport, RefChange, RevertReport, Revision, merge_report, ref_change, revision_of

__all__ = ["Dataset"]


class Dataset(
    DatasetRefs,
    DatasetPushes,
    DatasetParts,
    DatasetMirror,
    DatasetProtection,
    DatasetRetention,
    DatasetRuns,
):
    """A dataset in a bucket, named ``bucket/dataset``. A handle: nothing is opened or asked before a method needs it.

    `ref` in what follows is a branch, tag, commit id or top hash (or the first 7 digits of one), tried in that order;
    None is the branch ``main``. `author` None is as git has it. Times, hashes: see `penstock.api.datasets.versions`.

    UsageError: the name is no dataset's, or names a version of one. `settings` are the user's by default.

    >>> import penstock
    >>> photos = penstock.Dataset("demo/photos")
    >>> [branch.branch for branch in photos.branches()]
    ['main']
    """

    __slots__ = ()

    def __reduce__(self) -> tuple[object, ...]:
        return Dataset, (self.handle, self.settings)

    def __repr__(self) -> str:
        return f"Dataset({self.name!r})"

    def create(self, *, title: str = "", description: str = "", author: str | None = None) -> RefChange:
        """Make the dataset, with an empty first version on ``main``. ConflictError: it has one already.

        Not needed before a push, which makes what is missing.

        >>> import penstock
        >>> penstock.Dataset("demo/drawings").create(title="Drawings").name
        'main'
        """
        who = authorship(author, "", "init")
        check_text("title", title)
        check_text("description", description)
        with self._writing(who) as writer:
            made = create_dataset(writer, title, description)
            return ref_change(DEFAULT_BRANCH, made, risk=writer.risk)

    def log(self, ref: str | None = None, path: str = "", *, limit: int | None = None) -> Iterator[Revision]:
        """Yield the versions that led to one, the newest first, each as soon as it is read; at most `limit`.

        With `path`, only those that changed what is there. NotFoundError: there is no such version, or none in its
        history has the path.

        >>> import penstock
        >>> [each.message for each in penstock.Dataset("demo/photos").log()]
        ['second batch', 'first batch']
        """
        names = split_path(path)
        found = False
        repository = self._repository
        start = find_published(repository, ref)
        for logged in islice(history.log(repository, self._session.get().load, start.known_commit, names), limit):
            found = True
            yield revision_of(logged.commit_id, logged.commit)
        if not found:
            raise NotFoundError(
                f"no version in the history of {handle_text(self.handle, ref)} has {display_path(names)!r}",
                fix="`penstock ls` shows what a version has.",
            )

    def revert(
        self,
        ref: str,
        *,
        branch: str = DEFAULT_BRANCH,
        message: str = "",
        ours: Sequence[str] = (),
        theirs: Sequence[str] = (),
        author: str | None = None,
    ) -> RevertReport:
        """Make a version that undoes what the version `ref` changed in its first parent, and keeps all since.

        A path that was changed again since is a conflict (MergeConflictError names them, and nothing has changed).
        `ours` are paths (``/`` for all) at and below which the branch's state is kept, `theirs` those where what was
        before is taken.
        """
        from penstock.repo.history.revert import revert
        from penstock.repo.history.side_choice import choice

        choose = choice(ours, theirs)
        with self._writing(authorship(author, message, "revert"), branch) as writer:
            done = revert(writer, ref, choose)
            published = done.landed.published
            return RevertReport(
                branch,
                done.undone.known_commit.hex(),
                published.known_commit.hex(),
                published.top_hash.hex(),
                done.landed.changed,
                done.message,
                writer.risk,
            )

    def merge(
        self,
        ref: str,
        *,
        into: str = DEFAULT_BRANCH,
        message: str = "",
        ours: Sequence[str] = (),
        theirs: Sequence[str] = (),
        author: str | None = None,
        text: bool = False,
        rows: Sequence[str] = (),
        dry_run: bool = False,
        progress: Progress = SILENT,
    ) -> MergeReport:
        """Merge a version, with all that led to it, into a branch; with `dry_run`, only say what would come of it.

        Paths that only one side has changed since both were one are taken from that side. What both have changed is a
        conflict: MergeConflictError names the paths, and nothing has changed. `ours` are paths (``/`` for all) at and
        below which the branch's state is kept then, `theirs` those where that of `ref` is taken. With `rows`, tables
        that both have changed (CSV, TSV, JSON lines) are joined row by row, known by these columns; a row that both
        changed is a conflict, and named. With `text`, lines of files are joined, as git does it.
        """
        from penstock.repo.history.branch_merge import join
        from penstock.repo.history.side_choice import choice

        from .content_merge import ContentMerge, Join
        from .table_merge import TableMerge
        from .text_merge import joined_text

        choose = choice(ours, theirs)
        tables = TableMerge(rows) if rows else None
        joins: list[Join] = [*([tables] if tables is not None else []), *([joined_text] if text else [])]
        who = authorship(author, message or f"Merge {ref} into {into}", "merge")
        with self._writing(who, into, dry_run=dry_run) as writer:
            source = find_published(writer.repository, ref)
            joiner = ContentMerge(writer, joins, progress) if joins else None
            try:
                done = join(writer, source.known_commit, choose, joiner)
            except MergeConflictError as error:
                if tables is not None and (told := tables.explain()):
                    error.why = f"{error.why}; {told}"
                raise
            return merge_report(into, source, done, writer.risk, joiner.paths if joiner is not None else ())
