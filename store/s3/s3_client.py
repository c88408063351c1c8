"""The boto client of a store: made once, late, under a lock, and anew after a fork or with new credentials.

A client is thread-safe, making one is not. A child process must not share the parent's
sockets, nor wait for a lock that a thread of the parent held: both are replaced when the fork returns in the child.

What describes S3's API is read once for all clients: 12 ms for each further one instead of 65.
"""

from __future__ import annotations

import functools
import os
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any, cast

import boto3.session
import botocore.session
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import BotoCoreError
from botocore.loaders import Loader, create_loader
from botocore.utils import get_environ_proxies

from penstock import __version__
from penstock.errors import UsageError
from penstock.store.credentials import BotoSession
from penstock.store.options import StoreOptions
from penstock.store.retry import RetryPolicy

from .s3_body import SentBody, content_md5
from .s3_times import parse_time
from .s3_wire import HttpSession, socket_options

if TYPE_CHECKING:
    from botocore.credentials import Credentials
    from mypy_boto3_s3 import S3Client

__all__ = ["ClientSource"]

_CONNECTIONS = 64
_LOOK = 1.0
"""Seconds between looks for other credentials: many calls are refused at once, and a look may run a program."""


class ClientSource:
    """Hands out the one client for `options`, and knows the time limits that it was given."""

    def __init__(self, options: StoreOptions) -> None:
        self._options = options
        # Cut so that even a short deadline has room for a second attempt after one that failed fast.
        self._connect_timeout = min(options.connect_timeout, options.deadline / 4)
        self._read_timeout = min(options.read_timeout, options.deadline / 2)
        self.policy = RetryPolicy(options.deadline, options.max_attempts, self._connect_timeout + self._read_timeout)
        self._client: S3Client | None = None
        self._session: HttpSession | None = None
        self._credentials: Credentials | None = None
        self._look_at = 0.0
        _sources.add(self)

    def get(self) -> S3Client:
        """Return the client. Raises UsageError, and what botocore raises for an impossible configuration."""
        client = self._client
        if client is None:
            with _making:
                if self._client is None:
                    self._client, self._session, self._credentials = self._make()
                client = self._client
        return client

    def renew(self, refused: S3Client) -> bool:
        """Whether `get` now returns a client with other credentials than the one that was refused.

        boto3 reads a file of credentials once, and asks a program again only when it was told when to. A mount lives
        longer than most credentials do; whoever replaces them should not have to mount again.
        """
        with _making:
            if self._client is not refused:
                return True
            now = time.monotonic()
            if now < self._look_at:
                return False
            self._look_at = now + _LOOK
            try:
                client, session, credentials = self._make()
                if credentials is None or _same(credentials, self._credentials):
                    return False
            except BotoCoreError:  # there are none now; what the caller was refused with says more
                return False
            self._client, self._session, self._credentials = client, session, credentials
            return True

    def endpoint(self) -> str:
        """Return the address of the server, for messages; as far as it can be told."""
        return self._client.meta.endpoint_url if self._client is not None else self._options.endpoint_url or "S3"

    def close(self) -> None:
        """Close the connections. A later `get` makes a new client."""
        client, self._client = self._client, None
        session, self._session = self._session, None
        if client is not None:
            client.close()
        if session is not None:
            session.close()

    def forget(self) -> None:
        """Start afresh in a forked child. The parent's client is left as it is: its sockets are shared."""
        self._client = self._session = None

    def _make(self) -> tuple[S3Client, HttpSession, Credentials | None]:
        options = self._options
        settings: dict[str, Any] = {
            "connect_timeout": self._connect_timeout,
            "read_timeout": self._read_timeout,
            # botocore composes its own anew for each request: a tenth of the 1 ms of processor time that a GET costs.
            "user_agent": f"penstock/{__version__}",
            "retries": {"total_max_attempts": 1, "mode": "standard"},  # they are ours: see `retry`
            # Ceph stores the trailer that carries a checksum as part of the object.
            "request_checksum_calculation": "when_required",
            "response_checksum_validation": "when_required",
        }
        if options.addressing_style != "auto":  # else ~/.aws/config may have its say
            settings["s3"] = {"addressing_style": options.addressing_style}
        if options.anonymous:
            settings["signature_version"] = UNSIGNED
        core = botocore.session.Session(profile=options.profile)
        core.register_component("data_loader", _models())
        core.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=parse_time)
        if options.credentials is not None:
            given = options.credentials
            core.set_credentials(given.access_key, given.secret_key, given.token)
        elif options.session is not None:
            core.register_component("credential_provider", _OfSession(options.session))
        credentials: Credentials | None = None if options.anonymous else core.get_credentials()
        try:
            made = boto3.session.Session(botocore_session=core).client(
                "s3", region_name=options.region, endpoint_url=options.endpoint_url, config=Config(**settings)
            )
        except ValueError as error:
            raise UsageError(
                "the S3 endpoint cannot be used",
                why=str(error),
                fix="Check endpoint_url, AWS_ENDPOINT_URL and AWS_ENDPOINT_URL_S3",
            ) from error
        client = made
        session = HttpSession(
            timeout=(self._connect_timeout, self._read_timeout),
            max_pool_connections=_CONNECTIONS,
            socket_options=socket_options(self._read_timeout),
            proxies=get_environ_proxies(client.meta.endpoint_url),
            verify=core.get_config_variable("ca_bundle") or os.environ.get("REQUESTS_CA_BUNDLE", True),
        )
        client.meta.events.register("before-send.s3", cast("Any", lambda request, **_: session.send(request)))
        client.meta.events.register("before-call.s3.DeleteObjects", _add_md5)
        client.meta.events.register_last("before-call.s3", _announce_only_large)
        client.meta.events.register("before-call.s3.HeadBucket", _do_not_follow)
        return client, session, credentials


class _OfSession:
    """Answers botocore's question for credentials with those of a session that the caller has made."""

    def __init__(self, session: BotoSession) -> None:
        self._session = session

    def load_credentials(self) -> Credentials | None:
        found: Credentials | None = self._session.get_credentials()
        return found


def _same(one: Credentials, other: Credentials | None) -> bool:
    return other is not None and one.get_frozen_credentials() == other.get_frozen_credentials()


def _add_md5(params: dict[str, Any], **_: object) -> None:
    # botocore sends a CRC32 instead, which older servers do not take for the Content-MD5 that they insist on.
    params["headers"]["Content-MD5"] = content_md5(params["body"])


def _announce_only_large(params: dict[str, Any], **_: object) -> None:
    # botocore asks for leave to send every body (Expect: 100-continue), one round trip that a small one is not worth.
    if not isinstance(params.get("body"), SentBody):
        params["headers"].pop("Expect", None)


def _do_not_follow(params: dict[str, Any], **_: object) -> None:
    # To follow a redirect botocore asks HeadBucket for the region, and follows its redirect, and so on until the
    # stack is full, when a server redirects all requests: http to https, for one.
    params["context"].setdefault("s3_redirect", {})["redirected"] = True


@functools.cache
def _models() -> Loader:
    return create_loader(os.environ.get("AWS_DATA_PATH"))


_sources: weakref.WeakSet[ClientSource] = weakref.WeakSet()
_making = threading.Lock()


def _forget_in_child() -> None:
    global _making  # whoever held it in the parent is not here
    _making = threading.Lock()
    for source in list(_sources):
        source.forget()


os.register_at_fork(after_in_child=_forget_in_child)
