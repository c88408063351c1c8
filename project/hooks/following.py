"""The part of hooks that has data follow git: after a checkout, switch, reset, merge, stash, rebase.

``git reset --hard`` runs no post-checkout; what all of these run is post-index-change, whose first argument says
whether the work tree was updated. The shell compares which pointers git has now with those that were followed last.
"""

from __future__ import annotations

from .dispatcher import HookPart

__all__ = ["FOLLOWED", "FOLLOWING"]

FOLLOWED = "followed"
"""The file in the state folder that says which pointers were followed last, as `git ls-files -s` lists them."""

_LOOK = f"""\
[ -d .penstock ] || exit 0
now=$(git ls-files -s -- '*.penstock')
[ "$now" = "$(cat .penstock/{FOLLOWED} 2>/dev/null)" ] || penstock checkout --follow || exit 0
"""

FOLLOWING = HookPart(
    "data",
    {"post-checkout": _LOOK, "post-merge": _LOOK, "post-index-change": f'[ "$1" = 1 ] || exit 0\n{_LOOK}'},
)
