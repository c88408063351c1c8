"""What a bucket lets this machine do: found by trying, each step only when the one before it worked. Blocking.

Writes only when asked, to ``.penstock/probe/`` and nowhere else, and deletes what it wrote. Used by the command line.
"""

from __future__ import annotations

import secrets
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

from penstock.errors import IntegrityError, NotFoundError, PenstockError
from penstock.store.base import Store
from penstock.store.diagnosis import diagnose
from penstock.store.options import StoreOptions

from . import layout
from .checks import Check, failed, fine, warning
from .handle import Handle
from .proof import prove_store
from .repository import Repository
from .settings import Settings
from .version_checks import check_versions

__all__ = ["check_bucket", "check_writing"]

_HEADS = 5
_SLOW = 0.25
"""Seconds for one small request, above which somebody should hear of it."""
_SKEW = 60.0
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
        reachable = _check_reachable(store)
        yield reachable
        if reachable.state != "ok" and reachable.costs == _NOTHING_WORKS:
            return
        yield _check_listing(store)
        if url.startswith("s3://"):
            yield check_versions(store)
        if handle.dataset is not None:
            yield _check_dataset(store, handle)
        if write:
            yield from check_writing(store)
            yield _check_proof(store)
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


def _check_reachable(store: Store) -> Check:
    """Time some requests for an object that is not there."""
    taken = []
    try:
        for _ in range(_HEADS + 1):
            begun = time.perf_counter()
            store.head(f"{layout.PROBES}absent")
            taken.append(time.perf_counter() - begun)
    except PenstockError as error:
        return failed("reachable", error, _NOTHING_WORKS)
    middle = statistics.median(taken[1:])  # the first one connects
    found = f"{store.url}: {middle * 1e3:.1f} ms a request (the middle of {_HEADS})"
    if middle > _SLOW:
        return warning("reachable", found, "small reads of what is not cached take as long", "Use a nearer bucket.")
    return fine("reachable", found)


def _check_listing(store: Store) -> Check:
    try:
        folders = list(store.list_folders(layout.DATASETS))
    except PenstockError as error:
        return failed("listing", error, "branches cannot be looked up: only what is remembered can be mounted")
    return fine("listing", f"{len(folders)} datasets")


def _check_proof(store: Store) -> Check:
    """Try what gc tries before it deletes anything."""
    try:
        prove_store(store)
    except IntegrityError as error:
        costs = "garbage cannot be collected, and branches may be overlooked"
        fix = error.fix.removeprefix("Nothing was deleted. ")
        return warning("listing of probes", f"{error.what}: {error.why}", costs, fix)
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
    except PenstockError as error:
        return failed("reading", error, "versions cannot be read")
    return fine("reading", f"{handle} is {version.top_hash.hex()[:12]}, {manifest.root.entries} entries")


def check_writing(store: Store) -> Iterator[Check]:
    """Yield whether objects can be made and deleted, and whether one that is there is left alone."""
    key = f"{layout.PROBES}{secrets.token_hex(16)}"
    bodies = [secrets.token_bytes(32) for _ in range(2)]
    try:
        with ThreadPoolExecutor(2) as pool:
            made = list(pool.map(lambda body: store.create(key, body), bodies))
        kept = store.get(key)
    except PenstockError as error:
        yield failed("writing", error, "nothing can be pushed")
        return
    finally:
        deleted = _delete(store, key)
    yield fine("writing", "objects can be made")
    if made.count(True) == 1 and kept == bodies[made.index(True)]:
        yield fine("conditional writes", "of two that made one object at once, one was told that it was second")
    else:
        yield warning(
            "conditional writes",
            f"two made one object at once, and {made.count(True)} were told that it is theirs",
            "of two people who push to one branch at once, one may lose a version without a word",
            "Use a server that honours If-None-Match, or let one machine alone push.",
        )
    yield deleted


def _delete(store: Store, key: str) -> Check:
    try:
        store.delete([key])
        left = store.head(key) is not None
    except PenstockError as error:
        return failed("deleting", error, f"{key} stays in the bucket, and garbage cannot be collected")
    if left:
        return warning("deleting", f"{key} is still there", "garbage cannot be collected", "Allow s3:DeleteObject.")
    return fine("deleting", "objects can be deleted")
