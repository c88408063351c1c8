"""ETags as stores give them and as entries keep them: pure comparisons.

A weak tag (``W/"x"``, RFC 9110, section 8.8.3) is what a proxy makes of a strong one when it touches the answer. It
stands for the same content, and whoever needs the bytes checks them by hash: so the ``W/`` says nothing there. Who has
no hash of them asks `is_weak`.
"""

from __future__ import annotations

__all__ = ["bare_etag", "is_weak", "same_etag"]


def is_weak(tag: str | None) -> bool:
    """Say whether a tag may stay the same when bytes change."""
    return tag is not None and tag.strip().startswith("W/")


def bare_etag(tag: str | None) -> str | None:
    """Return a tag without ``W/`` and quotes; None when there is none, or nothing in it."""
    if tag is None:
        return None
    return tag.strip().removeprefix("W/").strip('"') or None


def same_etag(one: str | None, other: str | None) -> bool:
    """Say whether two tags stand for the same content. Nothing is known of what has none."""
    bare = bare_etag(one)
    return bare is not None and bare == bare_etag(other)
