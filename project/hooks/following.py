"""The part of hooks that has data follow git: after a checkout, switch, reset, merge, stash, rebase.

``git reset --hard`` runs no post-checkout; what all of these run is post-index-change, whose first argument says
whether the work tree was updated. The shell compares which pointers git has now with those that were followed last.

`follow` brings every path to the version of its pointer that is not there: what differs is looked at, no more. A path
that has no pointer any more goes, as far as it is as it was. What was edited stays, and is told.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from penstock.errors import PenstockError
from penstock.progress import SILENT, Progress
from penstock.project.git import ask_git, git_succeeds
from penstock.project.lazy_mount import remount_path
from penstock.project.made_paths import made_pointers
from penstock.project.pointer_files import pointer_of, tracked_paths
from penstock.project.project import Project
from penstock.project.state_folder import replace_file
from penstock.project.tracking import check_out_path, clear_path
from penstock.project.work_index import FOLLOWED, open_index
from penstock.repo.settings.settings import Settings
from penstock.repo.tracked.checkout import Checkout

from .dispatcher import HookPart

__all__ = ["FOLLOWING", "Followed", "follow"]

_LOOK = f"""\
[ -d .penstock ] || exit 0
now=$(git ls-files -s -- '*.penstock' '*penstock.lock')
[ "$now" = "$(cat .penstock/{FOLLOWED} 2>/dev/null)" ] || penstock checkout --follow || exit 0
"""

FOLLOWING = HookPart(
    "data",
    {"post-checkout": _LOOK, "post-merge": _LOOK, "post-index-change": f'[ "$1" = 1 ] || exit 0\n{_LOOK}'},
)


@dataclass(slots=True)
class Followed:
    """What followed: by path what was done, and the paths that could not follow, with what is wrong."""

    done: dict[str, Checkout] = field(default_factory=dict)
    failed: dict[str, PenstockError] = field(default_factory=dict)


def follow(project: Project, settings: Settings, progress: Progress = SILENT) -> Followed:
    """Bring what is tracked to where git's pointers are now. One path that cannot follow keeps no other from it."""
    listed = b""
    if project.git is not None:
        listed = ask_git(project.root, "ls-files", "-s", "--", "*.penstock", "*penstock.lock")
    with open_index(project) as index:
        known = index.paths()
    result = Followed()
    paths, made = tracked_paths(project), made_pointers(project)
    for path in paths:
        try:
            pointer = pointer_of(project, path, made)
            if os.path.ismount(os.path.join(project.root, path)):
                remount_path(project, path, pointer, settings)
            elif known.get(path) != pointer.top:
                result.done[path] = check_out_path(project, path, pointer, settings, progress, restore=False)
        except PenstockError as error:
            result.failed[path] = error
    for path in known.keys() - set(paths):
        try:
            result.done[path] = clear_path(project, path, settings)
        except PenstockError as error:
            result.failed[path] = error
    # A pointer that is not as git's index has it may be put back with the index as it is: `git stash` does.
    if project.git is not None and git_succeeds(
        project.root, "diff-files", "--quiet", "--", "*.penstock", "*penstock.lock"
    ):
        # As the shell compares it: without the line break at its end.
        replace_file(os.path.join(project.state, FOLLOWED), listed.rstrip(b"\n"))
    return result
