"""MD5 as DVC takes it: of files, of directories, and of what was text to DVC before 3.

A directory's is that of its listing: JSON of names and MD5s, in order of the names. Before 3, a file that looked like
text was hashed with its line ends as LF, piece by piece; so a file is what its hash says when either of the two fits.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from typing import BinaryIO

from penstock.errors import IntegrityError, UsageError
from penstock.manifest.entry import MAX_DEPTH, check_name

from .dvc_files import DvcHash

__all__ = ["MOST_LISTING", "dvc_md5", "fits", "listing_hash", "parse_listing"]

MOST_LISTING = 1 << 30
_PIECE = 1 << 20
"""As DVC cut files, which shows where a cut parts CR from LF."""
_LOOKED_AT = 512
_TEXT = bytes(range(32, 127)) + b"\n\r\t\f\b"


def fits(stream: BinaryIO, wanted: DvcHash) -> bool:
    """Whether what a stream holds has that hash."""
    return wanted.md5.removesuffix(".dir") in _hashes(stream, is_old=wanted.is_old)


def dvc_md5(stream: BinaryIO, *, is_old: bool) -> str:
    """Return the hash that DVC gives to what a stream holds."""
    return _hashes(stream, is_old=is_old)[-1]


def _hashes(stream: BinaryIO, *, is_old: bool) -> list[str]:
    """Return the MD5 of the bytes; and of old, where it looks like text, behind it that of its lines."""
    plain = hashlib.md5(usedforsecurity=False)
    lines = hashlib.md5(usedforsecurity=False) if is_old else None
    first = True
    while piece := stream.read(_PIECE):
        plain.update(piece)
        if lines is not None and first and not _is_text(piece[:_LOOKED_AT]):
            lines = None
        if lines is not None:
            lines.update(piece.replace(b"\r\n", b"\n"))
        first = False
    return [plain.hexdigest()] if lines is None else [plain.hexdigest(), lines.hexdigest()]


def _is_text(block: bytes) -> bool:
    """Whether DVC took a file that begins so for text."""
    if b"\0" in block:
        return False
    return not block or len(block.translate(None, _TEXT)) / len(block) <= 0.30


def parse_listing(body: bytes, told: str, *, is_old: bool) -> dict[tuple[bytes, ...], DvcHash]:
    """Return the files of a directory from its listing, by their names. IntegrityError: it is none."""
    try:
        rows = json.loads(body)
        found: dict[tuple[bytes, ...], DvcHash] = {}
        for row in rows:
            names = tuple(os.fsencode(name) for name in row["relpath"].split("/"))
            for name in names:
                check_name(name)
            md5 = row["md5"]
            if len(names) > MAX_DEPTH or len(md5) != 32 or not set(md5) <= set("0123456789abcdef"):
                raise ValueError(row["relpath"])
            found[names] = DvcHash(md5, is_old)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, UsageError) as error:
        raise IntegrityError(f"{told}: its listing cannot be read", why=str(error)[:200]) from error
    above = {names[:depth] for names in found for depth in range(1, len(names))}
    if clash := next((names for names in found if names in above), None):
        raise IntegrityError(f"{told}: {os.fsdecode(b'/'.join(clash))!r} is a file and a directory")
    return found


def listing_hash(files: Mapping[str, str] | Iterable[tuple[str, str]]) -> str:
    """Return the hash of a directory from the MD5s of its files, by their paths in it."""
    rows = [{"md5": md5, "relpath": path} for path, md5 in sorted(dict(files).items())]
    return hashlib.md5(json.dumps(rows, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + ".dir"
