"""What a bucket is called here that was called something else where a stamp was made. Pure."""

from __future__ import annotations

from .handle import parse_handle
from .settings import Settings

__all__ = ["bucket_at"]


def bucket_at(settings: Settings, handle: str, address: str) -> str:
    """Return the name by which this user's settings reach a bucket: as the handle has it, of a remote, or its address.

    `address` is where it was when the handle was written. What is found there is known by its hashes alone.
    """
    bucket = parse_handle(handle).bucket
    place = address.rstrip("/")
    if settings.locate_bucket(bucket)[0].rstrip("/") == place:
        return bucket
    return next((name for name, remote in settings.remotes.items() if remote.url.rstrip("/") == place), place or bucket)
