"""One process that fetches, as the process sees it that has started it: what it was asked, and what it has answered.

**Invariant:** every future that `ask` has returned ends: in an answer, or in `ChildDiedError` when the process is no
more, or was killed. One that says what is no answer is killed.
Blocking only in `end`. Thread-safe; a thread of its own reads the answers.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, NamedTuple

import msgspec

from penstock.error_form import error_of
from penstock.wire import NoMessageError

from .fetch_messages import FetchReady, FetchRequest, Told, decode_told, read_message, write_message
from .regions import Region
from .request_counts import RequestCounts

__all__ = ["ChildDiedError", "FetchChild"]

_log = logging.getLogger(__name__)

_KILLED = 0.5
"""Seconds that a process may take to die when it is killed, unless the kernel holds it in a read."""


class ChildDiedError(Exception):
    """The process that was asked is no more, or could not be started."""


class _Question(NamedTuple):
    """What was asked and has no answer yet."""

    blocks: int
    answer: Future[list[bool]]


class FetchChild:
    """One process, and what it was asked."""

    def __init__(self, setup: bytes, counters: RequestCounts) -> None:
        self.lock = threading.Lock()
        self._counters = counters
        self._waiting: dict[int, _Question] = {}
        self._number = 0
        self._alive = True
        self.ready: Future[Any] = Future()
        """Ends when the process can fetch, which takes most of a second, or when it never will."""
        self.cache_mode = "ok"
        self._child = subprocess.Popen(
            # -P: the working directory may be a dataset with a file called lmdb.py in it.
            [sys.executable, "-P", "-m", "penstock.repo.session.fetch_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._requests, self._answers = self._child.stdin, self._child.stdout
        with suppress(OSError):  # it died at once: `_listen` sees that
            write_message(self._requests, setup)
        threading.Thread(target=self._listen, name="penstock-answers", daemon=True).start()

    @property
    def pid(self) -> int:
        """Id of the process."""
        return self._child.pid

    @property
    def alive(self) -> bool:
        """Whether it may be asked."""
        return self._alive

    @property
    def load(self) -> int:
        """Regions that it was asked for and has not answered."""
        return len(self._waiting)

    def ask(self, region: Region) -> Future[list[bool]]:
        """Have a region fetched. Its future ends in `ChildDiedError` when the process does."""
        future: Future[list[bool]] = Future()
        with self.lock:
            if not self._alive:
                raise ChildDiedError
            self._number += 1
            number = self._number
            self._waiting[number] = _Question(len(region.pieces), future)
            try:
                write_message(self._requests, msgspec.msgpack.encode(FetchRequest(number, region)))
            except OSError as error:
                del self._waiting[number]
                raise ChildDiedError from error
        return future

    def _listen(self) -> None:
        try:
            while (message := read_message(self._answers)) is not None:
                self._take(decode_told(message))
        except NoMessageError as error:
            _log.warning("fetch process %d is killed, for what it said is no answer: %s", self.pid, error)
        finally:  # also after a fault in here: nobody may be left waiting
            self.kill()
            self._answers.close()
            self._child.wait()

    def _take(self, told: Told) -> None:
        """Give an answer to who waits for it. NoMessageError: nobody does, or it is not about what was asked."""
        self.cache_mode = told.mode
        if isinstance(told, FetchReady):
            self._begin()
            return
        with self.lock:
            question = self._waiting.get(told.number)
            if question is None:
                if not self._alive:  # killed: those who waited know
                    return
                raise NoMessageError(f"nobody has asked number {told.number}")
            if told.failure is None and len(told.kept) != question.blocks:
                raise NoMessageError(f"{question.blocks} blocks were asked for; {len(told.kept)} are answered")
            del self._waiting[told.number]
        self._counters.add(**told.counts)
        if told.failure is not None:
            question.answer.set_exception(error_of(told.failure))
        else:
            question.answer.set_result(told.kept)

    def _begin(self) -> None:
        with self.lock:
            if not self.ready.done():
                self.ready.set_result(None)

    def _give_up(self) -> None:
        """Have nobody wait for answers any more."""
        with self.lock:
            self._alive = False
            waiting, self._waiting = self._waiting, {}
            with suppress(OSError):  # what is still buffered has nobody to go to
                self._requests.close()
        self._begin()
        for question in waiting.values():
            question.answer.set_exception(ChildDiedError())

    def kill(self) -> None:
        """End it at once; what it was asked ends in `ChildDiedError`."""
        self._child.kill()
        # Now, and not when it is gone: a thread that the kernel holds in a read keeps the process and its pipes.
        self._give_up()

    def dismiss(self) -> None:
        """Let it end."""
        with self.lock, suppress(OSError):
            self._requests.close()

    def end(self, timeout: float) -> None:
        """See that it has ended, after so many seconds by force."""
        try:
            self._child.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            with suppress(subprocess.TimeoutExpired):  # it goes when the kernel lets it
                self._child.wait(_KILLED)
