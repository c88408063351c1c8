"""What versions this machine has opened: so that one whose blocks are in the cache opens without its store.

What a ref led to is kept in the index beside the block cache; the manifest and the commit, which never change, are
blocks of it, by their content. All of it is a hint: what is gone or damaged is not remembered, and both stay within
the cache's bound. The store is asked first, always; memory answers only when that cannot be reached.

Blocking.
"""

from __future__ import annotations

import logging

import msgspec

from penstock.errors import IntegrityError, StoreUnreachableError
from penstock.manifest.entry import Metadata, NodeRef
from penstock.manifest.hashing import content_hash
from penstock.manifest.records import Commit, Manifest
from penstock.repo.refs.repository import DEFAULT_BRANCH, Repository, VersionId
from penstock.repo.session.bucket_session import BucketSession

__all__ = ["Memory", "Pin", "find_version"]

_log = logging.getLogger(__name__)


class Pin(msgspec.Struct, frozen=True):
    """What a handle was found to name: enough to open that again, with no store, whatever it names by then.

    `root` and `metadata` are of the version, or of a directory of it. `commit` may be None where nobody has asked for
    it; `offline`: what it names comes from memory.
    """

    version: VersionId
    manifest: Manifest
    commit: Commit | None
    root: NodeRef
    metadata: Metadata = b""
    offline: bool = False

    @classmethod
    def whole(cls, version: VersionId, manifest: Manifest, commit: Commit | None, *, offline: bool = False) -> Pin:
        """Return that of a whole version."""
        return cls(version, manifest, commit, manifest.root, manifest.metadata, offline)


class _Row(msgspec.Struct, frozen=True, array_like=True):
    """What a ref led to: hashes of the version, and the keys of its records in the block cache."""

    top_hash: bytes
    commit: bytes | None
    manifest_block: bytes
    commit_block: bytes | None


class Memory:
    """Keeps and finds versions of one dataset. Never raises because of the disk: it has forgotten, then.

    The session has a cache.
    """

    def __init__(self, session: BucketSession, repository: Repository) -> None:
        assert session.cache is not None
        self._cache = session.cache
        self._locations = session.locations
        self._namespace = f"versions {repository.store.url} {repository.dataset}".encode("utf-8", "surrogateescape")

    def keep(self, ref: str, found: Pin) -> None:
        """Remember what a ref led to just now; the version by its hashes as well."""
        version = found.version
        manifest = found.manifest.encode()
        commit = found.commit.encode() if found.commit is not None else None
        records = [(content_hash(body), body) for body in (manifest, commit) if body is not None]
        self._cache.put_many(records)
        row = _Row(version.top_hash, version.commit, records[0][0], records[1][0] if commit is not None else None)
        rows = {ref: row, version.top_hash.hex(): _Row(version.top_hash, None, row.manifest_block, None)}
        if version.commit is not None:
            rows[version.commit.hex()] = row
        with self._locations() as index:
            index.put_many(self._namespace, ((_key(name), msgspec.msgpack.encode(each)) for name, each in rows.items()))

    def find(self, ref: str) -> Pin | None:
        """Return what a ref led to when the store was last asked."""
        with self._locations() as index:
            value = index.get(self._namespace, _key(ref))
        if value is None:
            return None
        try:
            row = msgspec.msgpack.decode(value, type=_Row)
            manifest = self._cache.get(row.manifest_block)
            commit = self._cache.get(row.commit_block) if row.commit_block is not None else None
            if manifest is None or (commit is None and row.commit is not None):
                return None
            return Pin.whole(
                VersionId(row.top_hash, row.commit, ref),
                Manifest.decode(bytes(manifest), row.top_hash),
                Commit.decode(bytes(commit), row.commit) if commit is not None and row.commit is not None else None,
                offline=True,
            )
        except (msgspec.DecodeError, IntegrityError) as error:
            _log.info("what is remembered of %s cannot be used: %s", ref, error)
            return None


def _key(ref: str) -> bytes:
    return content_hash(ref.encode("utf-8", "surrogateescape"))


def find_version(repository: Repository, ref: str | None, memory: Memory | None) -> Pin:
    """Return what a ref leads to; from memory, if there is one, when the store cannot be reached.

    Raises as `Repository.resolve` and `Repository.manifest`.
    """
    name = ref or DEFAULT_BRANCH
    try:
        version = repository.resolve(ref)
        manifest = repository.manifest(version.top_hash)
        commit = repository.commit(version.commit) if memory is not None and version.commit is not None else None
    except StoreUnreachableError as error:
        known = memory.find(name) if memory is not None else None
        if known is None:
            raise
        _log.warning("%s; %s is what it was when it was last opened here", error, name)
        return known
    found = Pin.whole(version, manifest, commit)
    if memory is not None:
        memory.keep(name, found)
    return found
