"""How many bytes a directory has in all, found beside the push that reads it: for people who wait for its end.

A walk of its own, in a thread, which looks and reads nothing. What it meets that may not be looked at, the push will
tell of: then there is no total.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from penstock.errors import PenstockError
from penstock.progress import Stage

from .directory_walk import LocalFile, Skipped, walk_directory

__all__ = ["total_told"]


@contextmanager
def total_told(directory: str, stage: Stage, without: frozenset[bytes] = frozenset()) -> Iterator[None]:
    """Tell a stage the bytes of a directory's files once they are counted, while the block lasts."""
    ended = threading.Event()

    def count() -> None:
        total = 0
        try:
            for step in walk_directory(directory, _ignored, without=without):
                if ended.is_set():
                    return
                if isinstance(step, LocalFile):
                    total += step.size
        except (PenstockError, OSError):
            return
        stage.total(total)

    thread = threading.Thread(target=count, name="penstock-count", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _ignored(_: Skipped) -> None:
    """Take no note: the push tells of it."""
