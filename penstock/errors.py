"""The one exception tree. Every error that Penstock raises on purpose is in it.

    PenstockError
    ├── UsageError              what was asked for cannot be: handle, argument, configuration, unsupported
    ├── NotFoundError           no such bucket, dataset, ref, path, object
    │   └── AmbiguousError      a prefix that fits several; `candidates` lists them
    ├── ConflictError           it exists already, it moved meanwhile, it changed while it was read
    │   └── MergeConflictError  two versions changed the same paths; `candidates` lists them
    ├── IntegrityError          bytes are not what their hash or the format says
    │   └── FormatTooNewError   written by a later Penstock
    ├── AccessError             the store or the machine refuses: credentials, permissions
    │   └── ProtectedError      a branch's rules refuse a version; `candidates` lists what does not fit
    ├── UnreadableError         some of what was to be read cannot be; `candidates` lists it
    ├── StoreUnreachableError   no answer within the deadline, or the server failed for too long
    └── CancelledError          whoever asked for it wants it no more

Each carries *what* happened, *why*, and *fix*: what to do next. An exception is told to another process or a program in
one form (`error_form.py`); it becomes an exit code in one place (`cli/exits.py`) and an errno in one place
(`vfs/files/errnos.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = [
    "AccessError",
    "AmbiguousError",
    "CancelledError",
    "ConflictError",
    "FormatTooNewError",
    "IntegrityError",
    "MergeConflictError",
    "NotFoundError",
    "PenstockError",
    "ProtectedError",
    "StoreUnreachableError",
    "UnreadableError",
    "UsageError",
]


class PenstockError(Exception):
    """Base of all. `what` is one line without a full stop; `why` and `fix` may be empty."""

    def __init__(self, what: str, *, why: str = "", fix: str = "") -> None:
        super().__init__(what, why, fix)
        self.what = what
        self.why = why
        self.fix = fix

    @property
    def reason(self) -> str:
        """What is wrong and why, without the way out: as the `why` of another error."""
        return f"{self.what}: {self.why}" if self.why else self.what

    def __str__(self) -> str:
        return f"{self.reason}. {self.fix}" if self.fix else self.reason

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.__dict__))


def _rebuild(cls: type[PenstockError], state: dict[str, object]) -> PenstockError:
    """Unpickle: subclasses take further keyword arguments, so go around __init__."""
    error = cls.__new__(cls)
    error.__dict__.update(state)
    error.args = (error.what, error.why, error.fix)
    return error


class UsageError(PenstockError):
    """What was asked for cannot be done as asked: a handle, an argument, a setting."""


class NotFoundError(PenstockError):
    """A bucket, dataset, ref, path or object that is not there."""


class AmbiguousError(NotFoundError):
    """A prefix that fits more than one; `candidates` holds what it fits."""

    def __init__(self, what: str, *, candidates: Sequence[str], why: str = "", fix: str = "") -> None:
        super().__init__(what, why=why, fix=fix)
        self.candidates = tuple(candidates)


class ConflictError(PenstockError):
    """It exists already, it moved meanwhile, or it changed while it was being read."""


class MergeConflictError(ConflictError):
    """Two versions changed the same paths, each in its own way; `candidates` holds the first of them, as text."""

    def __init__(self, what: str, *, candidates: Sequence[str] = (), why: str = "", fix: str = "") -> None:
        super().__init__(what, why=why, fix=fix)
        self.candidates = tuple(candidates)


class IntegrityError(PenstockError):
    """Bytes that are not what their hash, or the format, says they are."""


class FormatTooNewError(IntegrityError):
    """Data written by a later format than this Penstock reads."""


class AccessError(PenstockError):
    """The store or the machine refuses: credentials, policy, file permissions."""


class ProtectedError(AccessError):
    """A protected branch does not take a version; `candidates` holds the first paths that do not fit, and why."""

    def __init__(self, what: str, *, candidates: Sequence[str] = (), why: str = "", fix: str = "") -> None:
        super().__init__(what, why=why, fix=fix)
        self.candidates = tuple(candidates)


class UnreadableError(PenstockError):
    """Some of many things cannot be read, and nothing was done; `candidates` names each of them, and why."""

    def __init__(self, what: str, *, candidates: Sequence[str], why: str = "", fix: str = "") -> None:
        super().__init__(what, why=why, fix=fix)
        self.candidates = tuple(candidates)


class StoreUnreachableError(PenstockError):
    """No answer within the deadline, or failing answers for longer than the retries last."""


class CancelledError(PenstockError):
    """Work that was ended because whoever asked for it asked for its end; nothing is half-done."""
