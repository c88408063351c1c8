"""Objects of an S3 bucket deleted, a thousand a request. What is not there any more is no error.

Blocking, thread-safe.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from penstock.errors import UsageError
from penstock.store.retry import Deadline

from .s3_body import DeadlinePassed
from .s3_call import BucketCalls, ask
from .s3_errors import code_of

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import ObjectIdentifierTypeDef

__all__ = ["S3Deletion"]

_LARGEST_DELETE = 1000  # keys


class S3Deletion:
    """Deletes objects of one bucket, below `base`, which is empty or ends in a slash."""

    def __init__(self, calls: BucketCalls, url: str, base: str, payer: Mapping[str, Any]) -> None:
        self._calls = calls
        self._url = url
        self._base = base
        self._payer = payer

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects by their keys; one of them, where there is only one, with the request for one."""
        remaining = iter(keys)
        while names := tuple(itertools.islice(remaining, _LARGEST_DELETE)):
            if len(names) == 1:
                self._single(names[0])
            else:
                self._many(names)

    def _single(self, key: str) -> None:
        self._calls.make("delete", f"{self._url}/{key}", lambda client, _: self._one(client, key))

    def _many(self, keys: Sequence[str]) -> None:
        batch: Sequence[ObjectIdentifierTypeDef] = [{"Key": self._base + key} for key in keys]

        def attempt(client: S3Client, deadline: Deadline) -> None:
            try:
                answer = ask(
                    client.delete_objects,
                    Bucket=self._calls.bucket,
                    Delete={"Objects": batch, "Quiet": True},
                    **self._payer,
                )
            except ClientError as error:
                if code_of(error) != "AccessDenied":
                    raise
                # Of a list, Ceph 16 asks for leave to delete in the whole bucket: who has it for these keys goes on.
                for done, key in enumerate(keys):
                    if deadline.remaining() < 0:
                        raise DeadlinePassed(f"{done} of {len(keys)} objects were deleted") from error
                    self._one(client, key)
                return
            for failed in answer.get("Errors", ()):
                if failed.get("Code") != "NoSuchKey":
                    status = 403 if failed.get("Code") == "AccessDenied" else 400
                    # Its code says whether to try again; those already deleted are deleted once more.
                    response: Any = {"Error": failed, "ResponseMetadata": {"HTTPStatusCode": status}}
                    raise ClientError(response, "DeleteObjects")

        self._calls.make("delete", self._url, attempt)

    def _one(self, client: S3Client, key: str) -> None:
        if not key:
            raise UsageError("an object's key is not empty")
        try:
            client.delete_object(Bucket=self._calls.bucket, Key=self._base + key, **self._payer)
        except ClientError as error:
            if code_of(error) != "NoSuchKey":
                raise
