"""One thing that `penstock doctor` has looked at: what it found, what that costs, and what would mend it. A value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from penstock.errors import PenstockError

__all__ = ["Check", "failed", "fine", "warning"]


@dataclass(frozen=True, slots=True)
class Check:
    """`name` is of what was looked at. `costs` and `fix` (a command, where there is one) are empty unless it is wrong.

    ``skipped``: it was not tried, because it changes something and nobody asked for that.
    """

    name: str
    state: Literal["ok", "warning", "skipped"]
    found: str
    costs: str = ""
    fix: str = ""


def fine(name: str, found: str) -> Check:
    """Return a check that found nothing wrong."""
    return Check(name, "ok", found)


def warning(name: str, found: str, costs: str, fix: str) -> Check:
    """Return a check that found something wrong."""
    return Check(name, "warning", found, costs, fix)


def failed(name: str, error: PenstockError, costs: str, fix: str = "") -> Check:
    """Return a check that ended in an error, which has the fix unless the caller knows a better one."""
    return Check(name, "warning", error.reason, costs, fix or error.fix)
