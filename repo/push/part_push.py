"""A directory pushed by many processes, each its part of it: on one parallel file system, by the tasks of a job array.

Which part a path belongs to, a hash of the path says: all walk the directory, each looks at its own files only, and
nobody has to talk to anybody. What a part has of the version is written as a part of a set that the run names
(`repo/parts`); `merge_parts` makes one version of all.

**Invariant:** a part that is made again, of the same files, is the same part. Until the merge nobody sees any of it.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial

from penstock.errors import UsageError
from penstock.manifest.entry import Extents, Kind, TreeEntry
from penstock.manifest.hashing import content_hash
from penstock.manifest.tree import Tree
from penstock.progress import Progress
from penstock.repo.bucket.leases import LeaseKind
from penstock.repo.parts.part_record import PartEntry, PartSet, Path
from penstock.repo.parts.part_writer import PartWriter
from penstock.repo.session.bucket_session import BucketSession
from penstock.repo.write.pack_queue import PackQueue
from penstock.repo.write.publish import Authorship
from penstock.repo.write.version_writer import VersionWriter
from penstock.store.local import LocalStore

from .directory_walk import EnterDirectory, LeaveDirectory, Skipped, refuse_inside, walk_directory
from .file_entries import FileEntries
from .file_reader import FilePiece, FileRead, read_ahead
from .local_attributes import NOTHING, KeptAttributes
from .local_tree import threads
from .older_state import OlderState

__all__ = ["MOST_PARTS", "PartOutcome", "Share", "check_run", "part_name", "push_part", "pushed_set"]

MOST_PARTS = 10_000
_LONGEST_RUN = 200


@dataclass(frozen=True, slots=True)
class Share:
    """Part `number` of `of`, from 1 on. UsageError: there is no such part."""

    number: int
    of: int

    def __post_init__(self) -> None:
        if not 1 <= self.of <= MOST_PARTS:
            raise UsageError(f"{self.of} parts", why=f"there are 1 to {MOST_PARTS}")
        if not 1 <= self.number <= self.of:
            raise UsageError(f"there is no part {self.number} of {self.of}", why="they are counted from 1 on")

    def has(self, path: Path) -> bool:
        """Whether a path of the version belongs to it."""
        return int.from_bytes(content_hash(b"/".join(path))[:8], "little") % self.of == self.number - 1


@dataclass(slots=True)
class PartOutcome:
    """What a part of a push did."""

    entries: int = 0
    files: int = 0
    bytes: int = 0
    bytes_uploaded: int = 0
    objects_uploaded: int = 0
    skipped: list[Skipped] = field(default_factory=list)
    risk: str = ""


def check_run(run: str) -> None:
    """Raise UsageError for what cannot name a run."""
    if not 0 < len(run.encode("utf-8", "surrogateescape")) <= _LONGEST_RUN or not run.isprintable():
        raise UsageError(
            "a run needs a name",
            why=f"by which its parts know each other: up to {_LONGEST_RUN} bytes that can be printed",
            fix='Name it after the job, such as --run "$SLURM_ARRAY_JOB_ID".',
        )


def pushed_set(dataset: str, run: str) -> PartSet:
    """Return the set that the parts of a run belong to."""
    return PartSet.of("push", dataset, run.encode("utf-8", "surrogateescape"))


def part_name(number: int) -> bytes:
    """Return what tells a part from the others of its set."""
    return b"%d" % number


def push_part(
    directory: str,
    session: BucketSession,
    dataset: str,
    run: str,
    share: Share,
    authorship: Authorship,
    progress: Progress,
    kept: KeptAttributes = NOTHING,
    *,
    branch: str,
) -> PartOutcome:
    """Send one part of a directory; what the branch has already is not sent. Errors as `push`."""
    check_run(run)
    if isinstance(session.store, LocalStore):
        refuse_inside(directory, session.store.path)
    repository = session.repository(dataset)
    kind = LeaseKind.PUSH
    with VersionWriter(session, repository, kind, authorship, branch=branch, progress=progress) as writer:
        writer.check_names()
        base = writer.base()
        writer.hold()
        skipped: list[Skipped] = []
        reading = progress.stage("reading")
        part = PartWriter(session.store, pushed_set(dataset, run), part_name(share.number), share.number, share.of)
        with ExitStack() as stack:
            # What only this machine knows is looked at: to read the whole tree of the branch is not a part's work.
            content = stack.enter_context(writer.content(base, enter=False))
            pool = stack.enter_context(ThreadPoolExecutor(threads(), "penstock-read"))
            walk = walk_directory(directory, skipped.append, kept, chosen=share.has)
            files = FileEntries(content, session.blocks.hash)
            older = OlderState(Tree(base.root, session.load) if base is not None else None)
            queue: PackQueue[FileRead | EnterDirectory] = PackQueue(content.data)
            for step in stack.enter_context(closing(read_ahead(walk, pool, content.foresee))):
                if isinstance(step, FilePiece):
                    files.take_piece(step, partial(older.find_path, step.file.names))
                    reading.advance(len(step.data))
                    continue
                if isinstance(step, LeaveDirectory) or (isinstance(step, EnterDirectory) and not share.has(step.names)):
                    continue
                if isinstance(step, FileRead):
                    reading.advance(len(step.data))
                    extents, _ = files.place(step, partial(older.find_path, step.file.names))
                    is_link = step.file.kind is Kind.SYMLINK
                    queue.put(step if is_link else step._replace(data=b""), extents)
                else:
                    queue.put(step)
                for item, places in queue.ready():
                    part.add(_part_entry(item, places))
            for item, places in queue.rest():
                part.add(_part_entry(item, places))
            content.finish_data()
            sent = content.sent[True]
            options = f"modes={kept.modes} xattrs={kept.xattrs}"
            writer.access.lease.check()
            record = part.finish(options=options, sent_objects=sent.objects, sent_bytes=sent.bytes)
        return PartOutcome(record.entries, record.files, record.size, sent.bytes, sent.objects, skipped, writer.risk)


def _part_entry(found: FileRead | EnterDirectory, places: Extents) -> PartEntry:
    if isinstance(found, EnterDirectory):
        entry = TreeEntry(found.names[-1], Kind.DIRECTORY, mtime_ns=found.mtime_ns, metadata=found.metadata)
        return PartEntry(found.names, entry)
    file = found.file
    target = found.data if file.kind is Kind.SYMLINK else b""
    entry = TreeEntry(
        file.names[-1], file.kind, found.size, found.hash, file.mtime_ns, file.metadata, target, tuple(places)
    )
    return PartEntry(file.names, entry, found.blocks)
