"""The pages of the catalogue: which routes there are for browsers, and the templates and files that they are made of.

Pages are rendered here and sent whole; what is in `static` is sent as it is, and nothing comes from another server.
"""

from __future__ import annotations

from importlib.resources import files

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from penstock.catalogue.server.callers import Asking
from penstock.catalogue.server.context import context_of
from penstock.catalogue.server.routes_datasets import visible_infos
from penstock.errors import NotFoundError

__all__ = ["page_routers", "render"]

router = APIRouter(include_in_schema=False)

_HERE = files("penstock.catalogue.page")
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_templates = Environment(
    loader=FileSystemLoader(str(_HERE / "templates")), autoescape=True, undefined=StrictUndefined, enable_async=False
)


def page_routers() -> tuple[APIRouter, ...]:
    """Return the routes for browsers."""
    return (router,)


def render(template: str, **values: object) -> HTMLResponse:
    """Return a page; all values are escaped."""
    return HTMLResponse(_templates.get_template(template).render(**values))


@router.get("/")
def index(request: Request, asking: Asking) -> Response:
    """Show the datasets."""
    infos = sorted(visible_infos(context_of(request), asking), key=lambda info: info.title.lower())
    return render("index.html", datasets=infos, caller=asking)


@router.get("/static/{name}")
def static(name: str) -> Response:
    """Return a file that pages refer to."""
    suffix = name[name.rfind(".") :]
    if suffix in _TYPES and name in {each.name for each in (_HERE / "static").iterdir()}:
        body = (_HERE / "static" / name).read_bytes()
        return Response(body, media_type=_TYPES[suffix], headers={"cache-control": "max-age=3600"})
    raise NotFoundError(f"no file {name[:100]!r}")
