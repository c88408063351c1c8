"""A dataset's README as HTML that does nothing: rendered, then cleaned of all that is not text and its form.

Links lead away from this server only where they say so, and say nothing of where they come from. A picture is shown
where it is of the same version; one from elsewhere would tell its server who reads this, and is left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from urllib.parse import unquote, urlsplit

import nh3
from markdown_it import MarkdownIt
from markupsafe import Markup

__all__ = ["MOST_README", "render_readme"]

MOST_README = 512 << 10
"""Characters that are rendered; what is behind them is left out."""

_TAGS = frozenset(
    (
        *(
            "a",
            "abbr",
            "b",
            "blockquote",
            "br",
            "code",
            "dd",
            "del",
            "details",
            "div",
            "dl",
            "dt",
            "em",
            "h1",
            "h2",
            "h3",
        ),
        *(
            "h4",
            "h5",
            "h6",
            "hr",
            "i",
            "img",
            "kbd",
            "li",
            "ol",
            "p",
            "pre",
            "s",
            "samp",
            "small",
            "span",
            "strong",
            "sub",
        ),
        *("summary", "sup", "table", "tbody", "td", "th", "thead", "tr", "ul"),
    )
)
_IMAGE = re.compile(r'<img((?:\s[a-z]+="[^"]*")*)>')  # as it is written by the cleaner, quotes within escaped
_ATTRIBUTE = re.compile(r'\s([a-z]+)="[^"]*"')
_ATTRIBUTES = {"a": {"href", "title"}, "img": {"src", "alt", "title", "width", "height"}, "ol": {"start"}}


@cache
def _markdown() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": True, "linkify": False}).enable(["table", "strikethrough"])


def render_readme(text: str, picture: Callable[[str], str | None]) -> Markup:
    """Return a README as HTML. `picture` returns the address of an image of the version; None: there is none."""

    def attribute(tag: str, name: str, value: str) -> str | None:
        address = urlsplit(value) if name in ("href", "src") else None
        if tag == "img" and name == "src":
            is_own = address is not None and not address.scheme and not address.netloc and address.path
            return picture(unquote(address.path)) if is_own and address is not None else None
        if tag == "a" and name == "href" and address is not None and not address.scheme:
            return value if value.startswith("#") else None  # what a path of this server would do is not theirs to say
        return value

    body = text[:MOST_README]
    cleaned = nh3.clean(
        _markdown().render(body),
        tags=set(_TAGS),
        attributes={tag: set(names) for tag, names in _ATTRIBUTES.items()},
        url_schemes={"http", "https", "mailto"},
        attribute_filter=attribute,
        link_rel="noopener noreferrer nofollow",
    )
    return Markup(_IMAGE.sub(_with_source, cleaned))  # noqa: S704  # cleaned


def _with_source(found: re.Match[str]) -> str:
    """Return an image that has an address, described; nothing for one that lost it."""
    names = {each.group(1) for each in _ATTRIBUTE.finditer(found.group(1))}
    if "src" not in names:
        return ""
    return found.group() if "alt" in names else f'<img alt=""{found.group(1)}>'
