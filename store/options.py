"""How to reach a store: everything that is not in its URL.

A frozen value: it travels in pickles with the store, and two stores with equal options can share. What is left at
its default is looked up by boto3 as every AWS tool does: environment, ``~/.aws``, container, instance.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from penstock.errors import UsageError

from .credentials import Credentials, frozen_credentials

__all__ = ["AddressingStyle", "Encryption", "StoreOptions"]

AddressingStyle = Literal["auto", "path", "virtual"]
Encryption = Literal["AES256", "aws:kms", "aws:kms:dsse"]

_ADDRESSING_STYLES: tuple[str, ...] = get_args(AddressingStyle)
_ENCRYPTIONS: tuple[str, ...] = get_args(Encryption)


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """Options of `open_store`. A local directory itself has no use for any of them. Raises UsageError for bad values.

    `deadline` is in seconds for a whole call with its retries; bytes that move give a call more time (see
    `penstock.store.retry`). `connect_timeout` and `read_timeout` are in seconds for one attempt; both are cut to
    fit into the deadline. `anonymous` sends unsigned requests. `request_payer` accepts to be charged. `credentials`,
    or those of `session` (a `credentials.BotoSession`), are used in place of those that would be found. `key` opens
    buckets behind a server.
    `hint` is what an error says first of all when the bucket cannot be reached or read.
    """

    endpoint_url: str | None = None
    profile: str | None = None
    region: str | None = None
    addressing_style: AddressingStyle = "auto"
    anonymous: bool = False
    request_payer: bool = False
    sse: Encryption | None = None
    sse_kms_key_id: str | None = None
    connect_timeout: float = 5.0
    read_timeout: float = 20.0
    deadline: float = 60.0
    max_attempts: int = 8
    credentials: Credentials | None = None
    session: Any = None
    hint: str = field(default="", compare=False)
    key: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.endpoint_url is not None:
            _check_endpoint(self.endpoint_url)
        if self.addressing_style not in _ADDRESSING_STYLES:
            raise UsageError(
                f"no addressing style {self.addressing_style!r}", fix=f"Use one of {', '.join(_ADDRESSING_STYLES)}"
            )
        if self.sse is not None and self.sse not in _ENCRYPTIONS:
            raise UsageError(f"no server-side encryption {self.sse!r}", fix=f"Use one of {', '.join(_ENCRYPTIONS)}")
        if self.sse_kms_key_id is not None and (self.sse is None or not self.sse.startswith("aws:kms")):
            raise UsageError(
                "a KMS key without KMS encryption", why=f"sse is {self.sse or 'not set'}", fix="Set sse to aws:kms"
            )
        for name in ("connect_timeout", "read_timeout", "deadline"):
            if not 0 < getattr(self, name) < float("inf"):
                raise UsageError(f"{name} must be a positive number of seconds, not {getattr(self, name)}")
        if self.max_attempts < 1:
            raise UsageError(f"max_attempts must be at least 1, not {self.max_attempts}")
        if sum((self.anonymous, self.credentials is not None, self.session is not None)) > 1:
            raise UsageError("credentials are given twice", fix="Give credentials, or a session, or anonymous.")

    def portable(self) -> StoreOptions:
        """Return what another process can use: of a session, the credentials that it has now."""
        if self.session is None:
            return self
        return replace(self, credentials=frozen_credentials(self.session), session=None)

    def __reduce__(self) -> tuple[object, ...]:
        here = self.portable()
        return StoreOptions, tuple(getattr(here, each.name) for each in fields(here))


def _check_endpoint(url: str) -> None:
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        good = False
    if not good:
        raise UsageError(
            f"{url!r} is no endpoint", why="it is not an http or https address", fix="Example: https://s3.example.org"
        )
