"""The routes for browsers, and the files that pages refer to.

Pages are rendered here and sent whole; what is in `static` is sent as it is, and nothing comes from another server.
"""

from __future__ import annotations

from functools import cache

from fastapi import APIRouter, Response
from starlette.routing import Route

from penstock.errors import NotFoundError

from . import routes_admin, routes_browse, routes_curate, routes_files, routes_history, routes_row_table
from .page_template import FOLDER

__all__ = ["page_routers", "plain_routes"]

router = APIRouter(include_in_schema=False)

_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


def page_routers() -> tuple[APIRouter, ...]:
    """Return the routes for browsers."""
    pages = (routes_browse, routes_files, routes_history, routes_row_table, routes_curate, routes_admin)
    return (router, *(each.router for each in pages))


def plain_routes() -> tuple[Route, ...]:
    """Return the routes that are asked for so often that they are looked for first, by themselves."""
    return (Route("/dataset/{dataset}/picture", routes_files.picture, methods=["GET"]),)


@cache
def _files() -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in (FOLDER / "static").iterdir()}


@router.get("/static/{name}")
async def static(name: str) -> Response:
    """Return a file that pages refer to."""
    body = _files().get(name)
    suffix = name[name.rfind(".") :]
    if body is None or suffix not in _TYPES:
        raise NotFoundError(f"no file {name[:100]!r}")
    return Response(body, media_type=_TYPES[suffix], headers={"cache-control": "max-age=3600"})
