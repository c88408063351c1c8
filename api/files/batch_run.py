"""Many rows in their order: the files of the next are fetched while the function has this one, and sent with the next.

Where the function runs:

- without an executor: in the caller's thread, row after row;
- in an executor of this machine (threads, processes): rows are fetched and sent here, calls go there;
- in any other one (Dask, Ray): a row goes there whole, and is fetched and sent where it runs.

**Invariants.** Outcomes come in the order of the rows. At most so many rows are under way, whatever there is of them.
Whatever ends the batch (an error that is to be raised, Ctrl-C), rows that are being sent are finished, and no others
are begun.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import Any

from penstock.errors import CancelledError, UsageError
from penstock.lru import Lru
from penstock.progress import Stage, raise_cancelled

from .batch_row import BatchRow, PreparedRow, RowOutcome, RowWork
from .function_run import FunctionOutcome, run_function

__all__ = ["executor_of", "is_of_this_machine", "run_rows"]

_UNKNOWN_WORKERS = 8
_MOST_ELSEWHERE = 256
"""Rows that an executor elsewhere has at once: as many as it has workers, and no more than its scheduler can hold."""


def executor_of(given: Any) -> Executor | None:
    """Return what calls go to: an executor, or that of a Dask client. UsageError: it is neither."""
    if given is not None and hasattr(given, "get_executor"):
        executor: Executor = given.get_executor(pure=False)
        return executor
    if given is not None and not hasattr(given, "submit"):
        raise UsageError(
            f"a {type(given).__name__} is no executor",
            fix="Give one of concurrent.futures, a client of Dask, or nothing: rows are then called one by one.",
        )
    found: Executor | None = given
    return found


def is_of_this_machine(executor: Executor | None) -> bool:
    """Whether what it runs sees the files of this process."""
    return executor is None or isinstance(executor, ThreadPoolExecutor | ProcessPoolExecutor)


def run_rows(
    work: RowWork, rows: Iterable[BatchRow], executor: Executor | None, folder: str, *, ahead: int, transfers: int
) -> Iterator[RowOutcome]:
    """Yield what becomes of each row. `ahead` rows are fetched before their turn; `transfers` files at once."""
    if not is_of_this_machine(executor):
        assert executor is not None
        yield from _elsewhere(work, rows, executor)
        return
    with ExitStack() as stack:
        batch = _LocalBatch(work, executor, folder, ahead, transfers, stack)
        yield from batch.run(rows)


def _elsewhere(work: RowWork, rows: Iterable[BatchRow], executor: Executor) -> Iterator[RowOutcome]:
    waiting: deque[tuple[BatchRow, Future[RowOutcome]]] = deque()
    try:
        for row in rows:
            waiting.append((row, executor.submit(_whole, work, row)))
            if len(waiting) >= _MOST_ELSEWHERE:
                yield _result(*waiting.popleft())
        while waiting:
            yield _result(*waiting.popleft())
    finally:
        for _, future in waiting:
            future.cancel()


def _result(row: BatchRow, future: Future[RowOutcome]) -> RowOutcome:
    try:
        return future.result()
    except Exception as error:  # noqa: BLE001  # an executor's own: its worker was killed, its scheduler is gone
        return RowOutcome(None, f"{row.told}: its worker failed: {type(error).__name__}: {error}")


_works: Lru[str, RowWork] = Lru(4)


def _whole(work: RowWork, row: BatchRow) -> RowOutcome:
    """Do a row in a worker; what is open there stays open for its next row."""
    kept = _works.get(work.run.run)
    if kept is None:
        kept = work
        _works.put(work.run.run, work)
    return kept.whole(row)


class _Turn:
    """A row on its way: its files are here, and then what the function made of them."""

    def __init__(self) -> None:
        self.prepared: Future[PreparedRow | RowOutcome] = Future()
        self.returned: Future[FunctionOutcome] = Future()


class _StoppableStage:
    """Ends what is being fetched when the batch has ended."""

    def __init__(self, stage: Stage, stopped: threading.Event) -> None:
        self._stage = stage
        self._stopped = stopped

    def advance(self, amount: int = 1, /) -> None:
        if self._stopped.is_set():
            raise_cancelled()
        self._stage.advance(amount)

    def total(self, amount: int, /) -> None:
        self._stage.total(amount)


class _LocalBatch:
    def __init__(
        self, work: RowWork, executor: Executor | None, folder: str, ahead: int, transfers: int, stack: ExitStack
    ) -> None:
        workers = getattr(executor, "_max_workers", _UNKNOWN_WORKERS) if executor is not None else 1
        self._stopped = threading.Event()
        self._work = replace(work, stages=(_StoppableStage(work.stages[0], self._stopped), work.stages[1]))
        self._executor = executor
        self._folder = folder
        self._most = workers + 2 * max(ahead, workers if executor is not None else 1)
        self._files = stack.enter_context(ThreadPoolExecutor(transfers, "penstock-files"))
        self._parts = stack.enter_context(ThreadPoolExecutor(transfers, "penstock-parts"))
        self._rows = stack.enter_context(ThreadPoolExecutor(self._most, "penstock-rows"))

    def run(self, rows: Iterable[BatchRow]) -> Iterator[RowOutcome]:
        waiting: deque[tuple[_Turn, Future[RowOutcome]]] = deque()
        following = iter(rows)
        is_over = False
        called = 0  # of those that wait, how many have had their turn
        here = self._executor is None
        try:
            while True:
                while not is_over and len(waiting) < self._most:
                    row = next(following, None)
                    if row is None:
                        is_over = True
                        break
                    turn = _Turn()
                    waiting.append((turn, self._rows.submit(self._do, row, turn)))
                if not waiting:
                    return
                if here and called < len(waiting):
                    self._take_turn(waiting[called][0])
                    called += 1
                while waiting and (called or not here):
                    nothing_else = (is_over or len(waiting) >= self._most) and (called == len(waiting) or not here)
                    if not (nothing_else or waiting[0][1].done()):
                        break
                    outcome = waiting[0][1].result()
                    waiting.popleft()
                    called -= here
                    yield outcome
        finally:
            self._stopped.set()
            for turn, future in waiting:
                future.cancel()
                with suppress(Exception):
                    turn.returned.set_exception(CancelledError("the batch has ended"))

    def _take_turn(self, turn: _Turn) -> None:
        """Call the function in this thread, when the row is there."""
        prepared = turn.prepared.result()
        if isinstance(prepared, PreparedRow):
            turn.returned.set_result(self._work.call(prepared))

    def _do(self, row: BatchRow, turn: _Turn) -> RowOutcome:
        try:
            prepared = self._work.prepare(row, self._folder, self._files, self._parts)
            turn.prepared.set_result(prepared)
        except BaseException as error:
            turn.prepared.set_exception(error)
            raise
        if isinstance(prepared, RowOutcome):
            return prepared
        return self._work.deliver(prepared, self._call(prepared, turn), self._files)

    def _call(self, prepared: PreparedRow, turn: _Turn) -> FunctionOutcome:
        if self._executor is None:
            try:
                return turn.returned.result()
            except CancelledError:
                self._work.drop(prepared)
                raise
        work = self._work
        try:
            return self._executor.submit(
                run_function, work.fn, work.plan, work.promise, work.values(prepared), work.timeout
            ).result()
        except (BrokenExecutor, RuntimeError) as error:
            return FunctionOutcome({}, f"the executor cannot run it: {type(error).__name__}: {error}")
