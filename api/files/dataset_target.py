"""Where the files of rows go that become one version of a dataset: ``ID/NAME``, small ones fused into packs.

What rows have finished waits in a directory of this disk, and is published together: at the end, or every so many rows
or minutes. A row's columns are the metadata of its files, and of the directory of its id, which also has what the row
was made of, so that a later run sees what is done. Others may move the branch meanwhile: what they did is merged with.

**Invariant:** rows are in a version whole, or not at all. Thread-safe; stays in its process.
"""

from __future__ import annotations

import os
import shutil
import stat
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import timedelta
from operator import attrgetter
from typing import Any, NamedTuple, NoReturn

from penstock.api.datasets.dataset_session import authorship
from penstock.api.handles import DEFAULT_BRANCH, Handle, handle_text
from penstock.api.settings import Settings
from penstock.errors import ConflictError, NotFoundError, UsageError
from penstock.manifest.entry import Kind, NodeRef, TreeEntry, split_path
from penstock.manifest.metadata import canonical_json, parse_metadata
from penstock.manifest.tree import Tree
from penstock.manifest.update import EMPTY_DIRECTORY, Edit
from penstock.progress import SILENT, Progress, Stage
from penstock.repo.bucket.leases import LeaseKind
from penstock.repo.push.directory_walk import LocalFile
from penstock.repo.push.edits import VersionEdit, apply_edits
from penstock.repo.refs.repository import dataset_of
from penstock.repo.session.bucket_session import open_session
from penstock.repo.write.publish import stands_at
from penstock.repo.write.version_writer import VersionWriter

from .file_transfer import FileTransfer, is_logged, log_transfer
from .output_files import OutputFile
from .row_marker import IdState, RowRecord, RunIdentity, SentFile

__all__ = ["CommitChoice", "DatasetTarget"]

_NOTE = "map_batch"
"""The member of a directory's metadata that says what its row was made of."""


@dataclass(frozen=True, slots=True)
class CommitChoice:
    """When finished rows are published, and as what: `every` so many of them, or so long; None: all at the end."""

    every: int | timedelta | None = None
    message: str = ""
    author: str | None = None

    def is_due(self, rows: int, seconds: float) -> bool:
        """Whether rows that have waited so long are to be published."""
        if isinstance(self.every, timedelta):
            return rows > 0 and seconds >= self.every.total_seconds()
        return self.every is not None and rows >= self.every


class _Row(NamedTuple):
    record: RowRecord
    files: dict[str, LocalFile]
    metadata: dict[str, Any]


class DatasetTarget:
    """Files in a dataset, on the branch that the handle names. `spool` is where they wait; None: they stay in place.

    Open until it is closed. Without a `spool` all of it is one version that comes at once: then one lease holds from
    the first look at the branch until that. Else each version has its own, and none is held while functions run.

    NotFoundError, AccessError, UsageError: the dataset cannot be written to.
    """

    def __init__(
        self,
        handle: Handle,
        settings: Settings,
        choice: CommitChoice,
        spool: str | None = None,
        progress: Progress = SILENT,
    ) -> None:
        assert handle.dataset is not None
        self._branch = handle.ref or DEFAULT_BRANCH
        self._handle = replace(handle, ref=self._branch)
        self._choice = choice
        self._spool = spool
        self._progress = progress
        self._below = split_path(handle.subdir)
        self._lock = threading.Lock()
        self._publishing = threading.Lock()
        self._taken: dict[str, dict[str, LocalFile]] = {}
        self._finished: list[_Row] = []
        self._since = time.monotonic()
        self._versions: dict[str, str] = {}  # of each row, the handle of the version that has it
        with ExitStack() as opening:
            self._session = opening.enter_context(open_session(handle.bucket, settings))
            look = opening if spool is None else opening.enter_context(ExitStack())
            writer = self._begin(look)  # now, and not when all is done, it is seen whether it may be written to
            self._held = writer if spool is None else None
            self._base = writer.base()
            self._commit = stands_at(writer.head).known_commit.hex() if writer.head is not None else ""
            self._tree = Tree(self._base.root if self._base is not None else EMPTY_DIRECTORY, self._session.load)
            self._folder = self._found_folder() if self._base is not None else None
            if look is not opening:
                look.close()
            self._opened = opening.pop_all()

    def close(self) -> None:
        """Give back what is held, and let go of connections."""
        self._opened.close()

    def _begin(self, stack: ExitStack) -> VersionWriter:
        """Look where the branch stands, under a lease: what that leads to stays there."""
        who = authorship(self._choice.author, self._choice.message or "files of rows", "push")
        repository = self._session.repository(dataset_of(self._handle))
        writer = stack.enter_context(
            VersionWriter(self._session, repository, LeaseKind.PUSH, who, branch=self._branch, progress=self._progress)
        )
        writer.hold()
        writer.check_names()
        return writer

    def _found_folder(self) -> NodeRef | None:
        """Return the directory that rows lie in, as the version had it."""
        try:
            return self._tree.resolve(self._below)[1].directory
        except NotFoundError:
            return None

    def __reduce__(self) -> NoReturn:
        raise TypeError("files for a dataset are published by one process")

    def _path(self, row_id: str) -> str:
        return f"{self._handle.subdir}/{row_id}".lstrip("/")

    def states(self, ids: Sequence[str]) -> Mapping[str, IdState]:
        """See `UploadTarget.states`. What the version has; nothing is listed."""
        states: dict[str, IdState] = {}
        for row_id in ids if self._folder is not None else ():
            note = self._note(row_id)
            if note is not None:
                record = _record(row_id, note)
                states[row_id] = IdState(done=record.mark) if record is not None else IdState(is_foreign=True)
        return states

    def _note(self, row_id: str) -> Any:
        """Return what the version notes of a row: None: it does not have it, False: something else has its name."""
        found = self._tree.find(self._folder, row_id.encode()) if self._folder is not None else None
        if found is None:
            return None
        return parse_metadata(self._session.nodes.metadata(found[0].metadata)).get(_NOTE, False)

    def claim(self, row_id: str, state: IdState, who: RunIdentity, *, take_over: bool = False) -> None:  # noqa: ARG002
        """See `UploadTarget.claim`: who of two is the first shows when a version is published."""
        if state.is_foreign:
            raise ConflictError(
                f"the id {row_id!r} is in use",
                why=f"{self._handle} has it, and nothing is noted of what it was made of",
                fix="Choose another id, or another folder or dataset.",
            )

    def record(self, row_id: str, state: IdState) -> RowRecord:  # noqa: ARG002
        """See `UploadTarget.record`."""
        record = _record(row_id, self._note(row_id))
        assert record is not None
        with self._lock:
            self._versions[row_id] = handle_text(self._handle, self._commit)
        return record

    def send(
        self,
        row_id: str,
        files: Sequence[OutputFile],
        row: int | None,
        stage: Stage,
        pool: Executor | None,  # noqa: ARG002
    ) -> dict[str, SentFile]:
        """See `UploadTarget.send`. They are linked, not copied, to where they wait."""
        taken: dict[str, LocalFile] = {}
        folder = (*self._below, row_id.encode())
        for file in files:
            path = file.path if self._spool is None else self._keep(self._spool, row_id, file)
            kind = Kind.EXECUTABLE if file.status.st_mode & stat.S_IXUSR else Kind.FILE
            names = (*folder, *file.name.encode().split(b"/"))
            taken[file.name] = LocalFile(names, os.fsencode(path), kind, file.size, file.status.st_mtime_ns)
        if is_logged():
            target = str(replace(self._handle, subdir=self._path(row_id)))
            for file in files:
                log_transfer(FileTransfer("upload", file.name, file.path, f"{target}/{file.name}", file.size, row))
        stage.advance(sum(file.size for file in files))
        with self._lock:
            self._taken[row_id] = taken
        return {file.name: SentFile(file.name, file.size) for file in files}

    @staticmethod
    def _keep(spool: str, row_id: str, file: OutputFile) -> str:
        """Give a file a name where it waits; return that."""
        path = os.path.join(spool, row_id, file.name)
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        with file.opened() as descriptor:
            _link(descriptor, path)
        return path

    def finish(self, record: RowRecord, before: RowRecord | None, metadata: Mapping[str, Any]) -> None:  # noqa: ARG002
        """See `UploadTarget.finish`."""
        with self._lock:
            row = _Row(record, self._taken.pop(record.id), {name: _plain(value) for name, value in metadata.items()})
            canonical_json(row.metadata)  # raises for this row what would be raised for all
            self._finished.append(row)
            is_due = self._choice.is_due(len(self._finished), time.monotonic() - self._since)
        if is_due:
            self.flush()

    def flush(self) -> None:
        """See `UploadTarget.flush`: publish what is finished. ConflictError: somebody else made files of its ids."""
        with self._publishing:
            with self._lock:
                rows, self._finished = sorted(self._finished, key=lambda row: row.record.id.encode()), []
                self._since = time.monotonic()
            if not rows:
                return
            try:
                version = handle_text(self._handle, self._publish(rows))
            except BaseException:
                with self._lock:
                    self._finished += rows
                raise
            with self._lock:
                self._versions |= {row.record.id: version for row in rows}
            for row in rows if self._spool is not None else ():
                for file in row.files.values():
                    os.unlink(file.path)

    def _publish(self, rows: list[_Row]) -> str:
        with ExitStack() as stack:
            writer, base = self._held, self._base
            if writer is None:
                writer = self._begin(stack)
                base = writer.base()
            commit = stands_at(writer.head).commit if writer.head is not None else None
            metadata = base.metadata if base is not None else b""
            made = apply_edits(writer, base, self._edits(rows), metadata, self._progress)
            try:
                landed = writer.publish(made.manifest)
            except ConflictError:  # the branch has moved since it was looked at
                landed = writer.land(commit, made.manifest)
            return landed.published.known_commit.hex()

    def _edits(self, rows: list[_Row]) -> Iterator[VersionEdit]:
        for row in rows:
            record = row.record
            folder = (*self._below, record.id.encode())
            note: dict[str, Any] = {
                "function": record.function,
                "key": record.key,
                "inputs": record.inputs,
                # Of an upload nobody asks again what it was: names of ten thousands of files would not fit.
                "outputs": {name: sent.size for name, sent in record.outputs.items()} if record.key else {},
            }
            metadata = canonical_json({**row.metadata, _NOTE: note})
            entry = TreeEntry(folder[-1], Kind.DIRECTORY, metadata=metadata, directory=EMPTY_DIRECTORY)
            yield Edit(folder, entry)
            own = canonical_json(row.metadata)
            for file in sorted(row.files.values(), key=attrgetter("names")):
                yield replace(file, metadata=own) if own else file

    def url(self, row_id: str, name: str) -> str:
        """See `UploadTarget.url`: a handle of the very version."""
        return f"{self._versions[row_id]}/{self._path(row_id)}/{name}"


def _link(descriptor: int, path: str) -> None:
    """Give an open file another name, or where that is not possible copy it."""
    source = f"/proc/self/fd/{descriptor}"
    try:
        # With a directory's descriptor, which an absolute path does not use, linkat(2) is told to follow the link.
        os.link(source, path, src_dir_fd=descriptor, follow_symlinks=True)
    except OSError:
        shutil.copyfile(source, path)


def _record(row_id: str, note: Any) -> RowRecord | None:
    """Return what a directory's metadata says of its row; None: it says nothing of the kind."""
    if not isinstance(note, dict) or not isinstance(note.get("outputs"), dict):
        return None
    function, key = note.get("function"), note.get("key")
    if not isinstance(function, str) or not isinstance(key, str):
        return None
    outputs = {str(name): SentFile(str(name), size) for name, size in note["outputs"].items() if isinstance(size, int)}
    return RowRecord(row_id, outputs, function, key)


def _plain(value: Any) -> Any:
    """Return a value of a column as JSON has it."""
    if value is None or isinstance(value, str | int | float | bool | list | dict):
        return value
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def check_choice(every: object) -> None:
    """Raise UsageError unless it says when to publish."""
    good = every is None or (isinstance(every, int) and not isinstance(every, bool) and every > 0)
    if not (good or (isinstance(every, timedelta) and every > timedelta(0))):
        raise UsageError(f"commit_every={every!r} is no number of rows and no time", fix="Give 1000, or a timedelta.")
