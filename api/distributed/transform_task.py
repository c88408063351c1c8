"""One task of a transform: read its files, call the function for each input, send what comes of it, write the part.

A task is a value that any process can run, any number of times: what it makes is named by its hash, and its part by its
inputs. One that finds its part in the bucket, whole, has nothing to do.

**Invariant:** whoever runs tasks holds the lease of the transform (`transform.TransformRun`) meanwhile, so that what
is there when a task looks is there when the version is published.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace

from penstock.api.files.function_run import run_function
from penstock.api.files.output_files import returned_files
from penstock.api.files.work_directory import WorkDirectory, remove_tree
from penstock.api.packages.package import Package, pinned_package
from penstock.api.per_process import PerProcess
from penstock.api.settings import Settings
from penstock.errors import PenstockError, UsageError
from penstock.repo.local_copy.local_directory import local_error
from penstock.repo.parts.part_reader import StoredPart, find_part, missing_objects
from penstock.repo.parts.part_writer import PartWriter
from penstock.repo.read.many_files import read_files
from penstock.repo.read.shard_files import shard_entries
from penstock.repo.read.snapshot import Snapshot
from penstock.repo.session.bucket_session import BucketSession, open_session

from .lineage_metadata import file_lineage
from .task_inputs import TaskInput, inputs_hash, task_inputs
from .task_outputs import TaskOutputs
from .transform_job import TransformJob, unpack_job

__all__ = ["TaskReceipt", "TransformTask", "find_task_part"]


@dataclass(frozen=True, slots=True)
class TaskReceipt:
    """What a task has done: `part` is what its part is called. `again`: the part was there already.

    Of a shard that the version has the outputs of, `held` is the hash that those say, and there is no part.
    """

    number: int
    part: bytes
    inputs: int
    outputs: int
    again: bool
    host: str
    held: bytes = b""


@dataclass(frozen=True, slots=True)
class TransformTask:
    """Task `number`, counted from 1, of `of`: to be called, anywhere. `files` of the source, with `bytes` bytes."""

    job: bytes
    number: int
    of: int
    files: int
    bytes: int
    runs: tuple[tuple[int, int], ...]

    def __call__(self) -> TaskReceipt:
        """Do it. Any of `penstock.errors`: UsageError, too, when the function fails, with its traceback as a note."""
        return run_task(self, unpack_job(self.job))

    @property
    def name(self) -> str:
        """What it is told as."""
        return f"task {self.number} of {self.of}"


_sessions: dict[tuple[str, str], PerProcess[BucketSession]] = {}
_sources: dict[tuple[str, str, bytes], Package] = {}


def run_task(task: TransformTask, job: TransformJob) -> TaskReceipt:
    """Run a task of a job."""
    settings = _own_settings(job.settings)
    session = _session(job.target.bucket, settings)
    snapshot = _source(job.source, settings)._snapshot  # noqa: SLF001  # of one package, the face
    shard = (task.number, task.of) if job.by == "shard" else None
    inputs = list(task_inputs(shard_entries(snapshot, task.runs), job.by, task.number))
    digests = [each.digest(snapshot, metadata=job.wants_metadata, shard=shard) for each in inputs]
    part = inputs_hash(inputs, digests)
    if shard is not None and digests[0] in job.held:
        return TaskReceipt(task.number, b"", 0, 0, True, socket.gethostname(), digests[0])
    found = find_task_part(session, job, part, task.name)
    if found is not None:
        return TaskReceipt(task.number, part, 0, found.record.entries, True, socket.gethostname())
    with TaskOutputs(session) as outputs:
        contents = read_files(snapshot, (entry for each in inputs for _, entry in each.files))
        with closing(contents), WorkDirectory() as directory:
            for each, digest in zip(inputs, digests, strict=True):
                _call(job, task, each, digest, snapshot, contents, directory.path, outputs)
        writer = PartWriter(session.store, job.part_set, part, task.number, task.of)
        entries = outputs.entries()
        for entry in entries:
            writer.add(entry)
        objects, size = outputs.sent
        writer.finish(inputs=len(inputs), sent_objects=objects, sent_bytes=size)
    return TaskReceipt(task.number, part, len(inputs), len(entries), False, socket.gethostname())


def find_task_part(session: BucketSession, job: TransformJob, part: bytes, name: str) -> StoredPart | None:
    """Return a task's part, if all of it is there: of a run that was cut off, data may be gone."""
    found = find_part(session.store, job.part_set, part, name)
    return found if found is not None and not missing_objects(session.store, (found,)) else None


def _call(
    job: TransformJob,
    task: TransformTask,
    given: TaskInput,
    digest: bytes,
    snapshot: Snapshot,
    contents: Iterator[bytes],
    directory: str,
    outputs: TaskOutputs,
) -> None:
    input_dir, output_dir = os.path.join(directory, "input"), os.path.join(directory, "output")
    try:
        os.mkdir(input_dir)
        os.mkdir(output_dir)
        given.write(input_dir, contents)
    except OSError as error:
        raise local_error(error, f"{given.key} cannot be put into a directory") from error
    values = {"input_dir": _path(input_dir), "output_dir": _path(output_dir), "key": given.key, **job.parameters}
    if job.wants_metadata:
        values["metadata"] = given.metadata(snapshot, job.by)
    if job.by == "shard":
        values |= {"number": task.number, "of": task.of}
    outcome = run_function(job.fn, job.plan, job.promise, values, job.timeout)
    if outcome.failure is not None:
        raise _failed(given.key, outcome.failure, outcome.trace)
    mtimes = [entry.mtime_ns for _, entry in given.files if entry.mtime_ns is not None]
    metadata = file_lineage(given.key, digest, job.function)
    try:
        with returned_files(outcome.outputs, output_dir) as files:
            for file in sorted(files, key=lambda each: each.name):
                # Nothing of an output tells when it was made: that would make another pack each time.
                mtime = max(mtimes, default=None)
                with file.opened() as descriptor:
                    outputs.add(given.folder, file.name, descriptor, mtime, metadata, given.key)
    except PenstockError as error:
        raise type(error)(f"{given.key}: {error.what}", why=error.why, fix=error.fix) from error
    remove_tree(input_dir)
    remove_tree(output_dir)


def _failed(key: str, failure: str, trace: str) -> UsageError:
    error = UsageError(
        f"{key}: {failure}",
        why="nothing was published; what other tasks have done is kept for the next run",
        fix="Mend the function, or the input, and run it again.",
    )
    if trace:
        error.add_note(trace)
    return error


def _path(directory: str) -> os.PathLike[str]:
    from pathlib import Path

    return Path(directory)


def _own_settings(settings: Settings) -> Settings:
    """Return the caller's settings, with the block cache of this machine."""
    own = Settings.load()
    return replace(settings, cache_directory=own.cache_directory, cache_size=own.cache_size)


def _session(bucket: str, settings: Settings) -> BucketSession:
    key = (bucket, repr(settings))
    found = _sessions.get(key)
    if found is None:
        found = _sessions.setdefault(key, PerProcess(lambda: open_session(bucket, settings)))
    return found.get()


def _source(package: Package, settings: Settings) -> Package:
    pin = package._pin  # noqa: SLF001  # of one package, the face
    key = (str(package.handle), repr(settings), pin.version.top_hash)
    found = _sources.get(key)
    if found is None:
        found = _sources.setdefault(key, pinned_package(package.handle, settings, pin))
    return found
