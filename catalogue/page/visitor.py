"""Who looks at a page."""

from __future__ import annotations

from dataclasses import dataclass

from penstock.catalogue.state.caller import Caller

__all__ = ["Visitor"]


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who looks. `csrf` has to come with every form; empty: they are trusted, and have no session."""

    caller: Caller
    csrf: str = ""

    @property
    def has_session(self) -> bool:
        """Whether there is something to sign out of."""
        return bool(self.csrf)
