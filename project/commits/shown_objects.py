"""What the work trees of a repository show of datasets as code, for whoever clears its local bucket. Nothing is opened.

Told by what work trees note of themselves and by the links that lie there: what a link leads to is in use.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress

from penstock.project.project import Project, work_tree_of

from .folders import linked_object
from .work_state import Applied, WorkState

__all__ = ["shown_objects", "shown_remotes", "shown_tops"]


def _applied(roots: set[str]) -> Iterator[tuple[str, Applied]]:
    for root in sorted(roots):
        found = work_tree_of(root)
        if found is not None:
            yield root, WorkState(Project(*found)).applied


def shown_tops(roots: set[str]) -> set[bytes]:
    """Return the top hashes of the versions that work trees show."""
    return {
        bytes.fromhex(version.top_hash)
        for _, applied in _applied(roots)
        for file in applied.files.values()
        for version in file.datasets.values()
    }


def shown_remotes(roots: set[str]) -> set[str]:
    """Return the names of the buckets that those versions go to, or came from."""
    return {
        version.remote
        for _, applied in _applied(roots)
        for file in applied.files.values()
        for version in file.datasets.values()
        if version.remote is not None
    }


def shown_objects(roots: set[str]) -> Iterator[bytes]:
    """Yield the objects of the local bucket that links beside tracked files lead to."""
    for root, applied in _applied(roots):
        for directory in {os.path.join(root, os.path.dirname(file)) for file in applied.files}:
            with suppress(FileNotFoundError), os.scandir(directory) as found:
                for folder in found:
                    if folder.is_dir(follow_symlinks=False) and not folder.name.startswith("."):
                        yield from _linked(folder.path)


def _linked(folder: str) -> Iterator[bytes]:
    with os.scandir(folder) as found:
        for each in found:
            if each.is_symlink() and (digest := linked_object(each.path)) is not None:
                yield digest
