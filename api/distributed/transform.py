"""A function over the files of a version, on one machine or many: its outputs are one new version of a dataset.

    transform(package, fn, "bucket/small", client=client)       all of it

    with prepare(package, fn, "bucket/small") as run:           or step by step, on any engine
        receipts = [task() for task in run.tasks]
        report = run.finish(receipts)

Whoever prepares holds a lease until the block ends, so that `gc` takes nothing that a task has sent or found. What
tasks have done stays for a day after a run that was cut off, and the next one, of the same files and function, goes on
from there.

One thread; tasks run anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from types import TracebackType
from typing import Any, Self

from penstock.api.datasets.dataset_session import authorship
from penstock.api.files.function_hash import function_hash
from penstock.api.handles import DEFAULT_BRANCH, Handle, as_handle, dataset_alone, whole_version
from penstock.api.packages.package import Package
from penstock.api.settings import Settings
from penstock.errors import IntegrityError, UsageError
from penstock.manifest.metadata import canonical_json, parse_metadata
from penstock.manifest.records import Manifest
from penstock.progress import SILENT, Progress, Stage
from penstock.repo.bucket.leases import LeaseKind
from penstock.repo.parts.part_reader import StoredPart
from penstock.repo.session.bucket_session import BucketSession, open_session
from penstock.repo.settings.bucket_setup import BucketSetup
from penstock.repo.write.publish import stands_at
from penstock.repo.write.version_writer import VersionWriter

from .engines import run_here, run_tasks
from .lineage_metadata import DERIVED, libraries_of, plain, source_of
from .transform_job import By, TransformJob, call_plan, pack_job
from .transform_merge import FormerOutputs, merge_outputs
from .transform_plan import divide, input_changes
from .transform_task import TaskReceipt, TransformTask, find_task_part

__all__ = ["TransformReport", "TransformRun", "prepare", "transform"]

_KINDS: tuple[By, ...] = ("file", "record", "shard")


@dataclass(frozen=True, slots=True)
class TransformReport:
    """What a transform did. `changed` is False when there was nothing to do, and the branch stays where it was.

    `tasks` were there, `tasks_again` of them done already by a run before; `inputs` were given to the function now.
    `outputs` came, `removed` former ones went, with `entries` and `bytes` in the version then. Data of `bytes_uploaded`
    bytes in `objects_uploaded` objects went to the bucket. `merged_with` is a commit that others landed meanwhile.
    `risk`: empty, or why the bucket may lose versions.
    """

    handle: str
    tag: str | None
    top_hash: str
    commit: str
    changed: bool
    tasks: int
    tasks_again: int
    inputs: int
    outputs: int
    removed: int
    entries: int
    bytes: int
    bytes_uploaded: int
    objects_uploaded: int
    merged_with: str | None
    risk: str


class TransformRun:
    """One transform that is being done; made by `prepare`, and closed when its block ends.

    `tasks` are to be called, each at least once, anywhere; `finish` makes a version of what they did.
    """

    def __init__(self, job: TransformJob, lineage: Mapping[str, Any], writer: VersionWriter, opened: ExitStack) -> None:
        self.job = job
        self._planned: Sequence[TransformTask] = ()
        self._lineage = dict(lineage)
        self._writer = writer
        self._opened = opened
        self._base: Manifest | None = None
        self._former = FormerOutputs(None)

    def _divide(self, tasks: int | None) -> None:
        """Look at the source and at the version before, and divide what there is to do."""
        job, writer = self.job, self._writer
        snapshot = job.source._snapshot  # noqa: SLF001  # of one package, the face
        base = self._base = writer.base()
        found = input_changes(snapshot, base, writer.session, self._lineage, by=job.by, metadata=job.wants_metadata)
        planned = divide(snapshot, found.files, by=job.by, tasks=tasks)
        held: frozenset[bytes] = frozenset()
        if job.by == "shard" and base is not None:
            held = _held(job, base, writer.session)
        self._former = FormerOutputs(found.stale)
        self.job = replace(job, held=held, of=len(planned))
        self._planned = [
            TransformTask(b"", number, len(planned), each.files, each.bytes, each.runs)
            for number, each in enumerate(planned, 1)
        ]

    @cached_property
    def tasks(self) -> Sequence[TransformTask]:
        """What is to be called. UsageError: the function cannot be sent to other processes."""
        packed = pack_job(self.job)
        return [replace(task, job=packed) for task in self._planned]

    def run(self, client: Any, deadline: float, stage: Stage) -> list[TaskReceipt]:
        """Have all tasks run, here or on a client: see `transform`."""
        stage.total(len(self._planned))
        if client is None:  # without a copy of the job: the function may be one that cannot be sent anywhere
            return run_here(self._planned, self.job, stage)
        return run_tasks(self.tasks, client, deadline, stage)

    def finish(self, receipts: Iterable[TaskReceipt], progress: Progress = SILENT) -> TransformReport:
        """Make one version of what the tasks did, in whatever order, and however often.

        UsageError: a task has no receipt. IntegrityError: what one did is gone. ConflictError: two inputs have made one
        path, or an output would replace what is none; MergeConflictError: others changed the same meanwhile.
        """
        job, writer = self.job, self._writer
        known = {receipt.number: receipt for receipt in receipts}
        missing = [task.number for task in self._planned if task.number not in known]
        if missing:
            raise UsageError(
                f"{len(missing)} of {len(self._planned)} tasks were not done, the first is task {missing[0]}",
                why="there is no receipt of them",
                fix="Call each of `tasks`, and give what they return.",
            )
        parts, reused = [], []
        for task in self._planned:
            receipt = known[task.number]
            if receipt.held:
                reused.append(receipt.held.hex())
            else:
                parts.append(self._part(task, receipt))
        former = FormerOutputs(self._former.keys, frozenset(reused))
        merging = progress.stage("merging", total=sum(part.record.entries for part in parts), unit="items")
        base = self._base
        metadata = parse_metadata(writer.session.nodes.metadata(base.metadata)) if base is not None else {}
        metadata[DERIVED] = self._lineage
        merged = merge_outputs(writer, base, parts, former, canonical_json(metadata), merging)
        head = writer.head
        commit = stands_at(head).commit if head is not None else None
        landed = writer.land(commit, merged.manifest)
        writer.tag_version(landed.published)
        writer.session.store.delete([key for part in parts for key in part.keys])
        records = [part.record for part in parts]
        now = {receipt.number: receipt for receipt in known.values() if not receipt.again}
        return TransformReport(
            handle=f"{dataset_alone(job.target)}:{writer.branch}",
            tag=writer.tag,
            top_hash=landed.published.top_hash.hex(),
            commit=landed.published.known_commit.hex(),
            changed=landed.changed,
            tasks=len(self._planned),
            tasks_again=len(self._planned) - len(now),
            inputs=sum(receipt.inputs for receipt in now.values()),
            outputs=merged.outputs,
            removed=merged.removed,
            entries=landed.manifest.root.entries,
            bytes=landed.manifest.root.size,
            bytes_uploaded=merged.data.bytes + sum(each.sent_bytes for each in records),
            objects_uploaded=merged.data.objects + sum(each.sent_objects for each in records),
            merged_with=landed.merged_with.hex() if landed.merged_with is not None else None,
            risk=writer.risk,
        )

    def _part(self, task: TransformTask, receipt: TaskReceipt) -> StoredPart:
        part = find_task_part(self._writer.session, self.job, receipt.part, task.name)
        if part is None:
            raise IntegrityError(
                f"what {task.name} did is not in {self._writer.session.address}",
                why="it has a receipt, and its part or the data of it is gone",
                fix="Run the transform again: what is there still is not done a second time.",
            )
        return part

    def close(self) -> None:
        """Give the lease back. What tasks did and no version has is garbage a day later."""
        self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def prepare(
    package: Package | str,
    fn: Callable[..., Any],
    into: str | Handle,
    *,
    by: By = "file",
    parameters: Mapping[str, Any] | None = None,
    version: str | None = None,
    tasks: int | None = None,
    timeout: float | None = None,
    tag: str | None = None,
    message: str = "",
    author: str | None = None,
    settings: Settings | None = None,
    progress: Progress = SILENT,
) -> TransformRun:
    """Find out what there is to do, and divide it into tasks, for an engine of one's own. Arguments as `transform`.

    >>> import penstock.distributed
    >>> def upper(input_dir, output_dir):
    ...     [path] = input_dir.iterdir()
    ...     (output_dir / path.name).write_bytes(path.read_bytes().upper())
    ...     return {path.name: output_dir / path.name}
    >>> with penstock.distributed.prepare("demo/photos", upper, "demo/prepared") as run:
    ...     run.finish(task() for task in run.tasks).outputs
    3
    """
    if by not in _KINDS:
        raise UsageError(f"a function cannot be called by {by!r}", fix=f"Choose one of {', '.join(_KINDS)}.")
    if tasks is not None and tasks < 1:
        raise UsageError(f"{tasks} tasks", fix="Ask for one, or more.")
    given = dict(parameters or {})
    plan, promise = call_plan(fn, given, by)
    source = Package(package, settings) if isinstance(package, str) else package
    target = whole_version(as_handle(into))
    own = settings or source.settings
    digest = function_hash(fn, given, version)
    job = TransformJob(source, target, own, fn, plan, promise, given, by, digest, 0, timeout, frozenset())
    lineage = _lineage(job, version)
    who = authorship(author, message, "transform")
    assert target.dataset is not None
    with ExitStack() as opening:
        session = opening.enter_context(open_session(target.bucket, own))
        writer = opening.enter_context(
            VersionWriter(
                session,
                session.repository(target.dataset),
                LeaseKind.PUSH,
                who,
                branch=target.ref or DEFAULT_BRANCH,
                tag=tag,
                progress=progress,
            )
        )
        writer.check_names()
        writer.hold()
        run = TransformRun(job, lineage, writer, opening.pop_all())
    try:
        run._divide(tasks)  # noqa: SLF001  # its other half
    except BaseException:
        run.close()
        raise
    return run


def transform(
    package: Package | str,
    fn: Callable[..., Any],
    into: str | Handle,
    *,
    client: Any = None,
    by: By = "file",
    parameters: Mapping[str, Any] | None = None,
    version: str | None = None,
    tasks: int | None = None,
    timeout: float | None = None,
    deadline: float = 3600.0,
    tag: str | None = None,
    message: str = "",
    author: str | None = None,
    settings: Settings | None = None,
    progress: Progress = SILENT,
) -> TransformReport:
    """Call a function for the files of a version, and make what it writes the next version of ``bucket/dataset``.

    The function gets what it names of `input_dir`, a directory with the files, `output_dir`, an empty one, `key`,
    `metadata` and `parameters`, and returns ``{name: path}`` of files that it has written. It is called for each file;
    with ``by="record"`` for each group of files of one directory that are called alike up to the first dot; with
    ``by="shard"`` for each of `tasks` shares of all files, being given `number` and `of` as well. Outputs lie in the
    directory of their input, those of a shard at the top.

    `client` is where tasks run: a client of Dask, any executor of `concurrent.futures`; None: here, one after the
    other. How files are divided does not depend on it, nor does what comes of it. A task that takes more than
    `deadline` seconds on Dask is started on another worker as well, and what ends first counts; a call that takes more
    than `timeout` is killed, and fails.

    A second time only new and changed files are done, and outputs of removed ones go; a function that has changed, or
    another `version`, does all of them again. When a call fails nothing is published; what other tasks did is kept, and
    found by the next run.

    UsageError: the function fails, returns what it did not write, or names what there is not. ConflictError: two inputs
    have made one path, or an output would replace a file that is none. MergeConflictError: others have changed the
    same meanwhile. Any other of `penstock.errors`: nothing has happened then.

    >>> import penstock.distributed
    >>> def size(input_dir, output_dir, key):
    ...     [path] = input_dir.iterdir()
    ...     (output_dir / f"{path.name}.size").write_text(str(path.stat().st_size))
    ...     return {f"{path.name}.size": output_dir / f"{path.name}.size"}
    >>> made = penstock.distributed.transform("demo/photos", size, "demo/sizes")
    >>> made.inputs, [entry.key for entry in penstock.open("demo/sizes").glob("**/*.size")]
    (3, ['2024/cat.jpg.size', '2024/dog.jpg.size', 'labels.csv.size'])
    """
    if not deadline > 0:
        raise UsageError(f"a deadline of {deadline:g} s", fix="Give more than 0 seconds.")
    with prepare(
        package,
        fn,
        into,
        by=by,
        parameters=parameters,
        version=version,
        tasks=tasks,
        timeout=timeout,
        tag=tag,
        message=message,
        author=author,
        settings=settings,
        progress=progress,
    ) as run:
        return run.finish(run.run(client, deadline, progress.stage("tasks", unit="items")), progress)


def _lineage(job: TransformJob, version: str | None) -> dict[str, Any]:
    """Return what the version will say of where it comes from."""
    source, target = job.source.handle, job.target
    here, there = (BucketSetup.of(each.bucket, job.settings).address.rstrip("/") for each in (source, target))
    name = getattr(job.fn, "__qualname__", type(job.fn).__qualname__)
    function = {"name": name, "hash": job.function.hex(), "version": version}
    said = {
        "operation": "transform",
        "dataset": source.dataset,
        "address": here if here != there else None,
        "path": source.subdir or None,
        "top_hash": job.source.top_hash,
        "commit": job.source.commit,
        "by": job.by,
        "function": {key: value for key, value in function.items() if value is not None},
        "parameters": plain(job.parameters) or None,
        "libraries": libraries_of(job.fn),
    }
    return {key: value for key, value in said.items() if value is not None}


def _held(job: TransformJob, base: Manifest, session: BucketSession) -> frozenset[bytes]:
    """Return the inputs' hashes of the outputs that a version has of the same function."""
    from penstock.manifest.tree import Tree

    found = set()
    for _, entry in Tree(base.root, session.load).walk():
        source = source_of(entry.metadata)
        if source is not None and job.function.hex().encode() in bytes(entry.metadata):  # type: ignore[arg-type]  # of text
            found.add(bytes.fromhex(source[1]))
    return frozenset(found)
