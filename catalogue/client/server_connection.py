"""A server of the catalogue, asked over HTTP: with a key, or with requests that a private key signs.

The key goes to the host that was named and nowhere else: no redirect is followed, and without TLS it goes to this
machine alone. What can be sent twice without harm is sent again when its answer is lost; all else is sent once.
Blocking, thread-safe.
"""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, urlencode

import msgspec
import urllib3

from penstock.error_form import ErrorForm, error_of
from penstock.errors import AccessError, PenstockError, StoreUnreachableError
from penstock.store.http.http_store import check_server_url
from penstock.store.retry import RetryPolicy

if TYPE_CHECKING:
    from penstock.catalogue.state.signed_request import SshSigner

__all__ = ["ServerConnection"]

_SECONDS = 60.0
_ATTEMPTS = 6
_MOST_ANSWER = 256 << 20
_AGAIN = frozenset({502, 503, 504})
_HARMLESS = frozenset({"GET", "PUT"})


class _ErrorAnswer(msgspec.Struct, frozen=True):
    error: ErrorForm


class _Answer(NamedTuple):
    status: int
    body: bytes


class ServerConnection:
    """The server at `url`, asked by whoever has `key`, or the private key of `signer`."""

    def __init__(self, url: str, *, key: str | None = None, signer: SshSigner | None = None) -> None:
        """UsageError: that is no address of a server, or has no TLS and is not this machine."""
        self.url = url.rstrip("/")
        check_server_url(f"{self.url}/bucket")
        self.key = key
        self._signer = signer
        self._pool = urllib3.PoolManager(num_pools=2, maxsize=16)
        self._policy = RetryPolicy(_SECONDS, _ATTEMPTS, _SECONDS / 10)

    def __repr__(self) -> str:
        return f"ServerConnection({self.url!r})"

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: dict[str, Any] | None = None,
        raw: bytes | None = None,
        again: bool = False,
    ) -> Any:
        """Send a request and return what is answered. Errors as the server raised them, and StoreUnreachableError.

        `again`: it may be sent a second time, whatever its method.
        """
        said = {name: value for name, value in (query or {}).items() if value is not None}
        target = f"{quote(path)}{f'?{urlencode(said)}' if said else ''}"
        sent = raw if raw is not None else (msgspec.json.encode(body) if body is not None else b"")
        kind = "application/octet-stream" if raw is not None else "application/json"
        deadline, failures = self._policy.start(), 0
        while True:
            pause: float | None
            try:
                answer = self._once(method, target, sent, kind)
            except (urllib3.exceptions.HTTPError, OSError) as error:
                failures += 1
                pause = self._policy.pause(failures, deadline) if again or method in _HARMLESS else None
                if pause is None:
                    why = f"{type(error).__name__}: {error}"[:300]
                    raise StoreUnreachableError(
                        f"{self.url} does not answer", why=why, fix="Check the address and the network."
                    ) from error
            else:
                failures += 1
                is_busy = answer.status == 429 or (answer.status in _AGAIN and (again or method in _HARMLESS))
                pause = self._policy.pause(failures, deadline) if is_busy else None
                if pause is None:
                    return self._value(answer)
            time.sleep(pause)

    def _once(self, method: str, target: str, body: bytes, kind: str) -> _Answer:
        headers = {"accept-encoding": "identity"}
        if body:
            headers["content-type"] = kind
        if self.key is not None:
            headers["authorization"] = f"Bearer {self.key}"
        elif self._signer is not None:
            nonce = secrets.token_urlsafe(24)
            headers["authorization"] = self._signer.header(method, target, body, nonce=nonce, now=time.time())
        answer = self._pool.request(
            method,
            f"{self.url}{target}",
            body=body or None,
            headers=headers,
            timeout=urllib3.Timeout(connect=10.0, read=_SECONDS),
            retries=False,
            redirect=False,
            preload_content=False,
        )
        try:
            found = _Answer(answer.status, answer.read(_MOST_ANSWER + 1))
            if len(found.body) > _MOST_ANSWER:
                answer.close()
                raise self._nonsense(f"more than {_MOST_ANSWER} bytes")
            return found
        finally:
            answer.release_conn()

    def _value(self, answer: _Answer) -> Any:
        body = answer.body
        if 200 <= answer.status < 300:
            try:
                return msgspec.json.decode(body) if body else None
            except msgspec.DecodeError as error:
                raise self._nonsense(str(error)) from error
        try:
            told = error_of(msgspec.json.decode(body, type=_ErrorAnswer).error)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            if answer.status in (401, 403):
                raise AccessError(f"{self.url} refuses", why=f"it answers {answer.status}") from error
            raise self._nonsense(f"it answers {answer.status}") from error
        raise told

    def _nonsense(self, why: str) -> PenstockError:
        return StoreUnreachableError(f"{self.url} answers something else", why=why, fix="Check the address.")

    def close(self) -> None:
        """Let go of connections."""
        self._pool.clear()
