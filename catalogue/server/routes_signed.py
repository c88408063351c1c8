"""Files by an address that is signed and expires: whoever has it reads that file, for that long, and nothing else.

What is sent is sent so that a browser runs none of it (as pages send it).
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send

from penstock.api.handles import DEFAULT_BRANCH, Handle
from penstock.api.packages.package import Package
from penstock.errors import NotFoundError

from .byte_range import asked_range
from .context import context_of
from .file_answer import FileAnswer

__all__ = ["router"]

router = APIRouter(tags=["signed"])

_POLICY = "sandbox; default-src 'none'"
_TYPES = {".mp4": "video/mp4"}


class _ClosingAnswer(FileAnswer):
    """A part of a file of a version that is closed when it was sent."""

    def __init__(self, package: Package, *facts: Any) -> None:
        super().__init__(*facts)
        self._package = package

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            await run_in_threadpool(self._package.close)


@router.get("/signed/{token}/{name}")
def signed_file(request: Request, token: str, name: str) -> Response:
    """Send a file, or the part of it that is asked for."""
    context = context_of(request)
    dataset, path, content = context.secret.check("file", token)
    found, known = context.catalogues.find(dataset)
    package = Package(Handle(found.bucket, known, DEFAULT_BRANCH), found.settings)
    try:
        entry = package.entry(path)
        if not entry.is_file() or entry.hash != content:
            raise NotFoundError(f"no file {name[:200]!r}", why="it has changed since its address was made")
        headers = {
            "accept-ranges": "bytes",
            "etag": f'"{entry.hash}"',
            "content-security-policy": _POLICY,
            "cache-control": "private, max-age=3600",
            "cross-origin-resource-policy": "cross-origin",
        }
        part = asked_range(request.headers.get("range"), entry.size)
        if part is not None and not part:
            package.close()
            return Response(status_code=416, headers={**headers, "content-range": f"bytes */{entry.size}"})
        shown = part if part is not None else range(entry.size)
        if part is not None:
            headers["content-range"] = f"bytes {part.start}-{part.stop - 1}/{entry.size}"
        kind = _TYPES.get(path[path.rfind(".") :].lower(), "application/octet-stream")
        return _ClosingAnswer(package, entry, shown, 206 if part is not None else 200, headers, kind)
    except BaseException:
        package.close()
        raise
