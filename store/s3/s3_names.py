"""Which objects lie in an S3 bucket: all below a prefix, or the names of one level, page after page.

**Invariant:** a listing that is cut short is an error, and never taken for its end: `s3_listing` holds each page
against what was asked. Blocking, thread-safe.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from penstock.errors import UsageError
from penstock.store.base import Level, ObjectInfo
from penstock.store.retry import Deadline

from .s3_call import BucketCalls, ask
from .s3_listing import Page, S3Listing

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

__all__ = ["BucketListings"]

_LARGEST_PAGE = 1000  # keys
_MOST_NAMES = 1 << 24  # directly below one folder, which are held in memory at once


class BucketListings:
    """Names of the objects of one bucket, below `base`, which is empty or ends in a slash."""

    def __init__(self, calls: BucketCalls, url: str, base: str, payer: Mapping[str, Any]) -> None:
        self._calls = calls
        self._url = url
        self._base = base
        self._payer = payer

    def objects(self, prefix: str, start_after: str, limit: int | None, page: int | None) -> Iterator[ObjectInfo]:
        """Yield what lies below a prefix, at most `limit`, in the order of keys."""
        skip = len(self._base)
        listed = (
            self._listed(item)
            for answer in self._pages(prefix, start_after, limit, page=page)
            for item in answer.objects
            if len(item.key) > skip  # not the marker that a console makes for the folder of the prefix itself
        )
        yield from itertools.islice(listed, limit)

    def level(self, prefix: str, page: int | None) -> Level:
        """Return the folders and objects directly below a prefix. UsageError: it is no folder, or holds too many."""
        if prefix and not prefix.endswith("/"):
            raise UsageError(f"{prefix!r} is no folder", fix="End it with a slash")
        whole = self._base + prefix
        folders: list[str] = []
        objects: list[ObjectInfo] = []
        for answer in self._pages(prefix, "", None, delimiter="/", page=page):
            folders += [folder[len(whole) : -1] for folder in answer.folders]
            # An object of the folder's own name is how some programs make folders; one with bytes in it is data.
            objects += [self._listed(item) for item in answer.objects if len(item.key) > len(whole) or item.size]
            if len(folders) + len(objects) > _MOST_NAMES:
                raise UsageError(
                    f"cannot list {self._url}/{prefix}",
                    why=f"more than {_MOST_NAMES} names lie directly below it",
                    fix="Name a prefix that holds fewer",
                )
        # S3 orders folders with the slash: a-/ before a/.
        return Level(sorted(folders, key=str.encode), objects)

    def _listed(self, item: ObjectInfo) -> ObjectInfo:
        return replace(item, key=item.key[len(self._base) :]) if self._base else item

    def _pages(
        self, prefix: str, start_after: str, limit: int | None, *, delimiter: str = "", page: int | None = None
    ) -> Iterator[Page]:
        listing = S3Listing(self._base + prefix, self._base + start_after if start_after else "")
        arguments: dict[str, Any] = {"Bucket": self._calls.bucket, "Prefix": self._base + prefix, **self._payer}
        if delimiter:
            arguments["Delimiter"] = delimiter
        where = {"StartAfter": self._base + start_after} if start_after else {}
        largest = page or _LARGEST_PAGE
        fetched = 0
        while True:  # until the last page, or until the reader has had enough
            size = largest if limit is None else min(largest, max(1, limit - fetched))
            request = {**arguments, **where, "MaxKeys": size}

            def attempt(client: S3Client, _: Deadline, request: dict[str, Any] = request) -> Page:
                return listing.check(ask(client.list_objects_v2, **request))

            answer: Page = self._calls.make("list", f"{self._url}/{prefix}" if prefix else self._url, attempt)
            yield answer
            fetched += len(answer.objects)
            if answer.token is None:
                return
            where = {"ContinuationToken": answer.token}
