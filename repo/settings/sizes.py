"""Sizes in bytes as people write and read them. Pure; anyone may call it.

``KB MB GB TB PB`` are powers of 1000, ``KiB MiB GiB TiB PiB`` powers of 1024, as the disk's label and `ls` say; a
letter alone (``1.5T``) is a power of 1000. Case does not matter, a space may stand before the unit, and a number
alone is bytes.
"""

from __future__ import annotations

import re
from fractions import Fraction

from penstock.errors import UsageError

__all__ = ["format_size", "parse_size"]

_SIZE = re.compile(r"([0-9]{1,20}(?:\.[0-9]{1,20})?) ?(?:([kmgtp])(i)?)?b?", re.IGNORECASE)
_LETTERS = "kmgtp"
_MOST = 2**63 - 1


def parse_size(text: str) -> int:
    """Return the bytes that `text` stands for, rounded down. Raises UsageError, also beyond 2**63 - 1."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise UsageError(
            f"{text[:60]!r} is not a size",
            why="a size is a number and a unit",
            fix="Write for example 50GB, 512MiB or 1.5T",
        )
    number, letter, binary = match.groups()
    power = _LETTERS.index(letter.lower()) + 1 if letter else 0
    size = int(Fraction(number) * (1024 if binary else 1000) ** power)
    if size > _MOST:
        raise UsageError(f"{text[:60]!r} is too large a size", fix=f"The most is {_MOST} bytes")
    return size


def format_size(size: int) -> str:
    """Return `size` bytes for people: ``999 B``, ``1.5 kB``, ``50 GB``; powers of 1000, at most three digits."""
    if abs(size) < 1000:
        return f"{size} B"
    value = float(size)
    for unit in ("kB", "MB", "GB", "TB", "PB"):
        value /= 1000
        # 999.5 would be shown as 1000: it belongs to the next unit.
        if abs(value) < 999.5 or unit == "PB":
            break
    digits = 0 if abs(value) >= 99.95 else 1
    return f"{value:.{digits}f}".removesuffix(".0") + f" {unit}"
