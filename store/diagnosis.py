"""What only boto3 can say of a way to a bucket: whose credentials it found, and what time it is at the server.

Nothing secret is returned.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from penstock.store.options import StoreOptions

__all__ = ["Diagnosis", "diagnose"]


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """`provider` names where credentials came from, None: there are none. `key` is the end of the access key's id.

    `skew` is by how many seconds the server's clock is ahead, None when it did not tell.
    """

    endpoint: str
    anonymous: bool
    provider: str | None
    key: str
    skew: float | None


def diagnose(url: str, options: StoreOptions) -> Diagnosis:
    """Look at the way to an S3 bucket. Raises what botocore's FAILURES become: one of `penstock.errors`."""
    from penstock.store.s3.s3_call import BucketCalls  # 300 ms, which a local directory does not need
    from penstock.store.s3.s3_errors import http_date

    bucket = urlsplit(url).netloc
    calls = BucketCalls(bucket, options)
    try:
        provider, key = calls.make("find", "credentials", lambda _, __: _credentials(options))
        answer = calls.make("ask for", "the time", lambda client, _: _headers(client, bucket))
        there = http_date(answer.get("date"))
        skew = there - time.time() if there is not None else None
        return Diagnosis(calls.clients.endpoint(), options.anonymous, provider, key, skew)
    finally:
        calls.clients.close()


def _credentials(options: StoreOptions) -> tuple[str | None, str]:
    import botocore.session

    if options.anonymous:
        return None, ""
    found = botocore.session.Session(profile=options.profile).get_credentials()
    if found is None:
        return None, ""
    return found.method, (found.get_frozen_credentials().access_key or "")[-4:]


def _headers(client: Any, bucket: str) -> dict[str, str]:
    from botocore.exceptions import ClientError

    try:
        answer = client.head_bucket(Bucket=bucket)
    except ClientError as error:  # whatever it refuses, it says when
        answer = error.response
    headers: dict[str, str] = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return headers
