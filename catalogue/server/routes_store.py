"""Objects of a bucket for whoever mounts a version with a key: records, nodes and data, as they lie there.

A key of one dataset is answered with that dataset's records, and of shared objects with what belongs to it: all other
bytes of a range are zeros, and a range without any of its own is refused. So is an object that is not there, with the
same words: nobody learns what a bucket holds.
"""

from __future__ import annotations

import re
from itertools import islice
from typing import Annotated

from fastapi import APIRouter, Body, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from penstock.catalogue.datasets.bucket_catalogue import BucketCatalogue
from penstock.catalogue.datasets.reach import DatasetReach, covered
from penstock.catalogue.orm.dataset import DatasetScope
from penstock.catalogue.state.caller import Caller
from penstock.errors import AccessError, NotFoundError, UsageError
from penstock.manifest.records import MAX_RECORD
from penstock.repo.bucket import object_keys
from penstock.repo.bucket.leases import LeaseKind, reader_lease
from penstock.store.base import ByteRange, ObjectInfo
from penstock.store.keys import check_key, check_prefix

from .answers import json_answer
from .callers import Asking
from .context import ServerContext, context_of

__all__ = ["router"]

router = APIRouter(prefix="/store", tags=["store"])

_MOST = 64 << 20
_LEASE = re.compile("[0-9a-f]{32}")
_SHARED = (object_keys.DATA, object_keys.NODES)


def _refused() -> AccessError:
    return AccessError("this key does not open that object", fix="Ask whoever gave it to you for another one.")


def _scope(context: ServerContext, asking: Caller, bucket: str) -> tuple[BucketCatalogue, DatasetReach | None]:
    """Return the bucket, and the dataset that all answers are bound to; None: all of the bucket's are open."""
    if DatasetScope.READ not in asking.scopes:
        asking.require(DatasetScope.READ, asking.dataset)
    if not asking.dataset:
        if bucket not in context.buckets:
            raise NotFoundError(f"no bucket {bucket[:100]!r} here")
        return context.buckets[bucket], None
    try:
        home, name = context.catalogues.find(asking.dataset)
    except NotFoundError:
        raise _refused() from None
    if home.bucket != bucket:
        raise _refused()
    return home, context.reach(home, name)


@router.get("/{bucket}/list")
def list_objects(
    request: Request,
    asking: Asking,
    bucket: str,
    prefix: Annotated[str, Query(max_length=1024)],
    start_after: Annotated[str, Query(max_length=1024)] = "",
    limit: Annotated[int, Query(ge=1, le=1000)] = 1000,
    folders: bool = False,
) -> Response:
    """List records of datasets: objects, or the folders below a prefix."""
    home, reach = _scope(context_of(request), asking, bucket)
    check_prefix(prefix)
    if not prefix.startswith(object_keys.DATASETS):
        raise _refused()
    store = home.session.store
    if folders:
        if reach is None or reach.is_record(prefix):
            found = list(store.list_folders(prefix))
        elif prefix == object_keys.DATASETS:
            found = [reach.dataset]
        else:
            raise _refused()
        return json_answer({"objects": [], "folders": found, "is_cut": False})
    if reach is not None and not reach.is_record(prefix):
        raise _refused()
    objects = list(islice(store.list(prefix, start_after=start_after, limit=limit + 1), limit + 1))
    shown = [{"key": each.key, "size": each.size, "modified": each.modified} for each in objects[:limit]]
    return json_answer({"objects": shown, "folders": [], "is_cut": len(objects) > limit})


@router.head("/{bucket}/o/{key:path}")
def head_object(request: Request, asking: Asking, bucket: str, key: str) -> Response:
    """Say how large a record is. Of shared objects nothing is said."""
    home, reach = _scope(context_of(request), asking, bucket)
    _check(key, reach)
    if key.startswith(_SHARED) and reach is not None:
        raise _refused()
    found = home.session.store.head(key)
    if found is None:
        raise NotFoundError(f"no object {key}")
    return Response(headers=_headers(found))


@router.get("/{bucket}/o/{key:path}")
def get_object(
    request: Request,
    asking: Asking,
    bucket: str,
    key: str,
    offset: Annotated[int, Query(ge=0, le=1 << 62)] = 0,
    length: Annotated[int | None, Query(ge=1, le=_MOST)] = None,
) -> Response:
    """Return a range of an object, or all of a record."""
    home, reach = _scope(context_of(request), asking, bucket)
    _check(key, reach)
    store = home.session.store
    if key.startswith(_SHARED):
        if length is None:
            raise UsageError("a shared object is asked for in ranges", fix="Give offset and length.")
        spans = reach.spans(key, offset, offset + length) if reach is not None else None
        if spans is not None and not spans:
            raise _refused()
        body = store.get(key, ByteRange(offset, length), checked=True)
        return Response(body if spans is None else covered(body, offset, spans), media_type="application/octet-stream")
    body = store.get(key, ByteRange(offset, length) if length is not None else None, limit=MAX_RECORD)
    if reach is not None and length is None:
        reach.learn(key, body)
    return Response(body, media_type="application/octet-stream", headers={"x-penstock-size": str(len(body))})


@router.put("/{bucket}/o/{key:path}")
async def put_lease(request: Request, asking: Asking, bucket: str, key: str) -> Response:
    """Take or renew the lease of a reader, so that gc leaves the version that it shows; nothing else is put."""
    body = await request.body()

    def put() -> None:
        context = context_of(request)
        home, reach = _scope(context, asking, bucket)
        name = _lease_name(key)
        lease = reader_lease(body, reach.dataset if reach is not None else None)
        stored = context.reader_leases.take(asking.name, bucket, name, lease.seconds)
        home.session.store.put(object_keys.lease_key(LeaseKind.MOUNT, stored), body)

    await run_in_threadpool(put)
    return Response(status_code=204)


@router.delete("/{bucket}/o/{key:path}")
def delete_lease(request: Request, asking: Asking, bucket: str, key: str) -> Response:
    """Give the lease of a reader back. Whoever did not take it deletes nothing."""
    context = context_of(request)
    home, _ = _scope(context, asking, bucket)
    stored = context.reader_leases.give_back(asking.name, bucket, _lease_name(key))
    if stored is not None:
        home.session.store.delete([object_keys.lease_key(LeaseKind.MOUNT, stored)])
    return Response(status_code=204)


@router.post("/{bucket}/credentials")
def give_credentials(
    request: Request,
    asking: Asking,
    bucket: str,
    seconds: Annotated[int, Body(embed=True, ge=900, le=43_200)] = 3600,
) -> Response:
    """Give out credentials of the store that read all datasets of a bucket for a while, past this server.

    Only to keys of all datasets: the data of a bucket are shared by its datasets, and no policy parts them.
    """
    context = context_of(request)
    asking.require(DatasetScope.READ, asking.dataset)
    if asking.dataset:
        raise AccessError(
            "a key of one dataset gets no credentials of the store",
            why="datasets of a bucket share its data, and credentials of one would open what is another's",
            fix="Read through this server.",
        )
    if bucket not in context.buckets:
        raise NotFoundError(f"no bucket {bucket[:100]!r} here")
    home = context.buckets[bucket]
    if not context.role or not home.address.startswith("s3://"):
        why = "it was started without a role" if home.address.startswith("s3://") else "the bucket is a directory"
        raise UsageError("this server gives out no credentials", why=why, fix="penstock serve --role ARN")
    from penstock.store.s3.role_credentials import assume_role, reading_policy  # boto3 is slow to import

    name, _, prefix = home.address.removeprefix("s3://").partition("/")
    below = f"{prefix}/" if prefix else ""
    folders = [below + each for each in (object_keys.DATASETS, object_keys.DATA, object_keys.NODES)]
    options = context.catalogues.settings.locate_bucket(bucket)[1]
    made = assume_role(options, context.role, reading_policy(name, folders, below + object_keys.DATASETS), seconds)
    return json_answer(
        {
            "access_key": made.credentials.access_key,
            "secret_key": made.credentials.secret_key,
            "session_token": made.credentials.token,
            "expires": made.expires,
            "url": home.address,
            "endpoint": made.endpoint,
            "region": made.region,
        },
        headers={"cache-control": "no-store"},
    )


def _lease_name(key: str) -> str:
    prefix = object_keys.lease_key(LeaseKind.MOUNT, "")
    name = key.removeprefix(prefix)
    if name == key or not _LEASE.fullmatch(name):
        raise _refused()
    return name


def _check(key: str, reach: DatasetReach | None) -> None:
    """Refuse what is neither a record of a dataset that is open, nor a shared object."""
    check_key(key)
    if key.startswith(_SHARED):
        return
    if not key.startswith(object_keys.DATASETS) or (reach is not None and not reach.is_record(key)):
        raise _refused()


def _headers(found: ObjectInfo) -> dict[str, str]:
    headers = {"x-penstock-size": str(found.size)}
    if found.modified is not None:
        headers["x-penstock-modified"] = repr(found.modified)
    return headers
