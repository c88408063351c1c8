"""Errors as one process tells another, and as ``--json`` prints them: one form for pipes, sockets and programs.

What was raised in one process is raised in the other: `to_form` there, `raise_form` here. A kind that this Penstock
does not know, from a later one, becomes the base class with the same words.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NoReturn

import msgspec

from .errors import (
    AccessError,
    AmbiguousError,
    CancelledError,
    ConflictError,
    FormatTooNewError,
    IntegrityError,
    MergeConflictError,
    NotFoundError,
    PenstockError,
    ProtectedError,
    StoreUnreachableError,
    UnreadableError,
    UsageError,
)

__all__ = ["KINDS", "ErrorForm", "error_of", "kind_of", "raise_form", "to_form"]

KINDS: Mapping[str, type[PenstockError]] = MappingProxyType(
    {
        "usage": UsageError,
        "ambiguous": AmbiguousError,
        "not_found": NotFoundError,
        "merge_conflict": MergeConflictError,
        "conflict": ConflictError,
        "format_too_new": FormatTooNewError,
        "integrity": IntegrityError,
        "protected": ProtectedError,
        "access": AccessError,
        "unreadable": UnreadableError,
        "unreachable": StoreUnreachableError,
        "cancelled": CancelledError,
        "failed": PenstockError,
    }
)
"""The classes by the name that programs know them by. Scripts depend on it: no name is ever given another meaning."""

_NAMES = {kind: name for name, kind in KINDS.items()}


class ErrorForm(msgspec.Struct, frozen=True):
    """An error in words; `kind` is for programs."""

    kind: str
    what: str
    why: str = ""
    fix: str = ""
    candidates: tuple[str, ...] = ()


def kind_of(error: PenstockError) -> str:
    """Return the name of an error's kind: that of its class, or of the closest one above that has a name."""
    return next(_NAMES[each] for each in type(error).__mro__ if each in _NAMES)


def to_form(error: PenstockError) -> ErrorForm:
    """Return an error as it is told."""
    candidates = (
        error.candidates
        if isinstance(error, AmbiguousError | MergeConflictError | ProtectedError | UnreadableError)
        else ()
    )
    return ErrorForm(kind_of(error), error.what, error.why, error.fix, candidates)


def error_of(form: ErrorForm) -> PenstockError:
    """Return the error that was told."""
    kind = KINDS.get(form.kind, PenstockError)
    if issubclass(kind, AmbiguousError | MergeConflictError | ProtectedError | UnreadableError):
        return kind(form.what, candidates=form.candidates, why=form.why, fix=form.fix)
    return kind(form.what, why=form.why, fix=form.fix)


def raise_form(form: ErrorForm) -> NoReturn:
    """Raise the error that was told."""
    raise error_of(form)
