"""What is known of the files of a work tree: its index, opened, and tracked paths held against it. Light to load."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

from penstock.project.project import Project
from penstock.repo.push.directory_walk import Skipped
from penstock.repo.tracked.survey import Suspect, survey, survey_file
from penstock.repo.tracked.tracked_index import TrackedIndex

__all__ = ["FOLLOWED", "look_anew", "open_index", "surveyed"]

FOLLOWED = "followed"
"""The file in the state folder that says which pointers were followed last, as `git ls-files -s` lists them."""


def look_anew(project: Project) -> None:
    """Have hooks look at all pointers the next time, for what is here is no more what they saw."""
    with suppress(FileNotFoundError):
        os.unlink(os.path.join(project.state, FOLLOWED))


@contextmanager
def open_index(project: Project) -> Iterator[TrackedIndex]:
    """Open the index of the work tree."""
    with closing(TrackedIndex(os.path.join(project.state, "index.sqlite"))) as index:
        yield index


def surveyed(
    index: TrackedIndex, path: str, place: str, *, is_file: bool, skipped: list[Skipped] | None = None
) -> Iterator[Suspect]:
    """Yield what at a path is not as the index has it."""
    state = index.state(path)
    rows = index.rows(state.number) if state is not None else iter(())
    tell = (skipped if skipped is not None else []).append
    return (survey_file if is_file else survey)(os.fsencode(place), rows, tell)
