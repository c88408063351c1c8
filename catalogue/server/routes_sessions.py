"""Signing in and out, and who one is."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Request, Response

from penstock.catalogue.state.caller import Caller

from .answers import json_answer
from .callers import COOKIE, Asking, client_of, sign_in
from .context import ServerContext, context_of

__all__ = ["begin_session", "router"]

router = APIRouter(prefix="/api", tags=["sessions"])


def begin_session(context: ServerContext, caller: Caller, response: Response, *, secure: bool) -> str:
    """Give a browser the cookie of a new session; return the session's token for forms."""
    cookie, session = context.sessions.begin(caller)
    response.set_cookie(COOKIE, cookie, max_age=86400, httponly=True, samesite="strict", secure=secure, path="/")
    return session.csrf


@router.post("/session")
def sign_in_by_key(request: Request, key: Annotated[str, Body(embed=True, max_length=200)]) -> Response:
    """Begin a session with a key; the answer has the token that every change has to bring along."""
    context = context_of(request)
    caller = sign_in(context, key, client_of(request))
    holder = Response()
    csrf = begin_session(context, caller, holder, secure=request.url.scheme == "https")
    answer = json_answer({"caller": caller.title, "csrf": csrf})
    answer.headers["set-cookie"] = holder.headers["set-cookie"]
    return answer


@router.delete("/session")
def sign_out(request: Request, _: Asking) -> Response:
    """End the session."""
    cookie = request.cookies.get(COOKIE)
    if cookie:
        context_of(request).sessions.end(cookie)
    answer = Response(status_code=204)
    answer.delete_cookie(COOKIE, path="/")
    return answer


@router.get("/caller")
def caller(asking: Asking) -> Response:
    """Say who one is, and what one may."""
    return json_answer(
        {
            "name": asking.name,
            "title": asking.title,
            "scopes": sorted(asking.scopes),
            "dataset": asking.dataset,
            "is_admin": asking.is_admin,
        }
    )
