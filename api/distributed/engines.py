"""Where tasks run: here, in any executor of `concurrent.futures`, or on a cluster of Dask."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from typing import Any

from penstock.errors import UsageError
from penstock.progress import Stage

from .transform_job import TransformJob
from .transform_task import TaskReceipt, TransformTask, run_task

__all__ = ["run_here", "run_tasks"]

_LOOK = 1.0


def run_here(tasks: Sequence[TransformTask], job: TransformJob, stage: Stage) -> list[TaskReceipt]:
    """Run tasks in this thread, one after the other, and return their receipts."""
    receipts = []
    for task in tasks:
        receipts.append(run_task(task, job))
        stage.advance(1)
    return receipts


def run_tasks(tasks: Sequence[TransformTask], client: Any, deadline: float, stage: Stage) -> list[TaskReceipt]:
    """Run tasks elsewhere, and return their receipts. The first error ends it, and what was not begun is not."""
    # Shards have about equal bytes, so that those of many small files take longest: begun last, one would end alone.
    tasks = sorted(tasks, key=lambda task: -task.files)
    if isinstance(client, Executor):
        return _in_executor(tasks, client, stage)
    if type(client).__module__.partition(".")[0] == "distributed":
        from .dask_run import run_on_dask

        return run_on_dask(tasks, client, deadline, stage)
    raise UsageError(
        f"tasks cannot run on a {type(client).__qualname__}",
        fix="Give a client of Dask, an executor of concurrent.futures, or nothing; for others, see `prepare`.",
    )


def _in_executor(tasks: Sequence[TransformTask], executor: Executor, stage: Stage) -> list[TaskReceipt]:
    waiting: set[Future[TaskReceipt]] = {executor.submit(task) for task in tasks}
    receipts: list[TaskReceipt] = []
    try:
        while waiting:
            done, waiting = wait(waiting, _LOOK, FIRST_COMPLETED)
            for future in done:
                receipts.append(future.result())
                stage.advance(1)
            stage.advance(0)  # where the end is asked for, this raises
    finally:
        for future in waiting:
            future.cancel()
    return receipts
