"""What pages share: open versions, small pictures, changes that were staged. It lasts as long as the application."""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool

from penstock.catalogue.page.content.decoding_pool import DecodingPool
from penstock.catalogue.page.content.pictures import Pictures
from penstock.catalogue.page.content.shown_numbers import Numbers
from penstock.catalogue.server.context import ServerContext
from penstock.errors import PenstockError
from penstock.lru import Lru

from .open_versions import OpenVersions
from .page_template import load_templates
from .staged_changes import StagingArea

__all__ = ["PageContext", "page_context_of", "page_life"]

_NUMBERS = 256
_PICTURE_BYTES = 32 << 20


@dataclass(frozen=True, slots=True)
class PageContext:
    """`pool` decodes what users sent; nothing of that is decoded in this process."""

    versions: OpenVersions
    pool: DecodingPool
    pictures: Pictures
    staging: StagingArea
    numbers: Lru[str, Numbers]
    """Of versions, by their names."""
    sent_pictures: Lru[tuple[str, bytes], Response]
    """Small pictures of versions that never change, by dataset and query: who may read that dataset may have them."""

    def prepare(self, context: ServerContext) -> None:
        """Make ready what the first page would wait for: buckets that are open, templates, processes that decode."""
        self.pool.start()
        load_templates()
        for catalogue in context.buckets.values():
            with suppress(PenstockError):  # whoever asks for it first is told
                catalogue.session.cache  # noqa: B018  # it is opened by being asked for

    def close(self) -> None:
        """End processes and close versions."""
        self.pool.close()
        self.versions.close()


def make_page_context(context: ServerContext) -> PageContext:
    """Return what the pages of a server share; files of it lie beside the server's state."""
    folder = os.path.dirname(os.path.abspath(context.database.path))
    pool = DecodingPool()
    pictures = Pictures(os.path.join(folder, "pictures"), pool)
    staging = StagingArea(os.path.join(folder, "staged"))
    return PageContext(OpenVersions(), pool, pictures, staging, Lru(_NUMBERS), Lru(_PICTURE_BYTES))


@asynccontextmanager
async def page_life(app: FastAPI) -> AsyncIterator[None]:
    """Have what pages share for as long as the application runs."""
    context = app.state.context
    assert isinstance(context, ServerContext)
    pages = make_page_context(context)
    app.state.pages = pages
    if context.prepares:
        threading.Thread(target=pages.prepare, args=(context,), name="penstock-prepare", daemon=True).start()
    try:
        yield
    finally:
        await run_in_threadpool(pages.close)


def page_context_of(request: Request) -> PageContext:
    """Return what the pages of a server share."""
    found = request.app.state.pages
    assert isinstance(found, PageContext)
    return found
