"""A store in an S3 bucket, or below a prefix of one, through botocore, the lower half of boto3.

Made by `opening.open_store`, which imports this late. Works with AWS and with what imitates it; the tests run it on
Ceph. Every call is bounded by a deadline and retried by `retry`; failures are sorted and explained by `s3_errors`.

Two choices that other servers force. Only ``If-None-Match: *`` guards a write: Ceph 16 answers 412 to every quoted
If-Match, so `get` compares the ETag of the answer itself. And uploads carry Content-MD5, which every server verifies,
where the newer checksum headers are ignored by some and stored as data by others.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import urlsplit

from botocore.exceptions import ClientError

from penstock.errors import ConflictError, NotFoundError, UsageError

from .base import Buffer, ByteRange, Level, ObjectInfo, ObjectVersion, Store, VersionPolicy
from .keys import check_key, check_prefix, check_start_after
from .options import StoreOptions
from .retry import Deadline
from .s3_body import SentBody, content_md5, read_body
from .s3_call import BucketCalls
from .s3_errors import Vanished, code_of, status_of
from .s3_versions import BucketVersions

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import ObjectIdentifierTypeDef

__all__ = ["S3Store"]

T = TypeVar("T")

_LARGEST_PUT = 5 << 30  # bytes; S3's limit for one PUT and for one server-side copy
_LARGEST_DELETE = 1000  # keys
_LARGEST_PAGE = 1000  # keys
# botocore announces a body that comes from a file (Expect: 100-continue) and waits for leave, one round trip; a
# smaller one goes out in the same packet as the headers.
_SMALL_BODY = 256 * 1024


class S3Store(Store):
    """Objects in `bucket`, below `prefix` if it is not empty (then without a slash at its end)."""

    def __init__(self, bucket: str, prefix: str, options: StoreOptions) -> None:
        self.url = f"s3://{bucket}/{prefix}" if prefix else f"s3://{bucket}"
        self.bucket = bucket
        self.options = options
        self._prefix = prefix
        self._base = prefix + "/" if prefix else ""
        self._payer: dict[str, Any] = {"RequestPayer": "requester"} if options.request_payer else {}
        self._encryption: dict[str, Any] = {"ServerSideEncryption": options.sse} if options.sse else {}
        if options.sse_kms_key_id:
            self._encryption["SSEKMSKeyId"] = options.sse_kms_key_id
        self._calls = BucketCalls(bucket, options)

    def __reduce__(self) -> tuple[object, ...]:
        return S3Store, (self.bucket, self._prefix, self.options)

    def close(self) -> None:
        """See `Store.close`."""
        self._calls.clients.close()

    def get(
        self,
        key: str,
        byte_range: ByteRange | None = None,
        *,
        version_id: str | None = None,
        etag: str | None = None,
    ) -> bytes:
        """See `Store.get`. Any key that S3 has can be read, also one that `put` refuses."""
        arguments = self._object(key)
        if version_id:
            arguments["VersionId"] = version_id
        asked = dict(arguments)
        if byte_range is not None:
            # A range of nothing cannot be asked for: ask for one byte, to learn whether the object is there.
            last = byte_range.offset + max(byte_range.length, 1) - 1
            asked["Range"] = f"bytes={byte_range.offset}-{last}"

        def attempt(client: S3Client, deadline: Deadline) -> bytes:
            try:
                answer = client.get_object(**asked)
            except ClientError as error:
                if byte_range is None or status_of(error) != 416:
                    raise
                if etag is not None:  # it may be shorter than it was: then its ETag is another one
                    self._compare(key, etag, client.head_object(**arguments)["ETag"])
                return b""
            try:
                self._compare(key, etag, answer["ETag"])
            except ConflictError:
                answer["Body"].close()
                raise
            body = read_body(answer["Body"], answer.get("ContentLength"), deadline)
            if byte_range is None:
                return body
            if answer["ResponseMetadata"]["HTTPStatusCode"] != 206:  # something on the way ignores ranges
                return body[byte_range.offset : byte_range.offset + byte_range.length]
            return body if byte_range.length else b""

        return self._call("read", key, attempt)

    def put(self, key: str, body: Buffer) -> None:
        """See `Store.put`. One PUT: up to 5 GiB. The server verifies what arrives."""
        arguments = self._writing(key, body)

        def attempt(client: S3Client, deadline: Deadline) -> None:
            client.put_object(**arguments, Body=_sendable(body, deadline))

        self._call("write", key, attempt)

    def create(self, key: str, body: Buffer) -> bool:
        """See `Store.create`.

        After a lost answer the next attempt meets what the lost one did: 412 if it was written, and the comparison
        tells whose it is.
        """
        arguments = {**self._writing(key, body), "IfNoneMatch": "*"}

        def attempt(client: S3Client, deadline: Deadline) -> bool:
            try:
                client.put_object(**arguments, Body=_sendable(body, deadline))
            except ClientError as error:
                if status_of(error) != 412:
                    raise
                return self._holds(client, key, body, deadline)
            return True

        return self._call("create", key, attempt)

    def head(self, key: str) -> ObjectInfo | None:
        """See `Store.head`."""
        arguments = self._object(key)

        def attempt(client: S3Client, _: Deadline) -> ObjectInfo | None:
            try:
                answer = client.head_object(**arguments)
            except ClientError as error:
                if status_of(error) == 404:
                    self._calls.check_bucket(client)
                    return None
                self._calls.ask_why(client, error)
                raise
            version = answer.get("VersionId")
            return ObjectInfo(
                key,
                answer["ContentLength"],
                answer["LastModified"].timestamp(),
                answer["ETag"].strip('"'),
                version if version != "null" else None,
            )

        return self._call("look at", key, attempt)

    def prepare(self) -> None:
        """See `Store.prepare`: boto3 is imported and the client made, half a second in all."""
        self._calls.clients.get()

    def list(
        self, prefix: str = "", *, start_after: str = "", limit: int | None = None, page: int | None = None
    ) -> Iterator[ObjectInfo]:
        """See `Store.list`. One request for each thousand."""
        check_prefix(prefix)
        check_start_after(start_after)
        arguments: dict[str, Any] = {"Prefix": self._base + prefix}
        if start_after:
            arguments["StartAfter"] = self._base + start_after
        skip = len(self._base)
        listed = (
            self._listed(item)
            for answer in self._pages(prefix, arguments, limit, page or _LARGEST_PAGE)
            for item in answer.get("Contents", ())
            if len(item["Key"]) > skip  # not the marker that a console makes for the folder of the prefix itself
        )
        yield from itertools.islice(listed, limit)

    def list_folders(self, prefix: str = "") -> Iterator[str]:
        """See `Store.list_folders`."""
        yield from self.list_level(prefix).folders

    def list_level(self, prefix: str = "", *, page: int | None = None) -> Level:
        """See `Store.list_level`. One request for each thousand names."""
        check_prefix(prefix)
        if prefix and not prefix.endswith("/"):
            raise UsageError(f"{prefix!r} is no folder", fix="End it with a slash")
        whole = self._base + prefix
        folders: list[str] = []
        objects: list[ObjectInfo] = []
        for answer in self._pages(prefix, {"Prefix": whole, "Delimiter": "/"}, None, page or _LARGEST_PAGE):
            folders += [item["Prefix"][len(whole) : -1] for item in answer.get("CommonPrefixes", ())]
            objects += [self._listed(item) for item in answer.get("Contents", ()) if len(item["Key"]) > len(whole)]
        # S3 orders folders with the slash: a-/ before a/.
        return Level(sorted(folders, key=str.encode), objects)

    def _listed(self, item: Mapping[str, Any]) -> ObjectInfo:
        key = item["Key"][len(self._base) :]
        return ObjectInfo(key, item["Size"], item["LastModified"].timestamp(), item["ETag"].strip('"'))

    def delete(self, keys: Iterable[str]) -> None:
        """See `Store.delete`. One request for each thousand."""
        remaining = iter(keys)
        while names := tuple(itertools.islice(remaining, _LARGEST_DELETE)):
            self._delete(names)

    def copy(self, source: Store, source_key: str, key: str, *, source_version_id: str | None = None) -> None:
        """See `Store.copy`. Up to 5 GiB, within one endpoint, with the credentials of this store."""
        if not isinstance(source, S3Store):
            raise UsageError(f"cannot copy from {source.url} to {self.url}", why="they are different kinds of store")
        place = {"Bucket": source.bucket, "Key": source._base + source_key}  # noqa: SLF001 - same class
        if source_version_id:
            place["VersionId"] = source_version_id
        arguments = {**self._object(check_key(key)), **self._encryption, "CopySource": place}

        def attempt(client: S3Client, _: Deadline) -> None:
            here, there = client.meta.endpoint_url, source._calls.clients.get().meta.endpoint_url  # noqa: SLF001
            if here != there and not (_is_aws(here) and _is_aws(there)):
                raise UsageError(
                    f"cannot copy from {source.url} to {self.url}",
                    why=f"a server copies only its own objects, and these are at {there} and {here}",
                    fix="Push to the other bucket instead",
                )
            try:
                client.copy_object(**arguments)
            except ClientError as error:
                if code_of(error) == "NoSuchKey":
                    raise NotFoundError(f"no object {source.url}/{source_key}") from error
                raise

        self._call(f"copy {source.url}/{source_key} to", key, attempt)

    def version_policy(self) -> VersionPolicy:
        """See `Store.version_policy`."""
        return self._versions().policy()

    def versions(self, prefix: str = "") -> Iterator[ObjectVersion]:
        """See `Store.versions`. One request for each thousand."""
        check_prefix(prefix)
        return self._versions().list(prefix)

    def delete_versions(self, versions: Iterable[ObjectVersion]) -> dict[ObjectVersion, str]:
        """See `Store.delete_versions`. One request for each thousand."""
        return self._versions().delete(versions)

    def _versions(self) -> BucketVersions:
        return BucketVersions(self._calls, self.url, self._base, self._payer)

    def _call(self, verb: str, key: str, attempt: Callable[[S3Client, Deadline], T]) -> T:
        return self._calls.make(verb, f"{self.url}/{key}" if key else self.url, attempt)

    def _object(self, key: str) -> dict[str, Any]:
        if not key:
            raise UsageError("an object's key is not empty")
        return {"Bucket": self.bucket, "Key": self._base + key, **self._payer}

    def _writing(self, key: str, body: Buffer) -> dict[str, Any]:
        if memoryview(body).nbytes > _LARGEST_PUT:
            raise UsageError(f"cannot write {self.url}/{key}", why="one object holds at most 5 GiB")
        return {**self._object(check_key(key)), **self._encryption, "ContentMD5": content_md5(body)}

    def _compare(self, key: str, wanted: str | None, found: str) -> None:
        if wanted is not None and wanted.strip('"') != found.strip('"'):
            raise ConflictError(f"{self.url}/{key} has changed", why=f"its ETag is {found}, not {wanted}")

    def _holds(self, client: S3Client, key: str, body: Buffer, deadline: Deadline) -> bool:
        """Say whether the object is `body`; reads no more of it than that takes."""
        size = memoryview(body).nbytes
        try:
            answer = client.get_object(**self._object(key), Range=f"bytes=0-{size}")
        except ClientError as error:
            if status_of(error) == 416:  # it is empty
                return size == 0
            if code_of(error) == "NoSuchKey":
                raise Vanished from error
            raise
        return read_body(answer["Body"], answer.get("ContentLength"), deadline) == body

    def _pages(
        self, prefix: str, arguments: dict[str, Any], limit: int | None, largest: int
    ) -> Iterator[Mapping[str, Any]]:
        fetched = 0
        while True:  # until the last page, or until the reader has had enough
            size = largest if limit is None else min(largest, max(1, limit - fetched))
            request = {"Bucket": self.bucket, "MaxKeys": size, **self._payer, **arguments}

            def attempt(client: S3Client, _: Deadline, request: dict[str, Any] = request) -> Mapping[str, Any]:
                return cast("Mapping[str, Any]", client.list_objects_v2(**request))

            page = self._call("list", prefix, attempt)
            yield page
            fetched += len(page.get("Contents", ()))
            if not page.get("NextContinuationToken"):
                return
            arguments = {name: value for name, value in arguments.items() if name != "StartAfter"}
            arguments["ContinuationToken"] = page["NextContinuationToken"]

    def _delete(self, keys: Sequence[str]) -> None:
        batch: Sequence[ObjectIdentifierTypeDef] = [{"Key": self._base + key} for key in keys]

        def attempt(client: S3Client, _: Deadline) -> None:
            answer = client.delete_objects(Bucket=self.bucket, Delete={"Objects": batch, "Quiet": True}, **self._payer)
            for failed in answer.get("Errors", ()):
                if failed.get("Code") != "NoSuchKey":
                    status = 403 if failed.get("Code") == "AccessDenied" else 400
                    # Its code says whether to try again; those already deleted are deleted once more.
                    response: Any = {"Error": failed, "ResponseMetadata": {"HTTPStatusCode": status}}
                    raise ClientError(response, "DeleteObjects")

        self._call("delete", keys[0] if len(keys) == 1 else "", attempt)


def _sendable(body: Buffer, deadline: Deadline) -> bytes | IO[bytes]:
    if memoryview(body).nbytes <= _SMALL_BODY:
        return bytes(body)
    return cast("IO[bytes]", SentBody(body, deadline))  # as much of a file as botocore needs


def _is_aws(endpoint: str) -> bool:
    return (urlsplit(endpoint).hostname or "").endswith((".amazonaws.com", ".amazonaws.com.cn"))
