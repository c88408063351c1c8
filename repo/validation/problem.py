"""What does not fit, and where."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Problem"]


class Problem(NamedTuple):
    """One thing that is not as a rule wants it. `path` is that of an entry or folder; empty: of the whole."""

    path: str
    rule: str
    what: str
