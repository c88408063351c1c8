"""One version of all parts of a directory that many processes have pushed.

**Invariant:** nothing is published unless every part is there, whole, and all that it lies in, under the lease that the
version is published under. The version is the one that a single push of the directory would have made.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass

from msgspec import structs

from penstock.errors import ConflictError, IntegrityError, NotFoundError
from penstock.manifest.build import TreeBuilder, with_blocks
from penstock.manifest.entry import Kind, Metadata, NodeRef, display_path
from penstock.manifest.tree import Tree
from penstock.progress import Progress
from penstock.repo.parts.part_reader import StoredPart, find_part, merged_entries, missing_objects
from penstock.repo.parts.part_record import PartEntry, Path
from penstock.repo.write.landing import Landed
from penstock.repo.write.version_content import VersionContent
from penstock.repo.write.version_writer import VersionWriter
from penstock.store.base import Store

from .local_attributes import kept_metadata
from .older_state import OlderState
from .part_push import MOST_PARTS, check_run, part_name, pushed_set

__all__ = ["RUN", "PartsOutcome", "find_parts", "merge_parts"]

RUN = "run"
"""The member of a commit's environment that says which run its parts were of."""


@dataclass(frozen=True, slots=True)
class PartsOutcome:
    """What came of parts; `again`: they had been merged already, and nothing was done."""

    landed: Landed
    parts: int
    files: int
    bytes: int
    objects_sent: int
    bytes_sent: int
    nodes_sent: int
    node_bytes_sent: int
    again: bool = False


def merge_parts(writer: VersionWriter, run: str, progress: Progress, *, drop_metadata: bool = False) -> PartsOutcome:
    """Make what the parts of a run have the next version of the writer's branch, whose commit names the run.

    NotFoundError: a part is missing, and all that are missing are named. ConflictError: parts do not belong together,
    two have the same path, or the branch moved meanwhile. IntegrityError: a part is damaged, or its data is gone.
    The parts are removed when the version is there.
    """
    check_run(run)
    writer.check_names()
    repository, store = writer.repository, writer.repository.store
    writer.hold()
    base = writer.base()
    parts = find_parts(store, repository.dataset, run)
    if not parts and (done := _merged_before(writer, run)) is not None:
        writer.tag_version(done.published)
        return PartsOutcome(done, 0, 0, done.manifest.root.size, 0, 0, 0, 0, again=True)
    _check_all(parts, run)
    _check_objects(store, parts)
    merging = progress.stage("merging", total=sum(part.record.entries for part in parts), unit="items")
    is_kept = base is not None and not drop_metadata
    with writer.content(base, enter=False) as content:
        builder = TreeBuilder(content, base.root if base is not None else None, writer.session.load)
        tree = _Merging(builder, content, Tree(base.root, writer.session.load) if base is not None else None, is_kept)
        with closing(merged_entries(store, parts)) as entries:
            for part, found in entries:
                tree.put(found, part.name)
                merging.advance(1)
        metadata: Metadata = kept_metadata(base.metadata, b"", b"") if base is not None and is_kept else b""
        manifest = content.finish(tree.finish(), metadata)
    landed = writer.publish(manifest)
    writer.tag_version(landed.published)
    store.delete([key for part in parts for key in part.keys])
    records = [part.record for part in parts]
    return PartsOutcome(
        landed,
        len(parts),
        sum(each.files for each in records),
        sum(each.size for each in records),
        sum(each.sent_objects for each in records),
        sum(each.sent_bytes for each in records),
        content.sent[False].objects,
        content.sent[False].bytes,
    )


def find_parts(store: Store, dataset: str, run: str) -> list[StoredPart]:
    """Return the parts of a run that are in the bucket, by their numbers."""
    part_set = pushed_set(dataset, run)
    listed = {info.key for info in store.list(part_set.prefix)}
    found = []
    for number in range(1, MOST_PARTS + 1):
        name = part_name(number)
        if part_set.record_key(name) in listed:
            part = find_part(store, part_set, name, f"part {number} of run {run!r}")
            if part is not None:
                found.append(part)
    return found


def _merged_before(writer: VersionWriter, run: str) -> Landed | None:
    if writer.head is None or writer.head.record.commit is None:
        return None
    commit = writer.repository.commit(writer.head.record.commit)
    base = writer.base()
    if commit.environment.get(RUN) != run or base is None:
        return None
    return writer.publish(base)


def _check_all(parts: list[StoredPart], run: str) -> None:
    if not parts:
        raise NotFoundError(
            f"there are no parts of run {run!r}",
            fix=f"Push them: penstock push DIR D --part 1/N --run {run}, and so on to N/N.",
        )
    counts = sorted({part.record.of for part in parts})
    if len(counts) > 1:
        raise ConflictError(
            f"run {run!r} has parts of {' and of '.join(map(str, counts))}",
            why="a directory is divided in one way, else files would be missing or there twice",
            fix="Push all parts again, under a new name of the run.",
        )
    options = sorted({part.record.options for part in parts})
    if len(options) > 1:
        raise ConflictError(
            f"the parts of run {run!r} were pushed with different options",
            why="; ".join(options),
            fix="Push all parts again with the same, under a new name of the run.",
        )
    there = {part.record.number for part in parts}
    missing = [number for number in range(1, counts[0] + 1) if number not in there]
    if missing:
        shown = ", ".join(map(str, missing[:20])) + (" …" if len(missing) > 20 else "")
        raise NotFoundError(
            f"{len(missing)} of {counts[0]} parts of run {run!r} are missing: {shown}",
            why="nothing was published",
            fix="Push those, and merge again.",
        )


def _check_objects(store: Store, parts: list[StoredPart]) -> None:
    gone = missing_objects(store, parts)
    if gone:
        names = sorted(set(gone.values()))
        raise IntegrityError(
            f"data of {names[0]} is not in {store.url} any more"
            + (f", nor of {len(names) - 1} others" if len(names) > 1 else ""),
            why="what no version needs is deleted in time; nothing was published",
            fix="Push that part again: what is there still is not sent a second time.",
        )


class _Merging:
    """Builds the tree of entries that come in tree order, beside the tree that the branch has."""

    def __init__(self, builder: TreeBuilder, content: VersionContent, parent: Tree | None, is_kept: bool) -> None:
        self._builder = builder
        self._content = content
        self._older = OlderState(parent)
        self._is_kept = is_kept
        self._open: Path = ()
        self._file: Path | None = None

    def put(self, found: PartEntry, part: str) -> None:
        """Put the next entry at its path."""
        *above, name = found.path
        if self._file is not None and found.path[: len(self._file)] == self._file:
            raise ConflictError(
                f"{display_path(self._file)!r} is a file in one part, and a directory in {part}",
                why="the directory changed while its parts were pushed",
                fix="Push all parts again, under a new name of the run.",
            )
        while self._open != tuple(above[: len(self._open)]):
            self._leave()
        for folder in above[len(self._open) :]:  # whoever had it did not see it any more
            self._enter(folder, None, b"")
        entry = found.entry
        if entry.kind is Kind.DIRECTORY:
            self._enter(name, entry.mtime_ns, entry.metadata)
            self._file = None
            return
        before = self._older.find(name)
        if self._is_kept and before is not None and before.metadata and before.directory is None:
            metadata = kept_metadata(before.metadata, entry.metadata, b"/".join(found.path))
            entry = structs.replace(entry, metadata=metadata)
        if found.blocks:
            entry = with_blocks(entry, found.blocks, self._content.write)
        self._builder.add(entry)
        self._file = found.path

    def _enter(self, name: bytes, mtime_ns: int | None, metadata: Metadata) -> None:
        base = self._older.enter(name)
        if self._is_kept and self._older.metadata:
            metadata = kept_metadata(self._older.metadata, metadata, b"/".join((*self._open, name)))
        self._builder.enter(name, mtime_ns=mtime_ns, metadata=metadata, base=base)
        self._open = (*self._open, name)

    def _leave(self) -> None:
        self._builder.leave()
        self._older.leave()
        self._open = self._open[:-1]

    def finish(self) -> NodeRef:
        """Close what is open, and return the root."""
        while self._open:
            self._leave()
        return self._builder.finish()
