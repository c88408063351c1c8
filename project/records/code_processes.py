"""Processes that run a user's code, as this one sees them: started when needed, ended whatever happens.

**Invariant:** no line of a user's file runs in this process. Each child is asked by one thread.
"""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from itertools import islice
from types import TracebackType
from typing import Self

from penstock.errors import AccessError, NotFoundError, PenstockError, UsageError
from penstock.project.declared.declared_source import DeclaredSource

from .messages import (
    Broken,
    Brought,
    CallAnswer,
    CallAnswers,
    FieldForm,
    FromChild,
    Ingest,
    IngestEnded,
    MethodCall,
    MethodCalls,
    Ready,
    Setup,
    ToChild,
    decode_from_child,
    encode,
)

__all__ = ["CodeError", "CodeProcesses"]

_BATCH = 16
_LARGEST_BATCH = 256
_BATCH_SECONDS = 0.1
_PATIENCE = 10.0


class CodeError(UsageError):
    """A user's code failed."""


class _Process:
    """One child."""

    def __init__(self, setup: Setup) -> None:
        self._file = setup.file
        self._child = subprocess.Popen(
            [sys.executable, "-P", "-m", "penstock.project.records.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**_environment(), "PYTHONDONTWRITEBYTECODE": "1"},
            start_new_session=True,
        )
        try:
            self.say(setup)
            answer = self.hear()
            if isinstance(answer, Broken):
                raise _broken(answer, setup.file)
            assert isinstance(answer, Ready)
        except BaseException:
            self.close()
            raise

    def say(self, message: ToChild) -> None:
        assert self._child.stdin is not None
        with suppress(BrokenPipeError):  # that it is gone is heard
            self._child.stdin.write(encode(message) + b"\n")
            self._child.stdin.flush()

    def hear(self) -> FromChild:
        assert self._child.stdout is not None
        line = self._child.stdout.readline()
        if not line.endswith(b"\n"):
            code = self._child.wait(_PATIENCE)
            how = f"by signal {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
            raise CodeError(
                f"the process that runs {self._file} ended {how}",
                why="it may have run out of memory, or ended itself",
                fix="What was done is kept: try again.",
            )
        return decode_from_child(line)

    def close(self) -> None:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        with suppress(ProcessLookupError):
            os.killpg(self._child.pid, signal.SIGKILL)
        for pipe in (self._child.stdin, self._child.stdout):
            with suppress(BrokenPipeError):
                pipe.close()
        self._child.wait(_PATIENCE)


def _environment() -> dict[str, str]:
    """Return the environment without what git tells a hook: the code may ask git about other repositories."""
    return {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}


def _broken(found: Broken, file: str) -> PenstockError:
    if found.missing:
        return NotFoundError(
            f"{found.what}, which is not installed",
            why=f"it runs with {sys.executable}",
            fix=f"Install {found.missing} there, or commit with the Python that has it.",
        )
    return CodeError(f"{file} failed: {found.what}{found.trace}", fix="Correct it, and commit again.")


class CodeProcesses:
    """The processes for one file and one dataset in it; its code lies in a folder that goes with them.

    `place`: the folder in which the code runs: that of the file in the work tree. `bucket`, `state`: where files go,
    and     a folder on the same disk.
    """

    def __init__(
        self, source: DeclaredSource, table: str, place: str, bucket: str, state: str, width: int | None = None
    ) -> None:
        self._open = ExitStack()
        self._width = width or len(os.sched_getaffinity(0))
        self._processes: list[_Process] = []
        try:
            work = self._open.enter_context(tempfile.TemporaryDirectory(prefix="run-", dir=state))
            code, files = os.path.join(work, "code"), os.path.join(work, "files")
            os.mkdir(files)
            for path, text in source.texts.items():
                target = os.path.join(code, path)
                os.makedirs(os.path.dirname(target), exist_ok=True)
                with open(target, "wb") as stream:
                    stream.write(text)
        except OSError as error:
            self._open.close()
            raise AccessError(
                f"{state} cannot be written", why=error.strerror or str(error), fix="Make room."
            ) from error
        self._setup = Setup(code, source.file, table, place, bucket, files)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the processes, and remove what they have left."""
        for each in self._processes:
            each.close()
        self._processes.clear()
        self._open.close()

    def _process(self, number: int) -> _Process:
        while len(self._processes) <= number:
            self._processes.append(_Process(self._setup))
        return self._processes[number]

    def ingest(self, method: str, fields: tuple[FieldForm, ...], done: int | None) -> Iterator[Brought]:
        """Run an ingest, and yield its records as they come. `CodeError`: it failed; what came before is whole."""
        process = self._process(0)
        process.say(Ingest(method, fields, done))
        while True:
            answer = process.hear()
            if isinstance(answer, Broken):
                raise CodeError(
                    f"{self._setup.file}: {method} failed: {answer.what}{answer.trace}",
                    fix="Correct it, and commit again.",
                )
            if isinstance(answer, IngestEnded):
                return
            assert isinstance(answer, Brought)
            yield answer

    def call(self, method: str, field: FieldForm | None, calls: Iterable[MethodCall]) -> Iterator[CallAnswer]:
        """Call a method for each record, in all processes at once; answers come as they are ready.

        MethodCalls are taken as they are needed, some ahead.
        """
        source = iter(calls)
        first = tuple(islice(source, _BATCH))
        second = tuple(islice(source, _BATCH)) if first else ()
        if second:
            yield from self._in_parallel(method, field, [first, second], source)
        elif first:
            process = self._process(0)
            process.say(MethodCalls(method, field, first))
            yield from _answers(process.hear())

    def _in_parallel(
        self, method: str, field: FieldForm | None, begun: list[tuple[MethodCall, ...]], rest: Iterator[MethodCall]
    ) -> Iterator[CallAnswer]:
        processes = [self._process(number) for number in range(self._width)]
        waiting: queue.Queue[tuple[MethodCall, ...] | None] = queue.Queue(2 * self._width)
        done: queue.Queue[tuple[CallAnswer, ...] | BaseException] = queue.Queue()
        batches = _Batches(begun, rest)

        def serve(process: _Process) -> None:
            try:
                while (batch := waiting.get()) is not None:
                    since = time.monotonic()
                    process.say(MethodCalls(method, field, batch))
                    answers = _answers(process.hear())
                    batches.took(len(batch), time.monotonic() - since)
                    done.put(answers)
            except (PenstockError, OSError, ValueError, AssertionError) as error:
                done.put(error)

        threads = [
            threading.Thread(target=serve, args=(each,), name="penstock-code", daemon=True) for each in processes
        ]
        for each in threads:
            each.start()
        sent = 0
        try:
            batch = next(batches, None)
            while batch is not None or sent:
                while batch is not None and sent < 2 * self._width:
                    waiting.put(batch)
                    sent += 1
                    batch = next(batches, None)
                found = done.get()
                sent -= 1
                if isinstance(found, BaseException):
                    raise found
                yield from found
        finally:
            if sent:  # it was broken off: what is being computed is of no use
                for process in processes:
                    process.close()
                self._processes.clear()
            for _ in threads:
                with suppress(queue.Full):
                    waiting.put_nowait(None)
            for each in threads:
                each.join(_PATIENCE)


class _Batches(Iterator[tuple[MethodCall, ...]]):
    """Calls in batches, larger ones where they are quick: to hand one over costs as much as some quick calls."""

    def __init__(self, begun: list[tuple[MethodCall, ...]], rest: Iterator[MethodCall]) -> None:
        self._begun = iter(begun)
        self._rest = rest
        self._size = _BATCH

    def __next__(self) -> tuple[MethodCall, ...]:
        batch = next(self._begun, None) or tuple(islice(self._rest, self._size))
        if not batch:
            raise StopIteration
        return batch

    def took(self, count: int, seconds: float) -> None:
        """Be told how long a batch took. From any thread."""
        if seconds:
            self._size = max(_BATCH, min(_LARGEST_BATCH, int(count * _BATCH_SECONDS / seconds)))


def _answers(found: FromChild) -> tuple[CallAnswer, ...]:
    assert isinstance(found, CallAnswers)
    return found.answers
