"""The pages of a listing, held against what was asked: pure.

gc deletes what a listing shows and no version needs, and a branch stands where the first key of a listing says. So a
page counts only if it is in order, lies below the prefix, goes on where the last one ended, and says whether there is
more. One that does not is `BentAnswer`: asked for again, then an error; never the end, and never asked for without end.

A `S3Listing` belongs to one thread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from penstock.store.base import ObjectInfo

from .etags import bare_etag, is_weak
from .http_range import BentAnswer

__all__ = ["Page", "S3Listing"]

_EMPTY_PAGES = 100
"""Pages in a row with nothing on them: a server may hand out some, while it passes over what was deleted."""


@dataclass(frozen=True, slots=True)
class Page:
    """Whole keys as the server names them, and folders with the slash at their end. `token` leads to the next page."""

    objects: Sequence[ObjectInfo]
    folders: Sequence[str]
    token: str | None


class S3Listing:
    """One listing below `prefix`, of keys after `after`. `check` may be called again for a page that it refused."""

    def __init__(self, prefix: str, after: str) -> None:
        self._prefix = prefix
        self._last_key = after
        self._last_folder = ""
        self._token: str | None = None
        self._empty = 0

    def check(self, answer: Mapping[str, Any]) -> Page:
        """Return the page that an answer of `list_objects_v2` holds. Raises BentAnswer when it cannot be the next."""
        objects = [self._object(item) for item in answer.get("Contents", ())]
        folders = [self._folder(item) for item in answer.get("CommonPrefixes", ())]
        last_key = _in_order(self._last_key, [info.key for info in objects])
        last_folder = _in_order(self._last_folder, folders)
        token = self._following(answer)
        empty = 0 if objects or folders else self._empty + 1
        if token is not None and empty > _EMPTY_PAGES:
            raise BentAnswer(f"the listing went on for {empty} pages with nothing on them")
        self._last_key, self._last_folder, self._token, self._empty = last_key, last_folder, token, empty
        return Page(objects, folders, token)

    def _object(self, item: Mapping[str, Any]) -> ObjectInfo:
        key, size, modified = item.get("Key"), item.get("Size"), item.get("LastModified")
        if not key or not key.startswith(self._prefix):
            raise BentAnswer(f"it listed {(key or '')[:200]!r} below {self._prefix!r}")
        if size is None or size < 0:
            raise BentAnswer(f"its listing does not say how large {key[:200]!r} is")
        etag, at = item.get("ETag"), modified.timestamp() if modified is not None else None
        return ObjectInfo(key, size, at, bare_etag(etag), is_weak=is_weak(etag))

    def _folder(self, item: Mapping[str, Any]) -> str:
        folder: str = item.get("Prefix") or ""
        name = folder[len(self._prefix) :]
        if not folder.startswith(self._prefix) or not name or name.find("/") != len(name) - 1:
            raise BentAnswer(f"it listed a folder {folder[:200]!r} directly below {self._prefix!r}")
        return folder

    def _following(self, answer: Mapping[str, Any]) -> str | None:
        truncated, token = answer.get("IsTruncated"), answer.get("NextContinuationToken") or None
        if truncated is None and token is None:
            raise BentAnswer("its listing does not say whether there is more")
        if truncated is False:
            return None
        if token is None:
            raise BentAnswer("its listing says that there is more, and not how to get it")
        if token == self._token:
            raise BentAnswer("its listing goes round in circles")
        return str(token)


def _in_order(last: str, keys: Sequence[str]) -> str:
    """Return the last of `keys`, which must come after `last` and each other: code points are in UTF-8's order."""
    for key in keys:
        if key <= last:
            raise BentAnswer(f"it listed {key[:200]!r} after {last[:200]!r}: a page that repeats, or keys out of order")
        last = key
    return last
