"""Files of object storage for code that works with directories: fetched, and sent back, in steps that one sees.

    file_dataset = FileDataset()
    with file_dataset.downloader({"image.mha": "s3://bucket/image.mha"}).into_temp_dir() as directory:
        outputs = resample(input_dir=directory, output_dir=directory)
        file_dataset.upload_files(outputs, into_path="s3://bucket/resampled/")

    file_dataset.map_batch(frame, fn=resample, upload_options={"into_path": "s3://bucket/resampled/"})

What functions make of files never depends on this: they are given directories, and return paths.
"""

from __future__ import annotations

import os
import pickle
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, TypedDict, overload

from penstock.api.handles import Handle
from penstock.api.settings import Settings
from penstock.errors import ConflictError, PenstockError, UsageError
from penstock.progress import SILENT, Progress
from penstock.repo.local_copy.local_directory import LocalDirectory
from penstock.store.credentials import Credentials
from penstock.store.options import StoreOptions

from .batch_plan import BatchTable, StaleChoice, ask_about_stale, result_columns
from .batch_row import RowOutcome, RowWork
from .batch_run import executor_of, is_of_this_machine, run_rows
from .dataset_target import CommitChoice, DatasetTarget, check_choice
from .fetch import fetch_into, fetch_private, prefixed
from .file_address import FileAddress, UploadPlace, parse_file_address, parse_upload_place
from .file_names import check_named_files, check_row_id
from .file_sources import FileSources
from .file_transfer import FileTransfer, log_transfer
from .function_call import promise_of
from .function_hash import function_hash
from .output_files import given_files
from .row_marker import NOTHING_NOTED, RowRecord, RunIdentity
from .row_table import read_table
from .upload_target import ObjectTarget
from .work_directory import WorkDirectory

__all__ = ["Downloader", "FileDataset", "FileTransfer", "UploadOptions"]

_TRANSFERS = 16
_AHEAD = 4


class UploadOptions(TypedDict, total=False):
    """Where `FileDataset.map_batch` sends what a function makes.

    `into_path` as `FileDataset.upload_files` has it; `id` is the column with the ids of rows. For a dataset:
    `commit_every` so many rows, or a timedelta, publishes what is finished by then, where all else is published at the
    end; `message` and `author` are the versions'.
    """

    into_path: str | os.PathLike[str]
    id: str
    commit_every: int | timedelta
    message: str
    author: str


class FileDataset:
    """Fetches files and sends files. Thread-safe; can be pickled.

    `credentials`: frozen ones of boto3, a session of boto3, or None: found as boto3 finds them, unless a remote of the
    settings says how an address is reached. `endpoint_url`, `region` and `profile` are for S3 as well. `transfers`:
    files that are fetched or sent at the same time. `deadline`: seconds after which a request is given up.

    UsageError: these are no credentials, or they do not go together.

    >>> import penstock
    >>> files = penstock.FileDataset()
    >>> with files.downloader({"cat.jpg": "demo/photos:v1/2024/cat.jpg"}).into_temp_dir() as directory:
    ...     (directory / "cat.jpg").read_bytes()
    b'cat'
    >>> files.upload_files({"labels.csv": "./photos/labels.csv"}, "./labels", id=1)
    {'labels.csv': PosixPath('labels/1/labels.csv')}
    """

    def __init__(
        self,
        credentials: Any = None,
        *,
        endpoint_url: str | None = None,
        region: str | None = None,
        profile: str | None = None,
        transfers: int = _TRANSFERS,
        deadline: float = 60.0,
        settings: Settings | None = None,
    ) -> None:
        if not isinstance(transfers, int) or transfers < 1:
            raise UsageError(f"transfers={transfers!r} is no number of them", fix="Give a number from 1 on.")
        options = StoreOptions(endpoint_url=endpoint_url, region=region, profile=profile, deadline=deadline)
        self._sources = FileSources(_with_credentials(options, credentials), settings or Settings.load())
        self._transfers = transfers

    def __reduce__(self) -> tuple[object, ...]:
        return _unpickled, (self._sources, self._transfers)

    def close(self) -> None:
        """Let go of connections. Whoever goes on using it opens them again."""
        self._sources.close()

    def downloader(self, files: Mapping[str, str | os.PathLike[str]]) -> Downloader:
        """Return what fetches files, by the names that they are to have in a directory; names may have folders.

        An address is ``s3://bucket/key[?versionId=ID]``, a path or ``file://`` of this machine, a handle
        ``bucket/dataset[:ref]/path`` (by way of the block cache), or a URL that fsspec knows. Text without a scheme is
        a handle, unless it begins with ``/``, ``./`` or ``../``.

        UsageError: a name leads out of the directory, two of them clash, or an address is none.
        """
        check_named_files(files)
        found: dict[str, FileAddress] = {}
        for name, given in files.items():
            with prefixed(name):
                found[name] = parse_file_address(given)
        return Downloader(self._sources, found, self._transfers)

    @overload
    def upload_files(
        self,
        outputs: Mapping[str, str | os.PathLike[str]],
        into_path: str | os.PathLike[str],
        id: str | int | None = None,
        *,
        dry_run: Literal[False] = False,
        take_over: bool = False,
        message: str = "",
        progress: Progress = SILENT,
    ) -> dict[str, str | Path]: ...
    @overload
    def upload_files(
        self,
        outputs: Mapping[str, str | os.PathLike[str]],
        into_path: str | os.PathLike[str],
        id: str | int | None = None,
        *,
        dry_run: Literal[True],
        take_over: bool = False,
        message: str = "",
        progress: Progress = SILENT,
    ) -> list[FileTransfer]: ...
    def upload_files(
        self,
        outputs: Mapping[str, str | os.PathLike[str]],
        into_path: str | os.PathLike[str],
        id: str | int | None = None,  # noqa: A002  # what it is
        *,
        dry_run: bool = False,
        take_over: bool = False,
        message: str = "",
        progress: Progress = SILENT,
    ) -> dict[str, str | Path] | list[FileTransfer]:
        """Send files to ``into_path/ID/NAME``, and return where each is: URLs, or of a local directory paths.

        `into_path` is ``s3://bucket[/prefix]``, a directory, a URL that fsspec writes to, or a handle
        ``bucket/dataset[:branch][/path]``: then they become one version, small ones fused into packs. Without an `id`
        there is a new one that nobody has. Of two who send files with one id, one is refused; where a process was
        killed at it, the next goes on. `dry_run`: what would be sent is returned, and nothing is.

        ConflictError: the id is in use, or a file is still being written (`take_over`: whoever has the id is gone).
        NotFoundError: a file is not there. UsageError: an id with a slash, names as with `downloader`. Nothing is left
        there then.
        """
        row_id = check_row_id(id) if id is not None else str(uuid.uuid4())
        place = parse_upload_place(into_path)
        if place.handle is not None and not dry_run:
            return self._upload_version(place, place.handle, row_id, outputs, message, progress)
        files = given_files(outputs)
        if dry_run:
            planned = [
                FileTransfer("upload", file.name, file.path, _joined(place, row_id, file.name), file.size)
                for file in files
            ]
            return [log_transfer(each, dry_run=True) for each in planned]
        stage = progress.stage("uploading", total=sum(file.size for file in files))
        return self._upload(ObjectTarget(place, self._sources), row_id, files, stage, id is None, take_over)

    def _upload_version(
        self,
        place: UploadPlace,
        handle: Handle,
        row_id: str,
        outputs: Mapping[str, str | os.PathLike[str]],
        message: str,
        progress: Progress,
    ) -> dict[str, str | Path]:
        """Make one version of files. While these are looked at, the branch is."""
        with ThreadPoolExecutor(1, "penstock-open") as pool, ExitStack() as stack:
            choice = CommitChoice(message=message)
            opening = pool.submit(DatasetTarget, handle, self._sources.settings, choice, None, progress)
            stack.callback(_close_opened, opening)
            files = given_files(outputs, is_look=True)
            dataset = opening.result()
            state = dataset.states([row_id]).get(row_id, NOTHING_NOTED)
            if state.done is not None:
                raise _in_use(row_id, place)
            who = RunIdentity.mine()
            dataset.claim(row_id, state, who)
            stage = progress.stage("uploading", total=sum(file.size for file in files))
            dataset.finish(RowRecord(row_id, dataset.send(row_id, files, None, stage, None)), None, {})
            dataset.flush()
            who.end()
            return {file.name: dataset.url(row_id, file.name) for file in files}

    def _upload(
        self, target: ObjectTarget, row_id: str, files: Any, stage: Any, is_new: bool, take_over: bool
    ) -> dict[str, str | Path]:
        state = NOTHING_NOTED if is_new else target.states([row_id]).get(row_id, NOTHING_NOTED)
        if state.done is not None:
            raise _in_use(row_id, target.place)
        who = RunIdentity.mine()
        try:
            target.claim(row_id, state, who, take_over=take_over)
            try:
                with ThreadPoolExecutor(self._transfers, "penstock-files") as pool:
                    sent = target.send(row_id, files, None, stage, pool)
                target.finish(RowRecord(row_id, sent), None, {})
            except BaseException:
                target.withdraw(row_id, [file.name for file in files])
                raise
        finally:
            who.end()
        is_path = target.place.local is not None and not target.place.url.startswith("file:")
        return {name: Path(each.url) if is_path else each.url for name, each in sent.items()}

    def map_batch(
        self,
        dataframe: Any,
        fn: Callable[..., Any],
        upload_options: UploadOptions | Mapping[str, Any],
        *,
        executor: Any = None,
        files: Sequence[str] | None = None,
        parameters: Mapping[str, Any] | None = None,
        version: str | None = None,
        stale: StaleChoice = "ask",
        timeout: float | None = None,
        on_error: Literal["column", "raise"] = "column",
        take_over: bool = False,
        ahead: int = _AHEAD,
        dry_run: bool = False,
        progress: Progress = SILENT,
    ) -> Any:
        """Call a function for each row of a data frame with the row's files in a directory, and send what it makes.

        `dataframe` is of pandas or polars. Columns of files are those whose every value is a URL or a Path, or those
        that `files` names; in the directory, a file has the name of its column. `fn` is given what its parameters name
        of ``input_dir``, ``output_dir``, ``id`` and the other columns; one that takes a single argument of another name
        gets one directory for both. It returns a dictionary: name, and the path of a file in ``output_dir``. Those go
        to ``into_path/ID/NAME``.

        Rows are called in order, in this thread, or by `executor`: of `concurrent.futures`, a Dask client, or any with
        ``submit``. The files of the next rows are fetched meanwhile (`ahead` of them), and those of the last ones sent.
        Returned is the frame with ids, URLs of the outputs (``output.NAME`` where a column has that name), and a column
        ``error``: empty, or what went wrong with the row, with the traceback. `on_error` "raise" stops at the first.

        A row that is done is not run again, until its files, the columns that `fn` names, or `fn` change: that is seen
        by a hash of its code, of `parameters`, and of `version`, which stands for the code if it is given. Rows made by
        another function: `stale` says whether they are made anew ("run"), kept ("keep"), or it is asked ("ask"; without
        a terminal a ConflictError). With `timeout`, in seconds, each call runs in a process of its own, wherever
        `executor` has it run, and is killed at the end of it; without, a call that hangs cannot be ended.

        `dry_run`: nothing is run, and the transfers that would be are returned as a list.

        UsageError: columns, function or options cannot be used so. What is wrong with a row alone is in ``error``.
        """
        options = _checked_options(upload_options)
        if not callable(fn):
            raise UsageError(f"a {type(fn).__name__} is no function", fix="Give one that takes directories.")
        if timeout is not None and not (isinstance(timeout, int | float) and timeout > 0):
            raise UsageError(f"timeout={timeout!r} is no time", fix="Give seconds, or None.")
        if not isinstance(ahead, int):
            raise UsageError(f"ahead={ahead!r} is no number of rows", fix="Give 1, or more.")
        if on_error not in ("column", "raise"):
            raise UsageError(f"on_error={on_error!r} is no choice", fix='Choose "column" or "raise".')
        batch = BatchTable.read(read_table(dataframe), files, options.get("id"))
        plan = batch.plan(fn)
        place = parse_upload_place(options["into_path"])
        chosen = executor_of(executor)
        if place.handle is not None and not is_of_this_machine(chosen):
            raise UsageError(
                "workers elsewhere cannot send rows to a dataset",
                why="its version is published by this process, from files of this machine",
                fix="Send them to s3://; penstock.distributed.transform makes a dataset on many machines.",
            )
        if isinstance(chosen, ProcessPoolExecutor):
            _check_picklable(fn)
        function = function_hash(fn, parameters, version).hex()
        run = RunIdentity.mine()
        try:
            with WorkDirectory() as work, ExitStack() as opened:
                target: ObjectTarget | DatasetTarget
                if place.handle is not None:
                    choice = CommitChoice(
                        options.get("commit_every"), options.get("message", ""), options.get("author")
                    )
                    spool = os.path.join(work.path, "finished")
                    os.mkdir(spool, 0o700)
                    target = DatasetTarget(place.handle, self._sources.settings, choice, spool, progress)
                    opened.callback(target.close)
                else:
                    target = ObjectTarget(place, self._sources)
                batch = batch.with_states(target.states(batch.ids))
                keeps = ask_about_stale(batch.rows, function, stale)
                is_sole = "output_dir" not in plan.names and not plan.takes_all
                todo = RowWork(
                    self._sources, target, fn, plan, promise_of(fn), function, run, timeout, take_over, is_sole, keeps
                )
                if dry_run:
                    return _planned(todo, batch, place)
                stages = (progress.stage("downloading"), progress.stage("uploading"))
                todo = replace(todo, stages=stages)
                rows = progress.stage("rows", total=len(batch.rows), unit="items")
                outcomes: list[RowOutcome] = []
                try:
                    found = run_rows(
                        todo, batch.rows, chosen, work.path, ahead=max(1, ahead), transfers=self._transfers
                    )
                    with closing(found):  # type: ignore[type-var]  # a generator
                        for outcome in found:
                            outcomes.append(outcome)
                            rows.advance(1)
                            if outcome.error is not None and on_error == "raise":
                                raise _as_error(outcome.error)
                finally:
                    target.flush()
                return batch.table.with_columns(result_columns(batch, outcomes, target.url))
        finally:
            run.end()


@dataclass(frozen=True, slots=True)
class Downloader:
    """Files that are to be fetched. Made by `FileDataset.downloader`."""

    _sources: FileSources
    _files: Mapping[str, FileAddress]
    _transfers: int

    @contextmanager
    def into_temp_dir(self, *, progress: Progress = SILENT) -> Iterator[Path]:
        """Fetch them into a new directory, its owner's alone, which is gone when the block ends, or the process.

        NotFoundError, AccessError, StoreUnreachableError, IntegrityError: one cannot be fetched; it is named. A file
        that is still being written is a ConflictError.
        """
        with WorkDirectory() as work:
            with self._pools() as (pool, parts):
                stage = progress.stage("downloading")
                fetch_private(self._sources, self._files, work.path, stage, pool, parts)
            yield Path(work.path)

    @overload
    def into(
        self, directory: str | os.PathLike[str], *, dry_run: Literal[False] = False, progress: Progress = SILENT
    ) -> dict[str, Path]: ...
    @overload
    def into(
        self, directory: str | os.PathLike[str], *, dry_run: Literal[True], progress: Progress = SILENT
    ) -> list[FileTransfer]: ...
    def into(
        self, directory: str | os.PathLike[str], *, dry_run: bool = False, progress: Progress = SILENT
    ) -> dict[str, Path] | list[FileTransfer]:
        """Fetch them into a directory, which is made if it is not there, and return their paths by name.

        Files of these names are replaced; no link in the directory is followed, and a name appears when its file is
        whole. When one cannot be fetched, none of them does. `dry_run`: what would be fetched is returned, and nothing
        is. Errors as `into_temp_dir`.
        """
        if not isinstance(directory, str | os.PathLike):
            raise UsageError(f"{directory!r} is no directory", fix="Name the one that files are to be in.")
        path = os.path.abspath(os.fspath(directory))
        if dry_run:
            found = [
                FileTransfer("download", name, str(address), os.path.join(path, name), self._size(name))
                for name, address in self._files.items()
            ]
            return [log_transfer(each, dry_run=True) for each in found]
        with closing(LocalDirectory(path, make=True)) as target, self._pools() as (pool, parts):
            fetch_into(self._sources, self._files, target, progress.stage("downloading"), pool, parts)
        return {name: Path(path, name) for name in self._files}

    def _size(self, name: str) -> int | None:
        with prefixed(name):
            return self._sources.look(self._files[name]).size

    @contextmanager
    def _pools(self) -> Iterator[tuple[ThreadPoolExecutor, ThreadPoolExecutor]]:
        with (
            ThreadPoolExecutor(self._transfers, "penstock-files") as pool,
            ThreadPoolExecutor(self._transfers, "penstock-parts") as parts,
        ):
            yield pool, parts


def _close_opened(opening: Future[DatasetTarget]) -> None:
    if opening.exception() is None:
        opening.result().close()


def _unpickled(sources: FileSources, transfers: int) -> FileDataset:
    made = FileDataset.__new__(FileDataset)
    made._sources, made._transfers = sources, transfers  # noqa: SLF001  # the other half of __reduce__
    return made


def _with_credentials(options: StoreOptions, given: Any) -> StoreOptions:
    if given is None:
        return options
    if hasattr(given, "get_credentials"):
        region = options.region or getattr(given, "region_name", None)
        return replace(options, session=given, region=region)
    if hasattr(given, "get_frozen_credentials"):
        return replace(options, session=_CredentialsHolder(given))
    if hasattr(given, "access_key") and hasattr(given, "secret_key"):
        keys = Credentials(given.access_key, given.secret_key, getattr(given, "token", None))
        return replace(options, credentials=keys)
    raise UsageError(
        f"a {type(given).__name__} is no credentials",
        fix="Give boto3.Session().get_credentials().get_frozen_credentials(), or a boto3.Session().",
    )


@dataclass(frozen=True, slots=True)
class _CredentialsHolder:
    """Credentials of boto3 that renew themselves, as the session that they came from."""

    found: Any

    def get_credentials(self) -> Any:
        return self.found


def _checked_options(given: Mapping[str, Any]) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        raise UsageError(f"upload_options={given!r} are no options", fix='Write {"into_path": "s3://bucket/prefix/"}.')
    known = UploadOptions.__annotations__
    if unknown := sorted(given.keys() - known):
        raise UsageError(f"upload_options has no {unknown[0]!r}", fix=f"There are {', '.join(known)}.")
    if "into_path" not in given:
        raise UsageError("upload_options does not say where to", fix='Give {"into_path": "s3://bucket/prefix/"}.')
    check_choice(given.get("commit_every"))
    return given


def _check_picklable(fn: Callable[..., Any]) -> None:
    try:
        pickle.dumps(fn)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise UsageError(
            f"the function {getattr(fn, '__qualname__', fn)} cannot be sent to another process",
            why=str(error),
            fix="Define it at the top of a module, or use threads.",
        ) from error


def _planned(work: RowWork, batch: BatchTable, place: UploadPlace) -> list[FileTransfer]:
    found: list[FileTransfer] = []
    for row in batch.rows:
        if row.problem is not None or work.finished(row) is not None:
            continue
        found += [FileTransfer("download", name, str(each), name, None, row.number) for name, each in row.files.items()]
        promised = sorted(work.promise.required) if work.promise is not None else ()
        found += [
            FileTransfer("upload", name, name, _joined(place, row.key, name), None, row.number) for name in promised
        ]
    return [log_transfer(each, dry_run=True) for each in found]


def _joined(place: UploadPlace, row_id: str, name: str) -> str:
    return f"{place.url.rstrip('/')}/{row_id}/{name}"


def _in_use(row_id: str, place: UploadPlace) -> ConflictError:
    return ConflictError(
        f"the id {row_id!r} is in use", why=f"{place.url}/{row_id} has files", fix="Choose another id."
    )


def _as_error(text: str) -> PenstockError:
    what, _, rest = text.partition("\n")
    return PenstockError(what, why=rest.strip())
