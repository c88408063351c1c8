"""What a failed S3 call means: whether to try again, and which of `penstock.errors` the user gets to see.

The codes are those of AWS and of the servers that imitate it (Ceph, MinIO); a server may leave
out the message, and an answer to HEAD has neither, so a status alone must do.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from types import MappingProxyType
from typing import Any, cast

import botocore.exceptions as boto
import urllib3.exceptions
from botocore.parsers import ResponseParserError

from penstock.errors import (
    AccessError,
    IntegrityError,
    NotFoundError,
    PenstockError,
    StoreUnreachableError,
    UsageError,
)

from .http_range import BentAnswer
from .s3_body import DeadlinePassed, TooSlow, TruncatedBody

__all__ = [
    "FAILURES",
    "Call",
    "Vanished",
    "code_of",
    "content_range_of",
    "explain",
    "http_date",
    "is_refusal",
    "is_transient",
    "status_of",
]


class Vanished(Exception):  # noqa: N818 - it is no fault, and never leaves this package
    """The object that stood in the way of a `create` was deleted before it could be compared."""


FAILURES = (
    boto.ClientError,
    boto.BotoCoreError,
    ResponseParserError,
    urllib3.exceptions.HTTPError,
    BentAnswer,
    DeadlinePassed,
    TooSlow,
    TruncatedBody,
    Vanished,
)
"""All that a call through botocore raises because of the store, the network or the configuration."""

_DAMAGED_CODES = frozenset({"BadDigest", "XAmzContentSHA256Mismatch"})
_BUSY_CODES = frozenset({"SlowDown", "SlowDownRead", "SlowDownWrite", "Throttling", "ThrottlingException"})
_LIMIT_CODES = frozenset({"BandwidthLimitExceeded", "RequestLimitExceeded", "TooManyRequests"})
_BROKEN_CODES = frozenset({"IncompleteBody", "InternalError", "RequestTimeout", "ServiceUnavailable"})
_RACE_CODES = frozenset({"ConditionalRequestConflict", "OperationAborted"})
_TRANSIENT_CODES = _DAMAGED_CODES | _BUSY_CODES | _LIMIT_CODES | _BROKEN_CODES | _RACE_CODES
_TRANSIENT_STATUSES = frozenset({408, 429, 500, 502, 503, 504, 507, 509})
_REGION_CODES = frozenset({"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"})
_EXPIRED_CODES = frozenset({"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "InvalidToken"})
_SKEW_CODES = frozenset({"RequestTimeTooSkewed", "RequestExpired"})

# urllib3 begins with the connection's repr: "HTTPConnection(host='localhost', port=80): Connection refused"
_OF_A_CUSTOMER = ("stored using a form of Server Side Encryption", "Encryption with Customer provided keys")
"""What AWS and MinIO, and Ceph, say of an object that is encrypted with a key which only its owner has (SSE-C)."""
_REPR = re.compile(r"\A<?[\w.]+(?: object at \w+>|\(.*?\)): ")

_ACCESS_WHY: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "InvalidAccessKeyId": (
            "the server does not know this access key",
            "Check AWS_ACCESS_KEY_ID or the profile, and that they belong to this endpoint",
        ),
        "SignatureDoesNotMatch": (
            "the secret access key is wrong",
            "Check AWS_SECRET_ACCESS_KEY or the profile: the secret does not belong to this access key",
        ),
        "InvalidObjectState": (
            "the object is archived",
            "Restore it first: aws s3api restore-object --bucket B --key K --restore-request Days=7; it takes hours",
        ),
        "QuotaExceeded": ("the quota is used up", "Free some space, or ask for a larger quota"),
    }
)


@dataclass(frozen=True, slots=True)
class Call:
    """What was being done, for messages. `verb` fits after "cannot"; `subject` is the URL that it was done to."""

    verb: str
    subject: str
    bucket: str
    endpoint: str
    anonymous: bool = False
    attempts: int = 1
    seconds: float = 0.0
    hint: str = ""

    @property
    def what(self) -> str:
        """The first line of the error."""
        return f"cannot {self.verb} {self.subject}"


def code_of(error: BaseException) -> str:
    """Return the server's error code, or an empty string."""
    return str(_detail(error).get("Code", "")) if isinstance(error, boto.ClientError) else ""


def status_of(error: BaseException) -> int:
    """Return the HTTP status, or 0 when there was no answer."""
    return int(_metadata(error).get("HTTPStatusCode", 0)) if isinstance(error, boto.ClientError) else 0


def content_range_of(error: boto.ClientError) -> str | None:
    """Return the Content-Range header of an answer that is an error."""
    found: str | None = _metadata(error).get("HTTPHeaders", {}).get("content-range")
    return found


def http_date(text: str | None) -> float | None:
    """Return the time in a Date header, in seconds since 1970; None when there is none, or it is no time."""
    try:
        return parsedate_to_datetime(text).timestamp() if text else None
    except (ValueError, OverflowError):
        return None


def is_transient(error: Exception) -> bool:
    """Say whether the same call may go well a little later."""
    if isinstance(error, boto.ClientError):
        return code_of(error) in _TRANSIENT_CODES or status_of(error) in _TRANSIENT_STATUSES
    if isinstance(error, (boto.SSLError, urllib3.exceptions.SSLError)):
        return "CERTIFICATE" not in str(error).upper()
    return isinstance(
        error,
        (
            boto.HTTPClientError,
            boto.ConnectionError,
            boto.IncompleteReadError,
            urllib3.exceptions.HTTPError,
            BentAnswer,
            TooSlow,
            TruncatedBody,
            Vanished,
        ),
    )


def is_refusal(error: Exception) -> bool:
    """Say whether the same call may go well with other credentials."""
    if isinstance(error, boto.ClientError):
        return status_of(error) in (401, 403) or code_of(error) in _EXPIRED_CODES
    return isinstance(error, (boto.NoCredentialsError, boto.CredentialRetrievalError))


def explain(error: Exception, call: Call) -> PenstockError:
    """Return the error for the user. `error` is one of FAILURES."""
    found = _explain(error, call)
    no_bucket = isinstance(error, boto.ClientError) and code_of(error) == "NoSuchBucket"
    if call.hint and (no_bucket or isinstance(found, (AccessError, StoreUnreachableError))):
        return type(found)(found.what, why=found.why, fix=call.hint)
    return found


def _explain(error: Exception, call: Call) -> PenstockError:
    if isinstance(error, boto.ClientError):
        return _explain_answer(error, call)
    if isinstance(error, BentAnswer):
        return StoreUnreachableError(
            call.what,
            why=f"{call.attempts} times {call.endpoint} answered something else: {_one_line(str(error))}",
            fix="A proxy on the way, or the server itself, bends what is asked: reach the server without the proxy",
        )
    if is_transient(error) or isinstance(error, DeadlinePassed):
        return _unreachable(_cause(error), call)
    if isinstance(error, (boto.NoCredentialsError, boto.PartialCredentialsError)):
        return AccessError(call.what, why="there are no AWS credentials", fix=_find_credentials(call))
    if isinstance(error, (boto.UnauthorizedSSOTokenError, boto.SSOTokenLoadError, boto.TokenRetrievalError)):
        return AccessError(call.what, why=str(error), fix="Run `aws sso login`")
    if isinstance(error, (boto.CredentialRetrievalError, boto.LoginError)):
        return AccessError(call.what, why=str(error), fix=_find_credentials(call))
    if isinstance(error, boto.ProfileNotFound):
        return UsageError(
            call.what, why=str(error), fix="`aws configure list-profiles` shows those there are; check AWS_PROFILE"
        )
    if isinstance(error, (boto.SSLError, urllib3.exceptions.SSLError)):
        return StoreUnreachableError(
            call.what,
            why=f"the certificate of {call.endpoint} is not trusted ({_cause(error)})",
            fix="Set AWS_CA_BUNDLE to the file of the authority that signed it",
        )
    if isinstance(error, ResponseParserError):
        return UsageError(
            call.what, why=f"what {call.endpoint} answers is not S3", fix="Check the endpoint's address and port"
        )
    return UsageError(call.what, why=_one_line(str(error)), fix="Check the AWS configuration")


def _find_credentials(call: Call) -> str:
    return (
        "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or run `aws configure`; if the bucket is "
        f"public: penstock remote add {call.bucket} s3://{call.bucket} --anonymous"
    )


def _explain_answer(error: boto.ClientError, call: Call) -> PenstockError:
    code, status = code_of(error), status_of(error)
    if code == "NoSuchBucket":
        return NotFoundError(
            f"no bucket {call.bucket!r} at {call.endpoint}",
            why=f"asked for to {call.verb} {call.subject}",
            fix="Check its name and the endpoint; `penstock remote add` gives a name an address, endpoint and profile",
        )
    if code in _DAMAGED_CODES:
        return IntegrityError(
            call.what,
            why=f"{call.attempts} times, the bytes that reached the server were not those that were sent",
            fix="Look at the network, a proxy, or this machine's memory",
        )
    if is_transient(error):
        return _unreachable(f"{call.endpoint} answered {_said(error)}", call)
    if code in _REGION_CODES or status in (301, 307):
        return _explain_region(error, call)
    if code in ("NoSuchKey", "NoSuchVersion") or status == 404:
        return NotFoundError(f"no object {call.subject}")
    if code in _SKEW_CODES:
        return _explain_skew(error, call)
    if code in _EXPIRED_CODES:
        return AccessError(call.what, why="the credentials have expired", fix="Get new ones, then try again")
    if code in _ACCESS_WHY:
        why, fix = _ACCESS_WHY[code]
        return AccessError(call.what, why=f"{why} ({_said(error)})", fix=fix)
    if status in (401, 403):
        return _explain_refusal(error, call)
    if status == 400 and any(each in str(_detail(error).get("Message", "")) for each in _OF_A_CUSTOMER):
        return AccessError(
            call.what,
            why=f"the object is encrypted with a customer's key (SSE-C), which is not known here ({_said(error)})",
            fix="Copy it with its key to one without: aws s3 cp --sse-c-copy-source AES256 "
            "--sse-c-copy-source-key fileb://KEY s3://B/K s3://B/OTHER",
        )
    return UsageError(call.what, why=f"{call.endpoint} answered {_said(error)}")


def _explain_refusal(error: boto.ClientError, call: Call) -> AccessError:
    if call.anonymous:
        why, fix = "the bucket is not public", "Add the remote again without --anonymous, and give credentials"
    else:
        why = "these credentials may not do that, or they are not valid at this endpoint"
        fix = "Check the permissions of the bucket, the access key, its secret, and the endpoint"
    return AccessError(call.what, why=f"{why} ({_said(error)})", fix=fix)


def _explain_skew(error: boto.ClientError, call: Call) -> AccessError:
    here = time.time()
    why = f"this machine's clock says {_clock(here)}"
    there = http_date(_metadata(error).get("HTTPHeaders", {}).get("date"))
    if there is not None:
        why += f" and the server's {_clock(there)}: {abs(here - there):.0f} seconds apart"
    return AccessError(call.what, why=why, fix="Set this machine's clock (timedatectl set-ntp true)")


def _explain_region(error: boto.ClientError, call: Call) -> UsageError:
    region = _metadata(error).get("HTTPHeaders", {}).get("x-amz-bucket-region") or _detail(error).get("Region")
    if region:
        region = _one_line(str(region))
        return UsageError(
            call.what,
            why=f"the bucket is in region {region}",
            fix=f"Set AWS_REGION={region}, or pass --region {region}",
        )
    elsewhere = _detail(error).get("Endpoint") or _metadata(error).get("HTTPHeaders", {}).get("location")
    elsewhere = _one_line(str(elsewhere)) if elsewhere else None
    why = f"{call.endpoint} sends us on to {elsewhere}" if elsewhere else "the bucket is in another region"
    return UsageError(call.what, why=why, fix="Set the region, or the endpoint, of the bucket")


def _unreachable(cause: str, call: Call) -> StoreUnreachableError:
    times = "once" if call.attempts == 1 else f"{call.attempts} times"
    fix = f"Check that {call.endpoint} can be reached from here"
    if call.verb == "create":
        fix += "; whether the object was written is not known"
    return StoreUnreachableError(call.what, why=f"tried {times} in {call.seconds:.1f} s: {cause}", fix=fix)


def _cause(error: Exception) -> str:
    """Return the innermost reason: botocore wraps urllib3, which wraps the operating system."""
    inner: object = error.kwargs.get("error") if isinstance(error, boto.BotoCoreError) else None
    text = str(inner) if isinstance(error, (boto.HTTPClientError, boto.ConnectionError)) and inner else str(error)
    return _one_line(_REPR.sub("", text) or type(error).__name__)


def _said(error: boto.ClientError) -> str:
    detail = _detail(error)
    code, message = str(detail.get("Code", "")), detail.get("Message")
    status = str(status_of(error))
    said = status if code == status else f"{status} {code}".strip()
    if _metadata(error).get("HTTPHeaders", {}).get("content-type", "").startswith("text/html"):
        return f"{said} with a web page, as an S3 server does not"
    return f"{said}: {_one_line(str(message))}" if message else said


def _one_line(text: str) -> str:
    return " ".join(text.split())[:500]


def _clock(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))


def _detail(error: boto.ClientError) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", error.response.get("Error", {}))


def _metadata(error: boto.ClientError) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", error.response.get("ResponseMetadata", {}))
