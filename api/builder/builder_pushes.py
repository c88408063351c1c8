"""What becomes of a version in the making: its data and its manifest pushed. One part of `PackageBuilder`.

**Invariant:** `_is_built` and `_published` are of the draft as it is: whoever changes it takes them back.
"""

# ruff: noqa: SLF001  # packages are of the face, as builders are

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from penstock.api.datasets.dataset_session import authorship
from penstock.api.handles import DEFAULT_BRANCH, Handle, as_handle, whole_version
from penstock.api.packages.package import Package
from penstock.api.settings import Settings
from penstock.errors import UsageError
from penstock.manifest.entry import display_path
from penstock.progress import SILENT, Progress
from penstock.repo.bucket import object_keys
from penstock.repo.draft.draft import Draft
from penstock.repo.draft.frame_file import FrameFile
from penstock.repo.refs.repository import dataset_of
from penstock.repo.settings.handle import check_ref_name

from .builder_keys import Conflicts, choice
from .builder_sources import BuilderSource, Sources, nested

if TYPE_CHECKING:
    from .draft_package import DraftPackage

__all__ = ["BuilderPushes", "DataReport", "Transfer"]

_READMES = ("README.md", "README", "README.rst", "README.txt", "Readme.md", "readme.md")
_NOT_PUSHED = (
    "The manifest has not been pushed to a remote repository",
    "Use push_manifest() to first push the manifest, or use allow_local_manifest=True if this is intentional",
)
_LOCAL_FILES = (
    "Manifest contains pointers to local files",
    "Use push_data() to first push those files, or use allow_local_files=True if this is intentional",
)


@dataclass(frozen=True, slots=True)
class DataReport:
    """What `PackageBuilder.push_data` did: files that were not in the bucket, bytes that were sent for them.

    `objects` were written; `copied` were copied by the server, without a byte passing here; `left` stay where they lie
    although a prefix was named, because they are pinned by identity, or in S3 where the version's bucket is not.
    """

    files: int
    bytes: int
    objects: int
    copied: int
    left: int = 0


@dataclass(frozen=True, slots=True)
class Transfer:
    """What became of a source: where its bytes are, how many were sent or copied, whether it was in a bucket before."""

    source: BuilderSource
    where: str
    bytes: int
    is_copy: bool


class BuilderPushes:
    """What brings what a builder holds to a bucket."""

    settings: Settings
    _draft: Draft
    _sources: Sources
    _is_built: bool
    _published: str | None
    _version_name: str
    _new_frames: Callable[[], FrameFile]
    _data: DataReport | None
    _transfers: list[Transfer]

    @property
    def name(self) -> str | None:
        """Where the version is to go, as ``bucket/dataset[:branch]``; None while that is not known."""
        draft = self._draft
        if draft.dataset is None or draft.bucket is None:
            return None
        return str(Handle(draft.bucket, draft.dataset, draft.branch))

    @property
    def manifest(self) -> str:
        """Where the manifest is: ``pre-manifest`` before it is built, ``local``, or its address in the bucket."""
        return self._published or ("local" if self._is_built else "pre-manifest")

    @property
    def sent(self) -> DataReport | None:
        """What the last `push_data` did; None: there was none."""
        return self._data

    @property
    def transfers(self) -> tuple[Transfer, ...]:
        """What the last `push_data` did for each of the sources that it brought somewhere, or had brought before."""
        done = {each.source: each for each in self._transfers}
        return tuple(done[each] for each in nested(done))

    @property
    def local_key(self) -> str | None:
        """The key of a file whose bytes lie on this machine alone, if there is one."""
        path = self._draft.find_local()
        return display_path(path) if path is not None else None

    @property
    def version_name(self) -> str:
        """The version that it was pushed as, as a handle; empty when it was not, or has changed since."""
        return self._version_name if self._published is not None else ""

    @property
    def risk(self) -> str:
        """What the last push has to warn of: that the bucket may lose versions; empty when it does not."""
        return self._draft.risk

    def build_manifest(self, *, progress: Progress = SILENT) -> Self:
        """Read what was not read yet, so that `top_hash` is known. Errors as `add`."""
        self._draft.settle(progress)
        self._is_built = True
        return self

    def push_data(
        self,
        bucket: str | None = None,
        prefix: str | None = None,
        *,
        local_files_only: bool = False,
        progress: Progress = SILENT,
    ) -> Self:
        """Bring the bytes of what was added to the bucket; the manifest is not pushed, and its hash stays.

        Into packs, or with a `prefix` as one object a file below it, where objects that lie elsewhere on the same
        server are copied, too, unless `local_files_only`; but for those that are pinned by identity, which stay where
        they lie: nothing would prove the copies. What the bucket has is not sent again. `bucket` is where it
        goes, for a builder without a name. `sent` and `transfers` tell what was done.

        ConflictError: a file changed since it was added. UsageError: the builder is for another bucket, or has none.
        """
        self._name_bucket(bucket)
        draft = self._draft
        draft.look()
        moved: dict[BuilderSource, int] = {}
        places: dict[BuilderSource, str] = {}
        holder = self._sources.holders()

        def count(path: tuple[bytes, ...], amount: int, address: str | None) -> None:
            source = holder(display_path(path))
            if source is not None:
                moved[source] = moved.get(source, 0) + amount
                if address is not None and not source.is_directory:
                    places[source] = address

        done = draft.send_data(authorship(None, "", "push"), progress, count, prefix, local_only=local_files_only)
        self._data = DataReport(done.files, done.bytes, done.objects, done.copied, done.left)
        self._transfers = []
        store = draft.session.store.url.rstrip("/")

        def place(source: BuilderSource) -> str | None:
            if source.kind == "version":
                below = f"{store}/{prefix.strip('/')}/{source.key}".rstrip("/") if prefix is not None else ""
                if source.origin.rstrip("/") == below:  # it was brought there before
                    self._transfers.append(Transfer(source, source.origin, 0, True))
                return None
            if source.kind != "local" and (local_files_only or (source.kind == "object" and prefix is None)):
                return None
            below = f"{prefix.strip('/')}/{source.key}".strip("/") if prefix is not None else ".penstock/data"
            slash = "/" if source.is_directory or prefix is None else ""
            where = places.get(source, f"{store}/{below}{slash}")
            if source.kind != "local" and source not in moved and source.where != where:  # it was left where it lies
                return None
            self._transfers.append(Transfer(source, where, moved.get(source, 0), source.kind != "local"))
            return where

        self._sources.placed(place)
        return self

    def push_manifest(
        self,
        tag: str | None = None,
        *,
        message: str = "",
        author: str | None = None,
        conflicts: Conflicts | None = None,
        allow_local_files: bool = False,
        allow_missing_readme: bool = False,
        allow_empty: bool = False,
        progress: Progress = SILENT,
    ) -> Package:
        """Make it the next version of its branch, and return that.

        `tag` is a name for it; where a branch has that name, this branch moves instead. A branch that others moved
        meanwhile is merged with: MergeConflictError names what both have changed, unless `conflicts` says whose is
        kept, ``ours`` (the branch's) or ``theirs`` (what is pushed). ConflictError: the tag stands for another version.
        From then on the builder stands on what it made.

        UsageError: it has no name, holds nothing (`allow_empty`), or points to files of this machine
        (`allow_local_files`, for a bucket on this machine). Without a README it warns (`allow_missing_readme`).
        """
        draft = self._draft
        if draft.dataset is None:
            raise UsageError("the version has no name yet", fix='Push it as one: push("bucket/dataset")')
        choose = choice(conflicts)
        draft.settle(progress)
        if not draft.tree.root.entries and draft.tree.base is None and not allow_empty:
            raise UsageError(
                "there is nothing in the version yet",
                fix="Add a file or directory; if this is intentional, allow_empty=True or --force-allow-empty says so.",
            )
        self._check_local(allow_local_files)
        if not allow_missing_readme and not any(draft.tree.find((name.encode(),)) for name in _READMES):
            warnings.warn(f"{self.name} has no README", stacklevel=2)
        if tag is not None:
            check_ref_name(tag)
            if tag == (draft.branch or DEFAULT_BRANCH) or draft.branch_of(tag):
                draft.branch, tag = tag, None
        landed = draft.publish(
            authorship(author, message, "push"),
            progress,
            tag=tag,
            choose=choose,
            allow_local=allow_local_files,
            fresh=self._new_frames(),
        )
        self._sources.settle()
        self._is_built = True
        handle = Handle(draft.bucket or "", draft.dataset, tag or draft.branch or DEFAULT_BRANCH)
        self._version_name = str(handle)
        top_hash = landed.published.top_hash.hex()
        store = draft.session.store.url.rstrip("/")
        self._published = f"{store}/{object_keys.manifest_key(draft.dataset, top_hash)}"
        return Package._at(handle, self.settings, landed.published, landed.manifest)

    def push(
        self,
        name: str | Handle | None = None,
        *,
        tag: str | None = None,
        prefix: str | None = None,
        message: str = "",
        author: str | None = None,
        conflicts: Conflicts | None = None,
        allow_missing_readme: bool = False,
        allow_empty: bool = False,
        progress: Progress = SILENT,
    ) -> Package:
        """Push data and manifest: the next version of ``bucket/dataset[:branch]``, or of the builder's own branch.

        Errors as `push_data` and `push_manifest`.
        """
        if name is not None:
            handle = whole_version(as_handle(name))
            self._draft.go_to(handle.bucket, dataset_of(handle), handle.ref)
        return self.push_data(prefix=prefix, progress=progress).push_manifest(
            tag,
            message=message,
            author=author,
            conflicts=conflicts,
            allow_missing_readme=allow_missing_readme,
            allow_empty=allow_empty,
            progress=progress,
        )

    def push_data_and_manifest(
        self, prefix: str | None = None, *, tag: str | None = None, message: str = "", progress: Progress = SILENT
    ) -> Package:
        """Do the same as `push`."""
        return self.push(tag=tag, prefix=prefix, message=message, progress=progress)

    def as_package(
        self, *, allow_local_files: bool = False, allow_local_manifest: bool = False
    ) -> Package | DraftPackage:
        """Return what it holds to be read: the version that it was pushed as.

        Before that, with both arguments, a package that reads from this disk and lasts as long as the builder.

        UsageError: it points to files of this machine, or was not pushed, and the argument does not allow that.
        """
        self._draft.settle()
        self._check_local(allow_local_files)
        if self._published is not None and self._draft.parent is not None:
            draft = self._draft
            assert draft.tree.base is not None
            return Package._at(as_handle(self._version_name), self.settings, self._draft.parent, draft.tree.base)
        if not allow_local_manifest:
            raise UsageError(_NOT_PUSHED[0], fix=_NOT_PUSHED[1])
        from .draft_package import DraftPackage

        return DraftPackage(self.name or "a version without a name", self._draft)

    def _check_local(self, allowed: bool) -> None:
        if not allowed and (key := self.local_key) is not None:
            raise UsageError(_LOCAL_FILES[0], why=f"{key!r} is one of them", fix=_LOCAL_FILES[1])

    def _name_bucket(self, bucket: str | None) -> None:
        draft = self._draft
        if bucket is None:
            return
        named = as_handle(bucket.rstrip("/") if bucket.startswith("s3://") else bucket)
        if named.dataset is not None:
            raise UsageError(f"{bucket!r} names more than a bucket", fix="Give the bucket, and the rest as prefix.")
        if draft.bucket is None:
            draft.bucket = named.bucket
        elif draft.bucket != named.bucket and self._address(draft.bucket) != self._address(named.bucket):
            raise UsageError(
                f"the version goes to {draft.bucket}, not to {bucket}",
                why="a version has its data in its own bucket",
                fix="Leave the bucket out, or push the version under another name.",
            )

    def _address(self, bucket: str) -> str:
        return self.settings.locate_bucket(bucket)[0]
