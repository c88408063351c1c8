"""What a batch is to do, from a data frame: its rows, their ids and files, and what of them is done already."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from penstock.errors import ConflictError, PenstockError, UsageError
from penstock.manifest.hashing import content_hash

from .batch_row import BatchRow, RowOutcome
from .file_address import FileAddress, is_file_address, parse_file_address
from .file_names import check_file_names, check_row_id
from .function_call import CallPlan, plan_call
from .function_hash import plain_text
from .row_marker import IdState
from .row_table import RowTable

__all__ = ["BatchTable", "StaleChoice", "ask_about_stale", "result_columns"]

StaleChoice = Literal["ask", "run", "keep"]
"""What becomes of rows that another version of the function has made."""

ERROR = "error"
_DIRECTORIES = ("input_dir", "output_dir")
_log = logging.getLogger("penstock.files")


@dataclass(frozen=True, slots=True)
class BatchTable:
    """The rows of a data frame. `is_new_id`: it has no column of ids, and each is made of the row's values."""

    table: RowTable
    rows: list[BatchRow]
    columns: list[str]
    """Those that hold no files, which a function can name."""
    is_new_id: bool

    @classmethod
    def read(cls, table: RowTable, files: Sequence[str] | None, id_column: str | None) -> BatchTable:
        """Take the rows of a table; ids are in the column ``id``, if there is one, where no other is named.

        UsageError: its columns cannot be used, or two rows have one id.
        """
        names = [name for name in table.columns if name != ERROR]
        held = {name: table.values(name) for name in names}
        chosen = _file_columns(held, files)
        check_file_names(chosen)
        columns = [name for name in names if name not in chosen]
        for name in columns:
            if name in _DIRECTORIES:
                raise UsageError(f"a column is called {name!r}", why="functions are given that", fix="Rename it.")
        count = len(table.values(table.columns[0])) if table.columns else 0
        if id_column is not None and id_column not in columns:
            why = "it holds files" if id_column in names else f"there are {', '.join(map(repr, names))}"
            raise UsageError(f"ids cannot be in a column {id_column!r}", why=why, fix="Name the one that has them.")
        id_column = id_column or "id"
        is_new_id = id_column not in columns
        rows = []
        for number in range(count):
            values = {name: held[name][number] for name in columns}
            found, problem = _addresses({name: held[name][number] for name in chosen})
            given = _id_of({name: held[name][number] for name in names}) if is_new_id else values[id_column]
            try:
                key = check_row_id(given)
            except UsageError as error:
                key, problem = f".row-{number}", error
            rows.append(BatchRow(number, given, key, found, {**values, "id": given}, problem=problem))
        _check_unique(rows, is_new_id)
        return cls(table, rows, columns, is_new_id)

    def plan(self, fn: Callable[..., Any]) -> CallPlan:
        """Decide how a function is called with a row. UsageError: it names what there is not."""
        return plan_call(fn, [*_DIRECTORIES, *dict.fromkeys(["id", *self.columns])], "input_dir")

    def with_states(self, states: Mapping[str, IdState]) -> BatchTable:
        """Return it with what is noted of the rows."""
        rows = [replace(row, state=states[row.key]) if row.key in states else row for row in self.rows]
        return replace(self, rows=rows)

    @property
    def ids(self) -> list[str]:
        """The ids of rows that have one."""
        return [row.key for row in self.rows if not row.key.startswith(".row-")]


def _file_columns(held: Mapping[str, list[Any]], files: Sequence[str] | None) -> list[str]:
    if files is not None:
        if isinstance(files, str):
            raise UsageError(f"files={files!r} is no list", fix=f"Write files=[{files!r}].")
        for name in files:
            if name not in held:
                raise UsageError(f"there is no column {name!r}", why="files= names it", fix=f"There are {list(held)}.")
        return list(files)
    found = []
    for name, values in held.items():
        present = [value for value in values if value is not None]
        if present and all(map(is_file_address, present)):
            found.append(name)
    if not found and any(held.values()):
        raise UsageError(
            "no column holds files",
            why="those are columns whose every value is a URL or a Path",
            fix="Name them: files=['image.png']; or files=[] if there are none.",
        )
    return found


def _addresses(given: Mapping[str, Any]) -> tuple[dict[str, FileAddress], PenstockError | None]:
    found: dict[str, FileAddress] = {}
    for name, value in given.items():
        if value is None:
            problem = UsageError(
                f"{name}: there is no file", why="the value is missing", fix="Fill it in, or drop the row."
            )
            return found, problem
        try:
            found[name] = parse_file_address(value)
        except UsageError as error:
            return found, UsageError(f"{name}: {error.what}", why=error.why, fix=error.fix)
    return found, None


def _id_of(values: Mapping[str, Any]) -> str:
    """Return an id that is the same for the same row, in any run."""
    told = {}
    for name, value in values.items():
        try:
            told[name] = plain_text(value)
        except TypeError:
            told[name] = f"{type(value).__name__}:{value!r}"
    return content_hash(json.dumps(told, sort_keys=True).encode("ascii")).hex()[:32]


def _check_unique(rows: Sequence[BatchRow], is_new_id: bool) -> None:
    seen: dict[str, int] = {}
    for row in rows:
        if row.key in seen:
            what = "are the same" if is_new_id else f"have the id {row.id!r}"
            fix = "Add a column 'id' that tells them apart." if is_new_id else "Give each row an id of its own."
            raise UsageError(f"rows {seen[row.key]} and {row.number} {what}", fix=fix)
        seen[row.key] = row.number


def ask_about_stale(rows: Sequence[BatchRow], function: str, choice: StaleChoice) -> bool:
    """Whether rows that another version of the function has made are kept. ConflictError: nobody says."""
    if choice not in ("ask", "run", "keep"):
        raise UsageError(f"stale={choice!r} is no choice", fix='Choose "ask", "run" or "keep".')
    stale = [row for row in rows if row.state.done is not None and row.state.function != function[:16]]
    if not stale:
        return False
    what = f"{len(stale)} of {len(rows)} rows were made by another version of the function"
    _log.warning("%s; the first is %s", what, stale[0].told)
    if choice != "ask":
        return choice == "keep"
    if sys.stdin is not None and sys.stdin.isatty():
        answer = input(f"{what}. Make them anew? [y/N, k to keep them] ").strip().lower()
        if answer in ("y", "yes"):
            return False
        if answer in ("k", "keep"):
            return True
    raise ConflictError(
        what,
        why=f"the first is {stale[0].told}, and nothing was done",
        fix='Say stale="run" to make them anew, stale="keep" to keep them; version= tells which changes count.',
    )


def result_columns(
    batch: BatchTable, outcomes: Sequence[RowOutcome], url: Callable[[str, str], str]
) -> dict[str, list[Any]]:
    """Return the columns that the rows have got: ids where there were none, outputs, errors."""
    columns: dict[str, list[Any]] = {}
    if batch.is_new_id:
        columns["id"] = [row.id for row in batch.rows]
    count = len(batch.rows)
    taken = {*batch.table.columns, "id", ERROR}
    for number, (row, outcome) in enumerate(zip(batch.rows, outcomes, strict=True)):
        for name in outcome.record.outputs if outcome.record is not None else ():
            column = f"output.{name}" if name in taken else name
            columns.setdefault(column, [None] * count)[number] = url(row.key, name)
    columns[ERROR] = [outcome.error for outcome in outcomes]
    return columns
