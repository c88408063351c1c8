"""What may be a key: one rule for every store, so that a dataset can move between them.

Pure. A key is at most 1024 bytes of UTF-8 (the limit of S3) without control characters and
noncharacters; its ``/``-separated components are neither empty nor ``.`` nor ``..``.
"""

from __future__ import annotations

import re

from penstock.errors import UsageError

__all__ = ["MAX_KEY_BYTES", "check_key", "check_prefix", "check_start_after", "is_key"]

MAX_KEY_BYTES = 1024

# One search decides for the good ones (0.5 us); what exactly is wrong is worked out only for the bad.
_BAD_COMPONENT = re.compile(r"(?:\A|/)\.{0,2}(?:/|\Z)")
# What XML cannot carry, S3 cannot list or delete; Ceph 16 answers 500 to a listing that starts after U+FFFF.
_BAD_CHARACTER = re.compile("[\x00-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
_NOT_TEXT = "it holds a control character, or is not text"


def is_key(text: str) -> bool:
    """Say whether `text` could be a key."""
    return _complaint(text) is None


def check_key(key: str) -> str:
    """Return `key`, or raise UsageError saying what is wrong with it."""
    complaint = _complaint(key)
    if complaint is not None:
        raise UsageError(f"{key!r} cannot be a key", why=complaint, fix="Choose another name")
    return key


def check_prefix(prefix: str) -> str:
    """Return `prefix` if keys can start with it, or raise UsageError.

    Empty, whole components up to a ``/``, or those and the beginning of another component.
    """
    # Any beginning of a component becomes a whole valid one by more characters.
    complaint = _complaint(prefix + "key")
    if complaint is not None:
        raise UsageError(f"no key starts with {prefix!r}", why=complaint)
    return prefix


def check_start_after(text: str) -> str:
    """Return `text` if a listing can start after it, or raise UsageError. It need not be a key."""
    if _BAD_CHARACTER.search(text):
        raise UsageError(f"no listing starts after {text!r}", why=_NOT_TEXT)
    return text


def _complaint(key: str) -> str | None:
    if _BAD_CHARACTER.search(key):
        return _NOT_TEXT
    if _BAD_COMPONENT.search(key):
        if not key:
            return "it is empty"
        return "between slashes there must be a name, and neither '.' nor '..'"
    if len(key) > MAX_KEY_BYTES or len(key.encode()) > MAX_KEY_BYTES:
        return f"it is longer than {MAX_KEY_BYTES} bytes"
    return None
