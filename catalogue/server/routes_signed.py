"""Files by an address that is signed and expires: whoever has it reads that file, for that long, and nothing else.

What is sent is sent so that a browser runs none of it (as pages send it).
"""

from __future__ import annotations

from collections.abc import Iterator

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from penstock.api.handles import DEFAULT_BRANCH, Handle
from penstock.api.packages.entry import Entry
from penstock.api.packages.package import Package
from penstock.errors import NotFoundError

from .byte_range import asked_range
from .context import context_of
from .sent_file import sent_bytes

__all__ = ["router"]

router = APIRouter(tags=["signed"])

_POLICY = "sandbox; default-src 'none'"
_TYPES = {".mp4": "video/mp4"}


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
        headers["content-length"] = str(len(shown))
        kind = _TYPES.get(path[path.rfind(".") :].lower(), "application/octet-stream")
        return StreamingResponse(_sent(package, entry, shown), 206 if part is not None else 200, headers, kind)
    except BaseException:
        package.close()
        raise


def _sent(package: Package, entry: Entry, part: range) -> Iterator[bytes]:
    try:
        yield from sent_bytes(entry, part)
    finally:
        package.close()
