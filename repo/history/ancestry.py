"""The graph of commits: who comes from whom, newest first, and what two versions grew from. Blocking.

Commits say when they were made, and clocks lie: a wrong one costs requests, or gives an older common ancestor than
there is, and never one that is none.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from penstock.manifest.records import Commit
from penstock.repo.refs.repository import Repository

__all__ = ["Commits"]

_OURS, _THEIRS, _STALE = 1, 2, 4
_KEPT = 10_000


class Commits:
    """Commits of one dataset by id, each read once as long as it is not one of very many. One thread at a time."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._kept: dict[bytes, Commit] = {}

    def __getitem__(self, commit_id: bytes) -> Commit:
        found = self._kept.get(commit_id)
        if found is None:
            found = self._repository.commit(commit_id)
            if len(self._kept) >= _KEPT:
                self._kept.clear()
            self._kept[commit_id] = found
        return found

    def parents(self, commit_id: bytes) -> list[bytes]:
        """Return the ids of a commit's parents."""
        return list(self[commit_id].parents)

    def newest_first(self, *starts: bytes) -> Iterator[tuple[bytes, Commit]]:
        """Yield commits and all that they come from, by time, each once, read when it is its turn or just before."""
        queue = _Queue(self)
        seen = set(starts)
        for start in seen:
            queue.push(start)
        while queue:
            commit_id = queue.pop()
            yield commit_id, self[commit_id]
            for parent in self.parents(commit_id):
                if parent not in seen:
                    seen.add(parent)
                    queue.push(parent)

    def common_ancestor(self, ours: bytes, theirs: bytes) -> bytes | None:
        """Return the best common ancestor: one that no other one comes from, the newest of several; None: none.

        Colours spread from both commits towards the past, newest first, until all that is left has both.
        """
        if ours == theirs:
            return ours
        colours = {ours: _OURS, theirs: _THEIRS}
        queue = _Queue(self)
        queue.push(ours)
        queue.push(theirs)
        found: list[bytes] = []
        while any(not colours[each] & _STALE for each in queue.waiting()):
            commit_id = queue.pop()
            colour = colours[commit_id]
            if colour == _OURS | _THEIRS:
                found.append(commit_id)
                colour |= _STALE  # what it comes from is common too, and worse
            for parent in self.parents(commit_id):
                had = colours.get(parent, 0)
                if had | colour != had:
                    colours[parent] = had | colour
                    queue.push(parent)
        best = [commit_id for commit_id in found if not colours[commit_id] & _STALE]
        return max(best, key=lambda commit_id: self[commit_id].time, default=None)


class _Queue:
    """Commits that wait, the newest first."""

    def __init__(self, commits: Commits) -> None:
        self._commits = commits
        self._heap: list[tuple[int, int, bytes]] = []
        self._order = 0

    def __len__(self) -> int:
        return len(self._heap)

    def push(self, commit_id: bytes) -> None:
        # Times are of one form and sort as text; digits alone, turned around, sort the newest first.
        time = -int("".join(filter(str.isdigit, self._commits[commit_id].time)))
        self._order += 1
        heapq.heappush(self._heap, (time, self._order, commit_id))

    def pop(self) -> bytes:
        return heapq.heappop(self._heap)[2]

    def waiting(self) -> Iterator[bytes]:
        return (commit_id for _, _, commit_id in self._heap)
