"""Versions made of what lies outside of the bucket, or of metadata alone. One part of `Dataset`.

What only some methods need is imported by those.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from penstock.api.handles import DEFAULT_BRANCH
from penstock.errors import UsageError
from penstock.manifest.entry import split_path
from penstock.manifest.metadata import canonical_json
from penstock.progress import SILENT, Progress
from penstock.repo.write.authorship import default_author

from .dataset_session import DatasetSession, authorship
from .new_version import NewVersion, new_version
from .push import PushReport, push_report

if TYPE_CHECKING:
    from .quilt_packages import QuiltImport

__all__ = ["DatasetPushes"]


class DatasetPushes(DatasetSession):
    """What sends versions to a `Dataset`."""

    __slots__ = ()

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

        who, place, to = authorship(author, message, "push"), os.fspath(directory), replace(self.handle, ref=branch)
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
        identity: bool = False,
        drop_metadata: bool = False,
        progress: Progress = SILENT,
    ) -> PushReport:
        """Make a version whose entries point to files where they lie: only metadata is sent, but all are read once.

        `source` is ``s3://bucket[/prefix]``, or a directory, which is noted as one that data sets in local buckets may
        read from. When a file changes later, to read it through the dataset is an error. With `identity`, objects are
        not read at all: each is pinned by the size and ETag that its store says, and what it holds is not verified.

        UnreadableError: objects cannot be read; all are named, and nothing is published, unless `skip_unreadable`
        leaves them out; with `require_versioned`, those in buckets that keep no versions are among them. UsageError: a
        directory, for a bucket that is not on this machine. Else as `push`.
        """
        from penstock.repo.push.push import push_in_place

        who = authorship(author, message, "push")
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
            identity=identity,
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
        with self._writing(authorship(author, message, "meta"), branch, tag=tag) as writer:
            report = land_metadata(writer, changes, progress)
            return new_version(f"{self.handle}:{branch}", tag, report, writer.risk)

    def import_quilt(
        self,
        registry: str | os.PathLike[str],
        package: str | None = None,
        *,
        branch: str = DEFAULT_BRANCH,
        require_versioned: bool = False,
        identity: bool = False,
        author: str | None = None,
        progress: Progress = SILENT,
    ) -> QuiltImport:
        """Make each revision of a quilt package a version of a branch, in order, with its time, message and metadata.

        `registry` is the bucket or directory that quilt3 wrote to: a remote's name, ``s3://bucket`` or a path.
        `package` is its name there, which need not be said where there is only one. What quilt says of top hashes and
        contents is checked, and noted in the metadata as ``quilt``. Entries stay where they lie, each read once; files
        of this machine only where the settings trust their folder. With `identity`, objects of S3 are not read, and
        nothing is checked of their content: they are pinned by the versions that quilt names, else by size and ETag.
        To do it again adds what is new.

        NotFoundError: there is no such package, or an object is gone. IntegrityError: a manifest is torn, or an object
        was overwritten. AccessError: it may not be read. ConflictError: the branch has versions of another origin.
        UsageError: metadata that is larger than Penstock keeps; with `require_versioned`, an object without a version.
        The revisions before that one are there then.
        """
        from .quilt_packages import import_quilt

        who = author or default_author()
        return import_quilt(
            self.handle,
            self._session.get(),
            os.fspath(registry),
            package,
            who,
            branch,
            require_versioned,
            identity,
            progress,
        )


def _changed_meta(meta: Any, update: bool, gone: frozenset[str], before: dict[str, Any]) -> Mapping[str, Any]:
    if not isinstance(meta, Mapping):
        canonical_json(meta)  # raises
    kept = {name: value for name, value in before.items() if name not in gone} if update else {}
    return {**kept, **meta}
