"""A large file as one S3 object: sent in parts, several at a time, and put together by the server.

Each part is a call of its own, with its deadline and its Content-MD5, which the server verifies. What cannot be
finished is taken back, so that nobody pays for parts of no object; after a crash a lifecycle rule of the bucket does
(AbortIncompleteMultipartUpload). Memory: one part for each thread that sends.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from concurrent.futures import Executor
from typing import IO, TYPE_CHECKING, Any, TypeVar, cast

from botocore.exceptions import ClientError

from penstock.errors import ConflictError, PenstockError, UsageError
from penstock.store.retry import Deadline

from .s3_body import SentBody, content_md5
from .s3_call import ask
from .s3_errors import code_of

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

__all__ = ["PART_SIZE", "MultipartUpload", "read_part"]

PART_SIZE = 16 << 20
_MOST_PARTS = 10_000
_LARGEST = 5 << 40
_T = TypeVar("_T")


def read_part(descriptor: int, offset: int, length: int) -> bytes:
    """Return so many bytes of an open file. ConflictError: it ends before that."""
    data = os.pread(descriptor, length, offset)
    while len(data) < length:  # pread(2) may return less than it was asked for
        more = os.pread(descriptor, length - len(data), offset + len(data))
        if not more:
            raise ConflictError(
                "the file changed while it was sent", why="it has become shorter", fix="Send it when it is finished."
            )
        data += more
    return data


class MultipartUpload:
    """Sends one file. `call` makes a call with retries (`verb`, `key`, attempt), `arguments` name the object."""

    def __init__(
        self,
        call: Callable[[str, str, Callable[[S3Client, Deadline], Any]], Any],
        key: str,
        arguments: dict[str, Any],
        encryption: dict[str, Any],
    ) -> None:
        self._call = call
        self._key = key
        self._arguments = arguments
        self._encryption = encryption

    def send(self, descriptor: int, size: int, pool: Executor | None) -> None:
        """Send the first `size` bytes of an open file. Errors as `Store.put_file`."""
        if size > _LARGEST:
            raise UsageError(f"cannot write {self._key}", why="one object holds at most 5 TiB")
        length = max(PART_SIZE, -(-size // _MOST_PARTS))
        upload = self._made(
            lambda client, _: ask(client.create_multipart_upload, **self._arguments, **self._encryption)
        )
        named = {**self._arguments, "UploadId": upload["UploadId"]}

        def part(number: int) -> dict[str, Any]:
            offset = (number - 1) * length
            body = read_part(descriptor, offset, min(length, size - offset))
            digest = content_md5(body)

            def attempt(client: S3Client, deadline: Deadline) -> Any:
                sent = cast("IO[bytes]", SentBody(body, deadline))
                return ask(client.upload_part, **named, PartNumber=number, Body=sent, ContentMD5=digest)

            return {"PartNumber": number, "ETag": self._made(attempt)["ETag"]}

        try:
            numbers = range(1, -(-size // length) + 1)
            parts = list(pool.map(part, numbers) if pool is not None else map(part, numbers))
            self._made(lambda client, _: self._finish(client, named, parts))
        except BaseException:
            with contextlib.suppress(PenstockError):  # why it could not be sent says more
                self._made(lambda client, _: ask(client.abort_multipart_upload, **named))
            raise

    def _finish(self, client: S3Client, named: dict[str, Any], parts: list[dict[str, Any]]) -> None:
        try:
            ask(client.complete_multipart_upload, **named, MultipartUpload={"Parts": parts})
        except ClientError as error:
            if code_of(error) != "NoSuchUpload":
                raise
            # An answer was lost, and the upload is complete: the caller compares what is there.

    def _made(self, attempt: Callable[[S3Client, Deadline], Any]) -> Any:
        return self._call("write", self._key, attempt)
