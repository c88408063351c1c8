"""A dataset by its name: its history, its branches and tags, and what moves them.

Looking takes time by what is looked at, not by the size of the dataset. What moves a branch is checked against others
who move it at the same time (ConflictError), and nothing that a branch has left is lost until `Bucket.gc`.

What only some methods need is imported by those: to list branches is to load no code that pushes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import islice
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from penstock.errors import NotFoundError, UsageError
from penstock.manifest.entry import display_path, split_path
from penstock.progress import SILENT, Progress
from penstock.repo.bucket.leases import LeaseKind
from penstock.repo.history import branches as refs
from penstock.repo.history import log as history
from penstock.repo.history.log import find_published
from penstock.repo.history.new_dataset import create_dataset
from penstock.repo.refs.repository import Repository, dataset_of
from penstock.repo.session.bucket_session import open_session
from penstock.repo.write.authorship import default_author
from penstock.repo.write.publish import Authorship, check_text, stands_at
from penstock.repo.write.version_writer import VersionWriter

from .handles import DEFAULT_BRANCH, Handle, as_handle, handle_text, whole_version
from .new_version import NewVersion, new_version
from .per_process import PerProcess
from .push import PushReport, push_report
from .settings import Settings
from .versions import (
    BranchInfo,
    BranchMove,
    MergeReport,
    RefChange,
    RevertReport,
    Revision,
    TagInfo,
    first_line,
    merge_report,
    move_of,
    ref_change,
    revision_of,
)

if TYPE_CHECKING:
    from .quilt_packages import QuiltImport

__all__ = ["Dataset"]


class Dataset:
    """A dataset in a bucket, named ``bucket/dataset``. A handle: nothing is opened or asked before a method needs it.

    `ref` in what follows is a branch, tag, commit id or top hash (or the first 7 digits of one), tried in that order;
    None is the branch ``main``. `author` None is as git has it. Times, hashes: see `penstock.api.versions`.

    UsageError: the name is no dataset's, or names a version of one. `settings` are the user's by default.

    >>> import penstock
    >>> photos = penstock.Dataset("demo/photos")
    >>> [branch.branch for branch in photos.branches()]
    ['main']
    """

    __slots__ = ("_name", "_session", "handle", "settings")

    def __init__(self, name: str | Handle, settings: Settings | None = None) -> None:
        handle = whole_version(as_handle(name))
        if handle.ref is not None:
            raise UsageError(
                f"{str(handle)!r} names a version",
                why="a dataset is named without one",
                fix=f"Write {replace(handle, ref=None)}, and give {handle.ref!r} to the method that is about it.",
            )
        self.handle = handle
        self.settings = settings or Settings.load()
        self._name = dataset_of(handle)
        self._session = PerProcess(partial(open_session, handle.bucket, self.settings))

    @property
    def name(self) -> str:
        """The dataset's name, as ``bucket/dataset``."""
        return str(self.handle)

    def close(self) -> None:
        """Close what is open. The next method opens it again."""
        self._session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

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
        authorship = Authorship(author or default_author(), "", "init")
        check_text("title", title)
        check_text("description", description)
        with self._writing(authorship) as writer:
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

    def moves(self, branch: str = DEFAULT_BRANCH, *, limit: int | None = None) -> Iterator[BranchMove]:
        """Yield where a branch has been, the newest move first, resets and deletions among them: its reflog.

        NotFoundError: there never was such a branch.
        """
        repository = self._repository
        yield from map(move_of, islice(history.moves(repository, branch), limit))

    def branches(self) -> list[BranchInfo]:
        """Return the branches, by name. NotFoundError: there is none, nor anything else of the dataset."""
        repository = self._repository
        found = []
        for head in history.branches(repository):
            at = stands_at(head)
            message = first_line(repository.commit(at.known_commit).message)
            found.append(BranchInfo(head.branch, at.known_commit.hex(), at.top_hash.hex(), head.record.time, message))
        if not found:
            repository.resolve(None)  # raises, and says what there is
        return found

    def tags(self) -> list[TagInfo]:
        """Return the tags, by name. NotFoundError: there is nothing of the dataset."""
        repository = self._repository
        found = [
            TagInfo(name, record.commit, record.top_hash, record.time, record.author)
            for name, record in history.tags(repository)
        ]
        if not found and not repository.exists():
            repository.resolve(None)  # raises, and says what there is instead
        return found

    def branch(self, name: str, ref: str | None = None, *, author: str | None = None) -> RefChange:
        """Make a branch that stands at a version. ConflictError: there is one of that name.

        >>> import penstock
        >>> photos = penstock.Dataset("demo/photos")
        >>> photos.branch("review", "v1").name
        'review'
        >>> photos.delete_branch("review").changed
        True
        """
        with self._writing(_authorship(author, "", "branch"), name) as writer:
            start = find_published(writer.repository, ref)
            refs.make_branch(writer, start)
            return ref_change(name, start, risk=writer.risk)

    def delete_branch(self, name: str, *, force: bool = False, author: str | None = None) -> RefChange:
        """Delete a branch and return where it stood; its versions stay, and its moves. UsageError: ``main``, unforced.

        NotFoundError: there is no such branch.
        """
        with self._writing(_authorship(author, "", "delete"), name) as writer:
            stood = refs.delete_branch(writer, force=force)
            return ref_change(name, stood, risk=writer.risk)

    def tag(self, name: str, ref: str | None = None, *, author: str | None = None) -> RefChange:
        """Give a version a tag, for ever. ConflictError: the tag stands for another version.

        >>> import penstock
        >>> photos = penstock.Dataset("demo/photos")
        >>> photos.tag("published").commit == photos.branches()[0].commit
        True
        """
        with self._writing(_authorship(author, "", "tag"), tag=name) as writer:
            version = find_published(writer.repository, ref)
            refs.make_tag(writer, version)
            return ref_change(name, version, risk=writer.risk)

    def reset(self, to: str, *, branch: str = DEFAULT_BRANCH, author: str | None = None) -> RefChange:
        """Let a branch stand at the version `to`, older or not. `moves` tells where it stood.

        NotFoundError: there is no such branch or version.
        """
        with self._writing(_authorship(author, "", "reset"), branch) as writer:
            writer.require_head()
            target = find_published(writer.repository, to)
            before = refs.reset_branch(writer, target)
            change = ref_change(branch, target, before=before, risk=writer.risk)
            return replace(change, changed=before is not None)

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
        with self._writing(_authorship(author, message, "revert"), branch) as writer:
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
        dry_run: bool = False,
    ) -> MergeReport:
        """Merge a version, with all that led to it, into a branch; with `dry_run`, only say what would come of it.

        Paths that only one side has changed since both were one are taken from that side. What both have changed is a
        conflict: MergeConflictError names the paths, and nothing has changed. `ours` are paths (``/`` for all) at and
        below which the branch's state is kept then, `theirs` those where that of `ref` is taken.
        """
        from penstock.repo.history.branch_merge import join
        from penstock.repo.history.side_choice import choice

        choose = choice(ours, theirs)
        who = _authorship(author, message or f"Merge {ref} into {into}", "merge")
        with self._writing(who, into, dry_run=dry_run) as writer:
            source = find_published(writer.repository, ref)
            done = join(writer, source.known_commit, choose)
            return merge_report(into, source, done, writer.risk)

    def push(
        self,
        directory: str | os.PathLike[str],
        *,
        branch: str = DEFAULT_BRANCH,
        tag: str | None = None,
        message: str = "",
        author: str | None = None,
        modes: bool = False,
        xattrs: bool = False,
        workspace: bool = False,
        drop_metadata: bool = False,
        progress: Progress = SILENT,
    ) -> PushReport:
        """Make what is in a directory the next version of a branch; dataset and branch are made when they are missing.

        Only what the bucket does not have is uploaded. Files that ``.penstockignore`` names are left out. `modes`:
        permission bits are kept, where they say more than whether a file may be run; `xattrs`: extended attributes of
        users are. Both are part of what the version is known by. A directory has no metadata: what the branch has of it
        stays, of the dataset and of each path that is still there, unless it is to be dropped.

        Of a `workspace` the version's environment says what it was made with: git commit, branch, whether anything was
        changed since, remote (without what could be secret in it); container image; Python and the packages that are
        installed. ``.git`` is left out then.

        ConflictError: the branch moved meanwhile, a file changed while it was read, the tag stands for another version.
        The branch is then where it was, and what was sent is found again by the next push.

        >>> import penstock
        >>> report = penstock.Dataset("demo/photos").push("photos", message="third batch")
        >>> report.files, report.bytes_uploaded
        (3, 0)
        """
        from penstock.repo.push.local_attributes import KeptAttributes
        from penstock.repo.push.push import push

        who, place, to = _authorship(author, message, "push"), os.fspath(directory), replace(self.handle, ref=branch)
        kept = KeptAttributes(modes, xattrs)
        if not workspace:
            done = push(place, to, self.settings, who, progress, tag, kept, drop_metadata=drop_metadata)
            return push_report(done, tag)
        from penstock.repo.push.workspace_record import LEFT_OUT, record_workspace

        record = record_workspace(place)
        who = replace(who, made_with=record.environment)
        done = push(place, to, self.settings, who, progress, tag, kept, LEFT_OUT, drop_metadata=drop_metadata)
        report = push_report(done, tag)
        unsaid = () if report.changed else ("nothing changed: the version that is there says what it was made with",)
        return replace(report, notes=(*record.notes, *unsaid))

    def push_in_place(
        self,
        source: str | os.PathLike[str],
        *,
        branch: str = DEFAULT_BRANCH,
        tag: str | None = None,
        message: str = "",
        author: str | None = None,
        skip_unreadable: bool = False,
        require_versioned: bool = False,
        drop_metadata: bool = False,
        progress: Progress = SILENT,
    ) -> PushReport:
        """Make a version whose entries point to files where they lie: only metadata is sent, but all are read once.

        `source` is ``s3://bucket[/prefix]``, or a directory, which is noted as one that data sets in local buckets may
        read from. When a file changes later, to read it through the dataset is an error.

        UnreadableError: objects cannot be read; all are named, and nothing is published, unless `skip_unreadable`
        leaves them out; with `require_versioned`, those in buckets that keep no versions are among them. UsageError: a
        directory, for a bucket that is not on this machine. Else as `push`.
        """
        from penstock.repo.push.push import push_in_place

        who = _authorship(author, message, "push")
        to, place = replace(self.handle, ref=branch), os.fspath(source)
        report = push_in_place(
            place,
            to,
            self.settings,
            who,
            progress,
            tag,
            skip_unreadable=skip_unreadable,
            require_versioned=require_versioned,
            drop_metadata=drop_metadata,
        )
        return push_report(report, tag)

    def set_meta(
        self,
        path: str,
        meta: Mapping[str, Any] | None,
        *,
        update: bool = False,
        remove: Sequence[str] = (),
        branch: str = DEFAULT_BRANCH,
        tag: str | None = None,
        message: str = "",
        author: str | None = None,
        progress: Progress = SILENT,
    ) -> NewVersion:
        """Give what is at a path metadata, in place of what it has: a file, a directory, at the empty path the dataset.

        That makes a new version, and sends no data. With `update`, members that are not named stay; those in `remove`
        go. `meta` None: nothing, or what is there without those. As `set_meta_many`, whose errors it raises.

        >>> import penstock
        >>> photos = penstock.Dataset("demo/photos")
        >>> made = photos.set_meta("2024/cat.jpg", {"label": "cat", "box": [1, 2]})
        >>> made.changed, made.bytes_uploaded
        (True, 0)
        >>> _ = photos.set_meta("2024/cat.jpg", {"label": "tabby"}, update=True, remove=["box"])
        >>> penstock.open("demo/photos").get_metadata("2024/cat.jpg")
        {'label': 'tabby'}
        """
        if remove and not update:
            raise UsageError("members are removed from what stays", fix="Say update=True, or leave them out of `meta`.")
        return self.set_meta_many(
            {path: meta or {}},
            update=update,
            remove=remove,
            branch=branch,
            tag=tag,
            message=message,
            author=author,
            progress=progress,
        )

    def set_meta_many(
        self,
        metas: Mapping[str, Mapping[str, Any]],
        *,
        update: bool = False,
        remove: Sequence[str] = (),
        branch: str = DEFAULT_BRANCH,
        tag: str | None = None,
        message: str = "",
        author: str | None = None,
        progress: Progress = SILENT,
    ) -> NewVersion:
        """Give many paths metadata in one version: see `set_meta`.

        NotFoundError: there is no such branch or path. UsageError: it is not JSON, or too large, or two keys are one
        path. ConflictError: somebody else changed metadata of the same path meanwhile, or the tag is taken. Nothing has
        happened then.

        >>> import penstock
        >>> labels = {"2024/cat.jpg": {"label": "cat"}, "2024/dog.jpg": {"label": "dog"}, "": {"title": "Photos"}}
        >>> penstock.Dataset("demo/photos").set_meta_many(labels, message="labels").bytes_uploaded
        0
        """
        from penstock.repo.push.metadata_edits import land_metadata

        gone = frozenset(remove)
        changes = {}
        for path, meta in metas.items():
            names = split_path(path)
            if names in changes:
                raise UsageError(f"{path!r} is named twice", fix="Name each path once.")
            changes[names] = partial(_changed_meta, meta, update, gone)
        if not changes:
            raise UsageError("there is no path to change", fix="Name a path and its metadata.")
        with self._writing(_authorship(author, message, "meta"), branch, tag=tag) as writer:
            report = land_metadata(writer, changes, progress)
            return new_version(f"{self.handle}:{branch}", tag, report, writer.risk)

    def import_quilt(
        self,
        registry: str | os.PathLike[str],
        package: str | None = None,
        *,
        branch: str = DEFAULT_BRANCH,
        require_versioned: bool = False,
        author: str | None = None,
        progress: Progress = SILENT,
    ) -> QuiltImport:
        """Make each revision of a quilt package a version of a branch, in order, with its time, message and metadata.

        `registry` is the bucket or directory that quilt3 wrote to: a remote's name, ``s3://bucket`` or a path.
        `package` is its name there, which need not be said where there is only one. What quilt says of top hashes and
        contents is checked, and noted in the metadata as ``quilt``. Entries stay where they lie, each read once; files
        of this machine only where the settings trust their folder. To do it again adds what is new.

        NotFoundError: there is no such package, or an object is gone. IntegrityError: a manifest is torn, or an object
        was overwritten. AccessError: it may not be read. ConflictError: the branch has versions of another origin.
        UsageError: metadata that is larger than Penstock keeps; with `require_versioned`, an object without a version.
        The revisions before that one are there then.
        """
        from .quilt_packages import import_quilt

        who = author or default_author()
        return import_quilt(
            self.handle, self._session.get(), os.fspath(registry), package, who, branch, require_versioned, progress
        )

    @property
    def _repository(self) -> Repository:
        return self._session.get().repository(self._name)

    @contextmanager
    def _writing(
        self, authorship: Authorship, branch: str = DEFAULT_BRANCH, *, tag: str | None = None, dry_run: bool = False
    ) -> Iterator[VersionWriter]:
        """Give leave to move refs: what is found within the block is not deleted by `Bucket.gc`."""
        session, repository = self._session.get(), self._repository
        with VersionWriter(
            session, repository, LeaseKind.HISTORY, authorship, branch=branch, tag=tag, dry_run=dry_run
        ) as writer:
            if not dry_run:
                writer.hold()
            yield writer


def _changed_meta(
    meta: Mapping[str, Any], update: bool, gone: frozenset[str], before: dict[str, Any]
) -> Mapping[str, Any]:
    kept = {name: value for name, value in before.items() if name not in gone} if update else {}
    return {**kept, **meta}


def _authorship(author: str | None, message: str, operation: str) -> Authorship:
    return Authorship(author or default_author(), message, operation)
