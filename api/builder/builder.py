"""A version in the making: what is to be in it is gathered, and becomes a version when it is pushed.

Files are read and hashed when they are added, at the latest when the manifest is built; their bytes stay where they are
until the data is pushed, and have to be the same then. Whatever is added, moved or deleted is done in a tree on this
disk: memory does not grow with it.
"""

# ruff: noqa: SLF001  # packages and entries are of the face, as builders are

from __future__ import annotations

import atexit
import os
import posixpath
import weakref
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from types import TracebackType
from typing import Any, Literal, Self

from penstock.api.handles import Handle, as_handle, format_size, whole_version
from penstock.api.packages.comparison import ChangeCounts, Comparison
from penstock.api.packages.entry import Entry
from penstock.api.packages.listing import sources_html, sources_text
from penstock.api.packages.package import Package
from penstock.api.settings import Settings
from penstock.errors import PenstockError, UsageError
from penstock.manifest.entry import display_path, split_path
from penstock.manifest.merge import Choose
from penstock.manifest.metadata import parse_metadata
from penstock.manifest.tree import Tree
from penstock.progress import SILENT, Progress
from penstock.repo.draft.draft import Draft, DraftOrigin, DraftState
from penstock.repo.draft.frame_file import FrameFile, temporary_frames
from penstock.repo.draft.object_source import is_object_address
from penstock.repo.history.comparison import Contents
from penstock.repo.refs.repository import VersionId, dataset_of

from .builder_keys import Conflicts, check_identity, choice, key_names, key_of_path, said_metadata, shown_local
from .builder_pushes import BuilderPushes
from .builder_sources import BuilderSource, Sources, nested

__all__ = ["PackageBuilder"]

_SHOWN = 50


class PackageBuilder(BuilderPushes):
    """What a version is to hold. Until it is pushed it has no name, unless it is given ``bucket/dataset[:branch]``.

    Methods that change it return it. A key is a path in the version; slashes at its end are ignored. A builder that
    was made from a version (`Package.to_builder`) holds what that holds, and becomes the next version of its branch:
    what others changed there meanwhile is merged in. One that was not becomes all that the next version holds.

    UsageError: the name is not valid.

    >>> import penstock
    >>> builder = penstock.PackageBuilder("demo/copies").add("photos", key="").build_manifest()
    >>> builder.top_hash == penstock.hash_directory("photos").top_hash
    True
    >>> package = builder.push(message="from photos", tag="v1", allow_missing_readme=True)
    >>> package
    Package('demo/copies:v1')
    >>> [entry.key for entry in package]
    ['2024', '2024/cat.jpg', '2024/dog.jpg', 'labels.csv']
    """

    def __init__(self, name: str | Handle | None = None, settings: Settings | None = None) -> None:
        self.settings = settings or Settings.load()
        handle = whole_version(as_handle(name)) if name is not None else None
        state = DraftState()
        if handle is not None:
            state = DraftState(handle.bucket, dataset_of(handle), handle.ref)
        self._begin(Draft(self.settings, temporary_frames(), state), Sources())

    def _begin(self, draft: Draft, sources: Sources) -> None:
        self._draft = draft
        self._sources = sources
        self._is_built = False
        self._published = None
        self._version_name = ""
        self._new_frames = temporary_frames
        self._data = None
        self._transfers = []
        _open.add(self)

    def _restore(
        self, is_built: bool, published: str | None, version_name: str, new_frames: Callable[[], FrameFile]
    ) -> None:
        self._is_built, self._published, self._version_name = is_built, published, version_name
        self._new_frames = new_frames

    @classmethod
    def _of(cls, package: Package) -> PackageBuilder:
        """Return a builder that stands on a version, or of a directory of one holds what is in it; see `Package`."""
        builder = cls(None, package.settings)
        if package.handle.subdir:
            return builder.add(package)
        snapshot = package._snapshot
        commit_id = package._commit()[0]
        draft = builder._draft
        draft.begin_from(package.handle, snapshot.manifest, VersionId(snapshot.top_hash, commit_id))
        ref = package.handle.ref
        draft.branch = ref if ref is not None and draft.branch_of(ref) else None
        return builder

    @property
    def top_hash(self) -> str | None:
        """The hash of what the version holds; None before the manifest is built, and after each change."""
        return self._draft.tree.manifest.top_hash.hex() if self._is_built else None

    @property
    def sources(self) -> tuple[BuilderSource, ...]:
        """What was added, and where the bytes of it are by now."""
        return tuple(self._sources)

    @property
    def skipped(self) -> list[str]:
        """What was left out of what was added, because no version can hold it: sockets, keys that are no paths."""
        return [f"{os.fsdecode(each.path)}: {each.what}" for each in self._draft.skipped]

    @property
    def unpinned(self) -> int:
        """How many objects were added to which their store gives neither a version nor an ETag."""
        return self._draft.unpinned

    # What is in it

    def add(
        self,
        source: str | os.PathLike[str] | Package | Entry,
        key: str | None = None,
        *,
        meta: Mapping[str, Any] | None = None,
        conflicts: Conflicts | None = None,
        identity: bool = False,
        progress: Progress = SILENT,
    ) -> Self:
        """Add a file, a directory, an object or a prefix of S3, a `Package` or a part of one.

        Without a `key` it gets the path as it is given; ``.`` and packages come to the top. What is in a directory is
        merged with what is there: a key that has something else already is a conflict, unless `conflicts` says whose
        is kept, ``ours`` (what is there) or ``theirs`` (what is added). Objects of S3 are left where they lie, and read
        once for their hashes, or with `identity` not at all: sizes and ETags pin them then, and nothing proves what
        they hold. ``s3://bucket/prefix/``, with its slash, is all below it. No byte of another package's files moves.

        MergeConflictError, ConflictError: a key is taken. NotFoundError, AccessError: the source cannot be read.
        UsageError: a key that cannot be. Nothing has changed then.

        >>> import penstock
        >>> builder = penstock.PackageBuilder().add("photos/labels.csv", "labels.csv").add("photos/2024", "2024")
        >>> builder.add(penstock.Package("demo/photos:v1"), "old").counts().added
        8
        """
        choose = choice(conflicts)
        check_identity(source, identity=identity)
        if isinstance(source, Package | Entry):
            return self._add_version(source, key, meta, choose)
        text = os.fspath(source)
        if is_object_address(text):
            return self._add_objects(text, key, meta, choose, progress, identity=identity)
        names = key_names(key_of_path(text) if key is None else key)
        if not os.path.isdir(text):
            return self.set(display_path(names), text, meta)
        body = said_metadata(display_path(names), meta) if meta is not None else None
        self._draft.put_directory(names, text, choose, progress)
        if body is not None:
            self._draft.set_metadata(names, body)
        return self._added(BuilderSource(display_path(names), shown_local(text), "local", None, True))

    def set(
        self,
        key: str,
        source: str | os.PathLike[str] | Entry,
        meta: Mapping[str, Any] | None = None,
        *,
        identity: bool = False,
    ) -> Self:
        """Let a key stand for a file of this disk, an object of S3 or an entry of a package.

        A file that was there is replaced. ``s3://bucket/key?versionId=ID`` is that version of an object. `meta` is the
        entry's metadata. With `identity` an object is not read, as with `add`.

        ConflictError: the key is a directory, or lies below a file. UsageError: the key or the metadata cannot be.
        """
        check_identity(source, identity=identity)
        if isinstance(source, Entry):
            return self._add_version(source, key, meta, None)
        names = key_names(key)
        if not names:
            raise UsageError("no key is given", fix="Name the file's path in the version.")
        text = os.fspath(source)
        metadata = said_metadata(key, meta) if meta is not None else b""
        if is_object_address(text):
            self._draft.put_object(names, text, metadata, SILENT, identity=identity)
            return self._added(BuilderSource(display_path(names), text, "object"))
        self._draft.put_local(names, text, metadata)
        if not self._sources.lists(key := display_path(names)):
            self._sources.more = True
            return self._changed()
        return self._added(BuilderSource(key, shown_local(text), "local"))

    def set_objects(
        self,
        objects: Mapping[str, tuple[str, Mapping[str, Any] | None]],
        *,
        identity: bool = False,
        progress: Progress = SILENT,
    ) -> dict[str, PenstockError]:
        """Let keys stand for objects of S3, many at a time: each an address as of `set`, and the entry's metadata.

        Returns what is wrong with those that could not be set, by key. UsageError: a key or metadata cannot be.
        """
        keys = {}
        wanted = []
        for key, (address, meta) in objects.items():
            names = key_names(key)
            check_identity(address, identity=identity)
            if not names:
                raise UsageError("no key is given", fix="Name the file's path in the version.")
            keys[tuple(names)] = key
            wanted.append((tuple(names), address, said_metadata(key, meta) if meta is not None else b""))
        problems = self._draft.put_many_objects(wanted, progress, identity=identity)
        for path, address, _ in wanted:
            if path not in problems:
                self._added(BuilderSource(display_path(path), address, "object"))
        return {keys[path]: error for path, error in problems.items()}

    def set_meta(self, key: str = "", meta: Mapping[str, Any] | None = None) -> Self:
        """Set the metadata of a file or directory, or without a key of the version: all of it, None: there is none.

        UsageError: it is not JSON, has NaN, or is too large. NotFoundError: nothing is at the key.

        >>> import penstock
        >>> builder = penstock.Package("demo/photos").to_builder().set_meta("labels.csv", {"by": "Ada"})
        >>> builder.push(allow_missing_readme=True).get_metadata("labels.csv"), builder.sent.bytes
        ({'by': 'Ada'}, 0)
        """
        names = key_names(key)
        body = said_metadata(key, meta) if meta is not None else b""
        self._draft.set_metadata(names, body)
        return self._changed()

    def delete(self, key: str) -> Self:
        """Take out a file, or a directory with all below it. NotFoundError: nothing is there."""
        names = key_names(key)
        self._draft.remove(names)
        self._sources.remove(display_path(names))
        return self._changed()

    def move(self, source: str, target: str, *, overwrite: bool = False) -> Self:
        """Give a file or directory another key. ConflictError: that is taken, and not to be overwritten."""
        old, new = key_names(source), key_names(target)
        self._draft.move(old, new, overwrite=overwrite)
        if overwrite:
            self._sources.remove(display_path(new))
        self._sources.move(display_path(old), display_path(new))
        return self._changed()

    def move_dir_contents(self, source: str, target: str, *, overwrite: bool = False) -> Self:
        """Move what is in a directory into another one. ConflictError names the first key that both have, unforced.

        >>> import penstock
        >>> builder = penstock.Package("demo/photos").to_builder().add("photos/2024", "new")
        >>> len(builder.delete("new/dog.jpg").move_dir_contents("new/", "2023/").ls("2023"))
        1
        """
        old, new = key_names(source), key_names(target)
        self._draft.settle()
        self._draft.tree.move_contents(old, new, overwrite=overwrite)
        self._sources.move(display_path(old), display_path(new))
        return self._changed()

    def ls(self, key: str = "") -> list[str]:
        """Return the names in a directory, with a slash behind those of directories, in byte order."""
        self._draft.settle()
        tree = self._draft.tree
        entry = tree.require(key_names(key))
        if entry.directory is None:
            return [display_path([entry.name])]
        children = tree.tree.children(entry.directory)
        return [display_path([each.name]) + ("/" if each.directory is not None else "") for _, each in children]

    def get_metadata(self, key: str = "") -> dict[str, Any]:
        """Return the metadata of a file or directory, or without a key of the version."""
        tree = self._draft.tree
        names = key_names(key)
        found = self._draft.find(names) if names else tree
        return parse_metadata(tree.read_metadata((found or tree.require(names)).metadata))

    def __len__(self) -> int:
        """Return how many entries there are, directories among them."""
        self._draft.settle()
        return self._draft.tree.root.entries

    def __bool__(self) -> bool:
        """Return True: an empty version is a version."""
        return True

    def __contains__(self, key: object) -> bool:
        """Return whether there is something at a key."""
        return isinstance(key, str) and (not (names := key_names(key)) or self._draft.find(names) is not None)

    def changes(self) -> Comparison:
        """Compare what it was made from with what it is: what a push would change.

        >>> import penstock
        >>> builder = penstock.Package("demo/photos").to_builder().delete("2024/cat.jpg")
        >>> [(each.change, each.path) for each in builder.changes().changes()]
        [('deleted', '2024/cat.jpg')]
        """
        self._draft.settle()
        tree = self._draft.tree
        base = tree.base.root if tree.base is not None else None
        before, now = (Contents(root, tree.load, tree.load_many) for root in (base, tree.root))
        return Comparison(before, now, top_hash=tree.manifest.top_hash.hex())

    def counts(self) -> ChangeCounts:
        """Count what a push would add, modify and delete."""
        return self.changes().counts()

    def _add_objects(
        self,
        address: str,
        key: str | None,
        meta: Mapping[str, Any] | None,
        choose: Choose | None,
        progress: Progress,
        *,
        identity: bool,
    ) -> Self:
        names = key_names(posixpath.basename(address.removeprefix("s3://").rstrip("/")) if key is None else key)
        body = said_metadata(display_path(names), meta) if meta is not None else None
        whole_bucket = "/" not in address.removeprefix("s3://").rstrip("/")
        if not address.endswith("/") and not whole_bucket:
            self._draft.put_object(names, address, body or b"", progress, identity=identity)
            return self._added(BuilderSource(display_path(names), address, "object"))
        self._draft.put_objects(names, address, choose, progress, identity=identity)
        if body is not None:
            self._draft.set_metadata(names, body)
        return self._added(BuilderSource(display_path(names), address, "object", None, True))

    def _add_version(
        self, source: Package | Entry, key: str | None, meta: Mapping[str, Any] | None, choose: Choose | None
    ) -> Self:
        package = source if isinstance(source, Package) else source._source
        if not isinstance(package, Package):
            raise UsageError(f"{source!r} is of no version that was pushed", fix="Push that version first.")
        entry = package.entry("") if isinstance(source, Package) else source
        names = key_names(entry.key if key is None else key)
        metadata = said_metadata(display_path(names), meta) if meta is not None else None
        snapshot = package._snapshot
        origin = DraftOrigin(snapshot.dataset, snapshot.top_hash)
        self._draft.put_version(names, snapshot.session, origin, entry._entry, choose, metadata)
        here = self._draft.session.store.url == snapshot.session.store.url
        text = f"{package.name}/{entry.key}" if entry.key else package.name
        kind: Literal["version", "foreign"] = "version" if here else "foreign"
        return self._added(BuilderSource(display_path(names), text, kind, None, entry.is_directory()))

    def _added(self, source: BuilderSource) -> Self:
        self._sources.add(source)
        return self._changed()

    def _changed(self) -> Self:
        self._is_built, self._published = False, None
        return self

    def close(self) -> None:
        """Let go of connections, and of what is being built."""
        self._draft.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a builder stays in its process: push it, and pickle the package")

    # How it is shown

    def _facts(self) -> list[tuple[str, str]]:
        facts = [("name", self.name or "none yet")]
        facts.append(("top hash", self.top_hash or "pre-manifest"))
        facts.append(("manifest", self.manifest))
        if self._draft.tree.base is not None and self._published is None:
            counts = self.changes().estimate()
            facts.append(("changes", f"{counts.added} added, {counts.modified} modified, {counts.deleted} deleted"))
        return facts

    def _rows(self) -> Iterator[tuple[str, str, str, int | None]]:
        """Yield key, place, whether it is local or remote, and bytes, of what is shown."""
        self._draft.settle()
        tree = self._draft.tree
        if tree.base is not None and self._draft.parent is not None:
            version = f"{self._draft.bucket}/{self._draft.dataset}:{(self._draft.parent.commit or b'').hex()[:9]}"
            before = Tree(tree.base.root, tree.load)
            for _, entry in islice(before.children(tree.base.root), _SHOWN + 1):
                now = tree.find((entry.name,))
                if now is not None and not any(each.key == display_path([entry.name]) for each in self._sources):
                    slash = "/" if entry.directory is not None else ""
                    yield (
                        display_path([entry.name]) + slash,
                        f"{version}/{display_path([entry.name])}{slash}",
                        "remote",
                        now.size,
                    )
        for each in nested(self._sources):
            found = tree.find(split_path(each.key))
            place = each.shown_place.rstrip("/") + "/..." if each.is_directory else each.shown_place
            state = "local" if each.is_local else "remote"
            yield each.shown_key, place, state, found.size if found is not None else None
        if self._sources.more:
            yield "...", "more files that were set", "", None

    def __repr__(self) -> str:
        lines = [f"{fact}: {value!r}" for fact, value in self._facts()]
        return sources_text("PackageBuilder", lines, [(key, place) for key, place, _, _ in self._rows()])

    def _repr_html_(self) -> str:
        title = f"PackageBuilder {self.name or ''}".strip()
        rows = [
            (key, place, state, format_size(size) if size is not None else "")
            for key, place, state, size in self._rows()
        ]
        return sources_html(title, self._facts(), rows)


_open: weakref.WeakSet[PackageBuilder] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    for builder in list(_open):
        builder.close()
