"""Two ways to answer the kernel, behind one face: `serving` uses them without knowing which it has.

`DirectFront` speaks the kernel's protocol itself, for read-only mounts; a warm file costs a third of what it does
through libfuse (docs/design/005-serving-processes.md). `LibfuseFront` has pyfuse3 do it, which knows all the rest of
the protocol, and of which there is one a process.
"""

from __future__ import annotations

import os
from typing import Protocol

import pyfuse3
import trio

from .access_log import AccessLog
from .answers import Answers
from .filesystem import FileSystem
from .fuse import FuseOperations
from .protocol import greeting_answer
from .requests import answer_requests
from .session import attach, own_descriptor

__all__ = ["Accounts", "DirectFront", "Front", "LibfuseFront"]

_TASKS = 256
"""Requests answered at once: as many as the kernel sends in the background."""


class Accounts(Protocol):
    """What is asked about a mount: what it shows, where accesses are written, bytes given and open handles if known."""

    access_log: AccessLog | None

    @property
    def file_system(self) -> FileSystem: ...  # noqa: D102  # see above
    def reads(self) -> tuple[int, int | None]: ...  # noqa: D102  # see above


class Front(Protocol):
    """Answers for a session: `begin`, `serve`, `end`."""

    @property
    def accounts(self) -> Accounts:
        """What was answered so far."""
        ...

    async def begin(self, session: int, greeting: bytes, *, answer: bool) -> int:
        """Take over the descriptor of a session; return what requests are read from from now on.

        `answer`: the kernel waits for the answer to its greeting, the INIT request.
        """
        ...

    async def serve(self) -> None:
        """Answer until the session has ended."""
        ...

    def end(self) -> None:
        """Let go of the descriptor; the session lives on while somebody has another one."""
        ...


class DirectFront:
    """Answers a read-only mount's requests."""

    def __init__(self, answers: Answers) -> None:
        self.accounts = answers
        self._device = -1

    async def begin(self, session: int, greeting: bytes, *, answer: bool) -> int:
        """As `Front`."""
        if answer:
            os.write(session, greeting_answer(greeting))
        self._device = own_descriptor(session, greeting)
        return self._device

    async def serve(self) -> None:
        """As `Front`."""
        async with trio.open_nursery() as nursery:
            await answer_requests(self._device, self.accounts, nursery)
            nursery.cancel_scope.cancel()

    def end(self) -> None:
        """As `Front`."""
        os.close(self._device)


class LibfuseFront:
    """Has pyfuse3 answer by `operations`; `options` are those that the session was mounted with."""

    def __init__(self, operations: FuseOperations, options: set[str]) -> None:
        self.accounts = operations
        self._options = options

    async def begin(self, session: int, greeting: bytes, *, answer: bool) -> int:
        """As `Front`."""
        return await attach(self.accounts, self._options, session, greeting, answer=answer)

    async def serve(self) -> None:
        """As `Front`."""
        await pyfuse3.main(max_tasks=_TASKS)

    def end(self) -> None:
        """As `Front`."""
        pyfuse3.close(unmount=False)
