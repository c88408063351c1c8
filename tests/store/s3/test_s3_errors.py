"""Every failure that S3 knows, and what the user is told: the kind, the reason, and what to do next."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import botocore.exceptions as boto
import pytest
import urllib3.exceptions
from botocore.parsers import ResponseParserError
from servers.faultproxy import FaultProxy, Status

from penstock.errors import (
    AccessError,
    IntegrityError,
    NotFoundError,
    PenstockError,
    StoreUnreachableError,
    UsageError,
)
from penstock.store import Store, StoreOptions, open_store
from penstock.store.s3.s3_body import DeadlinePassed, TruncatedBody
from penstock.store.s3.s3_errors import Call, explain, is_transient

CALL = Call("read", "s3://bucket/key", "bucket", "https://s3.example.org", attempts=3, seconds=1.5)
URL = "https://s3.example.org/bucket/key"


@pytest.fixture
def store(bucket: str, aws_environment: dict[str, str], fault_proxy: FaultProxy) -> Iterator[Store]:
    options = StoreOptions(
        endpoint_url=fault_proxy.endpoint, connect_timeout=1, read_timeout=1, deadline=4, max_attempts=2
    )
    with open_store(f"s3://{bucket}", options) as opened:
        yield opened


@pytest.mark.s3
@pytest.mark.parametrize(
    ("status", "code", "kind", "saying"),
    [
        (400, "ExpiredToken", AccessError, "expired"),
        (400, "TokenRefreshRequired", AccessError, "expired"),
        (403, "InvalidAccessKeyId", AccessError, "does not know this access key"),
        (403, "SignatureDoesNotMatch", AccessError, "AWS_SECRET_ACCESS_KEY"),
        (403, "RequestTimeTooSkewed", AccessError, "clock"),
        (403, "InvalidObjectState", AccessError, "archived"),
        (403, "QuotaExceeded", AccessError, "quota"),
        (403, "AccountProblem", AccessError, "403 AccountProblem: the reason"),
        (401, "Unauthorized", AccessError, "may not"),
        (404, "NoSuchBucket", NotFoundError, "penstock remote add"),
        (404, "NoSuchKey", NotFoundError, "no object"),
        (404, "NoSuchVersion", NotFoundError, "no object"),
        (400, "BadDigest", IntegrityError, "2 times"),
        (400, "XAmzContentSHA256Mismatch", IntegrityError, "2 times"),
        (400, "RequestTimeout", StoreUnreachableError, "400 RequestTimeout: the reason"),
        (503, "ServiceUnavailable", StoreUnreachableError, "tried 2 times"),
        (507, "XMinioStorageFull", StoreUnreachableError, "507 XMinioStorageFull"),
        (409, "OperationAborted", StoreUnreachableError, "409"),
        (400, "AuthorizationHeaderMalformed", UsageError, "region"),
        (400, "KMS.DisabledException", UsageError, "KMS.DisabledException: the reason"),
        (400, "InvalidArgument", UsageError, "400 InvalidArgument: the reason"),
        (501, "NotImplemented", UsageError, "501 NotImplemented"),
    ],
)
def test_what_a_server_answers(
    store: Store, fault_proxy: FaultProxy, status: int, code: str, kind: type[PenstockError], saying: str
) -> None:
    body = f"<Error><Code>{code}</Code><Message>the\n reason</Message></Error>".encode()
    fault_proxy.fail(fault=Status(status, body, (("Content-Type", "application/xml"),)), times=100)
    with pytest.raises(PenstockError) as caught:
        store.get("key")
    assert type(caught.value) is kind
    assert saying in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("error", "kind", "saying", "transient"),
    [
        (boto.NoCredentialsError(), AccessError, "aws configure", False),
        (boto.PartialCredentialsError(provider="env", cred_var="AWS_SECRET_ACCESS_KEY"), AccessError, "aws", False),
        (boto.CredentialRetrievalError(provider="p", error_msg="it failed"), AccessError, "it failed", False),
        (boto.UnauthorizedSSOTokenError(), AccessError, "aws sso login", False),
        (boto.ProfileNotFound(profile="lab"), UsageError, "lab", False),
        (boto.ConfigParseError(path="x"), UsageError, "AWS configuration", False),
        (
            boto.SSLError(endpoint_url=URL, error="[SSL: CERTIFICATE_VERIFY_FAILED] self-signed certificate"),
            StoreUnreachableError,
            "AWS_CA_BUNDLE",
            False,
        ),
        (boto.SSLError(endpoint_url=URL, error="EOF occurred"), StoreUnreachableError, "EOF occurred", True),
        (boto.EndpointConnectionError(endpoint_url=URL), StoreUnreachableError, "s3.example.org", True),
        (boto.ConnectTimeoutError(endpoint_url=URL), StoreUnreachableError, "3 times in 1.5 s", True),
        (boto.ReadTimeoutError(endpoint_url=URL), StoreUnreachableError, "s3.example.org", True),
        (boto.ProxyConnectionError(proxy_url="http://p"), StoreUnreachableError, "http://p", True),
        (boto.ConnectionClosedError(endpoint_url=URL), StoreUnreachableError, "closed", True),
        (boto.HTTPClientError(error=OSError("boom")), StoreUnreachableError, "boom", True),
        (urllib3.exceptions.ProtocolError("broken pipe"), StoreUnreachableError, "broken pipe", True),
        (TruncatedBody("1 of 2 bytes came"), StoreUnreachableError, "1 of 2 bytes came", True),
        (DeadlinePassed("1 of 2 bytes had come"), StoreUnreachableError, "1 of 2 bytes had come", False),
        (ResponseParserError("no XML"), UsageError, "not S3", False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_what_goes_wrong_on_this_side(
    error: Exception, kind: type[PenstockError], saying: str, transient: bool
) -> None:
    assert is_transient(error) == transient
    told = explain(error, CALL)
    assert type(told) is kind
    assert told.what == "cannot read s3://bucket/key"
    assert saying in str(told)
    assert told.why
    assert told.fix


@pytest.mark.parametrize(
    "text",
    [
        "AWSHTTPConnection(host='127.0.0.1', port=80): Connection refused",
        "<botocore.awsrequest.AWSHTTPSConnection object at 0x7f21>: Connection refused",
        "Connection refused",
    ],
)
def test_no_object_of_python_is_shown(text: str) -> None:
    told = explain(boto.EndpointConnectionError(endpoint_url=URL, error=text), CALL)
    assert told.why == "tried 3 times in 1.5 s: Connection refused"


def test_a_hint_goes_before_what_else_could_be_done_about_a_bucket_that_cannot_be_read() -> None:
    call = dataclasses.replace(CALL, hint="Did you mean demo?")
    assert explain(boto.NoCredentialsError(), call).fix == "Did you mean demo?"
    missing = boto.ClientError({"Error": {"Code": "NoSuchBucket"}}, "ListObjectsV2")
    assert explain(missing, call).fix == "Did you mean demo?"
    gone = boto.ClientError({"Error": {"Code": "NoSuchKey"}}, "GetObject")
    assert "demo" not in str(explain(gone, call))
