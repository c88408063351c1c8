"""What a package shows of itself to a person: a listing that can be looked at, a text, a table for a notebook.

Names come from whoever made the version: in a terminal they are shown escaped, in HTML as text and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from html import escape
from itertools import islice

from penstock.api.handles import format_size

from .entry import Entry

__all__ = ["Listing", "Text", "html_table", "shown_key", "sources_html", "sources_text", "text_table"]

_SHOWN = 50


def shown_key(entry: Entry) -> str:
    """Return an entry's key as one printable line, with a slash behind a directory's."""
    key = entry.key + ("/" if entry.is_directory() else "")
    return key if key.isprintable() else ascii(key)[1:-1]


def text_table(name: str, facts: Sequence[tuple[str, str]], entries: Iterable[Entry]) -> str:
    """Return lines that show some facts, and the first of some entries with where their bytes are."""
    listed = list(islice(entries, _SHOWN + 1))
    lines = [f"{name}(", *(f"  {fact}: {value!r}" for fact, value in facts), "  contents: ["]
    width = max((len(shown_key(entry)) for entry in listed[:_SHOWN]), default=0)
    lines += [f"    {shown_key(entry):<{width}} -> {_where(entry)}" for entry in listed[:_SHOWN]]
    return "\n".join([*lines, *(["    ..."] if len(listed) > _SHOWN else []), "  ]", ")"])


def _where(entry: Entry) -> str:
    if entry.is_directory():
        noun = "entry" if entry.entries == 1 else "entries"
        return f"{entry.entries:,} {noun}, {format_size(entry.size)}"
    if entry.kind == "symlink":
        return ascii(entry.target)
    places = entry.physical_keys
    if not places:
        return "nothing: it is empty"
    first = f"bytes {places[0].offset} to {places[0].offset + places[0].length} of {places[0].uri}"
    text = first if len(places) == 1 else f"{first}, and {len(places) - 1} more places"
    return text if text.isprintable() else ascii(text)[1:-1]


def html_table(title: str, facts: Sequence[tuple[str, str]], entries: Iterable[Entry]) -> str:
    """Return HTML that shows some facts, and the first of some entries; whatever the strings hold, it is text there."""
    listed = list(islice(entries, _SHOWN + 1))
    rows = "".join(
        f"<tr><td>{escape(shown_key(entry))}</td><td>{escape(entry.kind)}</td>"
        f"<td style='text-align:right'>{escape(format_size(entry.size))}</td>"
        f"<td><code>{escape(entry.hash[:12])}</code></td></tr>"
        for entry in listed[:_SHOWN]
    )
    more = "<tr><td colspan='4'>…</td></tr>" if len(listed) > _SHOWN else ""
    told = "".join(f"<br>{escape(name)}: {escape(value)}" for name, value in facts)
    head = "<tr><th>key</th><th>kind</th><th>size</th><th>hash</th></tr>"
    return f"<div><strong>{escape(title)}</strong>{told}<table>{head}{rows}{more}</table></div>"


class Listing:
    """Entries, loaded as they are gone through, from the beginning each time. Shown, it is the first of them."""

    __slots__ = ("_entries",)

    def __init__(self, entries: Callable[[], Iterator[Entry]]) -> None:
        self._entries = entries

    def __iter__(self) -> Iterator[Entry]:
        return self._entries()

    def __repr__(self) -> str:
        lines = [shown_key(entry) for entry in islice(self, _SHOWN + 1)]
        return "\n".join(lines if len(lines) <= _SHOWN else [*lines[:_SHOWN], "..."])

    def _repr_html_(self) -> str:
        return html_table("", (), self)


class Text(str):
    """Text that is shown line by line, as it is; but what would steer a terminal, escaped."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "\n".join(line if line.isprintable() else ascii(line)[1:-1] for line in self.splitlines())


def sources_text(name: str, facts: Sequence[str], sources: Sequence[tuple[str, str]]) -> str:
    """Return lines that show some facts, and keys with where they come from."""
    shown = [(_quoted(key), _quoted(place)) for key, place in sources[:_SHOWN]]
    width = max((len(key) for key, _ in shown), default=0)
    lines = [f"{name}(", *(f"  {fact}," for fact in facts), "  contents: ["]
    lines += [f"    {key:<{width}} -> {place}" for key, place in shown]
    return "\n".join([*lines, *(["    ..."] if len(sources) > _SHOWN else []), "  ]", ")"])


def _quoted(text: str) -> str:
    return f'"{text if text.isprintable() else ascii(text)[1:-1]}"'


def sources_html(title: str, facts: Sequence[tuple[str, str]], rows: Sequence[tuple[str, str, str, str]]) -> str:
    """Return HTML that shows some facts, and of some keys where they come from, what that is, and their size."""
    told = "".join(f"<br>{escape(name)}: {escape(value)}" for name, value in facts)
    shown = "".join(
        f"<tr><td>{escape(key)}</td><td>{escape(place)}</td><td>{escape(state)}</td>"
        f"<td style='text-align:right'>{escape(size)}</td></tr>"
        for key, place, state, size in rows[:_SHOWN]
    )
    more = "<tr><td colspan='4'>…</td></tr>" if len(rows) > _SHOWN else ""
    head = "<tr><th>key</th><th>from</th><th>where</th><th>size</th></tr>"
    return f"<div><strong>{escape(title)}</strong>{told}<table>{head}{shown}{more}</table></div>"
