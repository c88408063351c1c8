"""What a bucket that keeps versions has of objects that were deleted or written anew, and which of it is garbage.

Only keys of Penstock's own are looked at, and of those never the records of refs and datasets, which are written once:
a second version there is somebody's doing, and perhaps the only good one. Of what is named by its hash, an old version
is garbage when the object was deleted and no version of a dataset needs it, or when the object that is there now is the
same. Of leases, notes and probes every old version is.

An object whose newest version is a delete marker is shown again by the removal of that marker. **Invariant:** a marker
goes only after every version of its key went.

Deciding is apart from deleting: `OldVersions` lists, whoever deletes does so when no writer is at work.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from penstock.repo.bucket import object_keys
from penstock.store.base import ObjectVersion, Store

from .gc_report import ObjectTally
from .mark import DATA_MARK, NODE_MARK, PART_MARK

__all__ = ["OldObject", "OldVersions", "delete_old"]

_MOST = 1000
_TRANSIENT = (object_keys.LEASES, object_keys.GARBAGE, object_keys.PROBES)
_RECORD = re.compile(re.escape(object_keys.DATASETS) + r"([^/]+)/(commits|manifests)/([0-9a-f]{64})")
_BY_HASH = ((PART_MARK, object_keys.PARTS), (NODE_MARK, object_keys.NODES), (DATA_MARK, object_keys.DATA))
IsNeeded = Callable[[str, bytes], bool]


@dataclass(frozen=True, slots=True)
class OldObject:
    """Versions of one key that are garbage, and its delete marker if it can go with them. Of many, a part each time."""

    key: str
    versions: tuple[ObjectVersion, ...]
    marker: ObjectVersion | None
    is_deleted: bool
    """Whether the key shows nothing: then the versions are garbage only as long as nothing needs the object."""

    def amount(self) -> tuple[int, int]:
        """Return how many versions these are, and their bytes."""
        return len(self.versions) + (self.marker is not None), sum(version.size for version in self.versions)


class OldVersions:
    """The old versions in a bucket, as they are listed: those that became so before `cutoff`; None: all.

    `is_needed` is asked by kind and name (hex), as `kind_of` gives them. `noncurrent` counts what was met.
    """

    def __init__(self, store: Store, cutoff: float | None, is_needed: IsNeeded) -> None:
        self._store = store
        self._cutoff = cutoff
        self._is_needed = is_needed
        self.noncurrent = ObjectTally()

    def __iter__(self) -> Iterator[OldObject]:
        newer: ObjectVersion | None = None
        latest: ObjectVersion | None = None
        chosen: list[ObjectVersion] = []
        is_whole = True
        for version in self._store.versions(object_keys.ROOT):
            if latest is None or version.key != latest.key:
                if latest is not None:
                    yield from self._chosen(latest, chosen, is_whole=is_whole)
                newer, latest, chosen, is_whole = None, version, [], True
            if not version.is_latest or version.is_marker:
                self.noncurrent.add(1, version.size)
            if version is not latest:
                if newer is not None and self._is_old(version, newer, latest):
                    chosen.append(version)
                else:
                    is_whole = False
                if len(chosen) == _MOST:
                    yield OldObject(version.key, tuple(chosen), None, latest.is_marker)
                    chosen = []
            newer = version
        if latest is not None:
            yield from self._chosen(latest, chosen, is_whole=is_whole)

    def _chosen(self, latest: ObjectVersion, chosen: list[ObjectVersion], *, is_whole: bool) -> Iterator[OldObject]:
        ends = is_whole and latest.is_latest and latest.is_marker and self._is_old(latest, latest, latest)
        if chosen or ends:
            yield OldObject(latest.key, tuple(chosen), latest if ends else None, latest.is_marker)

    def _is_old(self, version: ObjectVersion, newer: ObjectVersion, latest: ObjectVersion) -> bool:
        """Whether a version is garbage. `newer` took its place, `latest` is what the key shows, or that it is gone."""
        if version.is_latest and not version.is_marker:
            return False
        if not latest.is_latest or (self._cutoff is not None and newer.modified >= self._cutoff):
            return False
        if version.key.startswith(_TRANSIENT):
            return True
        named = kind_of(version.key)
        if named is None:
            return False
        if latest.is_marker:
            return not self._is_needed(*named)
        return version.is_marker or (version.size == latest.size and version.etag == latest.etag)


def kind_of(key: str) -> tuple[str, bytes] | None:
    """Return kind and hash of an object that is named by its hash; None when the key is no such key."""
    for kind, prefix in _BY_HASH:
        if key.startswith(prefix):
            digest = object_keys.digest_of(prefix, key)
            return (kind, digest) if digest is not None else None
    match = _RECORD.fullmatch(key)
    return (f"{match[2]}/{match[1]}", bytes.fromhex(match[3])) if match is not None else None


def delete_old(store: Store, found: Sequence[OldObject]) -> dict[ObjectVersion, str]:
    """Delete old versions, and the markers of keys of which nothing is left; return those that the store refuses."""
    refused = store.delete_versions(version for each in found for version in each.versions)
    stuck = {version.key for version in refused}
    markers = [each.marker for each in found if each.marker is not None and each.key not in stuck]
    return refused | store.delete_versions(markers)
