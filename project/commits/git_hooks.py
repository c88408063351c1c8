"""The part of git's hooks that has datasets follow commits.

Sh looks first, by one or two questions to git of three milliseconds each; Python starts when a file that declares
datasets, or one that it imports, is part of what happens.

    pre-commit, pre-merge-commit        versions are made, or the commit is refused
    post-commit, post-merge, post-checkout, reference-transaction
                                        the commit is tied to them, and they are shown
    post-rewrite                        commits that took the place of others are tied
    pre-push                            data is sent before commits: of a new branch, or of commits that have versions

`git reset --hard` runs no post-checkout, but reference-transaction, once HEAD has moved.
"""

from __future__ import annotations

import shlex
import sys

from penstock.project.hooks.dispatcher import HookPart

from .ties import NOTES

__all__ = ["DATASETS_PART", "datasets_part"]

DATASETS_PART = "datasets"

_BEGIN = """\
datasets() {{
    if [ -x {python} ]; then {python} -P -m penstock.cli.declared.hook "$@"
    elif command -v git-datasets >/dev/null 2>&1; then git-datasets hook "$@"
    else echo 'penstock: not found, so datasets do not follow git' >&2; fi
}}
dir=$(git rev-parse --absolute-git-dir) || exit 0
mine=$dir/penstock
"""

_BEFORE = """\
if [ -f "$mine/watched" ] && [ ! -f "$dir/MERGE_HEAD" ] && [ ! -f "$dir/CHERRY_PICK_HEAD" ]; then
    while IFS= read -r path; do set -- "$@" "$path"; done < "$mine/watched"
    git diff-index --cached --quiet HEAD -- "$@" 2>/dev/null && exit 0
fi
datasets before
"""

_AFTER = f"""\
head=$(git rev-parse -q --verify HEAD) || exit 0
at=
[ -f "$mine/at" ] && IFS= read -r at < "$mine/at"
[ "$at" = "$head" ] && exit 0
if [ -n "$at" ] && [ ! -f "$mine/pending" ] && [ -f "$mine/watched" ] &&
    [ "$(git rev-parse -q --verify HEAD^1)" = "$at" ] && ! git rev-parse -q --verify HEAD^2 >/dev/null &&
    ! git notes --ref={NOTES} list "$head" >/dev/null 2>&1
then
    set --
    while IFS= read -r path; do set -- "$@" "$path"; done < "$mine/watched"
    if git diff-tree --quiet "$at" "$head" -- "$@"; then
        printf '%s\\n' "$head" > "$mine/at.new" && mv "$mine/at.new" "$mine/at"
        exit 0
    fi
fi
datasets after
"""

_MOVED = """\
[ "$1" = committed ] || exit 0
moved=
while read -r old new ref; do [ "$ref" = HEAD ] && moved=1; done
[ -n "$moved" ] || exit 0
"""

_REWRITE = f"""\
lines=$(cat)
tied=
for each in $(printf '%s\\n' "$lines" | cut -d' ' -f1); do
    git notes --ref={NOTES} list "$each" >/dev/null 2>&1 && tied=1
done
[ -n "$tied" ] || exit 0
printf '%s\\n' "$lines" | datasets rewrite "$1"
"""

_PUSH = f"""\
git rev-parse -q --verify {NOTES} >/dev/null || exit 0
lines=$(cat)
needed=
while read -r ref tip there before; do
    case "$tip" in *[!0]*) ;; *) continue ;; esac
    case "$before" in
        *[!0]*) told=$(git log --format=%N --notes={NOTES} "$before..$tip" -- 2>/dev/null) || needed=1 ;;
        *) needed=1 ;;
    esac
    [ -n "$told" ] && needed=1
done <<LINES
$lines
LINES
[ -n "$needed" ] || exit 0
printf '%s\\n' "$lines" | datasets push "$1"
"""


def datasets_part() -> HookPart:
    """Return the part, for this Python."""
    begin = _BEGIN.format(python=shlex.quote(sys.executable))
    after = begin + _AFTER
    return HookPart(
        DATASETS_PART,
        {
            "pre-commit": begin + _BEFORE,
            "pre-merge-commit": begin + "datasets before\n",
            "post-commit": after,
            "post-merge": after,
            "post-checkout": after,
            "reference-transaction": _MOVED + after,
            "post-rewrite": begin + _REWRITE,
            "pre-push": begin + _PUSH,
        },
    )
