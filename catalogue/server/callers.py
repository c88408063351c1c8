"""Who sends a request: a key, a signature, a session's cookie, or somebody on this machine who is trusted.

What can be forged by a page that a user's browser shows is refused: a cookie changes nothing without the session's
token, and who is trusted for coming over the loopback interface has to use a name of this machine (so that no foreign
name leads here) and must not come from another site.
"""

from __future__ import annotations

import hashlib
import ipaddress
import time
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request
from fastapi.concurrency import run_in_threadpool

from penstock.catalogue.state.caller import TRUSTED, Caller
from penstock.catalogue.state.session_table import Session
from penstock.catalogue.state.signed_request import SIGNED, signer_of
from penstock.errors import AccessError

from .context import ServerContext, context_of

__all__ = [
    "COOKIE",
    "CSRF_FIELD",
    "CSRF_HEADER",
    "Asking",
    "NotSignedInError",
    "TooManyError",
    "caller_of",
    "session_of",
]

COOKIE = "penstock_session"
CSRF_HEADER = "x-csrf-token"
CSRF_FIELD = "csrf"
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


class NotSignedInError(AccessError):
    """Nobody that this server knows."""


class TooManyError(AccessError):
    """Asked too often; `seconds` until it may be asked again."""

    def __init__(self, seconds: float) -> None:
        super().__init__("too many requests", fix=f"Wait {seconds:.0f} s.")
        self.seconds = max(1, round(seconds))


def sign_in(context: ServerContext, key: str, client: str) -> Caller:
    """Return whose key it is. NotSignedInError: nobody's. TooManyError: this client guesses."""
    wait = context.failures.wait(client, time.monotonic())
    if wait:
        raise TooManyError(wait)
    found = context.keys.caller(key)
    if found is None:
        context.failures.take(client, time.monotonic())
        raise NotSignedInError("this key is not valid", why="it is unknown, expired or revoked", fix="Ask for another.")
    return found


def client_of(request: Request) -> str:
    """Return the address that a request came from."""
    return request.client.host if request.client is not None else ""


def _is_trusted(context: ServerContext, request: Request) -> bool:
    """Whether a request comes from this machine, to one of its names, and by no proxy's hand."""
    if not context.is_trusting or "x-forwarded-for" in request.headers or "forwarded" in request.headers:
        return False
    try:
        is_here = ipaddress.ip_address(client_of(request)).is_loopback
    except ValueError:
        return False
    return is_here and _host(request.headers.get("host", "")) in context.hosts


def _host(netloc: str) -> str:
    try:
        return urlsplit(f"//{netloc}").hostname or ""
    except ValueError:
        return ""


def _check_site(request: Request) -> None:
    """Refuse what another site has a browser send."""
    if request.method in _SAFE:
        return
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    is_foreign = site not in (None, "none", "same-origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host", ""):
        is_foreign = True
    if is_foreign:
        raise AccessError("another site asks", why="only this server's own pages may change something")


async def session_of(request: Request) -> Session | None:
    """Return the session of a browser; None: it has none."""
    cookie = request.cookies.get(COOKIE)
    if not cookie:
        return None
    context = context_of(request)
    return await run_in_threadpool(context.sessions.find, cookie, trusted=_is_trusted(context, request))


async def _check_token(request: Request, session: Session) -> None:
    if request.method in _SAFE:
        return
    token = request.headers.get(CSRF_HEADER)
    if token is None and request.headers.get("content-type", "").startswith(
        ("application/x-www-form-urlencoded", "multipart/form-data")
    ):
        found = (await request.form()).get(CSRF_FIELD)
        token = found if isinstance(found, str) else None
    if token is None or not session.is_own(token):
        raise AccessError("the form is not of this session", why="its token is missing or old", fix="Load it again.")


async def caller_of(request: Request) -> Caller:
    """Return who asks. NotSignedInError: nobody knows; TooManyError; AccessError: it may be forged."""
    context = context_of(request)
    found = await _found(context, request)
    wait = context.pace.take(found.name, time.monotonic())
    if wait:
        raise TooManyError(wait)
    request.state.caller = found.name
    return found


async def _found(context: ServerContext, request: Request) -> Caller:
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return await run_in_threadpool(sign_in, context, key.strip(), client_of(request))
    if scheme == SIGNED:
        body = await request.body()
        wait = context.failures.wait(client_of(request), time.monotonic())
        if wait:
            raise TooManyError(wait)
        target = request.scope["raw_path"].decode() + (f"?{request.url.query}" if request.url.query else "")
        digest = hashlib.sha256(body).hexdigest()
        signer = await run_in_threadpool(signer_of, context.database, key, request.method, target, digest)
        if signer is None:
            context.failures.take(client_of(request), time.monotonic())
            raise NotSignedInError("the signature is not valid", why="its key is unknown, or the clocks differ")
        return signer
    session = await session_of(request)
    if session is not None:
        _check_site(request)
        await _check_token(request, session)
        return session.caller
    if _is_trusted(context, request):
        _check_site(request)
        return TRUSTED
    raise NotSignedInError("nobody is signed in", fix="Send a key: Authorization: Bearer psk_...")


Asking = Annotated[Caller, Depends(caller_of)]
"""What a route takes to know who asks; it has called `require` before it does anything."""
