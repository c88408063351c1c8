"""Where the refs of a dataset stand in a bucket, found by one listing however long its history is.

Records of a branch sort the newest first, so that of each branch the first one listed is all there is to know. What is
not asked for is passed over by listing on behind it, which costs a request where a page ends in it and none elsewhere.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field

from penstock.errors import IntegrityError
from penstock.manifest.records import MAX_RECORD
from penstock.repo.bucket import object_keys
from penstock.store.base import ObjectInfo, Store

__all__ = ["RefListing", "is_same_record", "list_refs"]

_PAGE = 1000
"""Keys in a page of S3: within one it is cheaper to read on than to begin another."""
_LAST = "~"
"""Sorts behind all that a name in a key begins with."""
_MD5 = re.compile(r"[0-9a-f]{32}\Z")


@dataclass(slots=True)
class RefListing:
    """The newest record of each branch, deleted ones too, by the branch; tags by name; what is said of the dataset.

    `sequences` has the newest record of rules and of policies, by the folder that they are in.
    """

    branches: dict[str, ObjectInfo] = field(default_factory=dict)
    tags: dict[str, ObjectInfo] = field(default_factory=dict)
    info: ObjectInfo | None = None
    sequences: dict[str, ObjectInfo] = field(default_factory=dict)


def list_refs(store: Store, dataset: str) -> RefListing:
    """List the refs of a dataset. IntegrityError: what lies among the records of a branch is none."""
    prefix = object_keys.dataset_prefix(dataset)
    found = RefListing()
    behind: str | None = f"{prefix}heads/"
    while behind is not None:
        start, behind = behind, None
        for count, info in enumerate(store.list(prefix, start_after=start), 1):
            passed = _take(found, store, prefix, info)
            if passed is not None and count % _PAGE == 0:
                behind = passed
                break
    return found


def _take(found: RefListing, store: Store, prefix: str, info: ObjectInfo) -> str | None:
    """Take note of a record; or return where to go on, if there is nothing to learn before that."""
    kind, _, name = info.key[len(prefix) :].partition("/")
    if kind == "heads" and name:
        branch, _, number = name.partition("/")
        if not number:
            return None  # the marker that a console makes for a folder
        if branch in found.branches:
            return f"{prefix}heads/{branch}/{_LAST}"
        if object_keys.number_of(f"{prefix}heads/{branch}/", info.key) is None:
            raise IntegrityError(
                f"{info.key!r} in {store.url} does not belong there",
                why="the records of a ref are named by 16 hex digits",
                fix="Remove the object; Penstock did not write it.",
            )
        found.branches[branch] = info
        return None
    if kind == "tags":
        if name:
            found.tags[name] = info
        return None
    if kind == "info" and name and found.info is None:
        found.info = info
        return None
    if kind in ("protection", "retention") and name and kind not in found.sequences:
        found.sequences[kind] = info
        return None
    return f"{prefix}{kind}/{_LAST}"


def is_same_record(source: Store, one: ObjectInfo, target: Store, other: ObjectInfo) -> bool:
    """Whether two records say the same, byte by byte: by what the stores say of them, or else by reading them."""
    if one.size != other.size:
        return False
    told, other_told = _told(one), _told(other)
    if told is not None and told == other_told:
        return True
    body = source.get(one.key, limit=MAX_RECORD) if told is None or other_told is not None else None
    if body is not None and _md5(body) == other_told:
        return True
    other_body = target.get(other.key, limit=MAX_RECORD)
    if body is None and _md5(other_body) == told:
        return True
    return (body if body is not None else source.get(one.key, limit=MAX_RECORD)) == other_body


def _md5(body: bytes) -> str:
    return hashlib.md5(body, usedforsecurity=False).hexdigest()


def _told(info: ObjectInfo) -> str | None:
    """Return the MD5 of an object, where its ETag is one."""
    return info.etag if info.etag and not info.is_weak and _MD5.match(info.etag) else None
