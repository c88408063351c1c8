"""Pages about the server itself: signing in, keys, jobs, storage."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse

from penstock.api.storage.block_cache import cache_info
from penstock.api.storage.bucket import Bucket
from penstock.catalogue.orm.dataset import DatasetScope
from penstock.catalogue.server.callers import COOKIE, client_of, sign_in
from penstock.catalogue.server.context import context_of
from penstock.catalogue.server.routes_datasets import visible_infos
from penstock.catalogue.server.routes_sessions import begin_session
from penstock.catalogue.state.caller import Caller
from penstock.errors import AccessError, NotFoundError, UsageError

from .page_route import PageRoute, Visiting
from .page_template import render
from .place import values_of

__all__ = ["router"]

router = APIRouter(include_in_schema=False, route_class=PageRoute)

_LIFETIMES = {"": None, "day": 86400.0, "month": 30 * 86400.0, "year": 365 * 86400.0}
_JOBS = 100


def _inside(path: str) -> str:
    """Return an address of this server; what leads elsewhere leads to the first page."""
    is_inside = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable()
    return path if is_inside else "/"


@router.get("/sign-in")
def sign_in_form(request: Request) -> Response:
    """Show the form to sign in."""
    return render(request, "sign_in.html", None, next=_inside(values_of(request).get("next", "/")), error=None)


@router.post("/sign-in")
def sign_in_by_form(
    request: Request,
    key: Annotated[str, Form(max_length=200)],
    next: Annotated[str, Form(max_length=20_000)] = "/",  # noqa: A002  # the field's name
) -> Response:
    """Begin a session with a key."""
    context = context_of(request)
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise AccessError("another site asks", why="only this server's own form signs anybody in")
    try:
        caller = sign_in(context, key.strip(), client_of(request))
    except AccessError as error:
        return render(request, "sign_in.html", None, next=_inside(next), error=error, status=401)
    answer = RedirectResponse(_inside(next), 303)
    begin_session(context, caller, answer, secure=request.url.scheme == "https")
    return answer


@router.post("/sign-out")
def sign_out(request: Request, visitor: Visiting) -> Response:
    """End the session."""
    cookie = request.cookies.get(COOKIE)
    if cookie and visitor.has_session:
        context_of(request).sessions.end(cookie)
    answer = RedirectResponse("/sign-in", 303)
    answer.delete_cookie(COOKIE, path="/")
    return answer


def _own(caller: Caller) -> str:
    caller.require_admin(caller.dataset)
    return caller.dataset


@router.get("/keys")
def keys(request: Request, visitor: Visiting) -> Response:
    """Show the keys that are valid."""
    return _keys_page(request, visitor, "")


def _keys_page(request: Request, visitor: Visiting, secret: str) -> Response:
    own = _own(visitor.caller)
    context = context_of(request)
    infos = visible_infos(context, visitor.caller)
    names = {info.dataset_hash: f"{info.bucket}/{info.name}" for info in infos}
    return render(
        request, "keys.html", visitor, keys=context.keys.list(own or None), datasets=infos, names=names, secret=secret
    )


@router.post("/keys")
def make_key(
    request: Request,
    visitor: Visiting,
    title: Annotated[str, Form(max_length=200)],
    scope: Annotated[str, Form(max_length=10)],
    dataset: Annotated[str, Form(max_length=100)] = "",
    lifetime: Annotated[str, Form(max_length=10)] = "",
) -> Response:
    """Make a key; its secret is shown once."""
    own = _own(visitor.caller)
    if scope not in ("read", "write") or lifetime not in _LIFETIMES or (own and dataset != own):
        raise UsageError("this form is not valid", fix="Load it again.")
    context = context_of(request)
    if dataset:
        context.catalogues.find(dataset)
    scopes = [DatasetScope.READ] if scope == "read" else [DatasetScope.READ, DatasetScope.WRITE]
    made = context.keys.create(title, scopes, dataset, lifetime=_LIFETIMES[lifetime])
    return _keys_page(request, visitor, made.secret)


@router.post("/keys/revoke")
def revoke_key(request: Request, visitor: Visiting, name: Annotated[str, Form(max_length=100)]) -> Response:
    """Let a key open nothing any more."""
    own = _own(visitor.caller)
    table = context_of(request).keys
    if own and table.find(name).dataset_hash != own:
        raise NotFoundError("no such key")
    table.revoke(name)
    return RedirectResponse("/keys", 303)


@router.get("/jobs")
def jobs(request: Request, visitor: Visiting) -> Response:
    """Show what the server does, and did: to an admin all of it, to others what they asked for."""
    caller = visitor.caller
    every = caller.is_admin and not caller.dataset
    rows = context_of(request).database.read(
        "SELECT id, kind, owner, dataset, status, progress, error, created, updated FROM job "
        "WHERE ? OR owner = ? ORDER BY id DESC LIMIT ?",
        (every, caller.name, _JOBS),
    )
    return render(request, "jobs.html", visitor, jobs=rows)


@router.get("/storage")
def storage(request: Request, visitor: Visiting) -> Response:
    """Show what is cached here, and which buckets there are."""
    visitor.caller.require_admin()
    context = context_of(request)
    info = cache_info(context.catalogues.settings)
    return render(
        request,
        "storage.html",
        visitor,
        cache=info,
        catalogues=list(context.buckets.values()),
        report=None,
        report_name="",
    )


@router.post("/storage/garbage")
def garbage(request: Request, visitor: Visiting, bucket: Annotated[str, Form(max_length=300)]) -> Response:
    """Show what `penstock gc` would free; nothing is deleted."""
    visitor.caller.require_admin()
    context = context_of(request)
    if bucket not in context.buckets:
        raise NotFoundError("no such bucket here")
    report = Bucket(bucket, context.catalogues.settings).gc()
    info = cache_info(context.catalogues.settings)
    return render(
        request,
        "storage.html",
        visitor,
        cache=info,
        catalogues=list(context.buckets.values()),
        report=report,
        report_name=bucket,
    )
