"""Who looks at a page, and what they are shown when something is wrong: a page in words, or the form to sign in."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import Depends, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse
from fastapi.routing import APIRoute

from penstock.catalogue.page.content.shown_text import url_of, written_key
from penstock.catalogue.server.answers import error_answer
from penstock.catalogue.server.callers import Asking, NotSignedInError, session_of
from penstock.errors import PenstockError, UsageError

from .page_template import render
from .visitor import Visitor

__all__ = ["PageRoute", "Visiting"]


async def visitor_of(request: Request, caller: Asking) -> Visitor:
    """Return who looks at a page."""
    session = await session_of(request)
    return Visitor(caller, session.csrf if session is not None else "")


Visiting = Annotated[Visitor, Depends(visitor_of)]


class PageRoute(APIRoute):
    """A route for people: what it raises is shown to them."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what answers a request."""
        answer = super().get_route_handler()

        async def shown(request: Request) -> Response:
            try:
                return await answer(request)
            except NotSignedInError as error:
                if request.method == "GET" and "hx-request" not in request.headers:
                    path = request.scope["raw_path"].decode("ascii", "replace")
                    query = request.scope["query_string"].decode("ascii", "replace")
                    return RedirectResponse(url_of("/sign-in", next=f"{path}?{query}" if query else path), 303)
                return _error_page(request, error)
            except PenstockError as error:
                return _error_page(request, error)
            except RequestValidationError as error:
                first = error.errors()[0]
                place = ".".join(str(each) for each in first["loc"][1:])
                return _error_page(request, UsageError(f"{place} is not valid", why=str(first["msg"])))

        return shown


def _error_page(request: Request, error: PenstockError) -> Response:
    status = error_answer(error).status_code
    page = render(request, "error.html", None, error=error, candidates=getattr(error, "candidates", ()), status=status)
    page.headers["x-penstock-error"] = written_key(error.what[:500])  # for scripts, which show it beside what there is
    return page
