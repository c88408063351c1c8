"""Whether a directory is what a version says: every file read and hashed, what differs named, nothing changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from functools import partial
from typing import Literal, NamedTuple

from penstock.manifest.entry import BLOCK_SIZE
from penstock.progress import Stage
from penstock.repo.push.file_reader import in_order
from penstock.repo.push.local_tree import threads
from penstock.repo.read.snapshot import Snapshot

from .choice import EVERYTHING, Choice
from .local_directory import LocalDirectory, Names
from .pairs import Pair, State, check_content, first_look, pairs

__all__ = ["LocalDifference", "checked_pairs", "differences"]

_Checked = tuple[Pair, State]
_TOGETHER = 64
"""Names that nothing has to be read of, and go through the queue as one."""


class LocalDifference(NamedTuple):
    """A name that is not what the version says; ``uncompared``: a file of which nobody can tell."""

    names: Names
    state: Literal["missing", "extra", "modified", "uncompared"]


def checked_pairs(
    snapshot: Snapshot, directory: LocalDirectory, choice: Choice, pool: ThreadPoolExecutor
) -> Iterator[_Checked]:
    """Yield every name that the version or the directory has, in tree order, and what it is; hashed ahead, in the pool.

    To be closed.
    """

    def check(pair: Pair) -> list[_Checked]:
        return [(pair, check_content(directory, pair, snapshot.known_hash))]

    def tasks() -> Iterator[tuple[Callable[[], list[_Checked]] | list[_Checked], int]]:
        ready: list[_Checked] = []
        for pair in pairs(snapshot.tree, snapshot.root, directory, choice):
            state = first_look(pair)
            if state is not State.UNREAD:
                ready.append((pair, state))
                if len(ready) < _TOGETHER:
                    continue
            if ready:
                yield ready, 0
                ready = []
            if state is State.UNREAD:
                yield partial(check, pair), BLOCK_SIZE
        if ready:
            yield ready, 0

    with closing(in_order(tasks(), pool)) as checked:
        yield from checked


def differences(snapshot: Snapshot, directory: LocalDirectory, stage: Stage) -> Iterator[LocalDifference]:
    """Yield what differs, in tree order; what is below a directory that is missing is not told of one by one."""
    missing: Names | None = None
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(threads(), "penstock-check"))
        for pair, state in checked_pairs(snapshot, directory, EVERYTHING, pool):
            if pair.entry is not None and pair.entry.is_file:
                stage.advance(pair.entry.size)
            if missing is not None and pair.names[: len(missing)] == missing:
                continue
            if state is State.MISSING:
                missing = pair.names
                yield LocalDifference(pair.names, "missing")
            elif state is State.EXTRA:
                yield LocalDifference(pair.names, "extra")
            elif state is State.UNKNOWN:
                yield LocalDifference(pair.names, "uncompared")
            elif state is not State.SAME:
                if state is State.OTHER_KIND:
                    missing = pair.names
                yield LocalDifference(pair.names, "modified")
