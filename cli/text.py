r"""Text for a terminal: names that cannot harm it, and columns that line up. Pure.

A file name is any bytes but ``/`` and NUL: it may clear the screen, forge a line of output, or reverse the direction
of writing. What is shown is therefore printable; what was not is escaped as bash's ``$'...'`` reads it, so that a
name can be copied back into a shell. Bytes that are not UTF-8 arrive as surrogates (PEP 383) and show as ``\xff``.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice

__all__ = ["display_width", "escape", "quote_name", "table_lines"]

_SHORT = {"\n": "\\n", "\t": "\\t", "\r": "\\r", "\x1b": "\\e", "\x07": "\\a", "\x08": "\\b"}
_ROWS_MEASURED = 1000


def escape(text: str) -> str:
    """Return `text` with every character that is not printable escaped; for sentences that hold names."""
    return text if text.isprintable() else "".join(map(_escape_character, text))


def quote_name(name: str) -> str:
    """Return `name` as it is when that is safe and clear, else in bash's ``$'...'`` quoting; for names alone."""
    if name.isprintable() and not name.startswith("$'") and name == name.strip() and name:
        return name
    quoted = "".join({"\\": "\\\\", "'": "\\'"}.get(c) or _escape_character(c) for c in name)
    return f"$'{quoted}'"


def display_width(text: str) -> int:
    """Return the cells that printable `text` takes on a terminal."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    none = sum(unicodedata.combining(c) != 0 for c in text)
    return len(text) + wide - none


def table_lines(
    rows: Iterable[Sequence[str]], *, headers: Sequence[str] = (), right: Collection[int] = ()
) -> Iterator[str]:
    """Yield `rows` as lines of columns; the columns whose index is in `right` are flush right.

    Cells are printed as they come: quote names first. Widths are measured over a thousand rows at a time and never
    shrink, so that a listing of millions starts at once and takes no memory.
    """
    source = iter(rows)
    widths = [display_width(header) for header in headers]
    first = True
    while chunk := list(islice(source, _ROWS_MEASURED)):
        for row in chunk:
            widths += [0] * (len(row) - len(widths))
            for index, cell in enumerate(row):
                widths[index] = max(widths[index], display_width(cell))
        if first and headers:
            yield _line(headers, widths, right)
        first = False
        for row in chunk:
            yield _line(row, widths, right)


def _line(row: Sequence[str], widths: Sequence[int], right: Collection[int]) -> str:
    cells = []
    for index, cell in enumerate(row):
        padding = " " * (widths[index] - display_width(cell))
        cells.append(padding + cell if index in right else cell + padding)
    return "  ".join(cells).rstrip()


def _escape_character(character: str) -> str:
    if character.isprintable():
        return character
    if short := _SHORT.get(character):
        return short
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
