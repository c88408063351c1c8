"""What a page shows as text, and how it writes addresses: sizes, numbers, times, names that may be anything. Pure.

A key of a version is any bytes but NUL, so it may be no UTF-8, hold line feeds, or turn the direction of the text
behind it. In an address it is its bytes, percent-encoded; on the page it is shown so that nothing in it can hide.
"""

from __future__ import annotations

import datetime as dt
import os
import shlex
import unicodedata
from collections.abc import Mapping
from urllib.parse import parse_qsl, quote, unquote_to_bytes

__all__ = ["ago", "counted", "query_values", "read_key", "shell_line", "shown_name", "sized", "url_of", "written_key"]

_HIDDEN = frozenset({"Cc", "Cf", "Zl", "Zp", "Cs", "Co", "Cn"})
_STEPS = (("year", 31_557_600), ("month", 2_629_800), ("day", 86400), ("hour", 3600), ("minute", 60))
_MOST_VALUES = 100


def shown_name(name: str) -> str:
    """Return a name with all that would not be seen, or would turn what is around it, made visible."""
    if name.isascii() and name.isprintable():
        return name
    return "".join(_shown_letter(letter) for letter in name)


def _shown_letter(letter: str) -> str:
    if unicodedata.category(letter) not in _HIDDEN:
        return letter
    code = ord(letter)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return chr(0x2400 + code) if code < 0x20 else f"\\u{code:04x}"


def shell_line(*words: str) -> str:
    """Return a line for a shell, in which a name means itself and nothing else, whatever it is made of."""
    return " ".join(map(_shell_word, words))


def _shell_word(word: str) -> str:
    if shown_name(word) == word:
        return shlex.quote(word)
    return f"$'{''.join(map(_shell_byte, os.fsencode(word)))}'"


def _shell_byte(byte: int) -> str:
    return chr(byte) if 0x20 <= byte < 0x7F and byte not in b"'\\" else f"\\x{byte:02x}"


def written_key(key: str) -> str:
    """Return a key as it stands in addresses and forms: its bytes, percent-encoded."""
    return quote(os.fsencode(key), safe="/")


def read_key(written: str) -> str:
    """Return the key that `written_key` wrote."""
    return os.fsdecode(unquote_to_bytes(written))


def url_of(path: str, /, **values: object) -> str:
    """Return an address below this server; a value that is None or empty is left out."""
    pairs = ((name, value if isinstance(value, str) else str(value)) for name, value in values.items() if value)
    query = "&".join(f"{name}={quote(os.fsencode(value), safe='/')}" for name, value in pairs)
    return f"{path}?{query}" if query else path


def query_values(query: bytes) -> Mapping[str, str]:
    """Return the values of a query, the last of each name, with bytes that are no UTF-8 as surrogates.

    ValueError: there are too many.
    """
    pairs = parse_qsl(query.decode("latin-1"), encoding="utf-8", errors="surrogateescape", max_num_fields=_MOST_VALUES)
    return dict(pairs)


def sized(size: float) -> str:
    """Return a number of bytes as people say it."""
    if size < 1000:
        return f"{size:.0f} B"
    for unit in ("kB", "MB", "GB", "TB"):
        size /= 1000
        if size < 999.5:
            return f"{size:.0f} {unit}" if size >= 99.5 else f"{size:.1f} {unit}"
    return f"{size / 1000:,.1f} PB"


def counted(number: int, noun: str = "", plural: str = "") -> str:
    """Return a number with thousands apart, and what it is of."""
    if not noun:
        return f"{number:,}"
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def ago(then: dt.datetime, now: dt.datetime) -> str:
    """Return how long ago something was, roughly."""
    seconds = (now - then).total_seconds()
    for name, length in _STEPS:
        if seconds >= length:
            return f"{counted(int(seconds // length), name)} ago"
    return "just now"
