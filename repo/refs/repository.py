"""One dataset in a bucket: what versions it has, and how a name leads to one. Blocking, thread-safe."""

from __future__ import annotations

from dataclasses import replace

from penstock.errors import AccessError, AmbiguousError, IntegrityError, NotFoundError, UsageError
from penstock.manifest.records import Commit, Manifest, RefRecord
from penstock.repo.bucket import object_keys
from penstock.repo.bucket.stored_records import read_record, require_record
from penstock.repo.settings.handle import Handle, check_dataset_name
from penstock.repo.settings.revision import parse_revision
from penstock.store.base import Store

from .refs import Refs, nearest
from .revision_steps import step_back
from .version_id import DEFAULT_BRANCH, VersionId

__all__ = ["DEFAULT_BRANCH", "Repository", "VersionId", "datasets_in"]

_SHORTEST_PREFIX = 7
_HASH_DIGITS = 64
_MOST_CANDIDATES = 20
_SERVERS = ("https://", "http://")
"""What addresses of servers of the catalogue begin with."""
_HEX = frozenset("0123456789abcdef")


def _is_prefix(name: str) -> bool:
    return _SHORTEST_PREFIX <= len(name) <= _HASH_DIGITS and _HEX.issuperset(name.lower())


def _version_of(record: RefRecord | None, name: str) -> VersionId | None:
    if record is None or not record.commit or not record.top_hash:
        return None
    return VersionId(record.top_hash, record.commit, name)


def _no_listing(name: str, dataset: str, refused: AccessError) -> AccessError:
    works = "a whole branch, tag, commit id or top hash can be named"
    why = f"{refused.reason}; without that {works}, and none called {name!r} can be read"
    if _is_prefix(name) and len(name) < _HASH_DIGITS:
        why = f"{refused.reason}; the beginning of a hash needs that, {works}"
    return AccessError(
        f"{name!r} of {dataset!r} is not found, or may not be read",
        why=why,
        fix=f"Check the name; {refused.fix[:1].lower()}{refused.fix[1:]}. To list takes s3:ListBucket, to read "
        "s3:GetObject: docs/STORES.md has the policies",
    )


def datasets_in(store: Store) -> list[str]:
    """Return the names of the datasets in a bucket, in byte order."""
    return list(store.list_folders(object_keys.DATASETS))


class Repository:
    """The versions of one dataset."""

    def __init__(self, store: Store, dataset: str, bucket: str = "…") -> None:
        """Look at a dataset of a store; `bucket` is what handles call that."""
        check_dataset_name(dataset)
        self.handle = f"{bucket.rstrip('/')}/{dataset}"
        self.store = store
        self.dataset = dataset
        self.refs = Refs(store, dataset)

    def __repr__(self) -> str:
        return f"Repository({self.store.url!r}, {self.dataset!r})"

    def exists(self) -> bool:
        """Whether the bucket holds anything of this dataset."""
        return any(True for _ in self.store.list(object_keys.dataset_prefix(self.dataset), limit=1))

    def resolve(self, ref: str | None = None) -> VersionId:
        """Find the version that a branch, tag, commit id or top hash (or a prefix of 7 digits) stands for.

        Tried in that order; steps back from it, such as ``main~1``, are taken then (`revision_steps`). NotFoundError
        names what is near; AmbiguousError lists what a prefix fits.
        """
        revision = parse_revision(ref) if ref is not None else None
        if ref is None or revision is None or not revision.steps:
            return self._named(ref)
        return replace(step_back(self, revision, self._named), ref=ref)

    def _named(self, ref: str | None) -> VersionId:
        name = ref or DEFAULT_BRANCH
        if len(name) == _HASH_DIGITS and _is_prefix(name):  # no branch or tag can be called so (`check_new_name`)
            found = self._by_hash(name.lower())
            if found is not None:
                return found
            raise self._not_found(name, ref)
        try:
            head = self.refs.head(name)
            found = _version_of(head.record if head is not None else self.refs.tag(name), name)
        except AccessError as error:
            if self.store.url.startswith(_SERVERS):
                raise  # it lists for every key that reads: there is nothing else to try, and each try counts as a guess
            return self._unlisted(name, error)
        if found is not None:
            return found
        if _is_prefix(name):
            found = self._by_prefix(name.lower())
            if found is not None:
                return found
        raise self._not_found(name, ref)

    def check_new_name(self, name: str) -> None:
        """Raise UsageError when a branch or tag of this name would hide a version that is named by its hash."""
        if not _is_prefix(name):
            return
        fits = (
            object_keys.commit_key(self.dataset, name.lower()),
            object_keys.manifest_key(self.dataset, name.lower()),
        )
        if len(name) == _HASH_DIGITS or any(True for prefix in fits for _ in self.store.list(prefix, limit=1)):
            raise UsageError(
                f"{name!r} cannot name a branch or tag",
                why="it names a version by its hash, which has to stay what it is",
                fix="Choose another name.",
            )

    def _by_hash(self, name: str) -> VersionId | None:
        """Find what a whole commit id or top hash names, in one request or two."""
        commit_id = bytes.fromhex(name)
        refused: AccessError | None = None
        try:
            key = object_keys.commit_key(self.dataset, name)
            commit = read_record(self.store, key, lambda body: Commit.decode(body, commit_id))
        except (NotFoundError, AccessError) as error:
            refused = error if isinstance(error, AccessError) else None  # who may not list is not told what is missing
            try:
                is_known = self.store.head(object_keys.manifest_key(self.dataset, name)) is not None
            except AccessError as second:
                raise _no_listing(name, self.dataset, refused or second) from second
            return VersionId(commit_id, None, name) if is_known else None
        return VersionId(commit.top_hash, commit_id, name)

    def _unlisted(self, name: str, refused: AccessError) -> VersionId:
        """Find what a tag or branch stands for where nothing may be listed: records can be asked for by their names."""
        found = _version_of(self.refs.tag_unlisted(name), name)
        if found is None:
            head = self.refs.head_unlisted(name)
            found = _version_of(head.record if head is not None else None, name)
        if found is None:
            raise _no_listing(name, self.dataset, refused) from refused
        return found

    def _by_prefix(self, prefix: str) -> VersionId | None:
        commits = self._with_prefix(
            object_keys.commit_key(self.dataset, prefix), object_keys.commit_key(self.dataset, "")
        )
        manifests = self._with_prefix(
            object_keys.manifest_key(self.dataset, prefix), object_keys.manifest_key(self.dataset, "")
        )
        if len(commits) + len(manifests) > 1:
            candidates = [f"{name} (commit)" for name in commits] + [f"{name} (top hash)" for name in manifests]
            raise AmbiguousError(
                f"{prefix!r} is ambiguous in {self.dataset!r}",
                candidates=candidates,
                why=f"it fits {', '.join(candidates[:5])}{' and more' if len(candidates) > 5 else ''}",
                fix="Give more digits.",
            )
        if commits:
            commit_id = bytes.fromhex(commits[0])
            return VersionId(self.commit(commit_id).top_hash, commit_id, prefix)
        return VersionId(bytes.fromhex(manifests[0]), None, prefix) if manifests else None

    def _with_prefix(self, prefix: str, root: str) -> list[str]:
        names = [found.key[len(root) :] for found in self.store.list(prefix, limit=_MOST_CANDIDATES)]
        return [name for name in names if len(name) == _HASH_DIGITS and _HEX.issuperset(name)]

    def _not_found(self, name: str, ref: str | None) -> NotFoundError:
        if not self.exists():
            known = datasets_in(self.store)
            return NotFoundError(
                f"no dataset {self.dataset!r} in {self.store.url}",
                why="" if known else "the bucket holds no dataset yet",
                fix=nearest(self.dataset, known) or f"Make one: penstock push DIR {self.handle}",
            )
        known = [*self.refs.branches(), *self.refs.tags()]
        if ref is None:
            return NotFoundError(
                f"{self.dataset!r} has no branch {DEFAULT_BRANCH!r}", fix=nearest(name, known) or "Name a ref."
            )
        return NotFoundError(f"no version {name!r} of {self.dataset!r}", fix=nearest(name, known))

    def commit(self, commit_id: bytes) -> Commit:
        """Read a commit that a record names; IntegrityError when it is missing or not what it was."""
        key = object_keys.commit_key(self.dataset, commit_id.hex())
        return require_record(self.store, key, lambda body: Commit.decode(body, commit_id))

    def manifest(self, top_hash: bytes) -> Manifest:
        """Read the root of a version's tree; IntegrityError when it is missing or not what it was.

        NotFoundError: it was let go, by the policy of the dataset.
        """
        key = object_keys.manifest_key(self.dataset, top_hash.hex())
        try:
            return require_record(self.store, key, lambda body: Manifest.decode(body, top_hash))
        except IntegrityError as error:
            if self.store.head(object_keys.gone_key(self.dataset, top_hash.hex())) is None:
                raise
            raise NotFoundError(
                f"version {top_hash.hex()[:12]} of {self.dataset!r} is not kept any more",
                why="gc has let it go by the policy of the dataset; its commit is still in the log",
                fix=f"penstock policy {self.handle} says what is kept.",
            ) from error


def dataset_of(handle: Handle) -> str:
    """Return the dataset that a handle names; NotFoundError when it names a bucket only."""
    if handle.dataset is None:
        raise NotFoundError(f"{str(handle)!r} names a bucket", fix="Name a dataset in it: bucket/dataset[:ref]")
    return handle.dataset
