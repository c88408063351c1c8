"""Run the tasks of a transform on a cluster of Dask.

All tasks are submitted at once, so that Dask's dashboard counts what the progress does; each is some kilobytes there,
and there are ten thousand at most. Dask runs the tasks of a worker that died elsewhere, and some of them twice: that
changes nothing. What Dask does not see is a worker that hangs: so each task says when it begins, and one that has gone
on for longer than the deadline is submitted once more, to other workers, and so is what waits for a worker that says
nothing any more; whichever ends first counts.

One thread calls; Dask's own threads put what happens into a queue.
"""

from __future__ import annotations

import queue
import secrets
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from typing import Any

from penstock.errors import StoreUnreachableError, UsageError
from penstock.progress import Stage

from .transform_task import TaskReceipt, TransformTask

__all__ = ["run_on_dask"]

_LOOK = 0.5
_LOOK_AROUND = 5.0
_SILENT = 60.0
"""Seconds without a word after which a worker is taken for one that hangs: they speak every few seconds."""
_ATTEMPTS = 3
"""How often a task is begun that does not end, or does not reach the store, before this is an error."""


def _begin(task: TransformTask, topic: str) -> TaskReceipt:
    """Run a task on a worker, and say first that it begins, and where."""
    from distributed import get_worker  # pyright: ignore[reportAttributeAccessIssue, reportMissingImports]  # an extra

    worker = get_worker()
    worker.log_event(topic, {"task": task.number, "worker": worker.address})
    return task()


class _Attempts:
    """What is known of one task: its futures, and when and where the last of them began."""

    def __init__(self, task: TransformTask) -> None:
        self.task = task
        self.futures: list[Any] = []
        self.begun: float | None = None
        self.workers: set[str] = set()
        self.overdue = 0
        self.is_counted = False


def run_on_dask(tasks: Sequence[TransformTask], client: Any, deadline: float, stage: Stage) -> list[TaskReceipt]:
    """Run tasks, and return their receipts. The first error ends it, and what is left is cancelled.

    UsageError: a task did not end in time on several workers, or has ended several.
    """
    with closing(_Run(tasks, client, deadline)) as run:
        return run.receipts(stage)


class _Run:
    """The tasks of a transform on their way."""

    def __init__(self, tasks: Sequence[TransformTask], client: Any, deadline: float) -> None:
        self._client = client
        self._deadline = deadline
        self._name = f"penstock-transform-{secrets.token_hex(6)}"
        self._events: queue.SimpleQueue[tuple[str, int, Any]] = queue.SimpleQueue()
        self._open = {task.number: _Attempts(task) for task in tasks}
        self._keys: dict[str, int] = {}
        self._futures: list[Any] = []  # all of them, to the end: what nobody holds, Dask's dashboard forgets
        self._looked = time.monotonic()
        client.subscribe_topic(self._name, self._hear)

    def _hear(self, event: tuple[float, dict[str, Any]]) -> None:
        self._events.put(("begun", event[1]["task"], event[1]["worker"]))

    def close(self) -> None:
        """Cancel what has not ended."""
        self._client.unsubscribe_topic(self._name)
        self._client.cancel([future for future in self._futures if not future.done()], force=True)

    def receipts(self, stage: Stage) -> list[TaskReceipt]:
        """Have all tasks run."""
        found: list[TaskReceipt] = []
        for attempts in self._open.values():
            self._submit(attempts)
        while self._open:
            events = self._heard()
            stage.advance(sum(self._counts(event) for event in events))  # where the end is asked for, this raises
            for what, number, about in events:
                if (one := self._open.get(number)) is None:
                    pass  # it has ended elsewhere
                elif what == "begun":
                    one.begun = time.monotonic()
                    one.workers.add(about)
                elif about.status != "cancelled":
                    receipt = self._result(one, about)
                    if receipt is not None:
                        found.append(receipt)
                        del self._open[number]
            if time.monotonic() - self._looked > min(_LOOK_AROUND, self._deadline):
                self._look_around()
                self._looked = time.monotonic()
        return found

    def _heard(self) -> list[tuple[str, int, Any]]:
        """Wait a moment for something to happen; return all that has."""
        events = []
        with suppress(queue.Empty):
            events.append(self._events.get(timeout=_LOOK))
            while True:
                events.append(self._events.get_nowait())
        return events

    def _counts(self, event: tuple[str, int, Any]) -> int:
        """Say how many tasks are done by an event: at once, as the dashboard does, and not when their receipts came."""
        what, number, about = event
        one = self._open.get(number)
        if what != "done" or about.status != "finished" or one is None or one.is_counted:
            return 0
        one.is_counted = True
        return 1

    def _submit(self, attempts: _Attempts) -> None:
        """Have a task begin, once more perhaps, and then on other workers than before, if there are any."""
        task = attempts.task
        others = [each for each in self._workers() if each not in attempts.workers] if attempts.futures else []
        where = {"workers": others} if others else {}
        key = f"{self._name}-{task.number}-{len(attempts.futures) + 1}"
        self._keys[key] = task.number
        attempts.begun = None
        future = self._client.submit(_begin, task, self._name, key=key, pure=False, **where)
        attempts.futures.append(future)
        self._futures.append(future)
        future.add_done_callback(lambda done: self._events.put(("done", task.number, done)))

    def _workers(self) -> dict[str, Any]:
        found: dict[str, Any] = self._client.scheduler_info(n_workers=-1)["workers"]
        return found

    def _result(self, attempts: _Attempts, future: Any) -> TaskReceipt | None:
        """Return the receipt; None: it is tried once more."""
        task = attempts.task
        try:
            receipt: TaskReceipt = future.result(timeout=min(_SILENT, self._deadline))
        except StoreUnreachableError:
            if len(attempts.futures) >= _ATTEMPTS:
                raise
            self._submit(attempts)
            return None
        except TimeoutError as error:
            if future.status == "error":  # the function's own
                raise
            # It has ended, on a worker that hangs by now and does not hand over what it made.
            attempts.overdue += 1
            if attempts.overdue >= _ATTEMPTS:
                raise UsageError(
                    f"the receipt of {task.name} is not handed over",
                    why=f"{attempts.overdue} workers that had it do not answer",
                    fix="Look at the workers and the network between; what was finished is not done again.",
                ) from error
            self._submit(attempts)
            return None
        except Exception as error:
            if type(error).__name__ != "KilledWorker":  # Dask's, which is not imported here
                raise
            raise UsageError(
                f"{task.name} has ended several workers",
                why=f"{error}".strip().partition("\n")[0],
                fix="The function may need more memory than a worker has, or crash: try it on one of the files alone.",
            ) from error
        return receipt

    def _look_around(self) -> None:
        """Have tasks begun elsewhere that take too long, or whose worker is heard of no more."""
        now = time.monotonic()
        slow = [each for each in self._open.values() if each.begun is not None and now - each.begun > self._deadline]
        for attempts in slow:
            attempts.overdue += 1
            if attempts.overdue >= _ATTEMPTS:
                task = attempts.task
                raise UsageError(
                    f"{task.name} did not end in {self._deadline:g} s, {attempts.overdue} times",
                    why=f"it has {task.files} files, and was tried on {len(attempts.workers)} workers",
                    fix="Give a longer deadline, more tasks, or a timeout for each call, whose error names the file.",
                )
        seen = {address: each["last_seen"] for address, each in self._workers().items()}
        newest = max(seen.values(), default=0.0)
        silent = {address for address, last in seen.items() if newest - last > min(_SILENT, self._deadline)}
        stuck = silent.union(*(each.workers for each in slow))
        again = {each.task.number: each for each in slow}
        for address in stuck:  # what waits behind something that hangs hangs as well
            for key in self._client.processing([address]).get(address, ()):
                one = self._open.get(self._keys.get(str(key), 0))
                is_last = one is not None and str(key) == one.futures[-1].key
                if one is not None and is_last and (one.begun is None or address in silent):
                    one.workers.add(address)
                    again[one.task.number] = one
        for attempts in again.values():
            self._submit(attempts)
