"""How to commit: one value from the command line to whoever does it, a mount's daemon or the caller itself."""

from __future__ import annotations

import msgspec

__all__ = ["CommitOptions"]


class CommitOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`branch`: where it lands, by default where the overlay is from. `ours`, `theirs`: paths that settle conflicts.

    To whoever commits, what was changed here is ours, and what others landed meanwhile is theirs. `times`: modification
    times that somebody set are recorded where nothing else was changed, too.
    """

    author: str
    message: str = ""
    branch: str | None = None
    tag: str | None = None
    ours: tuple[str, ...] = ()
    theirs: tuple[str, ...] = ()
    times: bool = False
    dry_run: bool = False
