"""Which commits one bucket has and another has not, each after those that it comes from."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Executor
from dataclasses import dataclass

from penstock.manifest.records import Commit
from penstock.repo.bucket import object_keys
from penstock.repo.bucket.stored_records import require_record
from penstock.store.base import Store

__all__ = ["CommitBody", "missing_commits"]

_FEW = 8
"""Commits that are asked for one by one; of a longer history, what is there is listed."""
_LISTED = 10_000
_MOST_READ = 64 << 20
_HEX = frozenset("0123456789abcdef")


@dataclass(frozen=True, slots=True)
class CommitBody:
    """A commit as it is stored, and what it says."""

    commit_id: bytes
    body: bytes
    commit: Commit


def missing_commits(
    source: Store, target: Store, dataset: str, roots: Iterable[bytes], pool: Executor
) -> list[CommitBody]:
    """Return the commits that lead to `roots` and that `target` has not, parents first.

    What `target` has comes with all that it comes from. IntegrityError: one is damaged, or missing in the source.
    """
    found: dict[bytes, CommitBody] = {}
    seen: set[bytes] = set()
    there: set[bytes] | None = None
    ahead: dict[bytes, CommitBody] = {}

    def is_there(name: bytes) -> bool:
        return name in there if there is not None else target.head(_key(dataset, name)) is not None

    def body(name: bytes) -> CommitBody:
        return ahead.pop(name, None) or _read(source, dataset, name)

    frontier = list(dict.fromkeys(roots))
    while frontier:
        seen.update(frontier)
        if there is None and len(found) >= _FEW:
            there = {name for name, _ in _listed(target, dataset)}
            if not there:
                ahead = _read_together(source, dataset, pool)
        known = pool.map(is_there, frontier)
        wanted = [name for name, held in zip(frontier, known, strict=True) if not held]
        bodies = list(pool.map(body, wanted))
        found.update((each.commit_id, each) for each in bodies)
        frontier = list(dict.fromkeys(up for each in bodies for up in each.commit.parents if up not in seen))
    return _parents_first(found)


def _parents_first(found: dict[bytes, CommitBody]) -> list[CommitBody]:
    order: dict[bytes, CommitBody] = {}
    for start in found:
        stack = [start]
        while stack:
            name = stack[-1]
            waiting = [up for up in found[name].commit.parents if up in found and up not in order]
            if waiting:
                stack += waiting
            else:
                stack.pop()
                order[name] = found[name]
    return list(order.values())


def _key(dataset: str, name: bytes) -> str:
    return object_keys.commit_key(dataset, name.hex())


def _listed(store: Store, dataset: str) -> list[tuple[bytes, int]]:
    prefix = object_keys.commit_key(dataset, "")
    names = ((info.key[len(prefix) :], info.size) for info in store.list(prefix))
    return [(bytes.fromhex(name), size) for name, size in names if len(name) == 64 and _HEX.issuperset(name)]


def _read_together(source: Store, dataset: str, pool: Executor) -> dict[bytes, CommitBody]:
    """Read the commits of the source side by side, as far as there is room: one leads to the next, and each waits."""
    room, names = _MOST_READ, []
    for name, size in _listed(source, dataset)[:_LISTED]:
        room -= size
        if room > 0:
            names.append(name)
    return {each.commit_id: each for each in pool.map(lambda name: _read(source, dataset, name), names)}


def _read(source: Store, dataset: str, name: bytes) -> CommitBody:
    bodies: list[bytes] = []

    def decode(body: bytes) -> Commit:
        bodies.append(body)
        return Commit.decode(body, name)

    commit = require_record(source, _key(dataset, name), decode)
    return CommitBody(name, bodies[-1], commit)
