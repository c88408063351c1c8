"""Files in pieces: begun with their size and hash, sent piece by piece, gone on with where they ended."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from penstock.catalogue.orm.dataset import DatasetScope

from .answers import json_answer
from .callers import Asking
from .context import context_of
from .routes_datasets import opened

__all__ = ["router"]

router = APIRouter(prefix="/api", tags=["uploads"])


@router.post("/datasets/{dataset}/uploads")
def begin_upload(
    request: Request,
    asking: Asking,
    dataset: str,
    name: Annotated[str, Body(max_length=255)],
    size: Annotated[int, Body(ge=0, le=1 << 50)],
    sha256: Annotated[str, Body(max_length=64)],
) -> Response:
    """Begin a file, or go on with one that was begun: the answer says how many bytes of it are here."""
    context = context_of(request)
    found, known = opened(context, asking, dataset, DatasetScope.WRITE)
    upload, received = context.uploads.begin(asking.name, found.hash_of(known), name, size, sha256)
    return json_answer({"upload": upload.id, "received": received}, 201)


@router.put("/uploads/{upload}")
async def send_piece(
    request: Request, asking: Asking, upload: str, offset: Annotated[int, Query(ge=0, le=1 << 50)]
) -> Response:
    """Take a piece, which goes on where the file ends; the answer says how many bytes are here."""
    body = await request.body()
    uploads = context_of(request).uploads

    def taken() -> int:
        return uploads.append(uploads.find(upload, asking.name), offset, body)

    return json_answer({"received": await run_in_threadpool(taken)})


@router.delete("/uploads/{upload}")
def discard_upload(request: Request, asking: Asking, upload: str) -> Response:
    """Forget a file that was begun."""
    uploads = context_of(request).uploads
    uploads.remove(uploads.find(upload, asking.name))
    return Response(status_code=204)
