"""A store in an S3 bucket, or below a prefix of one, through botocore, the lower half of boto3.

Made by `opening.open_store`, which imports this late. Works with AWS and with what imitates it; the tests run it on
Ceph. Every call is bounded by a deadline and retried by `retry`; failures are sorted and explained by `s3_errors`.

Two choices that other servers force. Only ``If-None-Match: *`` guards a write: Ceph 16 answers 412 to every quoted
If-Match, so `get` compares the ETag of the answer itself. And uploads carry Content-MD5, which every server verifies,
where the newer checksum headers are ignored by some and stored as data by others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor
from typing import IO, TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import urlsplit

from botocore.exceptions import ClientError

from penstock.errors import ConflictError, IntegrityError, NotFoundError, UsageError
from penstock.store.base import (
    WHOLE_LIMIT,
    Buffer,
    ByteRange,
    Level,
    ObjectBeginning,
    ObjectInfo,
    ObjectVersion,
    Store,
    VersionPolicy,
    too_large,
)
from penstock.store.keys import check_key, check_prefix, check_start_after
from penstock.store.options import StoreOptions
from penstock.store.retry import Deadline

from .etags import bare_etag, is_weak, same_etag
from .http_range import BentAnswer, total_of
from .s3_body import SentBody, content_md5
from .s3_call import BucketCalls, ask
from .s3_deletion import S3Deletion
from .s3_errors import Vanished, code_of, status_of
from .s3_names import BucketListings
from .s3_parts import PART_SIZE, MultipartUpload, read_part
from .s3_read import beginning, read_range
from .s3_versions import BucketVersions

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

__all__ = ["S3Store"]

T = TypeVar("T")

_LARGEST_PUT = 5 << 30  # bytes; S3's limit for one PUT and for one server-side copy
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

    @property
    def place(self) -> str:
        """See `Store.place`."""
        self.prepare()
        return f"{self.url} at {self._calls.clients.endpoint()}"

    def close(self) -> None:
        """See `Store.close`."""
        self._calls.clients.close()

    def get(
        self,
        key: str,
        byte_range: ByteRange | None = None,
        *,
        limit: int = WHOLE_LIMIT,
        checked: bool = False,
        version_id: str | None = None,
        etag: str | None = None,
        size: int | None = None,
    ) -> bytes:
        """See `Store.get`. Any key that S3 has can be read, also one that `put` refuses."""
        wanted = byte_range if byte_range is not None else ByteRange(0, limit + 1)
        if not wanted.length:  # a range of nothing cannot be asked for: ask for one byte, to learn whether it is there
            wanted = ByteRange(wanted.offset, 1)
        most = limit if byte_range is None else None
        body, total = self._read(
            key, wanted, most=most, checked=checked, version_id=version_id, etag=etag, size=size, memory=None
        )
        assert isinstance(body, bytes)  # as always without `memory`
        if byte_range is None and max(len(body), total or 0) > limit:
            raise too_large(f"{self.url}/{key}", limit)
        return body if byte_range is None or byte_range.length else b""

    def get_into(self, key: str, offset: int, memory: memoryview) -> int:
        """See `Store.get_into`."""
        if not memory:
            return 0
        body, _ = self._read(
            key,
            ByteRange(offset, len(memory)),
            most=None,
            checked=True,
            version_id=None,
            etag=None,
            size=None,
            memory=memory,
        )
        return len(body)

    def _read(
        self,
        key: str,
        wanted: ByteRange,
        *,
        most: int | None,
        checked: bool,
        version_id: str | None,
        etag: str | None,
        size: int | None,
        memory: memoryview | None,
    ) -> tuple[Buffer, int | None]:
        """Return what `read_range` does."""
        arguments = self._object(key)
        if version_id:
            arguments["VersionId"] = version_id

        def attempt(client: S3Client, deadline: Deadline) -> tuple[Buffer, int | None]:
            def accept(answer: Mapping[str, Any]) -> None:
                self._compare(key, etag, answer.get("ETag"), checked=checked)
                sent = answer.get("VersionId")
                is_silent = not sent and (checked or etag is not None)
                if version_id and not is_silent and sent != version_id:
                    raise BentAnswer(f"it sent version {sent} where {version_id} was asked for")
                if size is not None:
                    self._compare_exactly(key, size, answer, is_version=bool(version_id) and sent == version_id)

            def past_end() -> None:  # it may be shorter than it was: then its ETag is another one
                if etag is not None:
                    self._compare(key, etag, ask(client.head_object, **arguments).get("ETag"), checked=checked)

            return read_range(
                lambda asked: ask(client.get_object, **arguments, Range=asked),
                wanted,
                deadline,
                accept=accept,
                past_end=past_end,
                most=most,
                checked=checked,
                memory=memory,
            )

        return self._call("read", key, attempt)

    def begin(self, key: str, length: int, *, version_id: str | None = None) -> ObjectBeginning:
        """See `Store.begin`."""
        arguments = {**self._object(key), **({"VersionId": version_id} if version_id else {})}

        def attempt(client: S3Client, deadline: Deadline) -> ObjectBeginning:
            told: dict[str, Any] = {}
            data, total = read_range(
                lambda asked: ask(client.get_object, **arguments, Range=asked),
                ByteRange(0, length),
                deadline,
                accept=lambda answer: told.update(answer),
            )
            assert isinstance(data, bytes)  # as always without `memory`
            if total is None and len(data) == length:
                raise BentAnswer("it does not say how large the object is")
            return beginning(key, data, len(data) if total is None else total, told)

        return self._call("read", key, attempt)

    def put_file(self, key: str, descriptor: int, size: int, pool: Executor | None = None) -> None:
        """See `Store.put_file`. One PUT up to 16 MiB, else a multipart upload, of which the size is compared."""
        if size <= PART_SIZE:
            self.put(key, read_part(descriptor, 0, size))
            return
        arguments = self._object(check_key(key))
        MultipartUpload(self._call, key, arguments, self._encryption).send(descriptor, size, pool)
        found = self.head(key)
        if found is None or found.size != size:
            raise IntegrityError(
                f"{self.url}/{key} is not what was sent",
                why=f"it has {found.size if found is not None else 'no'} bytes, and {size} were sent",
                fix="Send it again.",
            )

    def put(self, key: str, body: Buffer) -> None:
        """See `Store.put`. One PUT: up to 5 GiB. The server verifies what arrives."""
        arguments = self._writing(key, body)

        def attempt(client: S3Client, deadline: Deadline) -> None:
            answer = ask(client.put_object, **arguments, Body=_sendable(body, deadline))
            self.keeps_versions = answer.get("VersionId") not in (None, "null")

        self._call("write", key, attempt)

    def create(self, key: str, body: Buffer) -> bool:
        """See `Store.create`.

        After a lost answer the next attempt meets what the lost one did: 412 if it was written, and the comparison
        tells whose it is.
        """
        arguments = {**self._writing(key, body), "IfNoneMatch": "*"}

        def attempt(client: S3Client, deadline: Deadline) -> bool:
            try:
                ask(client.put_object, **arguments, Body=_sendable(body, deadline))
            except ClientError as error:
                if status_of(error) != 412:
                    raise
                return self._holds(client, key, body, deadline)
            return True

        return self._call("create", key, attempt)

    def head(self, key: str) -> ObjectInfo | None:
        """See `Store.head`."""
        arguments = self._object(key)

        def attempt(client: S3Client, deadline: Deadline) -> ObjectInfo | None:
            try:
                answer = ask(client.head_object, **arguments)
            except ClientError as error:
                if status_of(error) == 404:
                    self._calls.check_bucket(client)
                    return None
                self._calls.ask_why(client, error, arguments)
                raise
            found: Mapping[str, Any] = answer
            size, modified = found.get("ContentLength"), found.get("LastModified")
            if size is None or size < 0:
                size = self._size(client, arguments, deadline)
            version = found.get("VersionId")
            return ObjectInfo(
                key,
                size,
                modified.timestamp() if modified is not None else None,
                bare_etag(found.get("ETag")),
                version if version and version != "null" else None,
                is_weak(found.get("ETag")),
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
        yield from self._listings().objects(prefix, start_after, limit, page)

    def list_folders(self, prefix: str = "") -> Iterator[str]:
        """See `Store.list_folders`."""
        yield from self.list_level(prefix).folders

    def list_level(self, prefix: str = "", *, page: int | None = None) -> Level:
        """See `Store.list_level`. One request for each thousand names."""
        check_prefix(prefix)
        return self._listings().level(prefix, page)

    def delete(self, keys: Iterable[str]) -> None:
        """See `Store.delete`. One request for each thousand."""
        S3Deletion(self._calls, self.url, self._base, self._payer).delete(keys)

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
                ask(client.copy_object, **arguments)
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

    def _listings(self) -> BucketListings:
        return BucketListings(self._calls, self.url, self._base, self._payer)

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

    def _compare(self, key: str, wanted: str | None, found: str | None, *, checked: bool) -> None:
        bare = bare_etag(found)
        if wanted is None or (checked and bare is None) or same_etag(wanted, bare):
            return
        why = f"its ETag is {bare}, not {wanted}" if bare is not None else f"it has no ETag any more, and had {wanted}"
        raise ConflictError(f"{self.url}/{key} has changed", why=why)

    def _compare_exactly(self, key: str, size: int, answer: Mapping[str, Any], *, is_version: bool) -> None:
        """Refuse an answer that nothing but what it says of itself speaks for. ConflictError."""
        is_whole = answer["ResponseMetadata"]["HTTPStatusCode"] == 200
        total = answer.get("ContentLength") if is_whole else total_of(answer.get("ContentRange"))
        if total not in (None, size):
            raise ConflictError(f"{self.url}/{key} has changed", why=f"it has {total} bytes, not {size}")
        if is_weak(answer.get("ETag")) and not is_version:
            raise ConflictError(
                f"{self.url}/{key} cannot be told from what it may have become",
                why="the answer has a weak ETag, which may stay the same when bytes change",
                fix="Reach the server without the proxy that weakens ETags, or register what is there by its content.",
            )

    def _holds(self, client: S3Client, key: str, body: Buffer, deadline: Deadline) -> bool:
        """Say whether the object is `body`; reads no more of it than that takes."""
        size = memoryview(body).nbytes
        try:
            found, _ = read_range(
                lambda asked: ask(client.get_object, **self._object(key), Range=asked),
                ByteRange(0, size + 1),
                deadline,
                accept=lambda _: None,
                checked=True,
            )
        except ClientError as error:
            if code_of(error) == "NoSuchKey":
                raise Vanished from error
            raise
        return found == body

    def _size(self, client: S3Client, arguments: dict[str, Any], deadline: Deadline) -> int:
        """Return the size of an object of which HEAD does not say it, as answers that come in chunks do not."""
        body, total = read_range(
            lambda asked: ask(client.get_object, **arguments, Range=asked),
            ByteRange(0, 1),
            deadline,
            accept=lambda _: None,
        )
        if total is None and body:
            raise BentAnswer("it does not say how large the object is")
        return total or 0


def _sendable(body: Buffer, deadline: Deadline) -> bytes | IO[bytes]:
    if memoryview(body).nbytes <= _SMALL_BODY:
        return bytes(body)
    return cast("IO[bytes]", SentBody(body, deadline))  # as much of a file as botocore needs


def _is_aws(endpoint: str) -> bool:
    return (urlsplit(endpoint).hostname or "").endswith((".amazonaws.com", ".amazonaws.com.cn"))
