"""Pages from templates: every value is escaped, and a name that is missing is an error."""

from __future__ import annotations

import datetime as dt
from importlib.resources import files

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from penstock.catalogue.page.content.shown_text import ago, counted, read_key, shown_name, sized, url_of, written_key

from .visitor import Visitor

__all__ = ["FOLDER", "load_templates", "render"]

FOLDER = files("penstock.catalogue.page")


def _time(value: str | dt.datetime) -> dt.datetime:
    return dt.datetime.fromisoformat(value) if isinstance(value, str) else value


def _ago(value: str | dt.datetime) -> str:
    return ago(_time(value), dt.datetime.now(dt.UTC))


def _moment(value: str | dt.datetime) -> str:
    return _time(value).strftime("%Y-%m-%d %H:%M UTC")


_templates = Environment(
    loader=FileSystemLoader(str(FOLDER / "templates")),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.filters.update(
    ago=_ago, counted=counted, moment=_moment, read=read_key, shown=shown_name, sized=sized, written=written_key
)
_templates.globals.update(url=url_of)


def load_templates() -> None:
    """Compile all templates, which the first page that uses one would wait for."""
    for name in _templates.list_templates():
        _templates.get_template(name)


def render(
    request: Request, template: str, visitor: Visitor | None, *, status: int = 200, **values: object
) -> HTMLResponse:
    """Return a page. Names of files stand in it by way of the filter ``shown``, which leaves nothing unseen."""
    body = _templates.get_template(template).render(visitor=visitor, here=request.url.path, status=status, **values)
    # A version's texts may hold bytes that are no UTF-8.
    encoded = body.encode("utf-8", "replace")
    return HTMLResponse(encoded, status, headers={"cache-control": "no-store"})
