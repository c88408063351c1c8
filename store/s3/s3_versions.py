"""Versions of objects in an S3 bucket: what a bucket that keeps them does, which there are, and their end.

An object that was deleted or written anew in such a bucket stays as a *noncurrent version*, and is paid for; a
deletion adds a *delete marker*, which is a version without bytes. Blocking, thread-safe.

**Invariant:** a listing that is cut short is an error, and never taken for its end.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from botocore.exceptions import ClientError

from penstock.errors import AccessError, IntegrityError, UsageError
from penstock.store.base import ObjectVersion, VersionPolicy
from penstock.store.retry import Deadline

from .etags import bare_etag, is_weak
from .s3_call import BucketCalls

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

__all__ = ["BucketVersions"]

T = TypeVar("T")

_LARGEST_PAGE = 1000
_LARGEST_DELETE = 1000
_NONE = frozenset({"NoSuchLifecycleConfiguration", "NoSuchVersion", "NoSuchKey"})
_REFUSED = frozenset({"AccessDenied", "InvalidRequest", "ObjectLocked"})
"""Codes with which servers refuse to delete a version that is under a lock."""


class BucketVersions:
    """Versions of the objects of one bucket, below `base`, which is empty or ends in a slash."""

    def __init__(self, calls: BucketCalls, url: str, base: str, payer: Mapping[str, Any]) -> None:
        self._calls = calls
        self._url = url
        self._base = base
        self._payer = payer

    def policy(self) -> VersionPolicy:
        """Return what the bucket does with what is deleted. A server that knows no versions keeps none."""

        def look(client: S3Client, _: Deadline) -> str | None:
            return client.get_bucket_versioning(Bucket=self._calls.bucket).get("Status")

        def rules(client: S3Client, _: Deadline) -> list[Mapping[str, Any]]:
            try:
                answer = client.get_bucket_lifecycle_configuration(Bucket=self._calls.bucket)
            except ClientError as error:
                if _code(error) in _NONE:
                    return []
                raise
            return [dict(rule) for rule in answer.get("Rules", ())]

        try:
            # A bucket in which versioning is suspended has the versions of before.
            keeps = self._make("look at the versioning of", look) is not None
        except AccessError:
            keeps = None
        except UsageError:  # it does not know the question
            return VersionPolicy(keeps=False, expires=None)
        if not keeps:
            return VersionPolicy(keeps, None)
        try:
            return VersionPolicy(keeps, any(map(self._expires, self._make("look at the lifecycle rules of", rules))))
        except (AccessError, UsageError):
            return VersionPolicy(keeps, None)

    def _expires(self, rule: Mapping[str, Any]) -> bool:
        """Whether a lifecycle rule removes noncurrent versions of all that lies here."""
        chosen: Mapping[str, Any] = rule.get("Filter") or {}
        narrowed = set(chosen) - {"Prefix"}
        prefix = str(chosen.get("Prefix") or rule.get("Prefix") or "")
        return (
            rule.get("Status") == "Enabled"
            and "NoncurrentVersionExpiration" in rule
            and not narrowed
            and f"{self._base}.penstock/".startswith(prefix)
        )

    def list(self, prefix: str) -> Iterator[ObjectVersion]:
        """Yield all versions below a prefix, in order of keys; of one key, the newest first."""
        after: dict[str, Any] = {}
        while True:
            request = {
                "Bucket": self._calls.bucket,
                "Prefix": self._base + prefix,
                "MaxKeys": _LARGEST_PAGE,
                **self._payer,
                **after,
            }

            def attempt(client: S3Client, _: Deadline, request: dict[str, Any] = request) -> Mapping[str, Any]:
                answer: Mapping[str, Any] = client.list_object_versions(**request)
                return answer

            page = self._make("list the versions of", attempt)
            found = [self._version(item, is_marker=False) for item in page.get("Versions", ())]
            found += [self._version(item, is_marker=True) for item in page.get("DeleteMarkers", ())]
            # Two lists in one answer: of one key the newest comes first, and what is latest is newest.
            yield from sorted(found, key=lambda each: (each.key.encode(), not each.is_latest, -each.modified))
            if not page.get("IsTruncated"):
                return
            key, version = page.get("NextKeyMarker"), page.get("NextVersionIdMarker")
            following = {"KeyMarker": key, "VersionIdMarker": version} if version else {"KeyMarker": key}
            if not key or following == after:
                raise IntegrityError(
                    f"the versions in {self._url} cannot be listed",
                    why="the server cuts the list short and does not say where it goes on",
                    fix="Use a server whose ListObjectVersions goes on.",
                )
            after = following

    def delete(self, versions: Iterable[ObjectVersion]) -> dict[ObjectVersion, str]:
        """Delete versions for good; return those that are refused, with what the server says."""
        refused: dict[ObjectVersion, str] = {}
        remaining = iter(versions)
        while batch := tuple(itertools.islice(remaining, _LARGEST_DELETE)):
            refused |= self._delete(batch)
        return refused

    def _delete(self, batch: tuple[ObjectVersion, ...]) -> dict[ObjectVersion, str]:
        by_name = {(self._base + each.key, each.version_id): each for each in batch}
        objects: Any = [{"Key": key, "VersionId": version} for key, version in by_name]

        def attempt(client: S3Client, _: Deadline) -> dict[ObjectVersion, str]:
            answer = client.delete_objects(
                Bucket=self._calls.bucket, Delete={"Objects": objects, "Quiet": True}, **self._payer
            )
            refused = {}
            for failed in answer.get("Errors", ()):
                code = failed.get("Code", "")
                if code in _NONE:
                    continue
                version = by_name.get((failed.get("Key", ""), failed.get("VersionId", "")))
                if version is None or code not in _REFUSED:
                    response: Any = {"Error": failed, "ResponseMetadata": {"HTTPStatusCode": 400}}
                    raise ClientError(response, "DeleteObjects")
                refused[version] = failed.get("Message") or code
            return refused

        return self._make("delete versions in", attempt)

    def _version(self, item: Mapping[str, Any], *, is_marker: bool) -> ObjectVersion:
        etag = item.get("ETag")
        return ObjectVersion(
            item["Key"][len(self._base) :],
            item["VersionId"],
            bool(item["IsLatest"]),
            is_marker,
            item.get("Size", 0),
            item["LastModified"].timestamp(),
            bare_etag(etag) if not is_weak(etag) else None,
        )

    def _make(self, verb: str, attempt: Callable[[S3Client, Deadline], T]) -> T:
        return self._calls.make(verb, self._url, attempt)


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
