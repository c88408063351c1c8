"""What a bucket lets this machine do: found by trying, each step only when the one before it worked. Blocking.

Writes only when asked, to ``.penstock/probe/``, and deletes what it wrote; the newest record of a branch is created
once more, which changes nothing.
"""

from __future__ import annotations

import secrets
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

from penstock.errors import AccessError, IntegrityError, NotFoundError, PenstockError
from penstock.manifest.records import MAX_RECORD
from penstock.repo.bucket import object_keys
from penstock.repo.bucket.promises import broken_promise, probe_key
from penstock.repo.bucket.proof import prove_store
from penstock.repo.refs.repository import DEFAULT_BRANCH, Repository
from penstock.repo.refs.write_access import refusal
from penstock.repo.settings.handle import Handle
from penstock.repo.settings.settings import Settings
from penstock.store.base import Store
from penstock.store.diagnosis import diagnose
from penstock.store.options import StoreOptions

from .check import Check, failed, fine, warning
from .version_checks import check_versions

__all__ = ["check_bucket", "check_writing"]

_HEADS = 5
_SLOW = 0.25
"""Seconds for one small request, above which somebody should hear of it."""
_SKEW = 60.0
_ALLOW = "Allow {}: docs/STORES.md has the whole policy."
_NOTHING_WORKS = "nothing of this bucket can be read or written"


def check_bucket(handle: Handle, settings: Settings, *, write: bool) -> Iterator[Check]:
    """Yield what can be said of the bucket, and of the dataset if the handle names one.

    UsageError: the bucket's name or its remote is not valid.
    """
    url, options = settings.locate_bucket(handle.bucket)
    with closing(settings.open_bucket(handle.bucket)) as store:
        if url.startswith("s3://"):
            ways = list(_check_way(url, options))
            yield from ways
            if any(check.name == "endpoint" and check.state != "ok" for check in ways):
                return
        reading = _check_dataset(store, handle) if handle.dataset is not None else None
        reachable = _check_reachable(store, can_read=reading is not None and reading.state == "ok")
        yield reachable
        if reachable.state != "ok" and reachable.costs == _NOTHING_WORKS:
            return
        yield _check_listing(store)
        if url.startswith("s3://"):
            yield check_versions(store)
        if reading is not None:
            yield reading
        if write:
            yield from check_writing(store)
            yield _check_proof(store)
            if handle.dataset is not None:
                yield _check_moving(Repository(store, handle.dataset), handle, settings)
        else:
            yield Check("writing", "skipped", "not tried; --write tries it")


def _check_way(url: str, options: StoreOptions) -> Iterator[Check]:
    """Yield what can be said before the bucket itself has a say: credentials, endpoint, clock."""
    try:
        found = diagnose(url, options)
    except PenstockError as error:
        yield failed("endpoint", error, _NOTHING_WORKS)
        return
    if found.anonymous:
        yield fine("credentials", "none are used: the remote is anonymous")
    elif found.provider is None:
        yield warning(
            "credentials",
            "there are none",
            "only public buckets can be read, as an anonymous remote",
            "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or run: aws configure",
        )
    else:
        yield fine("credentials", f"found by {found.provider!r}, access key …{found.key}")
    yield fine("endpoint", found.endpoint)
    if found.skew is None:
        return
    if abs(found.skew) > _SKEW:
        way = "ahead of" if found.skew > 0 else "behind"
        yield warning(
            "clock",
            f"the server's is {abs(found.skew):.0f} s {way} this machine's",
            "beyond 15 minutes S3 refuses every request",
            "As root: timedatectl set-ntp true",
        )
    else:
        yield fine("clock", f"within {max(1, round(abs(found.skew)))} s of the server's")


def _check_reachable(store: Store, *, can_read: bool) -> Check:
    """Time some requests for an object that is not there; who may not list is told 403 of it, and may read all else."""
    taken = []
    try:
        for _ in range(_HEADS + 1):
            begun = time.perf_counter()
            store.head(f"{object_keys.PROBES}absent")
            taken.append(time.perf_counter() - begun)
    except AccessError as error:
        if can_read:
            return fine("reachable", f"{store.url}: objects can be read (s3:GetObject)")
        return failed("reachable", error, _NOTHING_WORKS)
    except PenstockError as error:
        return failed("reachable", error, _NOTHING_WORKS)
    middle = statistics.median(taken[1:])  # the first one connects
    found = f"{store.url}: {middle * 1e3:.1f} ms a request (the middle of {_HEADS})"
    if middle > _SLOW:
        return warning("reachable", found, "small reads of what is not cached take as long", "Use a nearer bucket.")
    return fine("reachable", found)


def _check_listing(store: Store) -> Check:
    try:
        folders = list(store.list_folders(object_keys.DATASETS))
    except PenstockError as error:
        return failed(
            "listing",
            error,
            "what is named in full can be mounted (branch, tag, hash), but not by the beginning of a hash; nothing "
            "can be listed, pushed, committed or collected",
            _ALLOW.format("s3:ListBucket on the bucket"),
        )
    return fine("listing", f"{len(folders)} datasets")


def _check_proof(store: Store) -> Check:
    """Try what gc tries before it deletes anything."""
    try:
        prove_store(store)
    except IntegrityError as error:
        costs = "garbage cannot be collected, and branches may be overlooked"
        fix = error.fix.removeprefix("Nothing was deleted. ")
        return warning("listing of probes", error.reason, costs, fix)
    except PenstockError as error:
        return failed("listing of probes", error, "garbage cannot be collected")
    return fine("listing of probes", "found flat, by folder, in pages and in order, with their times")


def _check_dataset(store: Store, handle: Handle) -> Check:
    assert handle.dataset is not None
    try:
        repository = Repository(store, handle.dataset)
        version = repository.resolve(handle.ref)
        manifest = repository.manifest(version.top_hash)
    except NotFoundError as error:
        return failed("reading", error, "it cannot be mounted")
    except AccessError as error:
        allow = _ALLOW.format("s3:GetObject on .penstock/* of the bucket")
        return failed("reading", error, "versions cannot be read", allow)
    except PenstockError as error:
        return failed("reading", error, "versions cannot be read")
    return fine("reading", f"{handle} is {version.top_hash.hex()[:12]}, {manifest.root.entries} entries")


def check_writing(store: Store) -> Iterator[Check]:
    """Yield whether objects can be made and deleted, and whether one that is there is left alone."""
    try:
        broken = broken_promise(store) or _lost_race(store)
    except AccessError as error:
        allow = _ALLOW.format("s3:PutObject on .penstock/* of the bucket")
        yield failed("writing", error, "nothing can be pushed or committed", allow)
        return
    except PenstockError as error:
        yield failed("writing", error, "nothing can be pushed or committed")
        return
    yield fine("writing", "objects can be made")
    if broken:
        yield warning(
            "conditional writes",
            broken,
            "of two people who push to one branch at once, one would lose a version without a word: so nothing is "
            "written to it",
            "Use a server that holds to If-None-Match: * (docs/STORES.md), on Ceph 16 a bucket without versions; or "
            "accept the risk: penstock remote add --unsafe",
        )
    else:
        yield fine("conditional writes", "of two that made one object, the second was refused, also at once")
    yield _check_deleting(store)


def _lost_race(store: Store) -> str:
    """Have two make one object at once; say what is wrong with that, or nothing."""
    bodies = [secrets.token_bytes(32) for _ in range(2)]
    with probe_key(store) as key:
        with ThreadPoolExecutor(2) as pool:
            made = list(pool.map(lambda body: store.create(key, body), bodies))
        kept = store.get(key, limit=MAX_RECORD)
    if made.count(True) == 1 and kept == bodies[made.index(True)]:
        return ""
    return f"two made one object at once, and {made.count(True)} were told that it is theirs"


def _check_moving(repository: Repository, handle: Handle, settings: Settings) -> Check:
    """Look whether the branch of a handle may be moved: its newest record is made once more."""
    error = refusal(repository, handle.ref or DEFAULT_BRANCH, settings, handle.bucket)
    if error is None:
        return fine("committing", "branches can be moved")
    return failed("committing", error, f"nothing can be pushed or committed to {repository.dataset!r}")


def _check_deleting(store: Store) -> Check:
    try:
        with probe_key(store) as key:
            store.put(key, b"")
            store.delete([key])
            left = store.head(key) is not None
    except PenstockError as error:
        allow = _ALLOW.format("s3:DeleteObject on .penstock/leases/* and .penstock/probe/*, for gc on .penstock/*")
        costs = (
            "what a push or a mount leaves of itself stays, gc waits for each push for ten minutes, and deletes nothing"
        )
        return failed("deleting", error, costs, allow)
    if left:
        return warning("deleting", f"{key} is still there", "garbage cannot be collected", "Allow s3:DeleteObject.")
    return fine("deleting", "objects can be deleted")
