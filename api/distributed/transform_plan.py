"""What a transform has to do: which files are new or changed since the last one, and how they are divided into tasks.

The version that outputs go to says which version of the source they come from. If that is still there, and function
and parameters are the same, what differs between the two is all that is looked at: a second run after ten new files
costs ten calls, whatever the dataset's size. Else all files are done, and all former outputs go.

How files are divided depends on the files alone, not on how many workers there are: a run that was cut off finds the
parts of its tasks again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from penstock.errors import IntegrityError, NotFoundError, UsageError
from penstock.manifest.diff import changes
from penstock.manifest.entry import NodeRef, TreeEntry, display_path, split_path
from penstock.manifest.records import Manifest
from penstock.manifest.tree import Tree
from penstock.repo.read.shard_files import numbered_files, record_of, shard_files
from penstock.repo.read.shard_plan import PlannedShard, plan_shards, total_weight
from penstock.repo.read.snapshot import Snapshot
from penstock.repo.session.bucket_session import BucketSession

from .lineage_metadata import lineage_of
from .transform_job import By

__all__ = ["InputChanges", "divide", "input_changes"]

_Names = tuple[bytes, ...]
_Numbered = tuple[int, _Names, TreeEntry]

_TASK_FILES = 128
_TASK_BYTES = 256 << 20
_MOST_TASKS = 10_000


@dataclass(frozen=True, slots=True)
class InputChanges:
    """What is new in the source. `files` None: all of it. `stale`: inputs whose former outputs go; None: all."""

    files: list[_Numbered] | None
    stale: frozenset[str] | None


def input_changes(
    snapshot: Snapshot,
    base: Manifest | None,
    session: BucketSession,
    lineage: dict[str, Any],
    *,
    by: By,
    metadata: bool,
) -> InputChanges:
    """Find out what is to be done. `lineage` is what the version to come will say of its source.

    `metadata`: the function sees that of its inputs.
    """
    whole = InputChanges(None, None)
    before = lineage_of(session.nodes.metadata(base.metadata)) if base is not None else {}
    if by == "shard" or base is None or _what(before) != _what(lineage):
        return whole
    old = _older_root(snapshot, before)
    if old is None:
        return whole
    return _differing(snapshot, old, records=by == "record", metadata=metadata)


def _what(said: dict[str, Any]) -> list[Any]:
    """Return what of a lineage has to be the same, so that outputs are: not how the function is called."""
    function = said.get("function")
    digest = function.get("hash") if isinstance(function, dict) else None
    return [digest, *(said.get(name) for name in ("operation", "dataset", "address", "path", "by"))]


def _older_root(snapshot: Snapshot, before: dict[str, Any]) -> NodeRef | None:
    """Return the root of the version that outputs were made from; None: it is not there any more."""
    try:
        root = snapshot.repository.manifest(bytes.fromhex(str(before.get("top_hash")))).root
        names = split_path(str(before.get("path") or ""))
        return Tree(root, snapshot.load).resolve(names)[1].directory
    except (ValueError, IntegrityError, NotFoundError, UsageError):
        return None


def _differing(snapshot: Snapshot, old: NodeRef, *, records: bool, metadata: bool) -> InputChanges:
    tree, stale, new = snapshot.tree, set[_Names](), set[_Names]()
    found = changes(old, snapshot.root, snapshot.load, snapshot.load)
    change = next(found, None)
    while change is not None:
        before, after = change.old, change.new
        same = before is not None and after is not None and before.hash == after.hash and before.kind == after.kind
        if not (same and (not metadata or before.metadata == after.metadata)):  # type: ignore[union-attr]  # both are there
            if before is not None and before.is_file:
                stale.add(change.path)
            if after is not None and after.is_file:
                new.add(change.path)
        try:
            change = found.send(True)
        except StopIteration:
            break
    if records:
        touched = {record_of(path) for path in stale | new}
        new = {path for stem in touched for path in _of_record(tree, stem)}
        stale = touched
    files = []
    for path in sorted(new):
        number, entry = tree.resolve(path)
        files.append((int(number), path, entry))
    return InputChanges(files, frozenset(map(display_path, stale)))


def _of_record(tree: Tree, stem: _Names) -> Iterator[_Names]:
    """Yield the files of a record that are there now."""
    try:
        directory = tree.resolve(stem[:-1])[1].directory
    except NotFoundError:
        return
    if directory is None:
        return
    name = stem[-1]
    alone = tree.find(directory, name)
    if alone is not None and alone[0].is_file:
        yield stem
    for _, entry in tree.children(directory, after=name):
        if not entry.name.startswith(name):
            break
        if entry.is_file and entry.name.startswith(name + b"."):
            yield (*stem[:-1], entry.name)


def divide(snapshot: Snapshot, changed: list[_Numbered] | None, *, by: By, tasks: int | None) -> list[PlannedShard]:
    """Divide files among tasks. `tasks` None: by what there is to do."""
    if changed is None:
        count, size = snapshot.root.entries, snapshot.root.size
        files: Iterator[_Numbered] = numbered_files(snapshot)
    else:
        count, size = len(changed), sum(entry.size for _, _, entry in changed)
        files = iter(changed)
    weight = total_weight(count, size)
    if tasks is None:
        wanted = max(size // _TASK_BYTES, 0 if by == "shard" else count // _TASK_FILES)
        tasks = max(1, min(_MOST_TASKS, wanted + 1))
    numbered = shard_files(files, records=by == "record")
    return plan_shards(numbered, tasks, weight, whole=False, sparse=changed is not None)
