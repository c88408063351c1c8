"""Where a version, or a file of it, comes from: step by step back to what nobody has made from another version.

Versions that transforms, samples and splits have made say what they were made from, as ``derived_from`` in their
metadata, and outputs of transforms each of which input. One part of `Package`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from penstock.api.handles import Handle
from penstock.api.settings import Settings
from penstock.errors import AccessError, IntegrityError, NotFoundError, StoreUnreachableError, UsageError
from penstock.manifest.entry import split_path
from penstock.manifest.metadata import parse_metadata
from penstock.manifest.records import Commit
from penstock.manifest.tree import Tree
from penstock.repo.read.snapshot import Snapshot, open_snapshot

from .package_entries import PackageEntries

__all__ = ["LineageStep", "PackageLineage"]

_MOST_STEPS = 100


@dataclass(frozen=True, slots=True)
class LineageStep:
    """One version on the way back. `path` is the file that is asked for, or the input that it comes from; "": all.

    `operation` says how it was made of the next step: ``transform``, ``sample``…; "": that is not known, it was pushed
    perhaps. `function` has the name and hash of the function, `parameters` what it was given, `libraries` their
    versions, `said` the rest. `author`, `time` and `message` are its commit's, None where that is not known. `missing`:
    why it cannot be looked at; empty, where it can.
    """

    dataset: str
    address: str
    path: str
    top_hash: str
    commit: str | None
    author: str | None
    time: str | None
    message: str | None
    operation: str = ""
    function: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    libraries: Mapping[str, Any] = field(default_factory=dict)
    said: Mapping[str, Any] = field(default_factory=dict)
    missing: str = ""


class PackageLineage(PackageEntries):
    """What a `Package` says of where it comes from."""

    __slots__ = ()

    handle: Handle
    settings: Settings

    def lineage(self, path: str = "") -> list[LineageStep]:
        """Return this version and those that it was made from, the last step being where that ends.

        With `path`, of a file: each step names the file that it comes from. A step that is gone, or not to be read,
        says why. NotFoundError: there is no such path.

        >>> import penstock
        >>> _ = penstock.open("demo/photos:v1").sample(1, "demo/one")
        >>> [(step.dataset, step.operation) for step in penstock.open("demo/one").lineage()]
        [('one', 'sample'), ('photos', '')]
        """
        snapshot = self._snapshot
        snapshot.find(path)
        found = [_step(snapshot, self.handle.subdir, path)]
        place = _Place(snapshot.bucket_url, self.handle.bucket)
        while found[-1].operation and len(found) < _MOST_STEPS:
            last = found[-1]
            place, step = _following(place, last, self.settings)
            if (step.address, step.dataset, step.top_hash, step.path) in {
                (each.address, each.dataset, each.top_hash, each.path) for each in found
            }:
                break  # what says so of itself was written by hand
            found.append(step)
        return found


@dataclass(frozen=True, slots=True)
class _Place:
    """A bucket: its address, and what a handle calls it."""

    address: str
    bucket: str


def _step(snapshot: Snapshot, folder: str, path: str) -> LineageStep:
    """Describe a version, and a file in its directory `folder`."""
    commit_id, commit = _commit(snapshot)
    said = _derived(snapshot.read_metadata(snapshot.manifest.metadata))
    path = "/".join(filter(None, (folder, path)))
    source = dict(said)
    for name in ("operation", "function", "parameters", "libraries"):
        source.pop(name, None)
    return LineageStep(
        snapshot.dataset,
        snapshot.bucket_url,
        path,
        snapshot.top_hash.hex(),
        commit_id.hex() if commit_id is not None else None,
        commit.author if commit is not None else None,
        commit.time if commit is not None else None,
        commit.message if commit is not None else None,
        _text(said.get("operation")) or ("unknown" if said else ""),
        _table(said.get("function")),
        _table(said.get("parameters")),
        _table(said.get("libraries")),
        {**source, "input": _input(snapshot, path)} if path else source,
    )


def _commit(snapshot: Snapshot) -> tuple[bytes | None, Commit | None]:
    """Return the commit of a version; where only its content is known, the newest that has it."""
    commit_id = snapshot.commit_id
    if commit_id is None:
        from penstock.repo.history.log import find_published

        try:
            commit_id = find_published(snapshot.repository, snapshot.top_hash.hex()).commit
        except NotFoundError:
            return None, None
    return commit_id, snapshot.repository.commit(commit_id) if commit_id is not None else None


def _input(snapshot: Snapshot, path: str) -> str:
    """Return which input a file was made of; "" when it says nothing of that."""
    try:
        entry = Tree(snapshot.manifest.root, snapshot.load).resolve(split_path(path))[1]
    except NotFoundError:
        return ""
    return _text(_derived(snapshot.read_metadata(entry.metadata)).get("key"))


def _following(place: _Place, last: LineageStep, settings: Settings) -> tuple[_Place, LineageStep]:
    """Open what a step was made from."""
    said = last.said
    address, why = _text(said.get("address")), ""
    if address:
        # What a data set says is not trusted with the user's credentials: only what the user has given a name is asked.
        names = [name for name, remote in settings.remotes.items() if remote.url.rstrip("/") == address.rstrip("/")]
        place = _Place(address, names[0] if names else "")
        if not names:
            why = "it is in another bucket, which is none of your remotes; `penstock remote add` gives it a name"
    dataset, top_hash, commit = (_text(said.get(name)) for name in ("dataset", "top_hash", "commit"))
    folder, path = _text(said.get("path")), ""
    if last.path:  # of a sample, the same; of a transform, the input
        path = _text(said.get("input")) if last.operation == "transform" else last.path
    missing = LineageStep(
        dataset, place.address, path, top_hash, commit or None, None, None, None, missing="it does not say from what"
    )
    if why or not dataset or not (commit or top_hash):
        return place, replace(missing, missing=why) if why else missing
    for ref in filter(None, (commit, top_hash)):
        try:
            snapshot = open_snapshot(str(Handle(place.bucket, dataset, ref)), settings, cached=False)
        except (NotFoundError, IntegrityError, AccessError, StoreUnreachableError, UsageError) as error:
            why = error.reason
            continue
        try:
            return place, _step(snapshot, folder, path)
        finally:
            snapshot.close()
    return place, replace(missing, missing=why)


def _derived(metadata: bytes) -> dict[str, Any]:
    found = parse_metadata(metadata).get("derived_from")
    return found if isinstance(found, dict) else {}


def _text(found: Any) -> str:
    return found if isinstance(found, str) else ""


def _table(found: Any) -> dict[str, Any]:
    return found if isinstance(found, dict) else {}
