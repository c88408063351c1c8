"""What a dataset's versions are and which of them something leads to: the roots that `gc` marks from.

Roots are where branches stand and have stood within the grace period, tags, versions that leases hold, and commits
and manifests that are younger than the grace period; and the whole history of each of them. Records are immutable:
each is read once, and `look` can be called again and again to see what is new.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from typing import TypeVar

from penstock.errors import IntegrityError
from penstock.manifest.entry import NodeRef
from penstock.manifest.records import Commit, RefRecord
from penstock.store.base import ObjectInfo, Store

from . import layout
from .leases import HeldLease
from .records import read_record
from .repository import Repository

__all__ = ["DatasetRecords"]

T = TypeVar("T")

_HEX = frozenset("0123456789abcdef")


class DatasetRecords:
    """The commits and manifests of one dataset, as of the last `look`. Names are 64 hex digits. One thread.

    `commits` and `manifests` are those that something leads to; `garbage_commits` and `garbage_manifests` the rest,
    all of them older than the grace period.
    """

    def __init__(self, store: Store, dataset: str, pool: Executor) -> None:
        self.dataset = dataset
        self._store = store
        self._repository = Repository(store, dataset)
        self._pool = pool
        self._known: dict[str, Commit] = {}
        self._refs: dict[str, RefRecord] = {}
        self._roots: dict[str, NodeRef] = {}
        self.commits: set[str] = set()
        self.manifests: set[str] = set()
        self.garbage_commits: dict[str, int] = {}
        self.garbage_manifests: dict[str, int] = {}

    def look(self, cutoff: float, held: Iterable[HeldLease]) -> None:
        """Read what is new. `cutoff` is where the grace period begins, by the store's clock.

        IntegrityError: something that a ref leads to is damaged or missing, so nobody can say what is garbage.
        """
        # Refs come first: what a ref that is made later leads to was found under a lease, or is young.
        roots = set(self._ref_roots(cutoff))
        commits = self._listed(layout.commit_key(self.dataset, ""))
        manifests = self._listed(layout.manifest_key(self.dataset, ""))
        holds = {name for lease in held if lease.dataset == self.dataset for name in lease.holds}
        roots |= {name for name, info in commits.items() if not info.is_older(cutoff) or name in holds}
        self._read_commits((commits.keys() | roots) - self._known.keys())
        self.commits = self._history(roots)
        self.manifests = {self._known[name].top_hash for name in self.commits}
        self.manifests |= {name for name, info in manifests.items() if not info.is_older(cutoff) or name in holds}
        self.garbage_commits = {name: info.size for name, info in commits.items() if name not in self.commits}
        self.garbage_manifests = {name: info.size for name, info in manifests.items() if name not in self.manifests}

    def new_trees(self) -> list[NodeRef]:
        """Return the roots of the trees that are reachable and were not returned before."""
        new = sorted(self.manifests - self._roots.keys())
        found = self._together(lambda name: self._repository.manifest(bytes.fromhex(name)).root, new)
        self._roots.update(zip(new, found, strict=True))
        return found

    def childless_garbage(self) -> list[str]:
        """Return the garbage commits that no other garbage commit comes from: those that may go first."""
        parents = {parent for name in self.garbage_commits for parent in self._known[name].parents}
        return sorted(self.garbage_commits.keys() - parents)

    def _ref_roots(self, cutoff: float) -> Iterable[str]:
        infos: list[ObjectInfo] = []
        for branch in self._repository.refs.branches():
            infos += self._recent_moves(layout.head_prefix(self.dataset, branch), cutoff)
        tags = layout.tag_key(self.dataset, "")
        infos += [info for info in self._store.list(tags) if info.key != tags]
        new = [info.key for info in infos if info.key not in self._refs]
        records = self._together(lambda key: read_record(self._store, key, RefRecord.decode), new)
        self._refs.update(zip(new, records, strict=True))
        return [commit for info in infos if (commit := self._refs[info.key].commit) is not None]

    def _recent_moves(self, prefix: str, cutoff: float) -> Iterable[ObjectInfo]:
        """Yield the moves of a branch from the newest on, to the one that made it stand where the period found it."""
        for info in self._store.list(prefix):
            if info.key == prefix:
                continue
            if layout.number_of(prefix, info.key) is None:
                raise IntegrityError(
                    f"{info.key!r} in {self._store.url} does not belong there",
                    why="the records of a ref are named by 16 hex digits",
                    fix="Remove the object; Penstock did not write it.",
                )
            yield info
            if info.is_older(cutoff):
                return

    def _listed(self, prefix: str) -> dict[str, ObjectInfo]:
        found = {info.key[len(prefix) :]: info for info in self._store.list(prefix)}
        return {name: info for name, info in found.items() if len(name) == 64 and _HEX.issuperset(name)}

    def _read_commits(self, names: Iterable[str]) -> None:
        wanted = sorted(names)
        found = self._together(lambda name: self._repository.commit(bytes.fromhex(name)), wanted)
        self._known.update(zip(wanted, found, strict=True))

    def _history(self, roots: Iterable[str]) -> set[str]:
        found: set[str] = set()
        pending = list(roots)
        while pending:
            name = pending.pop()
            if name in found:
                continue
            found.add(name)
            if name not in self._known:
                self._read_commits([name])
            pending += self._known[name].parents
        return found

    def _together(self, read: Callable[[str], T], names: list[str]) -> list[T]:
        return list(self._pool.map(read, names))
