"""Where the bytes of a quilt entry lie: ``s3://bucket/quoted%20key?versionId=…`` or ``file:///path``. Pure."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import parse_qs, quote, unquote, urlsplit

from penstock.errors import IntegrityError

__all__ = ["QuiltKey", "parse_physical_key"]

_LONGEST = 8192


class QuiltKey(NamedTuple):
    """A URI whose path is percent-encoded, without its version; `bucket` is None for a file, `path` its path then."""

    uri: str
    bucket: str | None
    path: str
    version_id: str | None


def parse_physical_key(text: object) -> QuiltKey:
    """Read a physical key as a manifest has it. IntegrityError: it is none, or leads somewhere else."""
    if not isinstance(text, str) or len(text) > _LONGEST:
        raise IntegrityError("a physical key is no text, or too long", why=repr(text)[:200])
    try:
        parts = urlsplit(text)
        path = unquote(parts.path, errors="strict")
        query = parse_qs(parts.query, strict_parsing=bool(parts.query), max_num_fields=2)
    except ValueError as error:
        raise IntegrityError(f"a physical key is malformed: {text[:200]!r}", why=str(error)) from error
    versions = query.pop("versionId", [None])
    if "\0" in path or query or len(versions) != 1 or parts.fragment or not path.startswith("/"):
        raise _refused(text, "it has a query, a fragment or a path that no object can have")
    if parts.scheme == "s3" and parts.netloc and len(path) > 1:
        return QuiltKey(f"s3://{parts.netloc}{quote(path)}", parts.netloc, path[1:], versions[0])
    if parts.scheme == "file" and parts.netloc in ("", "localhost") and not parts.query:
        if ".." in path.split("/"):
            raise _refused(text, "it goes up")
        return QuiltKey(f"file://{quote(path)}", None, path, None)
    raise _refused(text, "neither s3://bucket/key nor file:///path")


def _refused(text: str, why: str) -> IntegrityError:
    return IntegrityError(f"a physical key cannot be used: {text[:200]!r}", why=why)
