"""Errors as JSON between a daemon and who asks it: what was raised there is raised here. Both ends are of one kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penstock import errors
from penstock.errors import AmbiguousError, MergeConflictError, PenstockError

__all__ = ["failure_from_json", "failure_json"]

_KINDS: dict[str, type[PenstockError]] = {
    name: kind
    for name in errors.__all__
    if isinstance(kind := getattr(errors, name), type) and issubclass(kind, PenstockError)
}


def failure_json(error: PenstockError) -> dict[str, object]:
    """Return an error as JSON has it."""
    candidates = error.candidates if isinstance(error, AmbiguousError | MergeConflictError) else ()
    return {
        "kind": type(error).__name__,
        "what": error.what,
        "why": error.why,
        "fix": error.fix,
        "candidates": list(candidates),
    }


def failure_from_json(found: Mapping[str, Any]) -> PenstockError:
    """Return the error. KeyError, TypeError: it is none."""
    kind = _KINDS.get(found["kind"], PenstockError)
    what, why, fix = str(found["what"]), str(found["why"]), str(found["fix"])
    if issubclass(kind, AmbiguousError | MergeConflictError):
        return kind(what, candidates=[str(each) for each in found["candidates"]], why=why, fix=fix)
    return kind(what, why=why, fix=fix)
