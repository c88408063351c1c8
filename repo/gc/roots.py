"""What a dataset's versions are and which of them something leads to: the roots that `gc` marks from.

Roots are where branches stand and have stood within the grace period, tags, versions that leases hold or that runs were
trained on, and commits and manifests that are younger than the grace period; and the whole history of each of them.
Where the dataset has a policy, that says of which commits in the histories of branches the trees stay; the commits
themselves do. Records are immutable: each is read once, and `look` can be called again and again to see what is new.

Of the garbage, what is not *due* stays for now, and so does all that it needs: every record in the bucket is whole.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from typing import TypeVar

from penstock.errors import NotFoundError
from penstock.manifest.records import Commit, Manifest, PolicyRecord, RefRecord, parse_time
from penstock.repo.bucket import object_keys
from penstock.repo.bucket.leases import HeldLease
from penstock.repo.bucket.stored_records import read_record
from penstock.repo.refs.repository import Repository
from penstock.repo.retention.policy_text import Policy, kept_versions, parse_policy
from penstock.store.base import Store

from .record_listing import DatasetListing, hidden

__all__ = ["DatasetRecords"]

T = TypeVar("T")
N = TypeVar("N", str, bytes)


class DatasetRecords:
    """The commits and manifests of one dataset, as of the last `look`. Named by their hashes. One thread.

    `commits` and `manifests` are those that something leads to; `garbage_commits` and `garbage_manifests` the rest,
    all of them older than the grace period, and once `keep_what_is_not_due` was called, due.
    """

    def __init__(self, store: Store, dataset: str, pool: Executor) -> None:
        self.dataset = dataset
        self._store = store
        self._repository = Repository(store, dataset)
        self._pool = pool
        self._known: dict[bytes, Commit] = {}
        self._refs: dict[str, RefRecord] = {}
        self._marked: set[bytes] = set()
        self._marked_commits: set[bytes] = set()
        self._due: tuple[set[bytes], set[bytes]] | None = None
        self._sought: set[bytes] = set()
        self._kept: set[bytes] = set()
        self._kept_commits: set[bytes] = set()
        self._policy: tuple[str, Policy] | None = None
        self._present: set[bytes] = set()
        self._gone: set[bytes] = set()
        self._trees: set[bytes] = set()
        self.commits: set[bytes] = set()
        self.manifests: set[bytes] = set()
        self.garbage_commits: dict[bytes, int] = {}
        self.garbage_manifests: dict[bytes, int] = {}

    def look(self, listing: DatasetListing, cutoff: float, now: float, held: Iterable[HeldLease]) -> None:
        """Read what is new in a listing.

        `cutoff` is where the grace period begins, by the store's clock, which says `now`.

        IntegrityError: something that a ref leads to is damaged or missing, so nobody can say what is garbage.
        """
        heads, standing, left = self._ref_roots(listing)
        commits, manifests = listing.commits, listing.manifests
        self._present, self._gone = set(manifests), listing.gone
        policy = self._read_policy(listing)
        holds = {name for lease in held if lease.dataset == self.dataset for name in lease.holds}
        self._look_for(holds - commits.keys() - manifests.keys())
        self._read_listed((commits.keys() | left) - self._known.keys())
        # What a branch has left may have been deleted by a run with a shorter grace period.
        roots = standing | (left & self._known.keys())
        roots |= {
            name
            for name, info in commits.items()
            if not info.is_older(cutoff) or name in holds or name in listing.stamped
        }
        self.commits = self._history(roots)
        self._trees = self.commits if policy is None else roots | self._chosen(policy, heads, now)
        self.manifests = {self._known[name].top_hash for name in self._trees}
        self.manifests |= {
            name
            for name, info in manifests.items()
            if not info.is_older(cutoff) or name in holds or name in listing.stamped
        }
        self.garbage_commits = {
            name: info.size for name, info in commits.items() if name not in self.commits and name in self._known
        }
        self.garbage_manifests = {name: info.size for name, info in manifests.items() if name not in self.manifests}
        self._keep()

    def _look_for(self, held: Iterable[bytes]) -> None:
        """Raise IntegrityError when a version that is held is there, and not listed. Asks once for each."""
        for name in sorted(name for name in held if name not in self._sought):
            self._sought.add(name)
            for key in (
                object_keys.commit_key(self.dataset, name.hex()),
                object_keys.manifest_key(self.dataset, name.hex()),
            ):
                if self._store.head(key) is not None:
                    raise hidden(self._store, key)

    def keep_what_is_not_due(self, commits: set[bytes], manifests: set[bytes]) -> None:
        """Let the garbage stay, from now on, that is not among these; and all that it needs."""
        self._due = (commits, manifests)
        self._keep()

    def _keep(self) -> None:
        if self._due is None:
            return
        due_commits, due_manifests = self._due
        kept = self._kept_commits = self._history(self.garbage_commits.keys() - due_commits)
        # What the policy lets go of the history of what stays, it lets go.
        needed = {self._known[name].top_hash for name in kept if name not in self.commits}
        self._kept = (self.garbage_manifests.keys() - due_manifests) | needed
        self.garbage_commits = {name: size for name, size in self.garbage_commits.items() if name not in kept}
        self.garbage_manifests = {name: size for name, size in self.garbage_manifests.items() if name not in self._kept}

    def needs(self, folder: str, name: bytes) -> bool:
        """Whether something leads to a record in ``commits`` or ``manifests``, or it is kept for now."""
        if folder == "commits":
            return name in self.commits or name in self._kept_commits
        return name in self.manifests or name in self._kept

    def new_trees(self) -> list[Manifest]:
        """Return the manifests of the trees that are reachable or kept, and were not returned before.

        What commits have as attachments is a tree like another one.
        """
        new = sorted(name for name in (self.manifests | self._kept) - self._marked if not self._is_gone(name))
        found = self._together(self._top, new)
        self._marked.update(new)
        commits = (self._trees | (self._kept_commits - self.commits)) - self._marked_commits
        self._marked_commits |= commits
        attached = (self._known[name].attachments for name in sorted(commits))
        return [*found, *(Manifest(root) for root in attached if root is not None)]

    def _is_gone(self, name: bytes) -> bool:
        """Whether a version was let go before, and is not there any more: a branch may have been set back to it."""
        return name in self._gone and name not in self._present

    def let_go(self) -> dict[bytes, Commit]:
        """Return the commits that stay, by the top hashes of their versions, which go by the policy."""
        stay = self.commits | self._kept_commits
        tops = {self._known[name].top_hash: self._known[name] for name in sorted(stay)}
        return {top: commit for top, commit in tops.items() if top in self.garbage_manifests}

    def _read_policy(self, listing: DatasetListing) -> Policy | None:
        """Return the policy of the dataset.

        IntegrityError: a listing hides the newest one. UsageError: it is in words of a later Penstock.
        """
        info = listing.policy
        if info is None:
            return None
        prefix = object_keys.policy_prefix(self.dataset)
        number = object_keys.number_of(prefix, info.key)
        if number is not None and self._store.head(object_keys.number_key(prefix, number + 1)) is not None:
            raise hidden(self._store, object_keys.number_key(prefix, number + 1))
        if self._policy is None or self._policy[0] != info.key:
            record = read_record(self._store, info.key, PolicyRecord.decode)
            self._policy = info.key, parse_policy(record.policy)
        return self._policy[1]

    def _chosen(self, policy: Policy, heads: Iterable[bytes], now: float) -> set[bytes]:
        """Return the commits in the histories of branches whose trees the policy keeps: of each branch by itself."""
        at = dt.datetime.fromtimestamp(now, dt.UTC)
        chosen: set[bytes] = set()
        for head in heads:
            history = ((name, parse_time(self._known[name].time)) for name in self._history([head]))
            chosen |= kept_versions(policy, history, at).keys()
        return chosen

    def _top(self, name: bytes) -> Manifest:
        """Return a manifest without the metadata that is in it: there may be many, and of these places are wanted."""
        manifest = self._repository.manifest(name)
        return Manifest(manifest.root) if isinstance(manifest.metadata, bytes) else manifest

    def childless_garbage(self) -> list[bytes]:
        """Return the garbage commits that no other garbage commit comes from: those that may go first."""
        parents = {parent for name in self.garbage_commits for parent in self._known[name].parents}
        return sorted(self.garbage_commits.keys() - parents)

    def _ref_roots(self, listing: DatasetListing) -> tuple[set[bytes], set[bytes], set[bytes]]:
        """Return the commits that branches stand at; those and where tags do; what branches have left not long ago."""
        heads = [moves[0].key for moves in listing.branches.values() if moves]
        newest = heads + [info.key for info in listing.tags]
        earlier = [info.key for moves in listing.branches.values() for info in moves[1:]]
        new = [key for key in newest + earlier if key not in self._refs]
        records = self._together(lambda key: read_record(self._store, key, RefRecord.decode), new)
        self._refs.update(zip(new, records, strict=True))

        def commits(keys: list[str]) -> set[bytes]:
            return {commit for key in keys if (commit := self._refs[key].commit) is not None}

        return commits(heads), commits(newest), commits(earlier)

    def _read_listed(self, names: Iterable[bytes]) -> None:
        """Read commits of which nobody knows yet whether they are needed: another gc may delete some just now."""

        def read(name: bytes) -> Commit | None:
            key = object_keys.commit_key(self.dataset, name.hex())
            try:
                return read_record(self._store, key, lambda body: Commit.decode(body, name))
            except NotFoundError:
                return None

        wanted = sorted(names)
        found = self._together(read, wanted)
        self._known.update({name: commit for name, commit in zip(wanted, found, strict=True) if commit is not None})

    def _read_commits(self, names: Iterable[bytes]) -> None:
        wanted = sorted(names)
        found = self._together(self._repository.commit, wanted)
        self._known.update(zip(wanted, found, strict=True))

    def _history(self, roots: Iterable[bytes]) -> set[bytes]:
        found: set[bytes] = set()
        pending = list(roots)
        self._read_commits({name for name in pending if name not in self._known})
        while pending:
            name = pending.pop()
            if name in found:
                continue
            found.add(name)
            if name not in self._known:
                self._read_commits([name])
            pending += self._known[name].parents
        return found

    def _together(self, read: Callable[[N], T], names: list[N]) -> list[T]:
        return list(self._pool.map(read, names))
