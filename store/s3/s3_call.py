"""One call to a bucket: attempts until one succeeds, fails for good, or the time is up.

What an attempt does is the caller's; that it is bounded, retried and explained is decided here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from penstock.store.options import StoreOptions
from penstock.store.retry import Deadline
from penstock.waits import waiting_for

from .http_range import BentAnswer
from .s3_client import ClientSource
from .s3_errors import FAILURES, Call, explain, is_refusal, is_transient, status_of
from .s3_wire import bounded

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

__all__ = ["BucketCalls", "ask"]

T = TypeVar("T")

_REFUSALS = frozenset({301, 307, 400, 401, 403})
_BENT_TRIES = 3
"""Attempts after which an answer that is bent each time is no accident."""


def ask(call: Callable[..., T], **arguments: Any) -> T:
    """Make one call of a client. Raises FAILURES.

    botocore turns headers and lists into numbers and times, and lets whatever that raises through: ValueError for
    what is none, RuntimeError for a time beyond all calendars, KeyError for a name that is missing.
    """
    try:
        return call(**arguments)
    except BotoCoreError:
        raise  # some are ValueErrors as well
    except (ValueError, OverflowError, RuntimeError, KeyError) as error:
        raise BentAnswer(f"what it says cannot be read ({type(error).__name__}: {error})") from error


class BucketCalls:
    """Makes calls to one bucket, and remembers whether it is known to exist. Thread-safe."""

    def __init__(self, bucket: str, options: StoreOptions) -> None:
        self.bucket = bucket
        self.options = options
        self.clients = ClientSource(options)
        self._bucket_seen = False

    def make(self, verb: str, subject: str, attempt: Callable[[S3Client, Deadline], T]) -> T:
        """Return what `attempt` returns; it must be safe to repeat.

        `verb` and `subject` are for messages. Raises one of `penstock.errors` for all of FAILURES.
        """
        policy = self.clients.policy
        deadline = policy.start()
        started = time.monotonic()
        failures = bent = 0
        renewed = False
        client: S3Client | None = None
        while True:
            try:
                client = self.clients.get()
                with bounded(deadline), waiting_for(f"{self.clients.endpoint()} to {verb} {subject}"):
                    result = attempt(client, deadline)
            except FAILURES as error:
                failures += 1
                bent += isinstance(error, BentAnswer)
                if client is not None and is_refusal(error) and not renewed and self.clients.renew(client):
                    renewed = True
                    continue
                again = is_transient(error) and bent < _BENT_TRIES
                pause = policy.pause(failures, deadline) if again else None
                if pause is None:
                    seconds = time.monotonic() - started
                    endpoint = self.clients.endpoint()
                    call = Call(
                        verb,
                        subject,
                        self.bucket,
                        endpoint,
                        self.options.anonymous,
                        failures,
                        seconds,
                        self.options.hint,
                    )
                    raise explain(error, call) from error
            else:
                self._bucket_seen = True
                return result
            time.sleep(pause)

    def check_bucket(self, client: S3Client) -> None:
        """Raise NoSuchBucket when there is none: to HEAD, a missing object looks the same."""
        if self._bucket_seen:
            return
        try:
            ask(client.head_bucket, Bucket=self.bucket)
        except ClientError as error:
            if status_of(error) == 404:
                error.response["Error"] = {"Code": "NoSuchBucket"}
                raise
            if is_transient(error):
                raise
            # Otherwise it may not be looked at, but it is there: the object alone is missing.

    def ask_why(self, client: S3Client, error: ClientError, arguments: Mapping[str, Any]) -> None:
        """Raise the reason why a HEAD of an object was refused, if a GET can tell: HEAD has no body for it."""
        if status_of(error) in _REFUSALS:
            payer: dict[str, Any] = {"RequestPayer": "requester"} if self.options.request_payer else {}
            ask(client.list_objects_v2, Bucket=self.bucket, MaxKeys=1, **payer)
        if status_of(error) == 400:  # of this object alone, as of one with a key of its owner's
            ask(client.get_object, **arguments, Range="bytes=0-0")["Body"].close()
