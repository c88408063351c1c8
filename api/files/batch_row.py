"""One row of a batch: fetched, handed to the user's function, what that made sent and noted. In any thread or process.

    look    is it done already, by the same function from the same contents?
    prepare its id is claimed and its files are fetched, into directories of its own
    call    the function is called (`function_run`)
    deliver what it returned is checked and sent; last of all it is noted that the row is done

**Invariant:** of a row either all files are there and noted, or it is made anew by the next run.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from penstock.errors import PenstockError
from penstock.manifest.hashing import content_hash
from penstock.progress import SILENT, Stage

from .fetch import fetch_private, prefixed
from .file_address import FileAddress
from .file_sources import FetchedFile, FileSources
from .function_call import CallPlan, Promise
from .function_hash import plain_text
from .function_run import FunctionOutcome, run_function
from .output_files import returned_files
from .row_marker import NOTHING_NOTED, IdState, RowRecord, RunIdentity
from .upload_target import UploadTarget
from .work_directory import SharedDirectory, remove_tree

__all__ = ["BatchRow", "PreparedRow", "RowOutcome", "RowWork"]


_elsewhere = SharedDirectory()


@dataclass(frozen=True, slots=True)
class BatchRow:
    """A row: where its files are, by name, and the columns that are none. `id` is what the caller has, `key` as text.

    `problem`: what is wrong with it already.
    """

    number: int
    id: Any
    key: str
    files: Mapping[str, FileAddress]
    values: Mapping[str, Any]
    state: IdState = NOTHING_NOTED
    problem: PenstockError | None = None

    @property
    def told(self) -> str:
        """How it is called in messages."""
        return f"row {self.number} (id {self.id!r})"


class PreparedRow(NamedTuple):
    """A row whose files are here."""

    row: BatchRow
    key: str
    inputs: dict[str, str]
    before: RowRecord | None
    directory: str
    input_dir: str
    output_dir: str


class RowOutcome(NamedTuple):
    """What became of a row: its record; or what went wrong, in full. `is_kept`: it was done before."""

    record: RowRecord | None
    error: str | None = None
    is_kept: bool = False


@dataclass(frozen=True, slots=True)
class RowWork:
    """What is done with every row. Pickled for executors elsewhere, if the target can be."""

    sources: FileSources
    target: UploadTarget
    fn: Callable[..., Any]
    plan: CallPlan
    promise: Promise | None
    function: str
    """The hash of the function, in hex."""
    run: RunIdentity
    timeout: float | None = None
    take_over: bool = False
    is_sole: bool = False
    """The function takes one directory: what it reads lies there, and what it makes does."""
    keeps: bool = False
    """What another function has made is kept as well."""
    stages: tuple[Stage, Stage] = field(default=(SILENT.stage("downloading"), SILENT.stage("uploading")))

    def __reduce__(self) -> tuple[object, ...]:
        mine = (self.sources, self.target, self.fn, self.plan, self.promise, self.function, self.run)
        return RowWork, (*mine, self.timeout, self.take_over, self.is_sole, self.keeps)

    def row_key(self, row: BatchRow, inputs: Mapping[str, str]) -> str:
        """Return what a row is made of, as a hash: function, contents, and the columns that the function is given."""
        names = row.values.keys() if self.plan.takes_all else self.plan.names
        values = {name: _text(row.values[name]) for name in names if name in row.values}
        facts = [self.function, sorted(inputs.items()), sorted(values.items())]
        return content_hash(json.dumps(facts).encode("ascii")).hex()

    def finished(self, row: BatchRow) -> RowRecord | None:
        """Return the record of a row that need not be made; None: it has to be."""
        state = row.state
        if state.done is None:
            return None
        if state.function != self.function[:16]:
            return self.target.record(row.key, state) if self.keeps else None
        record = self.target.record(row.key, state)
        inputs: dict[str, str] = {}
        for name, address in row.files.items():
            with prefixed(name):
                found = self.sources.look(address)
            if found.identity is None:  # nothing says whether it is the same
                return None
            inputs[name] = found.identity
        return record if record.key == self.row_key(row, inputs) else None

    def prepare(
        self, row: BatchRow, folder: str, pool: Executor | None = None, parts: Executor | None = None
    ) -> PreparedRow | RowOutcome:
        """Claim a row and fetch its files; or return what became of it. Errors are in the outcome."""
        directory = os.path.join(folder, f"row-{row.number}")
        try:
            with prefixed(row.told):
                if row.problem is not None:
                    raise row.problem
                done = self.finished(row)
                if done is not None:
                    return RowOutcome(done, is_kept=True)
                before = self.target.record(row.key, row.state) if row.state.done is not None else None
                input_dir = os.path.join(directory, "files" if self.is_sole else "input")
                output_dir = input_dir if self.is_sole else os.path.join(directory, "output")
                os.mkdir(directory, 0o700)
                for each in {input_dir, output_dir}:
                    os.mkdir(each, 0o700)
                claim = pool.submit(self._claim, row) if pool is not None else None
                try:
                    found = fetch_private(self.sources, row.files, input_dir, self.stages[0], pool, parts, row.number)
                finally:
                    if claim is not None:
                        claim.result()
                if claim is None:
                    self._claim(row)
                inputs = {name: _identity(each, name, input_dir) for name, each in found.items()}
                return PreparedRow(row, self.row_key(row, inputs), inputs, before, directory, input_dir, output_dir)
        except PenstockError as error:
            _drop(directory)
            return RowOutcome(None, str(error))
        except OSError as error:
            _drop(directory)
            return RowOutcome(None, f"{row.told}: cannot make its directory: {error}")
        except BaseException:
            _drop(directory)
            raise

    def _claim(self, row: BatchRow) -> None:
        self.target.claim(row.key, row.state, self.run, take_over=self.take_over)

    def values(self, prepared: PreparedRow) -> dict[str, Any]:
        """Return what the function can name."""
        folders = {"input_dir": Path(prepared.input_dir), "output_dir": Path(prepared.output_dir)}
        return {**prepared.row.values, **folders}

    def call(self, prepared: PreparedRow) -> FunctionOutcome:
        """Call the function in this thread."""
        return run_function(self.fn, self.plan, self.promise, self.values(prepared), self.timeout)

    def deliver(self, prepared: PreparedRow, outcome: FunctionOutcome, pool: Executor | None = None) -> RowOutcome:
        """Send what a function has made, and note that the row is done. Errors are in the outcome."""
        row = prepared.row
        try:
            with prefixed(row.told):
                if outcome.failure is not None:
                    return RowOutcome(None, f"{row.told}: {outcome.failure}\n\n{outcome.trace}".rstrip())
                with returned_files(outcome.outputs, prepared.output_dir) as files:
                    sent = self.target.send(row.key, files, row.number, self.stages[1], pool)
                record = RowRecord(row.key, sent, self.function, prepared.key, prepared.inputs)
                self.target.finish(record, prepared.before, row.values)
                return RowOutcome(record)
        except PenstockError as error:
            return RowOutcome(None, str(error))
        except OSError as error:
            return RowOutcome(None, f"{row.told}: what it made cannot be kept: {error}")
        finally:
            _drop(prepared.directory)

    def drop(self, prepared: PreparedRow) -> None:
        """Let go of a row whose turn never comes."""
        _drop(prepared.directory)

    def whole(self, row: BatchRow) -> RowOutcome:
        """Do all of it in this process, in a directory of its own: for executors elsewhere."""
        with _elsewhere.use() as directory:
            prepared = self.prepare(row, directory)
            if isinstance(prepared, RowOutcome):
                return prepared
            return self.deliver(prepared, self.call(prepared))


def _identity(found: FetchedFile, name: str, directory: str) -> str:
    """Return what identifies a content: as it was told, or else of what came."""
    if found.identity is not None:
        return found.identity
    with open(os.path.join(directory, name), "rb") as stream:
        return f"blake3:{content_hash(stream.read()).hex()}"


def _text(value: Any) -> str:
    try:
        return plain_text(value)
    except TypeError:  # a time, or another value of a data frame
        return f"{type(value).__name__}:{value!r}"


def _drop(directory: str) -> None:
    if os.path.isdir(directory):
        remove_tree(directory)
