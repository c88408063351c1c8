"""The server's application: its routes put together, over one or more buckets.

The OpenAPI document is at ``/openapi.json``. Routes are plain functions: FastAPI runs each in a thread, so that a store
that is slow holds up nobody else.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from fastapi import APIRouter, FastAPI, Response
from fastapi.concurrency import run_in_threadpool
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.routing import Route

from penstock import __version__

from .answers import add_error_answers
from .context import ServerContext
from .guard import Guard, RequestMetrics
from .routes_datasets import router as datasets
from .routes_jobs import router as jobs
from .routes_keys import router as keys
from .routes_rows import router as rows
from .routes_sessions import router as sessions
from .routes_signed import router as signed
from .routes_store import router as stored
from .routes_uploads import router as uploads

__all__ = ["make_app"]

_ROUTERS: tuple[APIRouter, ...] = (sessions, datasets, rows, jobs, uploads, signed, keys, stored)


def make_app(
    context: ServerContext,
    pages: Sequence[APIRouter] = (),
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]] | None = None,
    first: Sequence[Route] = (),
) -> FastAPI:
    """Return the application; `pages` are routes for browsers, `first` those that are asked for most."""
    metrics = RequestMetrics()

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        context.workers.start()
        try:
            if lifespan is None:
                yield
            else:
                async with lifespan(app):
                    yield
        finally:
            await run_in_threadpool(context.workers.close)

    app = FastAPI(title="Penstock catalogue", version=__version__, docs_url=None, redoc_url=None, lifespan=life)
    app.state.context = context
    app.state.metrics = metrics
    add_error_answers(app)

    app.router.routes[:0] = first

    @app.get("/health", tags=["server"])
    async def health() -> dict[str, str]:
        """Say that the server answers, and that its own state can be read.

        It waits for no thread, for those may all wait for a store.
        """
        context.database.read("SELECT 1")
        return {"status": "ok", "version": __version__}

    @app.get("/metrics", tags=["server"])
    async def shown_metrics() -> Response:
        """Return what is counted, for Prometheus."""
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    for router in (*_ROUTERS, *pages):
        app.include_router(router)
    app.add_middleware(Guard, metrics=metrics)
    return app
