"""Mirror a dataset: its versions, branches and tags in one bucket as they are in another. Blocking.

    list both ── what differs? ── another history: refused        nothing: two requests, and done
    missing commits ── leases on both sides
    nodes walked, packs and data objects copied ── manifests, commits (parents first) ── info, branches, tags

Records, node packs and data objects are copied byte by byte under the names that they have, so that top hashes, commit
ids and places are the same. A branch gets the newest record of the source's, under a number of its own: its sequence in
the mirror is the history of the mirror. The destination is a mirror as long as every branch of it stands at a commit
that the source has; else it has a history of its own, and nothing is changed.

**Order**: data and node packs, manifests, commits, refs. **Invariant**: a crash anywhere leaves every ref of the
destination at a whole version, and objects that the next run finds.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from itertools import islice

from penstock.errors import ConflictError, IntegrityError, NotFoundError, UsageError
from penstock.manifest.entry import DocumentRef, External, NodeRef
from penstock.manifest.node import Leaf, Node
from penstock.manifest.records import MAX_RECORD, DatasetInfo, Manifest, RefRecord
from penstock.progress import SILENT, Progress
from penstock.repo.bucket import object_keys
from penstock.repo.bucket.disk_sets import Marks
from penstock.repo.bucket.leases import LeaseKind, held_version
from penstock.repo.bucket.stored_records import read_record, require_record
from penstock.repo.fetch.request_counts import RequestCounts
from penstock.repo.history.log import moves
from penstock.repo.refs.refs import Head, WriteAccess
from penstock.repo.refs.repository import Repository
from penstock.repo.refs.write_access import write_access
from penstock.repo.session.bucket_session import BucketSession
from penstock.repo.session.nodes import Nodes
from penstock.store.base import ObjectInfo

from .elsewhere import bring_elsewhere
from .held_packs import HeldPacks
from .missing_commits import CommitBody, missing_commits
from .new_nodes import new_nodes, place_of
from .object_copies import ObjectCopies
from .ref_listing import RefListing, is_same_record, list_refs

__all__ = ["MirrorOutcome", "mirror_dataset"]

_THREADS = 16
_DATA = "data"
_MOST_HELD = 4096
_NAMED = 20


@dataclass(slots=True)
class MirrorOutcome:
    """What came of it. `branches` and `tags` were moved or made; `versions` are commits that were not there.

    `objects` and `bytes` of data and nodes were brought, of which the server copied `server_bytes` itself; `there` were
    there already. `elsewhere` counts objects outside of the bucket that new versions point to, and that stay there;
    `brought` those that were copied into the mirror. `described`: what is said of the dataset has changed.
    """

    branches: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    versions: int = 0
    objects: int = 0
    bytes: int = 0
    server_bytes: int = 0
    there: int = 0
    elsewhere: int = 0
    brought: int = 0
    described: bool = False
    risk: str = ""


def mirror_dataset(
    source: BucketSession,
    target: BucketSession,
    dataset: str,
    *,
    branch: str | None = None,
    bring: bool = False,
    deep: bool = False,
    progress: Progress = SILENT,
) -> MirrorOutcome:
    """Bring what `source` has of a dataset to `target`; with `branch`, that branch alone.

    `bring`: what new versions point to outside of the bucket is copied into the mirror. `deep`: what a server copies is
    read, too, and held against its hash.

    ConflictError: the destination has a history of its own, or is the source; nothing has changed. NotFoundError: there
    is no such dataset or branch. IntegrityError: the source is damaged. Else all of `penstock.errors` from either side;
    to do it again goes on where it ended.
    """
    if _is_one(source, target):
        raise ConflictError(
            f"{target.address} is the bucket that {dataset!r} is in", fix="Name another bucket to mirror it to."
        )
    here, there = list_refs(source.store, dataset), list_refs(target.store, dataset)
    if branch is not None:
        if branch not in here.branches or source.repository(dataset).refs.head(branch) is None:
            source.repository(dataset).resolve(branch)  # raises, and says what there is
            raise UsageError(f"{branch!r} is no branch of {dataset!r}", fix="Name a branch, or the dataset alone.")
        here = replace(here, branches={branch: here.branches[branch]}, tags={})
        there = replace(there, branches={name: at for name, at in there.branches.items() if name == branch}, tags={})
    elif not here.branches and not here.tags:
        source.repository(dataset).resolve(None)  # raises, and says what there is
    outcome = MirrorOutcome()
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(_THREADS, "penstock-mirror-records"))
        plan = _Plan(source, target, dataset, pool)
        plan.compare(here, there)
        if plan.is_empty:
            return outcome
        run = _Run(plan, outcome, progress, bring=bring, deep=deep)
        run.do(stack)
    return outcome


def _is_one(source: BucketSession, target: BucketSession) -> bool:
    try:
        return source.store.place == target.store.place
    except NotFoundError:  # a directory that is still to be made, or is not there: what is asked of it next says so
        return False


@dataclass(frozen=True, slots=True)
class _Move:
    """A branch that is to move in the destination, which was seen at `at`."""

    branch: str
    record: RefRecord
    at: Head | None


class _Plan:
    """What differs, and whether it may be brought."""

    def __init__(self, source: BucketSession, target: BucketSession, dataset: str, pool: ThreadPoolExecutor) -> None:
        self.source = source
        self.target = target
        self.dataset = dataset
        self.pool = pool
        self.here: Repository = source.repository(dataset)
        self.there: Repository = target.repository(dataset)
        self.branches: list[_Move] = []
        self.tags: list[tuple[str, RefRecord]] = []
        self.info: DatasetInfo | None = None
        self.records: list[str] = []
        """Keys of rules and policies that are to be copied, oldest first."""

    @property
    def is_empty(self) -> bool:
        return not (self.branches or self.tags or self.info or self.records)

    def compare(self, here: RefListing, there: RefListing) -> None:
        """Find what is new. ConflictError: the destination has a history of its own."""
        pairs = [(name, info, there.branches.get(name)) for name, info in here.branches.items()]
        moved = list(self.pool.map(lambda pair: self._move(*pair), pairs))
        foreign = [name for name in there.branches if name not in here.branches and self._lives(there.branches[name])]
        foreign += [f"tag {name}" for name in there.tags if name not in here.tags]
        alien = [why for _, why in moved if why] + [f"{name}: the source has no such name" for name in foreign]
        self.branches = [move for move, _ in moved if move is not None]
        for name, info in here.tags.items():
            other = there.tags.get(name)
            if other is not None and is_same_record(self.source.store, info, self.target.store, other):
                continue
            record = read_record(self.source.store, info.key, RefRecord.decode)
            if other is None:
                self.tags.append((name, record))
            elif (kept := read_record(self.target.store, other.key, RefRecord.decode)).commit != record.commit:
                alien.append(f"tag {name}: it stands for {_short(kept)} there, and for {_short(record)} here")
        alien += [
            f"its {kind} is said there, and is not what the source says"
            for kind in sorted(here.sequences.keys() | there.sequences.keys())
            if not self._follow(kind, here.sequences.get(kind), there.sequences.get(kind))
        ]
        if alien:
            raise self._another_history(alien)
        if here.info is not None and not (
            there.info is not None and is_same_record(self.source.store, here.info, self.target.store, there.info)
        ):
            self.info = read_record(self.source.store, here.info.key, DatasetInfo.decode)

    def _follow(self, kind: str, here: ObjectInfo | None, there: ObjectInfo | None) -> bool:
        """Note which records of a sequence are to be copied; False: the destination has others."""
        prefix = f"{object_keys.dataset_prefix(self.dataset)}{kind}/"
        last = object_keys.number_of(prefix, here.key) if here is not None else None
        known = object_keys.number_of(prefix, there.key) if there is not None else -1
        if last is None or known is None or known > last:
            return False
        if there is not None:
            at = self.source.store.head(there.key)
            if at is None or not is_same_record(self.source.store, at, self.target.store, there):
                return False
        self.records += [object_keys.number_key(prefix, number) for number in range(known + 1, last + 1)]
        return True

    def _lives(self, info: ObjectInfo) -> bool:
        return read_record(self.target.store, info.key, RefRecord.decode).commit is not None

    def _move(self, branch: str, here: ObjectInfo, there: ObjectInfo | None) -> tuple[_Move | None, str]:
        """Return how a branch is to move, if it is; and why it must not."""
        if there is not None and is_same_record(self.source.store, here, self.target.store, there):
            return None, ""
        record = read_record(self.source.store, here.key, RefRecord.decode)
        if there is None:
            return _Move(branch, record, None), ""
        kept = read_record(self.target.store, there.key, RefRecord.decode)
        if kept.commit is not None and kept.commit != record.commit and not self._knows(branch, kept.commit):
            return None, f"{branch}: it stands at {_short(kept)} there, which the source has not"
        prefix = object_keys.head_prefix(self.dataset, branch)
        number = object_keys.number_of(prefix, there.key)
        assert number is not None  # `list_refs` has looked
        at = Head(branch, number, kept) if kept.commit is not None else None
        return _Move(branch, record, at), ""

    def _knows(self, branch: str, commit: bytes) -> bool:
        """Whether the source has a commit, or had it on this branch."""
        if self.source.store.head(object_keys.commit_key(self.dataset, commit.hex())) is not None:
            return True
        return any(move.record.commit == commit for move in moves(self.here, branch))

    def _another_history(self, alien: list[str]) -> ConflictError:
        count = len(alien)
        shown = "; ".join(alien[:_NAMED]) + (f"; and {count - _NAMED} more" if count > _NAMED else "")
        return ConflictError(
            f"{self.dataset!r} in {self.target.address} has a history of its own",
            why=shown,
            fix="A mirror goes one way, and nothing else writes to it; nothing was changed. Mirror to another bucket.",
        )


def _short(record: RefRecord) -> str:
    return record.commit.hex()[:12] if record.commit is not None else "nothing"


class _Run:
    """Brings what a plan says."""

    def __init__(self, plan: _Plan, outcome: MirrorOutcome, progress: Progress, *, bring: bool, deep: bool) -> None:
        self._plan = plan
        self._outcome = outcome
        self._progress = progress
        self._bring = bring
        self._deep = deep

    def do(self, stack: ExitStack) -> None:
        plan, outcome = self._plan, self._outcome
        records = [move.record for move in plan.branches] + [record for _, record in plan.tags]
        roots = [record.commit for record in records if record.commit is not None]
        source, target, dataset = plan.source.store, plan.target.store, plan.dataset
        # What it reads is held on the one side, and what it builds on is held on the other.
        held = held_version(source, dataset, LeaseKind.MOUNT, islice(dict.fromkeys(roots), _MOST_HELD))
        if held is not None:
            stack.enter_context(closing(held))
        access = stack.enter_context(write_access(plan.there, LeaseKind.PUSH, plan.target.settings, plan.target.bucket))
        outcome.risk = access.risk
        # The rules that the mirror has are those of the source, which has held its moves against them.
        access = WriteAccess(access.lease, access.risk)
        commits = missing_commits(source, target, dataset, roots, plan.pool)
        outcome.versions = len(commits)
        if commits:
            self._bring_versions(access, commits)
        if plan.info is not None:
            info = plan.info
            plan.there.refs.set_info(access, lambda _: info)
            outcome.described = True
        for key in plan.records:
            access.create(target, key, source.get(key, limit=MAX_RECORD))
            outcome.described = True
        for move in plan.branches:
            plan.there.refs.move(access, move.branch, move.at, move.record)
            outcome.branches.append(move.branch)
        for name, record in plan.tags:
            plan.there.refs.create_tag(access, name, record)
            outcome.tags.append(name)

    def _bring_versions(self, access: WriteAccess, commits: list[CommitBody]) -> None:
        plan, outcome = self._plan, self._outcome
        store, dataset = plan.target.store, plan.dataset
        new = {each.commit_id for each in commits}
        tops = list(dict.fromkeys(each.commit.top_hash for each in commits))
        read = zip(tops, plan.pool.map(self._manifest, tops), strict=True)
        manifests = {top: found for top, found in read if found is not None}
        gone = [top for top in tops if top not in manifests]
        tops = list(manifests)
        bases = {
            each.commit.top_hash: up for each in commits for up in each.commit.parents[:1] if up not in new
        }  # what stands on a version that is there
        stage = self._progress.stage("copying")
        with Marks() as marks, closing(ObjectCopies(plan.source.store, store, stage, deep=self._deep)) as copies:
            walk = _Walk(plan, copies, marks)
            for top in tops:
                walk.version(manifests[top][0], self._base(bases.get(top)))
            for each in commits:
                if each.commit.attachments is not None:
                    walk.tree(None, each.commit.attachments)
            copies.data(digest for digest, _ in marks.held(_DATA))
            copies.finish()
            counts = copies.counts
        outcome.objects, outcome.bytes = counts.objects, counts.bytes
        outcome.server_bytes, outcome.there = counts.server_bytes, counts.there
        outcome.elsewhere = walk.elsewhere
        if self._bring and walk.elsewhere:
            for top in tops:
                manifest, _ = manifests[top]
                done = bring_elsewhere(plan.source, plan.target, manifest, self._progress)
                if done is not None:
                    manifests[top] = done.manifest, done.manifest.encode()
                    outcome.brought += done.files
                    outcome.bytes += done.bytes

        def create(top: bytes) -> None:
            key = object_keys.manifest_key(dataset, top.hex())
            if not access.create(store, key, manifests[top][1], contested=False):
                plan.there.manifest(top)  # the same content is there from other packs, which stay the ones in use

        list(plan.pool.map(create, tops))
        for top in gone:
            key = object_keys.gone_key(dataset, top.hex())
            store.put(key, plan.source.store.get(key, limit=MAX_RECORD))
        for each in commits:
            key = object_keys.commit_key(dataset, each.commit_id.hex())
            if not access.create(store, key, each.body, contested=False):
                raise IntegrityError(
                    f"commit {each.commit_id.hex()} in {store.url} is not what its id says",
                    fix="Something else has changed the object: restore it from a copy of the bucket.",
                )

    def _manifest(self, top: bytes) -> tuple[Manifest, bytes] | None:
        """Return a version's root, and its record as it is stored; None: it was let go by the policy of the dataset."""
        key = object_keys.manifest_key(self._plan.dataset, top.hex())
        bodies: list[bytes] = []

        def decode(body: bytes) -> Manifest:
            bodies.append(body)
            return Manifest.decode(body, top)

        store = self._plan.source.store
        try:
            manifest = require_record(store, key, decode)
        except IntegrityError:
            if store.head(object_keys.gone_key(self._plan.dataset, top.hex())) is None:
                raise
            return None
        return manifest, bodies[-1]

    def _base(self, parent: bytes | None) -> Manifest | None:
        """Return a version that both have at the same places, if there is one: only what differs is looked at."""
        if parent is None:
            return None
        plan = self._plan
        top = plan.here.commit(parent).top_hash
        found = self._manifest(top)
        if found is None:
            return None
        here, body = found
        key = object_keys.manifest_key(plan.dataset, top.hex())
        try:
            return here if plan.target.store.get(key, limit=MAX_RECORD) == body else None
        except NotFoundError:
            return None


class _Walk:
    """Looks through trees of the source for what they need, and has packs of nodes brought as they are met."""

    def __init__(self, plan: _Plan, copies: ObjectCopies, marks: Marks) -> None:
        self._copies = copies
        self._marks = marks
        self._load_old = plan.source.load
        self._packs = HeldPacks(plan.source.store)
        self._nodes = Nodes(self._packs, None, RequestCounts())
        self._begun: set[bytes] = set()
        self._later: set[bytes] = set()
        """Packs that something refers to: those with nodes in them are read whole on the way, the others are not."""
        self.elsewhere = 0

    def version(self, manifest: Manifest, base: Manifest | None) -> None:
        """Look through a version; what it has in common with `base` is there."""
        if isinstance(manifest.metadata, DocumentRef):
            self._bring(manifest.metadata.location.pack)
        self.tree(base.root if base is not None else None, manifest.root)

    def tree(self, base: NodeRef | None, root: NodeRef) -> None:
        """Look through a tree."""
        marks = self._marks
        for node in new_nodes(base, root, self._load_old, self._load, lambda ref: marks.visit(place_of(ref))):
            if not isinstance(node, Leaf):
                continue
            objects = node.objects
            marks.hold(_DATA, ((found, 0) for found in objects if isinstance(found, bytes)))
            self.elsewhere += sum(isinstance(found, External) for found in objects)
            self._later.update(node.packs)
        for pack in self._later - self._begun:
            self._bring(pack)

    def _load(self, ref: NodeRef) -> Node:
        pack = ref.location.pack
        if pack not in self._begun:
            self._begun.add(pack)
            self._packs.hold(pack, self._copies.take_pack(pack))
        return self._nodes.load(ref)

    def _bring(self, pack: bytes) -> None:
        if pack not in self._begun:
            self._begun.add(pack)
            self._copies.bring_pack(pack)
