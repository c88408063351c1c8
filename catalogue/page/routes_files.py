"""What users sent, as their bytes: sent so that a browser runs none of it, by ranges, to be kept by the browser.

**Invariant:** everything here has a policy of its own that takes scripts and this server's address away, and a type
that is not guessed at. What a browser would run when it is opened is sent to be saved.
"""

from __future__ import annotations

import base64

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool

from penstock.catalogue.orm.dataset import DatasetScope
from penstock.catalogue.page.content.decoders import LAST_FRAME, PICTURE_SIZES
from penstock.catalogue.page.content.file_kinds import RAW_POLICY, disposition, kind_of_file, type_sent
from penstock.catalogue.server.answers import json_answer
from penstock.catalogue.server.byte_range import asked_range
from penstock.catalogue.server.callers import caller_of
from penstock.catalogue.server.file_answer import FileAnswer
from penstock.errors import NotFoundError, UsageError

from .page_context import page_context_of
from .page_route import PageRoute, Visiting
from .place import Place, place_of, values_of
from .visitor import Visitor

__all__ = ["frame_of", "picture", "router"]

router = APIRouter(include_in_schema=False, route_class=PageRoute)

_SHOWN = "no picture"
_PICTURE = "image/webp"


def _headers(place: Place, *, seconds: int = 31_536_000) -> dict[str, str]:
    is_exact = place.at == place.exact
    kept = f"private, max-age={seconds}, immutable" if is_exact else "no-cache"
    return {"cache-control": kept, "content-security-policy": RAW_POLICY, "x-content-type-options": "nosniff"}


@router.get("/dataset/{dataset}/raw")
def raw(request: Request, visitor: Visiting, dataset: str) -> Response:
    """Send a file, or the part of it that is asked for."""
    place = place_of(request, visitor, dataset)
    entry = place.package.entry(place.key)
    if not entry.is_file():
        raise UsageError(f"{place.key!r} is a {entry.kind}", fix="Name a file.")
    kind = type_sent(entry.name)
    is_saved = kind is None or "save" in values_of(request)
    etag = f'"{entry.hash}"'
    headers = {
        **_headers(place),
        "accept-ranges": "bytes",
        "etag": etag,
        "content-disposition": disposition(entry.name, inline=not is_saved),
    }
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers=headers)
    wanted = request.headers.get("range") if request.headers.get("if-range", etag) == etag else None
    part = asked_range(wanted, entry.size)
    status = 200
    if part is not None:
        if not part:
            return Response(status_code=416, headers={**headers, "content-range": f"bytes */{entry.size}"})
        status = 206
        headers["content-range"] = f"bytes {part.start}-{part.stop - 1}/{entry.size}"
    shown = part if part is not None else range(entry.size)
    return FileAnswer(entry, shown, status, headers, kind if kind is not None else "application/octet-stream")


def frame_of(request: Request) -> int:
    """Return the number of the frame that a request asks for, 0 by default. UsageError: nobody looks so far."""
    said = values_of(request).get("frame", "") or "0"
    if not (said.isascii() and said.isdigit()) or int(said) > LAST_FRAME:
        raise UsageError(f"no frame {said[:20]!r}", fix=f"Ask for one from 0 to {LAST_FRAME:,}.")
    return int(said)


@router.get("/dataset/{dataset}/frames")
def frames(request: Request, visitor: Visiting, dataset: str) -> Response:
    """Send a frame of a video and those around it, as the decoder has them, to be held against a browser's."""
    place = place_of(request, visitor, dataset)
    entry = place.package.entry(place.key)
    if not entry.is_file() or kind_of_file(entry.name) != "video":
        raise UsageError(f"{place.key!r} is no video", fix="Name a video.")
    with entry.open() as file:

        def fetch(offset: int, length: int) -> bytes:
            file.seek(offset)
            return file.read(length)

        asked = {"task": "frames", "number": frame_of(request), "bytes": entry.size}
        head, body = place.pages.pool.ask(asked, fetch=fetch)
    strip = f"data:image/webp;base64,{base64.b64encode(body).decode()}" if body else ""
    return json_answer({**head, "image": strip}, headers={"cache-control": _headers(place)["cache-control"]})


async def picture(request: Request) -> Response:
    """Send a small picture of an image; where none can be made, one that says so.

    A plain route: a grid asks for sixty at once. What was sent of a version by its own name is sent again from memory.
    """
    caller = await caller_of(request)
    dataset = request.path_params["dataset"]
    pages = page_context_of(request)
    name = (dataset, request.scope["query_string"])
    kept = pages.sent_pictures.get(name)
    if kept is not None:
        caller.require(DatasetScope.READ, dataset)
        return kept
    place, answer = await run_in_threadpool(_picture, request, Visitor(caller), dataset)
    if place.at == place.exact and place.hash == dataset and answer.media_type == _PICTURE:
        pages.sent_pictures.put(name, answer, len(answer.body))
    return answer


def _picture(request: Request, visitor: Visitor, dataset: str) -> tuple[Place, Response]:
    place = place_of(request, visitor, dataset)
    said = values_of(request).get("size", "")
    size = int(said) if said in {str(each) for each in PICTURE_SIZES} else PICTURE_SIZES[0]
    entry = place.package.find(place.key)
    if entry is None or not entry.is_file():
        raise NotFoundError(f"no file {place.key!r}")
    made = place.pages.pictures.of(entry, size, frame_of(request))
    if made.body:
        return place, Response(made.body, media_type=_PICTURE, headers=_headers(place))
    body = (
        '<svg xmlns="http://www.w3.org/2000/svg" width="320" height="320" viewBox="0 0 320 320">'
        '<rect width="320" height="320" fill="#8883"/><path d="M120 120l80 80m0-80l-80 80" stroke="#888" '
        f'stroke-width="10" stroke-linecap="round"/><text x="160" y="260" font-family="sans-serif" font-size="20" '
        f'fill="#888" text-anchor="middle">{_SHOWN}</text></svg>'
    )
    return place, Response(body, media_type="image/svg+xml", headers=_headers(place, seconds=60))
