"""Patterns over paths: ``labels/*.json``, ``**/*.jpg``; and one pattern's stars put into another. Pure."""

from __future__ import annotations

import re

from penstock.errors import UsageError

__all__ = ["PathPattern", "fill"]

_TOKEN = re.compile(r"\*\*/|\*\*|\*|\?|[^*?]+")
_STARS = re.compile(r"\*\*/|\*\*|\*|\?")
_MEANS = {"**/": r"((?:[^/]+/)*)", "**": r"(.*)", "*": r"([^/]*)", "?": r"([^/])"}
_LONGEST = 1000


class PathPattern:
    """`*` is any part of a name, `?` one character, `**` any number of folders."""

    def __init__(self, text: str) -> None:
        if not isinstance(text, str) or not 0 < len(text) <= _LONGEST:
            raise UsageError(f"{text!r:.100} is no pattern of paths")
        self.text = text
        expression = "".join(_MEANS.get(token) or re.escape(token) for token in _TOKEN.findall(text))
        self._match = re.compile(expression, re.DOTALL).fullmatch
        self.stars = _STARS.findall(text)

    def match(self, path: str) -> tuple[str, ...] | None:
        """Return what the stars of the pattern stand for in a path; None: it is another."""
        found = self._match(path)
        return found.groups() if found is not None else None


def fill(pattern: PathPattern, values: tuple[str, ...]) -> str:
    """Put values in place of a pattern's stars: ``images/*.jpg`` and ``cat`` give ``images/cat.jpg``."""
    parts = iter(values)
    return _STARS.sub(lambda _: next(parts), pattern.text)
